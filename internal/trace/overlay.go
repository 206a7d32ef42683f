package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/model"
)

// wrapped is a packet that travels inside another one, from node to node.
type wrapped struct {
	inner model.Flow
	far   *model.Node
	net   cni.Network
	there string // the far node's device that unwraps it, "" where that node was not entered
}

// ownPods says that the destination is a pod of another node, on a network that
// a plugin of the cluster's own makes.
func (t *tracer) ownPods() *model.Pod {
	p := t.x.podByIP[t.flow.Dst]
	if p == nil || t.sameNode() || !t.x.net.Own() || t.x.podNetOf(t.x.w.Kube.Nodes[p.Node], t.flow.Dst) != netOwn {
		return nil
	}
	return p
}

// overlay sends a packet for a pod of another node into the plugin's network. It
// says whether the packet was delivered, or can be followed no further.
func (t *tracer) overlay() bool {
	p := t.ownPods()
	if p == nil {
		return false
	}
	net, dev := t.carrier()
	s := model.Step{Hop: model.HopCNI, At: t.nodeRef(), Title: fmt.Sprintf("pod network (%s) on %s", net.Name(), t.nodeRef()), Trail: slices.Clip(net.Told)}
	far := t.x.w.Kube.Nodes[p.Node]
	switch {
	case net.Mode == cni.Routed:
		s.Verdict, s.Reason = model.Pass, "the packet goes to the other node as it is, with the pods' own addresses"
		t.add(s)
		return false
	case net.Mode == "":
		s.Reason, s.Gaps = fmt.Sprintf("how %s carries packets between nodes is not known", net.Name()), net.Gaps
	case far == nil:
		s.Reason = fmt.Sprintf("node %s was not read, so where the packet is sent is not known", p.Node)
		s.Gaps = []model.Gap{t.x.gap("node", "node "+p.Node, model.NewRef("node", p.Node), "get nodes")}
	default:
		t.wrap(s, far, net, dev)
		return t.ended
	}
	t.add(s)
	t.arrive(attachment{})
	return true
}

// carrier is the network as the sender's node carries this packet, and its
// device: what its own route says, where that was read, goes before configuration.
func (t *tracer) carrier() (cni.Network, *model.Link) {
	net := t.x.net
	way, dev := t.nodeWay()
	if way == "" {
		return net, dev
	}
	if way != net.Mode {
		net.Port = 0
	}
	net.Mode = way
	if dev.Tunnel != nil && dev.Tunnel.Port != 0 {
		net.Port, net.Assumed = dev.Tunnel.Port, false
	}
	return net, dev
}

// nodeWay is how the sender's own routes carry the packet, and by which device;
// "" where the node was not entered, or its route leads nowhere in particular.
func (t *tracer) nodeWay() (cni.Mode, *model.Link) {
	facts := t.facts()
	if facts == nil || len(facts.Routes) == 0 {
		return "", nil
	}
	r, ok := kernelRoute(facts, t.flow.Src, t.flow.Dst, "")
	if !ok || r.Dst.Bits() == 0 {
		return "", nil
	}
	dev := linkOf(facts, r.Dev)
	switch {
	case dev == nil:
		return "", nil
	case dev.Kind == "vxlan":
		return cni.VXLAN, dev
	case dev.Kind == "geneve":
		return cni.Geneve, dev
	case dev.Kind == "wireguard":
		return cni.WireGuard, dev
	case dev.Kind == "ipip":
		return cni.IPIP, dev
	case r.Dev == uplink(facts, t.org.node) && r.Gw.IsValid():
		return cni.Routed, dev
	}
	return "", dev
}

func linkOf(facts *model.NodeFacts, name string) *model.Link {
	i := slices.IndexFunc(facts.Links, func(l model.Link) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return &facts.Links[i]
}

// wrap puts the packet into one from node to node, and sends that on.
func (t *tracer) wrap(s model.Step, far *model.Node, net cni.Network, dev *model.Link) {
	if t.unwrappable(&s, far, net, dev) || t.refused(&s, net, dev) {
		t.add(s)
		t.end()
		return
	}
	t.nodeSource(dev)
	inner := wrapped{inner: t.flow, far: far, net: net}
	s.Out = model.Flow{Protocol: "udp", Dst: t.farAddr(far, dev), DstPort: net.Port, From: t.nodeRef(), To: model.NewRef("node", far.Name)}
	if net.Mode == cni.IPIP {
		s.Out.Protocol = "ipip"
	}
	if t.org.node != nil {
		s.Out.Src = sameFamily(t.org.node.InternalIPs, s.Out.Dst)
	}
	s.Verdict = model.Pass
	s.Reason = fmt.Sprintf("the packet travels inside one from %s to %s (%s)", addrText(s.Out.Src), addrText(s.Out.Dst), net.Carrier())
	if net.Port == 0 && net.Mode != cni.IPIP {
		s.Verdict, s.Gaps = model.Unknown, net.Gaps
	}
	s.Trail = append(s.Trail, t.remarks(net, dev)...)
	t.add(s)
	t.wrapped = &inner
	if !s.Out.Dst.IsValid() {
		t.unwrap()
	}
}

// refused says that the network between the nodes does not carry such packets.
// Azure knows TCP, UDP, ICMP, ESP and AH, and drops IP in IP
// (https://github.com/projectcalico/calico/pull/4457). From annotations alone it
// is not sure that this packet is wrapped.
func (t *tracer) refused(s *model.Step, net cni.Network, dev *model.Link) bool {
	if net.Mode != cni.IPIP || !t.x.az.Found {
		return false
	}
	s.Reason = fmt.Sprintf("Azure does not carry IP in IP, by which %s sends it", net.Name())
	if dev == nil {
		s.Reason, s.Gaps = s.Reason+", if these nodes' pools say so", net.Gaps
		return true
	}
	s.Verdict, s.Decided = model.Drop, cmp.Or(net.Agent, s.At)
	return true
}

// remarks are what is worth saying beside the way itself.
func (t *tracer) remarks(net cni.Network, dev *model.Link) []string {
	var out []string
	if net.Assumed {
		out = append(out, fmt.Sprintf("%s is %s's default; its configuration was not read", net.Carrier(), net.Name()))
	}
	if pods, name := podMTU(t.facts(), t.org.addr); dev != nil && pods > dev.MTU && t.org.pod != nil && !t.org.pod.HostNetwork {
		out = append(out, fmt.Sprintf("pods' links (%s) have an MTU of %d, %s one of %d: full packets depend on the ICMP message that says so", name, pods, dev.Name, dev.MTU))
	}
	return out
}

// unwrappable finds what keeps the sender's node from wrapping the packet.
func (t *tracer) unwrappable(s *model.Step, far *model.Node, net cni.Network, dev *model.Link) bool {
	facts := t.facts()
	if facts == nil || len(facts.Routes) == 0 {
		return false
	}
	if dev == nil || dev.Tunnel == nil && dev.Kind != "wireguard" {
		s.Verdict, s.Decided, s.Reason = model.Drop, s.At, t.noWay(facts, far, net)
		return true
	}
	if dev.Tunnel == nil || dev.Tunnel.Learning || !dev.Tunnel.PeersRead {
		return false
	}
	r, _ := kernelRoute(facts, t.flow.Src, t.flow.Dst, "")
	i := slices.IndexFunc(dev.Tunnel.Peers, func(p model.TunnelPeer) bool { return p.Inner == cmp.Or(r.Gw, t.flow.Dst) })
	s.Verdict = model.Drop
	switch {
	case i < 0:
		s.Verdict = model.Reject
		s.Reason = fmt.Sprintf("%s sends it to %s by %s, but has no neighbour entry for that: after three seconds it answers \"no route to host\"", s.At, cmp.Or(r.Gw, t.flow.Dst), dev.Name)
	case !dev.Tunnel.Peers[i].Outer.IsValid():
		s.Reason = fmt.Sprintf("%s has no forwarding entry of %s for %s: it does not know which node that is", s.At, dev.Name, dev.Tunnel.Peers[i].Inner)
	case len(far.InternalIPs) > 0 && !slices.Contains(far.InternalIPs, dev.Tunnel.Peers[i].Outer):
		s.Reason = fmt.Sprintf("%s's forwarding entry of %s sends it to %s, which is not node %s (%s)", s.At, dev.Name, dev.Tunnel.Peers[i].Outer, far.Name, far.InternalIPs[0])
	default:
		return false
	}
	s.Decided = s.At
	return true
}

// noWay says what is missing where the node's routes do not lead into the overlay.
func (t *tracer) noWay(facts *model.NodeFacts, far *model.Node, net cni.Network) string {
	for _, l := range facts.Links {
		if l.Tunnel != nil && !l.Up {
			return fmt.Sprintf("%s of %s is down: packets for pods of node %s do not get into the overlay", l.Name, t.nodeRef(), far.Name)
		}
		if l.Tunnel != nil || l.Kind == "wireguard" {
			return fmt.Sprintf("%s has no route by %s to the pods of node %s: their packets leave as they are, and nobody outside the overlay knows their addresses", t.nodeRef(), l.Name, far.Name)
		}
	}
	return fmt.Sprintf("%s has no device of the overlay (%s): packets for pods of node %s leave as they are, and nobody knows their addresses", t.nodeRef(), net.Carrier(), far.Name)
}

// nodeSource is the address with which a node itself, or a pod on its network,
// sends into the overlay: that of the overlay's device.
func (t *tracer) nodeSource(dev *model.Link) {
	if t.org.pod != nil && !t.org.pod.HostNetwork {
		return
	}
	if dev == nil {
		t.flow.Src = netip.Addr{}
		if n := t.org.node; n != nil && len(n.PodCIDRs) > 0 {
			t.flow.Src = n.PodCIDRs[0].Addr() // Flannel gives its device the network's own address
		}
		return
	}
	for _, a := range dev.Addrs {
		if a.Addr().Is4() == t.flow.Dst.Is4() {
			t.flow.Src = a.Addr()
		}
	}
}

// farAddr is where outer packets for a node are sent: as it was programmed, else
// as the plugin's agent announces it, else the node's own address.
func (t *tracer) farAddr(far *model.Node, dev *model.Link) netip.Addr {
	if facts := t.facts(); facts != nil && dev != nil && dev.Tunnel != nil {
		r, _ := kernelRoute(facts, t.flow.Src, t.flow.Dst, "")
		for _, p := range dev.Tunnel.Peers {
			if p.Inner == r.Gw && p.Outer.IsValid() {
				return p.Outer
			}
		}
	}
	if a, err := netip.ParseAddr(far.Annotations["flannel.alpha.coreos.com/public-ip"]); err == nil {
		return a
	}
	return sameFamily(far.InternalIPs, netip.Addr{})
}

// podMTU is the largest MTU of the node's links to pods on the bridge (or by the
// device) by which it reaches a pod, and that link's name.
func podMTU(facts *model.NodeFacts, pod netip.Addr) (int, string) {
	if facts == nil {
		return 0, ""
	}
	dev, most, name := podDevice(facts, pod), 0, ""
	for _, l := range facts.Links {
		if dev != "" && (l.Master == dev || l.Name == dev && l.Kind != "bridge") && l.MTU > most {
			most, name = l.MTU, l.Name
		}
	}
	return most, name
}

// unwrap is the packet's arrival on the node of the pod that it is for.
func (t *tracer) unwrap() {
	w := t.wrapped
	ref := model.NewRef("node", w.far.Name)
	s := model.Step{Hop: model.HopNodeKernel, At: ref, Title: fmt.Sprintf("pod network (%s) on %s", w.net.Name(), ref), Out: w.inner}
	if facts := t.x.w.Nodes[w.far.Name]; facts != nil && !t.x.cilium {
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("it takes %s, and unwraps it", w.net.Carrier())
		t.unwrapHere(&s, facts)
		t.add(s)
	} else {
		t.flow = w.inner // not entered: what it lets in is not known, and its step would say nothing
	}
	t.member, t.wrapped = nil, nil
	t.tunnel = w
	t.kernelIn(w.far)
	t.arrivePod(t.x.podByIP[w.inner.Dst])
}

// unwrapHere judges the far node: its device, and what its packet filter does to
// the outer packet.
func (t *tracer) unwrapHere(s *model.Step, facts *model.NodeFacts) {
	i := slices.IndexFunc(facts.Links, func(l model.Link) bool {
		return l.Tunnel != nil && (l.Tunnel.Port == t.flow.DstPort || l.Tunnel.Port == 0)
	})
	if t.flow.Protocol == "udp" && i < 0 && t.wrapped.net.Mode == cni.VXLAN {
		s.Hop, s.Verdict, s.Decided = model.HopCNI, model.Drop, s.At
		s.Reason = fmt.Sprintf("%s has no device that takes %s", s.At, t.wrapped.net.Carrier())
		return
	}
	if i >= 0 && !facts.Links[i].Up {
		s.Hop, s.Verdict, s.Decided = model.HopCNI, model.Drop, s.At
		s.Reason = fmt.Sprintf("%s of %s is down: what arrives for its pods is dropped", facts.Links[i].Name, s.At)
		return
	}
	if i >= 0 {
		t.wrapped.there = facts.Links[i].Name
	}
	f := t.x.filters[facts.Node]
	if f == nil || !t.flow.Dst.IsValid() || !t.flow.Src.IsValid() {
		return
	}
	p := packetOf(t.flow)
	p.In = uplink(facts, t.wrapped.far)
	t.judge(s, f, f.rules.Incoming(p, f.machine(t.wrapped.far)))
}

// arrivalDevice is the one by which packets for a node's pods come in: the
// overlay's where there is one, the uplink otherwise.
func (t *tracer) arrivalDevice(facts *model.NodeFacts, n *model.Node) string {
	if t.tunnel == nil {
		return uplink(facts, n)
	}
	if t.tunnel.far == n {
		return cmp.Or(t.tunnel.there, uplink(facts, n))
	}
	for _, l := range facts.Links {
		if l.Tunnel != nil {
			return l.Name
		}
	}
	return uplink(facts, n)
}

// overlayBack judges the answer's outer packet: it is no answer to the first one
// but a connection of its own, to the same port the other way, and so security
// groups and routes are asked again.
func (t *tracer) overlayBack() {
	w := t.tunnel
	if w == nil || t.org.node == nil || w.net.Port == 0 {
		return
	}
	outer := model.Flow{
		Protocol: "udp", Src: sameFamily(w.far.InternalIPs, netip.Addr{}), Dst: sameFamily(t.org.node.InternalIPs, netip.Addr{}), DstPort: w.net.Port,
	}
	t.groupsBack(t.x.nodeAttachment(w.far), false, outer)
	t.outerRouteBack(t.x.nodeAttachment(w.far), outer)
	t.groupsBack(t.x.nodeAttachment(t.org.node), true, outer)
}

func (t *tracer) groupsBack(a attachment, inbound bool, outer model.Flow) {
	var ids []string
	if a.subnet != nil {
		ids = append(ids, a.subnet.NSGID)
	}
	if a.nic != nil {
		ids = append(ids, a.nic.NSGID)
	}
	for _, id := range ids {
		if id == "" || t.path.Broken() != nil {
			continue
		}
		s := t.x.judgeNSG(id, inbound, a.subnet, "the way back of the outer packets", outer)
		if s.Verdict == model.Pass {
			continue
		}
		s.In, s.Out, s.Outer = outer, model.Flow{}, true
		t.path.Return = append(t.path.Return, s)
	}
}

// outerRouteBack judges the route of the answer's outer packet.
func (t *tracer) outerRouteBack(a attachment, outer model.Flow) {
	r := t.x.routingOf(a.subnet)
	if r == nil || t.path.Broken() != nil {
		return
	}
	c := r.choose(t.x, outer)
	if c.route == nil {
		return
	}
	s := model.Step{
		Hop: model.HopRoute, At: t.x.subnetRef(a.subnet), Title: "routes of subnet " + a.subnet.Name + ", the way back of the outer packets",
		Decided: c.route.Ref, Reason: c.route.text(), Gaps: c.gaps, In: outer, Outer: true,
	}
	switch s.Verdict = model.Pass; {
	case !c.sure:
		s.Verdict, s.Reason = model.Unknown, fmt.Sprintf("probably %s, but %s", c.route.text(), c.why)
	case c.route.Type == nextNone, c.route.Type == nextInternet && privateAddr(outer.Dst), c.route.Type == nextVNet && t.x.nowhereInVNet(a.subnet, outer.Dst):
		s.Verdict, s.Reason = model.Drop, "answers of the overlay are lost: "+c.route.text()
	case c.route.Type == nextAppliance:
		t.outerByAppliance(&s, c.route, a, outer)
	}
	if s.Verdict != model.Pass {
		t.path.Return = append(t.path.Return, s)
	}
}

// outerByAppliance judges an outer packet that its subnet's routes send to an appliance.
func (t *tracer) outerByAppliance(s *model.Step, e *EffectiveRoute, a attachment, outer model.Flow) {
	x := t.x
	n, f := x.nodeByIP[e.NextHop], x.fwByIP[e.NextHop]
	in, _ := x.inVNetSpace(e.NextHop, a.subnet)
	switch {
	case n != nil && n == x.nodeByIP[outer.Dst]: // straight to the node that was meant
	case f != nil:
		d := x.Firewall(e.NextHop, outer)
		s.Verdict, s.Decided, s.Reason, s.Gaps = d.Verdict, d.Decided, "answers of the overlay go through firewall "+f.doc.Name+": "+d.Reason, d.Gaps
	case in == no:
		s.Verdict, s.Reason = model.Drop, fmt.Sprintf("answers of the overlay are lost: %s, an address that nobody holds", e.text())
	default:
		s.Verdict, s.Reason = model.Unknown, "answers of the overlay go through an appliance: "+e.text()
	}
}
