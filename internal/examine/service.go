package examine

import (
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/vantage"
)

// serviceOf is the Service that a question leads to: named as one, by its
// address, or by a name that DNS knows it by; nil when it leads elsewhere.
func serviceOf(c *model.Case) *model.Service {
	k, to := &c.World.Kube, c.Question.To
	if to.Addr.IsValid() {
		for _, s := range k.Services {
			if slices.Contains(s.ClusterIPs, to.Addr) {
				return s
			}
		}
		return nil
	}
	return k.Services[serviceNamed(c)]
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
