package policy

import (
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/model"
)

// What the engine of all pairs asks: the same judgements as those of one flow,
// each on its own, so that there is one reading of the rules.

// MatchPeer says whether a peer of a rule means the pod other (nil: none) at an
// address, when the rule is asked for the pod subject. With self the peer
// describes the subject itself, and other is it.
func (x *Index) MatchPeer(p *Peer, subject, other *model.Pod, ip netip.Addr, self bool) Tri {
	q := question{x: x, pod: subject, peer: other, peerIP: ip}
	if self {
		q.peer, q.ingress = nil, true
		q.f.Dst = ip
	}
	m, _ := q.peerMatches(p, self)
	return m
}

// InNamespace says whether a selection may choose pods of a namespace.
func (x *Index) InNamespace(s *Selection, ns string) Tri {
	if s.Namespace != "" {
		return triOf(s.Namespace == ns)
	}
	m, _ := x.inNamespace(&s.Namespaces, ns)
	return m
}

// Weaken turns what the policies say about pods of a namespace into what is
// known to happen: policies that were not read, or that nothing enforces.
// selected says whether any policy selects the pod in the direction.
func (x *Index) Weaken(v model.Verdict, ns string, selected bool) model.Verdict {
	if x.Unread(ns) {
		return model.Unknown
	}
	d := Decision{Verdict: v}
	if selected {
		d = x.enforce(d)
	}
	return x.uncovered(d, ns).Verdict
}

// NodeAt is the node that has an address.
func (x *Index) NodeAt(ip netip.Addr) (string, bool) {
	name, ok := x.nodeOf[ip.Unmap()]
	return name, ok
}

// PodAt is the living pod that has an address of its own.
func (x *Index) PodAt(ip netip.Addr) *model.Pod { return x.podByIP[ip.Unmap()] }

// MayBePod says whether an address that no pod of the World has may still be a pod's.
func (x *Index) MayBePod(ip netip.Addr) bool {
	q := question{x: x, peerIP: ip}
	return q.mayBePod()
}

// PodNets are the networks that pods have their addresses from, as far as is known.
func (x *Index) PodNets() []netip.Prefix { return x.podNets }

// World is what the index was built from.
func (x *Index) World() *model.World { return x.w }

// OnWindows says whether a pod runs on a Windows node.
func (x *Index) OnWindows(pod *model.Pod) bool {
	q := question{x: x, pod: pod}
	return q.onWindows()
}

// Serves says whether connections reach the ports of a container: a plain init
// container has ended before traffic comes; a sidecar keeps running.
func Serves(c *model.Container) bool { return c.Kind != "init" && c.Kind != "ephemeral" }

// Lives says whether a pod has, or will have, an address of its own.
func Lives(p *model.Pod) bool { return p != nil && !p.HostNetwork && !terminated(p) }

// Keys are the labels that a selector looks at.
func (s *Selector) Keys() []string {
	var out []string
	for i := range s.Reqs {
		out = append(out, s.Reqs[i].Key)
	}
	if s.Expr != nil {
		out = s.Expr.keys(out)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (e *Expr) keys(out []string) []string {
	if e.key != "" {
		out = append(out, e.key)
	}
	for _, o := range e.of {
		out = o.keys(out)
	}
	return out
}

// assumed are where pods of manifests get their addresses from when nothing
// tells: the private networks of RFC 1918, which the defaults of AKS and of
// the common CNI plugins lie in. Without this every block of public addresses
// might hold every pod.
var assumed = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16")}

// unplaced judges the addresses of a peer for a pod that has none yet. All that
// is known of it is that it will be in one of the pods' networks.
func (x *Index) unplaced(p *Peer) (Tri, string) {
	nets := x.podNets
	if len(nets) == 0 {
		nets = assumed
	}
	result := rangeHolds(p, nets[0])
	for _, net := range nets[1:] {
		if rangeHolds(p, net) != result {
			result = Maybe
		}
	}
	return result, "the pod has no address yet, and whether it will be in the range is not known"
}

// rangeHolds says whether a peer's addresses hold a whole network, a part of it or nothing.
func rangeHolds(p *Peer, net netip.Prefix) Tri {
	in := triOf(len(p.CIDRs) == 0)
	for _, c := range p.CIDRs {
		in = either(in, holds(c, net))
	}
	for _, e := range p.Except {
		switch holds(e, net) {
		case Yes:
			return No
		case Maybe:
			if in == Yes {
				in = Maybe
			}
		}
	}
	return in
}

func holds(c, net netip.Prefix) Tri {
	switch {
	case !c.Overlaps(net):
		return No
	case c.Bits() <= net.Bits():
		return Yes
	}
	return Maybe
}

// Unread says whether nothing can be said about pods of a namespace: their
// policies may be more than those in the World, or nobody knows which ones count.
func (x *Index) Unread(ns string) bool {
	_, missing := x.unread(ns)
	return missing || x.ambiguous
}

// Masquerades says whether a refusal of what comes from a node's address is in
// doubt, because the traffic of Services has it too.
func (x *Index) Masquerades() bool { return x.dialect == NPM }

// NewSelection chooses pods as a peer of a NetworkPolicy does: by the selectors
// of namespaces (nil: the namespace alone) and of pods (nil: all).
func NewSelection(namespace string, namespaces, pods *model.Selector) Selection {
	return selection(namespace, namespaces, pods)
}

// DialectOf finds a dialect by its name.
func DialectOf(name string) (Dialect, bool) {
	i := slices.Index(dialectNames[:], name)
	return Dialect(max(i, 0)), i >= 0
}
