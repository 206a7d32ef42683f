package examine

import (
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// farNodes are the nodes of the pods that the question leads to, in a defined
// order: their kernels and packet filters decide too.
func farNodes(c *model.Case) []string {
	k := &c.World.Kube
	to := c.Question.To
	var out []string
	add := func(p *model.Pod) {
		if p != nil && p.Node != "" && !p.HostNetwork && !slices.Contains(out, p.Node) {
			out = append(out, p.Node)
		}
	}
	for _, p := range k.Pods {
		if p != nil && leadsTo(to, p) {
			add(p)
		}
	}
	if s := serviceOf(c); s != nil {
		for _, slice := range k.EndpointSlices {
			if slice == nil || slice.Namespace != s.Namespace || slice.Service != s.Name {
				continue
			}
			for i := range slice.Endpoints {
				add(k.Pods[slice.Endpoints[i].Target])
			}
		}
	}
	slices.Sort(out)
	if n := nodeAsked(c); n != nil { // it translates a node port: the first to read
		out = slices.Insert(slices.DeleteFunc(out, func(name string) bool { return name == n.Name }), 0, n.Name)
	}
	return out
}

// otherNodes are the nodes beside one that are ready, in a defined order.
func otherNodes(c *model.Case, name string) []string {
	var out []string
	for other, n := range c.World.Kube.Nodes {
		if other != name && n != nil && n.Ready {
			out = append(out, other)
		}
	}
	slices.Sort(out)
	return out
}

// leadsTo says that a question names a pod, what owns it, or its address.
func leadsTo(to model.Endpoint, p *model.Pod) bool {
	if to.Addr.IsValid() {
		return slices.Contains(p.IPs, to.Addr)
	}
	return to.Name != "" && p.Namespace == to.Namespace && (to.Kind == "pod" && p.Name == to.Name || p.Owner == model.NewRef(to.Kind, to.Namespace, to.Name))
}

// serviceNamed is the Service that the question names, by kind or by its DNS name
// as a pod of the asking namespace would write it.
func serviceNamed(c *model.Case) model.Ref {
	to := c.Question.To
	if to.Kind == "service" {
		return model.NewRef("service", to.Namespace, to.Name)
	}
	name, rest, _ := strings.Cut(strings.ToLower(strings.TrimSuffix(to.Host, ".")), ".")
	ns, rest, _ := strings.Cut(rest, ".")
	switch {
	case name == "" || rest != "" && rest != "svc" && !strings.HasPrefix(rest, "svc."):
		return ""
	case ns == "":
		ns = c.Question.From.Namespace
	}
	return model.NewRef("service", ns, name)
}
