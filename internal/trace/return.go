package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// wayBack judges the reply. NSGs and translations are stateful, so it mostly
// finds back by itself; what can lose it is a source address that nobody knows,
// an appliance on one direction only, and the node's own kernel.
func (t *tracer) wayBack() {
	if len(t.path.Steps) == 0 || t.flow.Dst == t.flow.Src {
		return
	}
	t.backToFirewall()
	t.backFromMember()
	t.backFromFirewall()
	t.overlayBack()
	t.backIntoNode()
}

// backToFirewall is the firewall's reply to the source that it saw.
func (t *tracer) backToFirewall() {
	if t.through == nil || t.bare == nil {
		return
	}
	src := t.entered
	if _, inVNet := t.x.subnets.Lookup(src); inVNet || t.x.nodeByIP[src] != nil {
		return
	}
	ref := model.NewRef("firewall", t.through.doc.Name)
	t.back(model.Step{
		Hop: model.HopMasquerade, At: ref, Title: "answer from firewall " + t.through.doc.Name, Verdict: model.Drop, Decided: t.bare.decided,
		Reason: fmt.Sprintf("the firewall saw %s, a pod's own address that the VNet cannot route back: %s", src, t.bare.reason),
	})
}

// backFromFirewall is the firewall's answer to the sender, after it has taken its
// own translation back: the routes of its own subnet decide.
func (t *tracer) backFromFirewall() {
	x, f := t.x, t.through
	if f == nil || t.bare != nil {
		return // backToFirewall says what becomes of a pod's bare address
	}
	subnet, ok := x.subnets.Lookup(f.doc.PrivateIP.Unmap())
	if !ok || !t.entered.IsValid() || t.overlayAddress(t.entered) {
		return // its routes were not read, which the way there says; or Azure routes an overlay by itself
	}
	r := x.routingOf(subnet)
	if r == nil {
		return
	}
	c := r.choose(x, model.Flow{Protocol: t.flow.Protocol, Src: t.flow.Dst, Dst: t.entered})
	if c.route == nil {
		return
	}
	s := model.Step{
		Hop: model.HopRoute, At: x.subnetRef(subnet), Title: "routes of subnet " + subnet.Name + ", on the way back",
		Decided: c.route.Ref, Reason: c.route.text(), Gaps: c.gaps, In: reply(t.flow), Terminates: t.path.Terminates(),
	}
	s.In.Dst = t.entered
	if !c.sure {
		s.Reason = fmt.Sprintf("probably %s, but %s", c.route.text(), c.why)
		t.back(s)
		return
	}
	s.Verdict = model.Pass
	t.judgeBackFromFirewall(&s, c.route, subnet)
	t.back(s)
}

// overlayAddress says whether Azure routes an address to a pod without any route entry.
func (t *tracer) overlayAddress(a netip.Addr) bool {
	p := t.x.podByIP[a]
	return p != nil && t.x.podNetOf(t.x.w.Kube.Nodes[p.Node], a) == netOverlay
}

func (t *tracer) judgeBackFromFirewall(s *model.Step, e *EffectiveRoute, subnet *model.Subnet) {
	x, name := t.x, t.through.doc.Name
	lost := func(why string) {
		s.Verdict, s.Reason = model.Drop, fmt.Sprintf("firewall %s cannot send the answer back to %s: %s%s", name, t.entered, e.text(), why)
	}
	switch e.Type {
	case nextNone:
		lost("")
		if e.Source == sourceSystem {
			s.Decided, _ = x.missingRoute(attachment{subnet: subnet}, x.routingOf(subnet), t.entered)
		}
	case nextInternet:
		lost(", where nobody knows that address")
	case nextVNet, nextPeering:
	case nextGateway:
		if v := x.vnetOf(subnet); v != nil && len(x.gatewaysOf(v)) == 0 && x.read("vnetgateway") {
			lost(fmt.Sprintf(", and VNet %s has no gateway", v.Name))
			return
		}
		s.Verdict, s.Reason = model.Unknown, fmt.Sprintf("the answer leaves through the gateway (%s): what lies behind it is not known", e.text())
	case nextAppliance:
		t.backByOther(s, e, subnet, lost)
	default:
		s.Verdict, s.Reason = model.Unknown, fmt.Sprintf("podpath does not know next hops of type %s (%s)", e.Type, e.text())
	}
}

// backByOther is the firewall's answer that its own subnet sends to an appliance.
func (t *tracer) backByOther(s *model.Step, e *EffectiveRoute, subnet *model.Subnet, lost func(string)) {
	x := t.x
	in, _ := x.inVNetSpace(e.NextHop, subnet)
	n, p := x.nodeByIP[e.NextHop], x.podByIP[t.entered]
	switch {
	case e.NextHop == t.through.doc.PrivateIP.Unmap():
		lost(", which is the firewall itself: it goes round in a circle")
	case n != nil && (x.nodeByIP[t.entered] == n || p != nil && p.Node == n.Name): // kubenet's route to the sender's node
	case n != nil:
		lost(fmt.Sprintf(", which is node %s, and that is not where it came from", n.Name))
	case in == no:
		lost(", an address that nobody holds")
	default:
		s.Verdict, s.Reason = model.Unknown, fmt.Sprintf("the answer goes through an appliance that the way there does not use: %s", e.text())
	}
}

// backFromMember is the reply of a machine or pod in the VNet.
func (t *tracer) backFromMember() {
	m := t.member
	if m == nil || m.subnet == nil || !t.sent.IsValid() {
		return
	}
	x := t.x
	back := model.Flow{Protocol: t.flow.Protocol, Src: t.flow.Dst, Dst: t.sent}
	src := x.podByIP[t.sent]
	if src != nil && x.podNetOf(x.w.Kube.Nodes[src.Node], t.sent) == netOverlay {
		if t.bare != nil {
			t.lostBare(*m)
		}
		if e := x.overOverlay(m.subnet, t.sent); e != nil {
			t.back(model.Step{
				Hop: model.HopRoute, At: x.subnetRef(m.subnet), Title: "routes of subnet " + m.subnet.Name + ", on the way back", Decided: e.Ref, Reason: overOverlayReason(e),
			})
		}
		return // between pods and nodes of an overlay Azure routes by itself
	}
	r := x.routingOf(m.subnet)
	if r == nil {
		return
	}
	c := r.choose(x, back)
	if c.route == nil {
		return
	}
	s := model.Step{Hop: model.HopRoute, At: x.subnetRef(m.subnet), Title: "routes of subnet " + m.subnet.Name + ", on the way back", Decided: c.route.Ref, Reason: c.route.text(), Gaps: c.gaps}
	if !c.sure {
		s.Reason = fmt.Sprintf("probably %s, but %s", c.route.text(), c.why)
		t.back(s)
		return
	}
	s.Verdict = model.Pass
	t.judgeBack(&s, c.route, *m, r)
	t.back(s)
}

func (t *tracer) judgeBack(s *model.Step, e *EffectiveRoute, m attachment, r *routing) {
	x := t.x
	switch {
	case e.Type == nextNone && e.Source == sourceSystem:
		s.Verdict = model.Drop
		s.Decided, s.Reason = x.missingRoute(m, r, t.sent)
		s.Reason = "the answer is lost: " + s.Reason
	case e.Type == nextNone:
		s.Verdict, s.Reason = model.Drop, fmt.Sprintf("the answer is dropped: %s", e.text())
	case e.Type == nextInternet && privateAddr(t.sent):
		s.Verdict, s.Reason = model.Drop, fmt.Sprintf("the answer is lost: %s, and %s is a private address", e.text(), t.sent)
	case e.Type == nextVNet && x.nowhereInVNet(m.subnet, t.sent):
		s.Verdict, s.Reason = model.Drop, fmt.Sprintf("the answer is lost: %s, and nobody in the virtual network can have %s", e.text(), t.sent)
	case e.Type == nextAppliance:
		t.backByAppliance(s, e)
	case t.kept && t.through != nil:
		s.Verdict = model.Drop
		s.Reason = fmt.Sprintf("the way there goes through firewall %s, the answer does not (%s): the firewall drops what follows, because it never saw it", t.through.doc.Name, e.text())
	}
}

// backByAppliance judges a reply that is routed to an appliance.
func (t *tracer) backByAppliance(s *model.Step, e *EffectiveRoute) {
	x := t.x
	if t.through != nil && t.through.doc.PrivateIP.Unmap() == e.NextHop {
		return // the same firewall both ways
	}
	if n := x.nodeByIP[e.NextHop]; n != nil {
		p := x.podByIP[t.sent]
		if p == nil || p.Node == n.Name {
			return // kubenet's route to the sender's node
		}
		s.Verdict, s.Reason = model.Drop, fmt.Sprintf("the answer goes to node %s, but the pod is on %s: %s", n.Name, p.Node, e.text())
		return
	}
	if f := x.fwByIP[e.NextHop]; f != nil {
		s.Verdict = model.Drop
		s.Reason = fmt.Sprintf("the answer goes through firewall %s, which has not seen the connection begin and drops it: %s", f.doc.Name, e.text())
		return
	}
	s.Verdict, s.Reason = model.Unknown, fmt.Sprintf("the answer goes through an appliance that the way there does not use: %s", e.text())
}

func (t *tracer) lostBare(m attachment) {
	if t.x.podByIP[t.flow.Dst] != nil || t.x.nodeByIP[t.flow.Dst] != nil {
		return
	}
	t.back(model.Step{
		Hop: model.HopMasquerade, At: m.ref, Title: "answer from " + m.what, Verdict: model.Drop, Decided: t.bare.decided,
		Reason: fmt.Sprintf("it answers to %s, an overlay address that only the cluster's own nodes can reach: %s", t.sent, t.bare.reason),
	})
}

// backIntoNode is the reply at the sender's node: a packet that comes in by a
// device that does not forward, or fails the reverse path check, is dropped.
func (t *tracer) backIntoNode() {
	facts := t.facts()
	if facts == nil || t.sameNode() || t.org.node == nil {
		return
	}
	dev := t.arrivalDevice(facts, t.org.node)
	if dev == "" {
		return
	}
	ref := t.nodeRef()
	s := model.Step{Hop: model.HopNodeKernel, At: ref, Title: "kernel of " + string(ref) + ", answers", Verdict: model.Pass, Reason: "answers come in by " + dev}
	pod := t.org.pod != nil && !t.org.pod.HostNetwork
	if key, value, known := forwarding(facts, dev); pod && known && value == "0" && !t.x.cilium {
		s.Verdict, s.Decided = model.Drop, ref
		s.Reason = fmt.Sprintf("%s = 0 on %s: answers come in by %s and are not forwarded to the pod", key, ref, dev)
	} else if far := t.orig.Dst; far.IsValid() {
		t.reversePath(&s, facts, dev, t.flow.Dst)
	}
	if s.Verdict == model.Pass {
		t.answerRules(&s, dev)
	}
	t.back(s)
}

// answerRules judges the packet filter of the sender's node for the answer.
func (t *tracer) answerRules(s *model.Step, dev string) {
	f, o := t.x.filters[t.nodeRef().Name()], t.outcome()
	if f == nil || o == nil || !o.Packet.Src.IsValid() || !o.Packet.Dst.IsValid() {
		return
	}
	t.judge(s, f, f.rules.Answer(packetOf(t.orig), o.Packet, dev, f.machine(t.org.node)))
}

// reversePath is rp_filter: strict, a packet is dropped unless the node would
// send to its source by the device that it came in by. The larger of the
// device's and the "all" setting counts.
func (t *tracer) reversePath(s *model.Step, facts *model.NodeFacts, dev string, far netip.Addr) {
	key, value := "net.ipv4.conf.all.rp_filter", facts.Sysctls["net.ipv4.conf.all.rp_filter"]
	if v := facts.Sysctls["net.ipv4.conf."+dev+".rp_filter"]; v > value {
		key, value = "net.ipv4.conf."+dev+".rp_filter", v
	}
	if value == "" || !far.IsValid() {
		return
	}
	grown := facts.After["TcpExtIPReversePathFilter"] - facts.Counters["TcpExtIPReversePathFilter"]
	if len(facts.After) > 0 && grown > 0 {
		s.Trail = append(s.Trail, fmt.Sprintf("TcpExtIPReversePathFilter grew by %d while podpath probed", grown))
	}
	if value != "1" {
		return
	}
	r, ok := kernelRoute(facts, netip.Addr{}, far, dev)
	if !ok || r.Dev == "" || r.Dev == dev || strings.HasPrefix(r.Dev, "lo") {
		return
	}
	s.Verdict, s.Decided = model.Drop, s.At
	s.Reason = fmt.Sprintf("%s = 1 on %s: answers from %s come in by %s, but the route to it is by %s, so the kernel drops them", key, s.At, far, dev, r.Dev)
}
