package diagnose

import (
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/model"
)

// azureDNS is the address of Azure's own resolver, the same in every VNet.
var azureDNS = netip.MustParseAddr("168.63.129.16")

// IsAzureDNS says that an address is that of Azure's own resolver.
func IsAzureDNS(a netip.Addr) bool { return a == azureDNS }

// ways chooses the paths that can have caused what was seen.
func (p *Pass) ways(seen *model.Observation) []Way {
	var out []Way
	if seen == nil || seen.Failed != "dns" {
		out = p.questionWays(seen)
	}
	if (seen == nil && len(out) == 0) || (seen != nil && seen.Failed == "dns") {
		out = append(out, p.nameWays(seen)...)
	}
	return out
}

func (p *Pass) questionWays(seen *model.Observation) []Way {
	var out []Way
	known := false
	for i := range p.Case.Paths {
		path := &p.Case.Paths[i]
		if seen != nil && seen.Address.IsValid() && path.Flow.Dst != seen.Address.Addr() {
			continue // another address of the same name; this one is what failed
		}
		known = true
		out = append(out, Way{"question", path})
	}
	if !known && seen != nil && seen.Address.IsValid() && p.Trace != nil {
		flow := p.flowFrom(seen.From)
		flow.Protocol, flow.Dst, flow.DstPort = "tcp", seen.Address.Addr(), seen.Address.Port()
		path := p.Trace(flow)
		out = append(out, Way{"question", &path})
	}
	return out
}

// flowFrom starts a flow at a pod or a node.
func (p *Pass) flowFrom(from model.Ref) model.Flow {
	flow := model.Flow{Protocol: "tcp", From: from}
	switch from.Kind() {
	case "pod":
		if pod := p.Case.World.Kube.Pods[from]; pod != nil && len(pod.IPs) > 0 {
			flow.Src = pod.IPs[0]
		}
	case "node":
		if node := p.Case.World.Kube.Nodes[from.Name()]; node != nil && len(node.InternalIPs) > 0 {
			flow.Src = node.InternalIPs[0]
		}
	}
	return flow
}

// NameServers are the pods behind the cluster's DNS Service, and the Service.
func (p *Pass) NameServers() (*model.Service, []*model.Pod) {
	svc := p.dnsService()
	if svc == nil {
		return nil, nil
	}
	var pods []*model.Pod
	for _, pod := range p.Case.World.Kube.Pods {
		if pod.Namespace == svc.Namespace && len(svc.Selector) > 0 && subset(svc.Selector, pod.Labels) && len(pod.IPs) > 0 && pod.Phase == "Running" {
			pods = append(pods, pod)
		}
	}
	slices.SortFunc(pods, func(a, b *model.Pod) int { return compareRefs(a.Ref(), b.Ref()) })
	return svc, pods
}

func (p *Pass) dnsService() *model.Service {
	services := p.Case.World.Kube.Services
	if svc := services[model.NewRef("service", "kube-system", "kube-dns")]; svc != nil {
		return svc
	}
	var found *model.Service
	for ref, svc := range services {
		if svc.Labels["k8s-app"] == "kube-dns" && (found == nil || compareRefs(ref, model.NewRef("service", found.Namespace, found.Name)) < 0) {
			found = svc
		}
	}
	return found
}

func subset(want, have model.Labels) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

func compareRefs(a, b model.Ref) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// nameWays are the ways of a lookup: from the asking side to each name server,
// and from each of those to what it asks itself.
func (p *Pass) nameWays(seen *model.Observation) []Way {
	if p.Trace == nil {
		return nil
	}
	from := model.Ref("")
	if pod := p.Pod(); pod != nil {
		from = pod.Ref()
	} else if seen != nil {
		from = seen.From
	}
	var out []Way
	run := func(kind string, flow model.Flow) {
		for _, protocol := range transports(seen) {
			flow.Protocol, flow.DstPort = protocol, 53
			path := p.Trace(flow)
			out = append(out, Way{kind, &path})
		}
	}
	svc, pods := p.NameServers()
	for _, server := range p.nameServerAddrs(seen, svc) {
		flow := p.flowFrom(from)
		if svc == nil || !slices.Contains(svc.ClusterIPs, server) {
			flow.Dst = server
			run("dns", flow)
			continue
		}
		for _, pod := range pods {
			flow.Dst, flow.To = pod.IPs[0], pod.Ref()
			run("dns", flow)
		}
		for _, pod := range pods {
			for _, upstream := range p.Upstreams() {
				flow := p.flowFrom(pod.Ref())
				flow.Dst = upstream
				run("dns-upstream", flow)
			}
		}
	}
	return out
}

// transports are those of a lookup that can have failed: UDP, unless all its
// answers came by UDP and it was the way over TCP, for an answer that was cut
// short, that failed.
func transports(seen *model.Observation) []string {
	overTCP, overUDP := false, false
	if seen != nil {
		for _, q := range seen.Queries {
			silent := q.Result == model.TimedOut || q.Result == model.Refused || q.Result == model.Unreachable || q.Result == model.NoRoute
			overTCP = overTCP || silent && q.Transport == "tcp"
			overUDP = overUDP || silent && q.Transport == "udp"
		}
	}
	switch {
	case overTCP && overUDP:
		return []string{"udp", "tcp"}
	case overTCP:
		return []string{"tcp"}
	}
	return []string{"udp"}
}

func (p *Pass) nameServerAddrs(seen *model.Observation, svc *model.Service) []netip.Addr {
	var out []netip.Addr
	if seen != nil {
		for _, q := range seen.Queries {
			if a := q.Server.Addr(); a.IsValid() && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	if len(out) == 0 && svc != nil {
		out = append(out, svc.ClusterIPs...)
	}
	return out
}

// Upstreams are the resolvers that the VNet hands to the nodes, and so to the
// cluster's name servers.
func (p *Pass) Upstreams() []netip.Addr {
	if vnet := p.VNet(); vnet != nil {
		if len(vnet.DNSServers) > 0 {
			return vnet.DNSServers
		}
		return []netip.Addr{azureDNS}
	}
	return nil
}

// BrokenTo is the step at which the predicted way from the question's place to
// an address breaks, or nil.
func (p *Pass) BrokenTo(to netip.AddrPort) *model.Step {
	seen := p.Seen()
	if p.Trace == nil || seen == nil {
		return nil
	}
	flow := p.flowFrom(seen.From)
	flow.Dst, flow.DstPort = to.Addr(), to.Port()
	path := p.Trace(flow)
	return path.Broken()
}
