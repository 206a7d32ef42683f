package diagnose

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Pod is the pod that the question starts from, or nil.
func (p *Pass) Pod() *model.Pod {
	if len(p.Case.Paths) > 0 {
		if pod := p.Case.World.Kube.Pods[p.Case.Paths[0].Flow.From]; pod != nil {
			return pod
		}
	}
	from := p.Case.Question.From
	if from.Kind == "pod" {
		return p.Case.World.Kube.Pods[model.NewRef("pod", from.Namespace, from.Name)]
	}
	owned := p.Owned(model.NewRef(from.Kind, from.Namespace, from.Name))
	for _, pod := range owned {
		if pod.Phase == "Running" {
			return pod
		}
	}
	if len(owned) == 0 {
		return nil
	}
	return owned[0]
}

// Owned are the pods of a workload, by name.
func (p *Pass) Owned(workload model.Ref) []*model.Pod {
	var out []*model.Pod
	for _, pod := range p.Case.World.Kube.Pods {
		if pod.Owner == workload {
			out = append(out, pod)
		}
	}
	slices.SortFunc(out, func(a, b *model.Pod) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Client is what people would edit to change the asking side: the pod's
// workload, the pod itself, or what the question names.
func (p *Pass) Client() model.Ref {
	from := p.Case.Question.From
	if pod := p.Pod(); pod != nil {
		if pod.Owner != "" {
			return pod.Owner
		}
		return pod.Ref()
	}
	if from.Name == "" {
		return ""
	}
	if from.Namespace == "" {
		return model.NewRef(from.Kind, from.Name)
	}
	return model.NewRef(from.Kind, from.Namespace, from.Name)
}

// Node is the name of the node that the question starts from, or "".
func (p *Pass) Node() string {
	if p.Case.Question.From.Kind == "node" {
		return p.Case.Question.From.Name
	}
	if pod := p.Pod(); pod != nil {
		return pod.Node
	}
	return ""
}

// Host is the name that the question asks for, or the address it names.
func (p *Pass) Host() string {
	q := p.Case.Question
	switch {
	case q.Host != "":
		return q.Host
	case q.To.Host != "":
		return q.To.Host
	case q.To.Addr.IsValid():
		return q.To.Addr.String()
	}
	return q.To.Name
}

// LookedUp is the name that the question's probe had to resolve: the proxy's,
// when it goes through one.
func (p *Pass) LookedUp() string {
	if seen := p.Seen(); seen != nil && seen.Proxy != "" {
		if u, err := url.Parse(seen.Proxy); err == nil && u.Hostname() != "" {
			return u.Hostname()
		}
	}
	return p.Host()
}

// Endpoint is host/NAME of the far side.
func (p *Pass) Endpoint() model.Ref { return model.NewRef("host", p.Host()) }

// Target is the address and port that the probe connected to, else the path's.
func (p *Pass) Target() netip.AddrPort {
	if seen := p.Seen(); seen != nil && seen.Address.IsValid() {
		return seen.Address
	}
	if path := p.Question(); path != nil && path.Flow.Dst.IsValid() {
		return netip.AddrPortFrom(path.Flow.Dst, path.Flow.DstPort)
	}
	q := p.Case.Question
	return netip.AddrPortFrom(q.To.Addr, q.To.Port)
}

// External says that the question leaves the cluster: its far side is not an
// object of it.
func (p *Pass) External() bool {
	if p.view.external == nil {
		yes := p.outside()
		p.view.external = &yes
	}
	return *p.view.external
}

func (p *Pass) outside() bool {
	switch p.Case.Question.To.Kind {
	case "ip", "host", "url", "internet":
	default:
		return false
	}
	if path := p.Question(); path != nil && path.Flow.To != "" && path.Flow.To.Kind() != "host" {
		return false
	}
	return !p.namesService(p.Case.Question.To.Host) && !p.inCluster(p.Target().Addr())
}

// namesService says that a host name is a Service's (NAME.NAMESPACE or
// NAME.NAMESPACE.svc…), whatever address DNS gave for it.
func (p *Pass) namesService(host string) bool {
	labels := strings.Split(host, ".")
	if len(labels) > 2 {
		return labels[2] == "svc"
	}
	if len(labels) < 2 {
		return false
	}
	return p.Case.World.Kube.Services[model.NewRef("service", labels[1], labels[0])] != nil
}

// inCluster says that an address is a Service's, a pod's or a node's.
func (p *Pass) inCluster(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	k := &p.Case.World.Kube
	for _, s := range k.Services {
		if slices.Contains(s.ClusterIPs, addr) {
			return true
		}
	}
	for _, pod := range k.Pods {
		if slices.Contains(pod.IPs, addr) {
			return true
		}
	}
	for _, n := range k.Nodes {
		if slices.Contains(n.InternalIPs, addr) {
			return true
		}
	}
	return false
}
