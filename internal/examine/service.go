package examine

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/vantage"
)

// serviceOf is the Service that a question leads to: named as one, by one of its
// addresses, by a node's port, or by a name that DNS knows it by; nil when it
// leads elsewhere.
func serviceOf(c *model.Case) *model.Service {
	k, to := &c.World.Kube, c.Question.To
	if n := nodeAsked(c); n != nil {
		return portService(c)
	}
	if to.Addr.IsValid() {
		for _, s := range k.Services {
			if s != nil && slices.Contains(slices.Concat(s.ClusterIPs, s.ExternalIPs, s.LoadBalancerIPs), to.Addr) {
				return s
			}
		}
		return nil
	}
	return k.Services[serviceNamed(c)]
}

// nodeAsked is the node that a question leads to, by its name or its address.
func nodeAsked(c *model.Case) *model.Node {
	k, to := &c.World.Kube, c.Question.To
	if to.Kind == "node" {
		return k.Nodes[to.Name]
	}
	for _, n := range k.Nodes {
		if n != nil && to.Addr.IsValid() && slices.Contains(n.InternalIPs, to.Addr) {
			return n
		}
	}
	return nil
}

// portService is the Service whose node port the question names; nil: none.
func portService(c *model.Case) *model.Service {
	for _, s := range c.World.Kube.Services {
		if s == nil {
			continue
		}
		for _, p := range s.Ports {
			if p.NodePort != 0 && p.NodePort == port(c, c.Question.To) && strings.EqualFold(p.Protocol, c.Question.Protocol) {
				return s
			}
		}
	}
	return nil
}

// endpoints are the pods and addresses behind the Service that a question leads to.
func endpoints(c *model.Case) []vantage.Backend {
	svc := serviceOf(c)
	if svc == nil {
		return nil
	}
	byAddr := map[netip.Addr]model.Ref{}
	for ref, p := range c.World.Kube.Pods {
		if p.HostNetwork || p.Phase == "Succeeded" || p.Phase == "Failed" {
			continue
		}
		for _, ip := range p.IPs {
			byAddr[ip] = ref
		}
	}
	var out []vantage.Backend
	f := model.Flow{Protocol: c.Question.Protocol, DstPort: port(c, c.Question.To)}
	if n := nodeAsked(c); n != nil && len(n.InternalIPs) > 0 {
		f.Dst = n.InternalIPs[0]
	}
	for _, at := range trace.Endpoints(&c.World, svc, f) {
		out = append(out, vantage.Backend{Addr: at, Pod: byAddr[at.Addr()]})
	}
	return out
}

// podsNamed are the pods that the question names, by themselves or by what owns them.
func podsNamed(c *model.Case) []vantage.Backend {
	var out []vantage.Backend
	for _, a := range knownAddrs(c) {
		for ref, p := range c.World.Kube.Pods {
			if slices.Contains(p.IPs, a.Addr()) && !p.HostNetwork && p.Phase == "Running" {
				out = append(out, vantage.Backend{Addr: netip.AddrPortFrom(a.Addr(), port(c, c.Question.To)), Pod: ref})
			}
		}
	}
	return out
}
