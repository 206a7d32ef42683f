package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// maxTurns bounds how many appliances a packet is followed through.
const maxTurns = 4

// leave sends the packet into the network, or keeps it on the node.
func (t *tracer) leave(_ *backends, _ *backend) {
	x := t.x
	if t.nodeLocal() {
		ref := t.nodeRef()
		t.add(model.Step{
			Hop: model.HopNodeKernel, At: ref, Title: "link-local address on " + string(ref), Verdict: model.Pass,
			Reason: fmt.Sprintf("%s never leaves the node: something on it answers (a DNS cache, for one), or nobody", t.flow.Dst),
		})
		t.end()
		return
	}
	if t.sameNode() {
		t.arrive(attachment{})
		return
	}
	if t.overlay() {
		return
	}
	if !x.az.Found {
		gap := model.Gap{What: "the network beyond the nodes", Reason: "no Azure document was read: the cluster is not on Azure, or podpath may not read there"}
		for _, g := range x.w.Gaps {
			if g.What == "Azure" || g.What == "managed cluster" {
				gap = g
			}
		}
		t.add(model.Step{
			Hop: model.HopRoute, At: t.nodeRef(), Title: "network beyond the node",
			Reason: "what happens between this node and the destination is in no document that was read", Gaps: []model.Gap{gap},
		})
		if x.podByIP[t.flow.Dst] != nil || x.nodeByIP[t.flow.Dst] != nil {
			t.arrive(attachment{})
			return
		}
		t.endpoint()
		return
	}
	a := x.nodeAttachment(t.org.node)
	if p := t.org.pod; p != nil && !p.HostNetwork && t.wrapped == nil {
		a = x.podAttachment(t.org.node, t.org.addr, x.podNetOf(t.org.node, t.org.addr))
	}
	t.egress = a
	if a.subnet == nil {
		t.noSubnet(a)
		return
	}
	if t.noRouteAtAll(a) {
		t.route(a, 0)
		t.nsgsOut(a) // in After: the default rules deny it as well
		return
	}
	t.nsgsOut(a)
	t.route(a, 0)
}

// noRouteAtAll is a private destination in no network that the VNet knows. The
// NSG's default rules deny it too, but only because there is no route: that is
// what to show first, unless a rule that somebody wrote denies it.
func (t *tracer) noRouteAtAll(a attachment) bool {
	x, r := t.x, t.x.routingOf(a.subnet)
	if r == nil || !t.flow.Dst.IsValid() || t.x.podByIP[t.flow.Dst] != nil {
		return false
	}
	c := r.choose(x, t.flow)
	if !c.sure || c.route == nil || c.route.Type != nextNone || c.route.Source != sourceSystem {
		return false
	}
	ids := []string{a.subnet.NSGID}
	if a.nic != nil {
		ids = append(ids, a.nic.NSGID)
	}
	for _, id := range ids {
		if n := x.nsgs[strings.ToLower(id)]; n != nil {
			if d := x.evaluate(n, false, t.flow, a.subnet); d.Verdict != model.Pass && d.Custom {
				return false
			}
		}
	}
	return true
}

// nodeLocal says whether the destination is an address that never leaves a node.
func (t *tracer) nodeLocal() bool {
	d := t.flow.Dst
	return d.IsValid() && d != imds && (d.IsLinkLocalUnicast() || d.IsLoopback())
}

// noSubnet goes on as far as one can when the subnet was not read.
func (t *tracer) noSubnet(a attachment) {
	t.nicNSG(a, false)
	t.add(model.Step{
		Hop: model.HopRoute, At: a.ref, Title: "subnet of " + a.what,
		Reason: "the subnet was not read, so its NSG, routes and way out are not known", Gaps: a.gaps,
	})
	if t.x.podByIP[t.flow.Dst] != nil || t.x.nodeByIP[t.flow.Dst] != nil {
		t.arrive(attachment{})
		return
	}
	t.endpoint()
}

// route picks the next hop and goes there.
func (t *tracer) route(a attachment, turns int) {
	x, dst := t.x, t.flow.Dst
	s := model.Step{Hop: model.HopRoute, At: x.subnetRef(a.subnet), Title: "routes of subnet " + a.subnet.Name}
	if platformAddr(dst) {
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("%s is the platform's own address: user-defined routes do not apply", dst)
		t.add(s)
		t.endpoint()
		return
	}
	if p := x.podByIP[dst]; p != nil && x.podNetOf(x.w.Kube.Nodes[p.Node], dst) == netOverlay {
		s.Verdict, s.Reason = model.Pass, "overlay: Azure itself routes the pod range to its nodes, without route entries"
		if e := x.overOverlay(a.subnet, dst); e != nil {
			s.Verdict, s.Decided, s.Reason = model.Unknown, e.Ref, overOverlayReason(e)
			t.unsure = s.Reason
		}
		t.add(s)
		t.toMember()
		return
	}
	r := x.routingOf(a.subnet)
	if r == nil {
		s.Reason = "the subnet's routes are not known"
		t.add(s)
		t.endpoint()
		return
	}
	c := r.choose(x, t.flow)
	s.Trail, s.Gaps = c.trail, c.gaps
	if c.route == nil {
		s.Verdict, s.Decided, s.Reason = model.Drop, s.At, fmt.Sprintf("no route to %s", dst)
		t.add(s)
		t.end()
		return
	}
	s.Decided = c.route.Ref
	s.Reason = c.route.text()
	s.Verdict = model.Pass
	if !c.sure {
		s.Verdict, s.Reason = model.Unknown, fmt.Sprintf("probably %s, but %s", c.route.text(), c.why)
	}
	t.hop(a, r, c, s, turns)
}

// nowhereInVNet says that an address is in the space of neither the virtual
// network nor a connected peer: sent "into the network" it meets nobody. That
// holds for kubenet's pods too, whose addresses only routes to their nodes know.
func (x *Index) nowhereInVNet(s *model.Subnet, dst netip.Addr) bool {
	v := x.vnetOf(s)
	if v == nil || len(v.Prefixes) == 0 || !dst.IsValid() || containsAddr(v.Prefixes, dst) {
		return false
	}
	for i := range v.Peerings {
		if containsAddr(v.Peerings[i].RemotePrefixes, dst) {
			return false
		}
	}
	return true
}

// overOverlay is a user-defined route for a part of an overlay's pod range. A
// shorter one (0/0 to a firewall, as AKS itself asks for) is known not to count
// between pods; of one inside the range nobody documents what Azure does.
func (x *Index) overOverlay(s *model.Subnet, pod netip.Addr) *EffectiveRoute {
	r := x.routingOf(s)
	pods, ok := holder(x.podCIDRs, pod)
	if r == nil || !ok {
		return nil
	}
	for _, e := range r.user {
		if e.Prefix.IsValid() && e.Prefix.Bits() >= pods.Bits() && e.Prefix.Contains(pod) {
			return e
		}
	}
	return nil
}

func overOverlayReason(e *EffectiveRoute) string {
	return fmt.Sprintf("whether a user-defined route counts inside an overlay's pod range is not documented: %s", e.text())
}

// hop judges the chosen route's next hop, and follows it.
func (t *tracer) hop(a attachment, r *routing, c choice, s model.Step, turns int) {
	e := c.route
	if !c.sure {
		t.unsure = c.why
	}
	switch e.Type {
	case nextNone:
		t.blackhole(a, r, c, s)
	case nextVNet:
		if x := t.x; x.nowhereInVNet(a.subnet, t.flow.Dst) {
			s.Verdict, s.Reason = model.Drop, fmt.Sprintf("%s: nobody in the virtual network can have %s, which is outside its address space", e.text(), t.flow.Dst)
			t.add(s)
			t.end()
			return
		}
		t.add(s)
		t.toMember()
	case nextPeering:
		t.add(s)
		t.peer(e)
	case nextInternet:
		if privateAddr(t.flow.Dst) {
			s.Verdict, s.Reason = model.Drop, fmt.Sprintf("%s: %s is a private address, which nobody on the internet has a route to", e.text(), t.flow.Dst)
			t.add(s)
			t.end()
			return
		}
		t.add(s)
		t.snat(a, e)
	case nextService:
		t.add(s)
		t.endpoint()
	case nextGateway:
		t.gateway(a, e, s)
	case nextAppliance:
		t.appliance(a, e, s, turns)
	default:
		s.Verdict, s.Reason = model.Unknown, fmt.Sprintf("podpath does not know next hops of type %s (%s)", e.Type, e.text())
		t.add(s)
		t.endpoint()
	}
}

// blackhole is a route to None: the fabric drops silently. For one of the
// system's ranges it says what is missing.
func (t *tracer) blackhole(a attachment, r *routing, c choice, s model.Step) {
	e, x, dst := c.route, t.x, t.flow.Dst
	if c.sure {
		s.Verdict = model.Drop
	}
	if e.Source == sourceSystem {
		s.Decided, s.Reason = x.missingRoute(a, r, dst)
		s.Reason = fmt.Sprintf("%s; what is left is the %s", s.Reason, e.text())
	} else {
		s.Reason = fmt.Sprintf("%s: the network drops it silently", e.text())
	}
	t.add(s)
	t.end()
}

// missingRoute says why a private destination is in no route, and what lacks it.
func (x *Index) missingRoute(a attachment, r *routing, dst netip.Addr) (model.Ref, string) {
	lacks, where := x.subnetRef(a.subnet), fmt.Sprintf("subnet %s has no route table with one", a.subnet.Name)
	if r.doc != nil {
		lacks, where = model.NewRef("routetable", r.doc.Name), fmt.Sprintf("route table %s has none", r.doc.Name)
	}
	if p := x.podByIP[dst]; p != nil {
		return lacks, fmt.Sprintf("no route leads to the pods of node %s (%s): %s", p.Node, dst, where)
	}
	if v := x.vnetOf(a.subnet); v != nil {
		for i := range v.Peerings {
			p := &v.Peerings[i]
			if q, ok := holder(p.RemotePrefixes, dst); ok && !connected(p) {
				return model.NewRef("peering", v.Name, p.Name), fmt.Sprintf("%s is in peered network %s, but peering %s is %s", dst, q, p.Name, p.State)
			}
		}
	}
	if r.doc != nil && r.doc.DisablePropagation {
		if q, ok := holder(r.bgp, dst); ok {
			return lacks, fmt.Sprintf("%s is in %s, which the gateway has learned, but route table %s does not let learned routes in", dst, q, r.doc.Name)
		}
	}
	return lacks, fmt.Sprintf("%s is in no network that the VNet knows", dst)
}

// toMember delivers to an address of the VNet (or of an overlay on it).
func (t *tracer) toMember() {
	x, dst := t.x, t.flow.Dst
	if f := x.fwByIP[dst]; f != nil && f.doc.PrivateIP.Unmap() == dst {
		t.toFirewall(f)
		return
	}
	if lb := x.lbByIP[dst]; lb != nil {
		t.add(t.balanced(lb))
		t.end()
		return
	}
	a, ok := x.addrAttachment(dst)
	if !ok {
		t.add(model.Step{
			Hop: model.HopEndpoint, At: model.NewRef("host", dst.String()), Title: dst.String(),
			Reason: "it is in the VNet's range, but in no subnet that was read",
			Gaps:   []model.Gap{x.gap("subnet", "subnet of "+dst.String(), "", "Microsoft.Network/virtualNetworks/subnets/read")},
		})
		t.end()
		return
	}
	t.nsgsIn(a)
	t.member, t.sent = &a, t.flow.Src
	t.arrive(a)
}

// arrive is the last stretch: the far node, and the pod or machine itself.
func (t *tracer) arrive(a attachment) {
	x, dst := t.x, t.flow.Dst
	if t.wrapped != nil {
		t.unwrap()
		return
	}
	if p := x.podByIP[dst]; p != nil {
		if !t.sameNode() {
			t.kernelIn(x.w.Kube.Nodes[p.Node])
		}
		t.arrivePod(p)
		return
	}
	s := model.Step{Hop: model.HopEndpoint, At: cmp.Or(a.ref, model.NewRef("host", dst.String())), Title: dst.String()}
	if n := x.nodeByIP[dst]; n != nil && t.far != nil {
		t.nodePort(n)
		return
	} else if n != nil {
		s.Hop, s.At, s.Title = model.HopNodeKernel, model.NewRef("node", n.Name), "node "+n.Name
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("it reaches node %s; whether something listens on port %d is for a probe to tell", n.Name, t.flow.DstPort)
	} else if a.nic != nil {
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("it reaches network interface %s; whether that machine answers is for a probe to tell", a.nic.Name)
	} else {
		s.Reason = fmt.Sprintf("no network interface that was read has %s", dst)
		s.Gaps = []model.Gap{x.gap("nic", "network interface with "+dst.String(), "", "Microsoft.Network/networkInterfaces/read")}
	}
	t.add(s)
	t.end()
}

// endpoint is the far end outside: only a probe can tell whether it answers.
func (t *tracer) endpoint() {
	what := t.flow.Host
	if what == "" && t.flow.Dst.IsValid() {
		what = t.flow.Dst.String()
	}
	what = cmp.Or(what, "the internet")
	s := model.Step{Hop: model.HopEndpoint, At: model.NewRef("host", strings.ToLower(what)), Title: dstText(t.flow)}
	s.Verdict, s.Reason = model.Pass, "it lies outside what was read; whether it answers is for a probe to tell"
	if platformAddr(t.flow.Dst) {
		s.Reason = "it is a service of the platform on every node"
	}
	t.add(s)
	t.end()
}
