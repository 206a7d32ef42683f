package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Linux's routing tables that are there without being asked for.
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

// facts are what was read inside the sender's node, or nil.
func (t *tracer) facts() *model.NodeFacts {
	return t.x.w.Nodes[t.nodeRef().Name()]
}

// kernelOut judges the sender's node: whether it forwards a pod's packets, and
// where its own routes lead.
func (t *tracer) kernelOut(_ *backends, to *backend) {
	if t.nodeLocal() {
		return
	}
	if t.sameNode() && !t.routedOnNode() {
		t.bridgedOnNode()
		return // nothing else is routed
	}
	ref := t.nodeRef()
	s := model.Step{Hop: model.HopNodeKernel, At: ref, Title: "kernel of " + string(ref)}
	facts := t.facts()
	if facts == nil {
		g := t.x.gap("node", "sysctls and routes of "+string(ref), ref, "create pods (a host-network pod that reads the node)")
		s.Reason = "the node was not entered: ip_forward, rp_filter and its routes are not known"
		if g.Skipped {
			s.Reason = "the node was not entered (" + g.Reason + ")"
		}
		s.Gaps = []model.Gap{g}
		t.add(s)
		return
	}
	s.Verdict, s.Reason = model.Pass, "it forwards packets and has a route"
	if t.org.pod != nil && !t.org.pod.HostNetwork {
		dev := podDevice(facts, t.org.addr)
		key, value, known := forwarding(facts, dev)
		switch {
		case !known:
			s.Verdict, s.Reason, s.Gaps = model.Unknown, "ip_forward was not read", facts.Gaps
		case value == "0" && t.x.cilium:
			s.Verdict = model.Unknown
			s.Reason = fmt.Sprintf("%s = 0 on %s; whether that matters with Cilium depends on its host routing, which is not known", key, ref)
		case value == "0":
			s.Verdict, s.Decided = model.Drop, ref
			s.Reason = fmt.Sprintf("%s = 0 on %s: packets of its pods are not forwarded, and nobody is told", key, ref)
			t.add(s)
			return
		}
	}
	if s.Verdict == model.Pass {
		t.ownRoute(&s, facts)
	}
	if t.x.filters[ref.Name()] == nil {
		filterUnread(&s, facts)
	}
	if s.Verdict == model.Pass && t.x.filters[ref.Name()] != nil {
		t.nodeRules(&s)
	} else if s.Verdict == model.Pass && t.org.pod != nil && !t.org.pod.HostNetwork {
		t.packetFilter(&s, facts)
	}
	t.add(s)
}

// packetFilter looks at the node's chains, where they could be read: a forward
// chain that drops by default needs rules that accept, and those were not read.
func (t *tracer) packetFilter(s *model.Step, facts *model.NodeFacts) {
	if facts.Chains == nil {
		s.Trail = append(s.Trail, "the node's packet filter was not read (it takes NET_ADMIN)")
		return
	}
	for _, c := range facts.Chains {
		if c.Hook == "forward" && c.Policy == "drop" && (c.Family == "ip" || c.Family == "inet") {
			s.Verdict, s.Decided = model.Unknown, s.At
			s.Reason = fmt.Sprintf("chain %s of table %s %s on %s drops what no rule accepts, and its rules were not read", c.Name, c.Family, c.Table, s.At)
			return
		}
	}
}

// routedOnNode says whether pods of this node reach each other through its
// routes: each by a device of its own, as Azure CNI has it, not on one bridge.
func (t *tracer) routedOnNode() bool {
	facts := t.facts()
	if facts == nil || t.org.pod == nil || t.org.pod.HostNetwork || t.x.podByIP[t.flow.Dst] == nil {
		return false
	}
	a, b := podDevice(facts, t.org.addr), podDevice(facts, t.flow.Dst)
	return a != "" && b != "" && a != b
}

// ownRoute looks the destination up in the node's own tables.
func (t *tracer) ownRoute(s *model.Step, facts *model.NodeFacts) {
	if len(facts.Routes) == 0 || !t.flow.Dst.IsValid() {
		return
	}
	r, ok := kernelRoute(facts, t.flow.Src, t.flow.Dst, "")
	switch {
	case !ok:
		s.Verdict, s.Decided = model.Reject, s.At
		s.Reason = fmt.Sprintf("%s has no route to %s, and answers \"network is unreachable\"", s.At, t.flow.Dst)
	case r.Type == "blackhole":
		s.Verdict, s.Decided = model.Drop, s.At
		s.Reason = fmt.Sprintf("%s has a blackhole route for %s", s.At, r.Dst)
	case r.Type == "unreachable" || r.Type == "prohibit" || r.Type == "throw":
		s.Verdict, s.Decided = model.Reject, s.At
		s.Reason = fmt.Sprintf("%s has a route of type %s for %s", s.At, r.Type, r.Dst)
	case r.Dev != "":
		up := slices.IndexFunc(facts.Links, func(l model.Link) bool { return l.Name == r.Dev && !l.Up })
		if up >= 0 {
			s.Verdict, s.Decided = model.Drop, s.At
			s.Reason = fmt.Sprintf("%s would send it by %s, which is down", s.At, r.Dev)
			return
		}
		s.Reason = fmt.Sprintf("it forwards, and sends %s by %s", t.flow.Dst, r.Dev)
		s.Trail = append(s.Trail, fmt.Sprintf("route %s in table %d", r.Dst, r.Table))
	}
}

// forwarding is the switch that decides for packets that come in by dev: the
// device's own, which ip_forward sets for all when it is written.
func forwarding(facts *model.NodeFacts, dev string) (key, value string, known bool) {
	if dev != "" {
		key = "net.ipv4.conf." + dev + ".forwarding"
		v, ok := facts.Sysctls[key]
		all := "net.ipv4.ip_forward"
		if ok && v == "0" && facts.Sysctls[all] == "0" {
			return all, v, true // the one switch that turned every device's off
		}
		if ok {
			return key, v, true
		}
	}
	key = "net.ipv4.ip_forward"
	v, ok := facts.Sysctls[key]
	return key, v, ok
}

// podDevice is the device by which the node reaches a pod: the pod's packets
// come in there.
func podDevice(facts *model.NodeFacts, pod netip.Addr) string {
	r, ok := kernelRoute(facts, netip.Addr{}, pod, "")
	if !ok || r.Gw.IsValid() || r.Dst.Bits() == 0 {
		return ""
	}
	return r.Dev
}

// uplink is the device that holds the node's address.
func uplink(facts *model.NodeFacts, n *model.Node) string {
	if n == nil {
		return ""
	}
	for _, l := range facts.Links {
		for _, a := range l.Addrs {
			if slices.Contains(n.InternalIPs, a.Addr()) {
				return l.Name
			}
		}
	}
	return ""
}

// kernelRoute does what `ip route get` does: the rules in order, the longest
// prefix in each table, the lowest metric among equals.
func kernelRoute(facts *model.NodeFacts, src, dst netip.Addr, iif string) (model.KernelRoute, bool) {
	if !dst.IsValid() {
		return model.KernelRoute{}, false
	}
	rules := facts.Rules
	if len(rules) == 0 {
		rules = []model.KernelRule{{Priority: 0, Table: tableLocal}, {Priority: 32766, Table: tableMain}, {Priority: 32767, Table: tableDefault}}
	}
	rules = slices.Clone(rules)
	slices.SortStableFunc(rules, func(a, b model.KernelRule) int { return a.Priority - b.Priority })
	for _, r := range rules {
		if r.Mark != 0 || r.IIF != "" && r.IIF != iif ||
			r.Src.IsValid() && r.Src.Bits() > 0 && !r.Src.Contains(src) || r.Dst.IsValid() && r.Dst.Bits() > 0 && !r.Dst.Contains(dst) {
			continue
		}
		switch r.Action {
		case "", "lookup":
		case "blackhole", "unreachable", "prohibit":
			return model.KernelRoute{Dst: r.Dst, Type: r.Action, Table: r.Table}, true
		default:
			continue // goto and nop decide nothing by themselves
		}
		if best, ok := longest(facts.Routes, r.Table, dst); ok {
			return best, true
		}
	}
	return model.KernelRoute{}, false
}

func longest(routes []model.KernelRoute, table uint32, dst netip.Addr) (best model.KernelRoute, ok bool) {
	for _, r := range routes {
		// A default route may be written without a destination.
		if cmp.Or(r.Table, tableMain) != table || r.Dst.IsValid() && !r.Dst.Contains(dst) || !r.Dst.IsValid() && r.Gw.IsValid() && r.Gw.Is4() != dst.Is4() {
			continue
		}
		if !r.Dst.IsValid() {
			r.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			if !dst.Is4() {
				r.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
		}
		if !ok || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric {
			best, ok = r, true
		}
	}
	return best, ok
}

// kernelIn judges the node of a pod that is connected to from another node.
func (t *tracer) kernelIn(n *model.Node) {
	if n == nil {
		return
	}
	facts := t.x.w.Nodes[n.Name]
	if facts == nil || t.x.cilium {
		return // that node was not entered; only the sender's is by default
	}
	ref := model.NewRef("node", n.Name)
	key, value, known := forwarding(facts, t.arrivalDevice(facts, n))
	if !known {
		return
	}
	s := model.Step{Hop: model.HopNodeKernel, At: ref, Title: "kernel of " + string(ref), Verdict: model.Pass, Reason: key + " = " + value}
	if value == "0" {
		s.Verdict, s.Decided = model.Drop, ref
		s.Reason = fmt.Sprintf("%s = 0 on %s: packets to its pods are not forwarded", key, ref)
	} else {
		t.rulesIn(&s, n)
	}
	t.add(s)
}

// sameNode says whether the destination is a pod on the sender's node, or that node itself.
func (t *tracer) sameNode() bool {
	n := t.org.node
	if n == nil && t.org.pod == nil {
		return false
	}
	name := t.nodeRef().Name()
	if p := t.x.podByIP[t.flow.Dst]; p != nil {
		return p.Node == name
	}
	d := t.x.nodeByIP[t.flow.Dst]
	return d != nil && d.Name == name
}

// filterUnread notes that a node's packet filter could not be read: the step
// passes by what was read, and what was not may still drop.
func filterUnread(s *model.Step, facts *model.NodeFacts) {
	for _, g := range facts.Gaps {
		if strings.HasPrefix(g.What, "packet filter") && s.Verdict == model.Pass {
			s.Gaps = append(slices.Clip(s.Gaps), g)
			s.Reason += "; its packet filter was not read"
			return
		}
	}
}
