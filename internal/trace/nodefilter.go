package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/netfilter"
)

// nodeFilter is one node's packet filter, ready to be walked.
type nodeFilter struct {
	facts *model.NodeFacts
	rules *netfilter.RuleSet
	gaps  []model.Gap
}

func filtersOf(w *model.World) map[string]*nodeFilter {
	out := map[string]*nodeFilter{}
	for name, facts := range w.Nodes {
		if facts != nil && facts.Filters != nil {
			out[name] = readFilter(facts)
		}
	}
	return out
}

func readFilter(facts *model.NodeFacts) *nodeFilter {
	f := &nodeFilter{facts: facts}
	var sets []*netfilter.RuleSet
	var ipsets map[string]*netfilter.IPSet
	for _, d := range facts.Filters {
		var rs *netfilter.RuleSet
		var err error
		switch d.Tool {
		case netfilter.BackendNative:
			rs, err = netfilter.ParseNFT(d.Text)
		case "ipset":
			ipsets, err = netfilter.ParseIPSets(d.Text)
		default:
			rs, err = netfilter.ParseSave(d.Text, d.Family, d.Tool)
		}
		if err != nil {
			f.gaps = append(f.gaps, model.Gap{What: "packet filter of node " + facts.Node + " (" + d.Tool + ")", Ref: model.NewRef("node", facts.Node), Reason: err.Error()})
			continue
		}
		sets = append(sets, rs)
	}
	for _, g := range facts.Gaps {
		if strings.HasPrefix(g.What, "packet filter") {
			f.gaps = append(f.gaps, g)
		}
	}
	f.rules = netfilter.Merge(sets...)
	f.rules.IPSets = ipsets
	return f
}

// machine is the node as a walk asks about it.
func (f *nodeFilter) machine(n *model.Node) netfilter.Machine {
	return netfilter.Machine{
		Local: func(a netip.Addr) bool { return f.holds(a) },
		Route: func(p netfilter.Packet) (bool, string) {
			if f.holds(p.Dst) {
				return true, ""
			}
			r, ok := kernelRoute(f.facts, p.Src, p.Dst, p.In)
			if !ok {
				return false, ""
			}
			return r.Type == "local", r.Dev
		},
		Source: func(out string, dst netip.Addr) netip.Addr { return f.source(out, dst, n) },
	}
}

func (f *nodeFilter) holds(a netip.Addr) bool {
	for _, l := range f.facts.Links {
		for _, p := range l.Addrs {
			if p.Addr() == a {
				return true
			}
		}
	}
	return false
}

// source is the address that the node has on a device, of dst's family.
func (f *nodeFilter) source(out string, dst netip.Addr, n *model.Node) netip.Addr {
	for _, l := range f.facts.Links {
		if l.Name != out {
			continue
		}
		for _, p := range l.Addrs {
			if p.Addr().Is4() == dst.Is4() && !p.Addr().IsLinkLocalUnicast() {
				return p.Addr()
			}
		}
	}
	if n != nil {
		return sameFamily(n.InternalIPs, dst)
	}
	return netip.Addr{}
}

// packet is a flow's first packet as the sender made it.
func packetOf(f model.Flow) netfilter.Packet {
	return netfilter.Packet{Protocol: f.Protocol, Src: f.Src, SrcPort: f.SrcPort, Dst: f.Dst, DstPort: f.DstPort}
}

// outWalk walks the flow, with the Service's address where it has one, through
// the rules of the sender's node. Nil: they were not read.
func (t *tracer) outWalk() *netfilter.Result {
	if t.walked {
		return t.walk
	}
	t.walked = true
	f := t.x.filters[t.nodeRef().Name()]
	if f == nil || t.x.cilium || !t.orig.Dst.IsValid() || !t.orig.Src.IsValid() {
		return nil
	}
	p, m := packetOf(t.orig), f.machine(t.org.node)
	var r netfilter.Result
	if t.org.pod != nil && !t.org.pod.HostNetwork {
		p.In = podDevice(f.facts, t.org.addr)
		r = f.rules.Incoming(p, m)
	} else {
		_, p.Out = m.Route(p)
		r = f.rules.Output(p, m)
	}
	t.walk = &r
	return t.walk
}

// nodeRules judges the packet filter of the sender's node.
func (t *tracer) nodeRules(s *model.Step) {
	r := t.outWalk()
	if r == nil {
		return
	}
	f := t.x.filters[t.nodeRef().Name()]
	t.judge(s, f, t.towards(*r))
}

// judge is judgeWalk, but for what a NetworkPolicy wants: the rules that carry it
// out lie in the same packet filter, and the policy is what to name.
func (t *tracer) judge(s *model.Step, f *nodeFilter, r netfilter.Result) {
	before := *s
	s.Gaps = append(slices.Clip(s.Gaps), f.gaps...)
	judgeWalk(s, f, r)
	if s.Verdict == model.Pass && len(f.gaps) > 0 {
		s.Verdict, s.Reason = model.Unknown, "not all of the packet filter of "+string(s.At)+" could be read; what was read lets it pass"
	}
	if s.Filter == nil || !t.policyDenies() {
		return
	}
	rule := s.Reason
	*s = before
	s.Trail = append(slices.Clip(s.Trail), "a NetworkPolicy denies it, and so "+rule)
}

// policyDenies says whether a NetworkPolicy stops the flow, on its way out or in.
func (t *tracer) policyDenies() bool {
	denies := func(v model.Verdict) bool { return v == model.Drop || v == model.Reject }
	if slices.ContainsFunc(t.path.Steps, func(s model.Step) bool { return s.Hop == model.HopPolicy && denies(s.Verdict) }) {
		return true
	}
	p := t.x.podByIP[t.flow.Dst]
	if p == nil {
		return false
	}
	f := t.flow
	if t.org.pod != nil && f.Src != t.org.addr {
		f.From = ""
	}
	return denies(t.x.policies.Ingress(p, f).Verdict)
}

// towards are the outcomes that go to the endpoint that is followed; all, where none does.
func (t *tracer) towards(r netfilter.Result) netfilter.Result {
	if t.flow.Dst == t.orig.Dst && t.flow.DstPort == t.orig.DstPort {
		return r
	}
	var out netfilter.Result
	sum := 0.0
	for _, o := range r.Outcomes {
		if o.Packet.Dst == t.flow.Dst && o.Packet.DstPort == t.flow.DstPort {
			out.Outcomes = append(out.Outcomes, o)
			sum += o.Chance
		}
	}
	if sum == 0 && untranslated(r) {
		return r // it ends before it has a new destination
	}
	for i := range out.Outcomes {
		out.Outcomes[i].Chance /= sum
	}
	return out
}

// judgeWalk writes what the rules do to a step that passes so far.
func judgeWalk(s *model.Step, f *nodeFilter, r netfilter.Result) {
	if len(r.Outcomes) == 0 {
		return
	}
	ref := model.NewRef("node", f.facts.Node)
	var lost []netfilter.Outcome
	for _, o := range r.Outcomes {
		if o.Verdict == netfilter.Drop || o.Verdict == netfilter.Reject {
			lost = append(lost, o)
		}
	}
	switch v := r.Verdict(); {
	case v == netfilter.Accept:
		s.Trail = append(s.Trail, walkTrail(r.Outcomes[0])...)
		return
	case len(lost) == 0:
		o := r.Of(netfilter.Unknown)
		s.Verdict, s.Decided = model.Unknown, ref
		s.Reason = fmt.Sprintf("what becomes of it in the packet filter of %s is not known", ref)
		if len(o) > 0 {
			s.Reason += ": " + o[0].Decided.String()
		}
		return
	case v == netfilter.Drop || v == netfilter.Reject:
		s.Verdict, s.Decided = map[netfilter.Verdict]model.Verdict{netfilter.Drop: model.Drop, netfilter.Reject: model.Reject}[v], ref
	default:
		s.Verdict, s.Decided = model.Unknown, ref
	}
	s.Filter = filterRule(lost[0])
	s.Reason = lossText(ref, lost[0], r)
	s.Trail = append(s.Trail, walkTrail(lost[0])...)
}

func lossText(ref model.Ref, o netfilter.Outcome, r netfilter.Result) string {
	does := "drops it"
	if o.Verdict == netfilter.Reject {
		does = "rejects it (" + o.With + ")"
	}
	share := r.Share(netfilter.Drop) + r.Share(netfilter.Reject)
	switch {
	case r.Certain() || share > 0.999:
	case share > 0:
		does += fmt.Sprintf(" in %.0f %% of the connections", share*100)
	case len(o.If) > 0 && o.If[0] != o.Decided.Rule:
		does += fmt.Sprintf(", if this one matches, which is not known: %s", o.If[0].Text)
	default:
		does += ", if it matches, which is not known"
	}
	return fmt.Sprintf("the packet filter of %s %s: %s", ref, does, o.Decided)
}

// walkTrail are the rules that did something.
func walkTrail(o netfilter.Outcome) []string {
	var out []string
	for _, line := range o.Trail[:min(len(o.Trail), 12)] {
		out = append(out, "packet filter: "+line)
	}
	return out
}

func filterRule(o netfilter.Outcome) *model.FilterRule {
	d := o.Decided
	if d.Table == nil {
		return nil
	}
	r := &model.FilterRule{Tool: d.Table.Backend, Family: d.Table.Family, Table: d.Table.Name, Chain: d.Chain, With: o.With, Share: o.Chance}
	if d.Rule == nil {
		r.Text = "policy drop"
		r.Line = d.Table.Chains[d.Chain].Line
		return r
	}
	r.Text, r.Handle, r.Line = d.Rule.Text, d.Rule.Handle, d.Rule.Line
	return r
}

// rulesIn judges the packet filter of the receiver's node, for a packet that
// comes from the network.
func (t *tracer) rulesIn(s *model.Step, n *model.Node) {
	f := t.x.filters[n.Name]
	if f == nil || t.x.cilium || !t.flow.Dst.IsValid() || !t.flow.Src.IsValid() {
		return
	}
	p := packetOf(t.flow)
	p.In = t.arrivalDevice(f.facts, n)
	t.judge(s, f, f.rules.Incoming(p, f.machine(n)))
}

// bridgedOnNode judges a packet between two pods on one bridge of their node.
// Sent straight to the pod it crosses the bridge; sent to a Service it is routed
// on the way out, and the answer crosses the bridge. Rules see what crosses it
// only where bridge-nf-call-iptables says so.
func (t *tracer) bridgedOnNode() {
	facts := t.facts()
	if facts == nil || t.org.pod == nil || t.org.pod.HostNetwork || t.x.podByIP[t.flow.Dst] == nil {
		return
	}
	bridge, call := podDevice(facts, t.org.addr), facts.Sysctls["net.bridge.bridge-nf-call-iptables"]
	if bridge == "" || kindOf(facts, bridge) != "bridge" {
		return
	}
	ref := t.nodeRef()
	s := model.Step{Hop: model.HopNodeKernel, At: ref, Title: "bridge " + bridge + " of " + string(ref), Verdict: model.Pass, Reason: "both pods are on it"}
	viaService := t.orig.Dst != t.flow.Dst
	f := t.x.filters[ref.Name()]
	switch {
	case viaService && call == "0" && t.org.addr != t.flow.Dst:
		s.Verdict, s.Decided = model.Drop, ref
		s.Reason = fmt.Sprintf("net.bridge.bridge-nf-call-iptables = 0 on %s: answers of %s cross %s without being translated back to %s, and the client does not know them", ref, t.flow.Dst, bridge, t.orig.Dst)
	case f == nil || t.x.cilium:
		return
	case viaService:
		if r := t.outWalk(); r != nil {
			t.judge(&s, f, t.towards(*r))
		}
	case call == "1":
		p := packetOf(t.flow)
		p.In, p.Bridged = bridge, true
		m := f.machine(t.org.node)
		m.Route = func(netfilter.Packet) (bool, string) { return false, bridge }
		t.judge(&s, f, f.rules.Incoming(p, m))
	default:
		return
	}
	t.add(s)
}

func kindOf(facts *model.NodeFacts, dev string) string {
	i := slices.IndexFunc(facts.Links, func(l model.Link) bool { return l.Name == dev })
	if i < 0 {
		return ""
	}
	return cmp.Or(facts.Links[i].Kind, "unknown")
}
