package reach

import (
	"net/netip"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// Party is one end of a connection: a pod at one of its addresses (or at none,
// before it is applied), or an address outside of all pods.
type Party struct {
	Pod   *model.Pod
	Addr  netip.Addr // an address of the party; of an atom, one of many
	Node  bool       // the node itself opens the connection, not just somebody with its address
	entry int32
	atom  bool // it stands for all addresses of its atom
}

// PodParty is a pod at its i-th address.
func (e *Engine) PodParty(p *model.Pod, i int) (Party, bool) {
	if p.HostNetwork && i < len(p.IPs) {
		return e.AddrParty(p.IPs[i]), true
	}
	u, ok := e.unitOf[p]
	if !ok || i >= len(e.units[u].entries) {
		return Party{}, false
	}
	party := Party{Pod: p, entry: e.units[u].entries[i]}
	if i < len(p.IPs) {
		party.Addr = p.IPs[i].Unmap()
	}
	return party, true
}

// AddrParty is whoever has an address: a pod, a node, or somebody outside.
func (e *Engine) AddrParty(ip netip.Addr) Party {
	ip = ip.Unmap()
	if p := e.x.PodAt(ip); p != nil {
		for i := range p.IPs {
			if p.IPs[i].Unmap() == ip {
				if party, ok := e.PodParty(p, i); ok {
					return party
				}
			}
		}
	}
	if n, ok := e.nodeEntry[ip]; ok {
		return Party{Addr: ip, entry: n}
	}
	return Party{Addr: ip, entry: e.outside + e.atoms.of(ip)}
}

// ports is what is open from one party to another.
func (e *Engine) ports(from, to Party) fn {
	out := passes
	if from.Pod != nil {
		out = e.end(from, to, egress)
	}
	if to.Pod != nil && out != drops {
		out = e.fns.both(out, e.end(to, from, ingress))
	}
	return out
}

// end is what one end that is a pod lets pass.
func (e *Engine) end(pod, peer Party, d int) fn {
	u := &e.units[e.unitOf[pod.Pod]]
	p := e.profiles[d][u.sides[d][pod.entry-u.entries[0]]]
	if len(p.policies) > 0 && !e.x.Unread(u.ns) {
		switch e.implicit(pod, peer, d) {
		case policy.Yes:
			return passes
		case policy.Maybe:
			return unknown
		}
	}
	f := p.at(peer.entry)
	if d == ingress && !peer.Node && e.x.Masquerades() && peer.entry >= e.pods && peer.entry < e.outside {
		f = e.fns.doubted(f)
	}
	return f
}

// implicit is what holds whatever the policies say: nobody can say whether they
// apply to a pod that talks to itself, and a pod's own node always reaches it.
func (e *Engine) implicit(pod, peer Party, d int) policy.Tri {
	if peer.Pod == pod.Pod && !pod.Pod.Standing {
		return policy.Maybe
	}
	node := e.entries[peer.entry].node
	if node == "" || node != pod.Pod.Node || peer.entry < e.pods || peer.entry >= e.outside {
		return policy.No
	}
	r := e.x.Rules()
	if d == ingress && r.OwnNodeIngress || d == egress && r.OwnNodeEgress {
		return policy.Yes
	}
	return policy.No
}

// families tells which address families a cluster uses: IPv4 where nothing says so.
func families(x *policy.Index) (out [2]bool) {
	note := func(list []netip.Addr) {
		for _, a := range list {
			if a.Unmap().Is4() {
				out[0] = true
			} else {
				out[1] = true
			}
		}
	}
	k := &x.World().Kube
	for _, p := range k.Pods {
		note(p.IPs)
	}
	for _, s := range k.Services {
		note(s.ClusterIPs)
	}
	for _, p := range x.PodNets() {
		note([]netip.Addr{p.Addr()})
	}
	out[0] = out[0] || !out[1]
	return out
}

// strangers says that two parties have no address family in common. A pod
// without an address will have one of each family that the cluster uses.
func (e *Engine) strangers(a, b Party) bool {
	has := func(p Party, family int) bool {
		if !p.Addr.IsValid() {
			return e.families[family]
		}
		return p.Addr.Is4() == (family == 0)
	}
	return !(has(a, 0) && has(b, 0)) && !(has(a, 1) && has(b, 1))
}

// Verdict is what happens to one connection.
func (e *Engine) Verdict(from, to Party, protocol int, port uint16) model.Verdict {
	return e.fns.at(e.ports(from, to), protocol, port)
}
