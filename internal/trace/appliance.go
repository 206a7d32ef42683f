package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// appliance follows a route to a next hop address: an Azure Firewall, a machine
// that forwards (a node of a kubenet cluster among them), or nobody.
func (t *tracer) appliance(a attachment, e *EffectiveRoute, s model.Step, turns int) {
	x := t.x
	if turns >= maxTurns {
		s.Verdict, s.Reason = model.Drop, fmt.Sprintf("%s: the packet comes back here again and again (a loop of routes)", e.text())
		t.add(s)
		t.end()
		return
	}
	if f := x.fwByIP[e.NextHop]; f != nil && f.doc.PrivateIP.Unmap() == e.NextHop {
		t.add(s)
		t.firewall(f, turns)
		return
	}
	if at, ok := x.nicByIP[e.NextHop]; ok {
		t.add(s)
		t.machine(a, e, at, turns)
		return
	}
	if n := x.nodeByIP[e.NextHop]; n != nil {
		t.add(s)
		t.machine(a, e, nicAddr{}, turns)
		return
	}
	if lb := x.lbByIP[e.NextHop]; lb != nil {
		t.add(s)
		t.add(model.Step{
			Hop: model.HopAppliance, At: model.NewRef("loadbalancer", lb.Name), Title: "internal load balancer " + lb.Name,
			Reason: fmt.Sprintf("appliances behind load balancer %s take it; which one, and what they do, is not traced", lb.Name),
		})
		t.endpoint()
		return
	}
	if f := x.stoppedFirewall(e.NextHop); f != nil {
		t.add(s)
		t.firewall(f, turns)
		return
	}
	t.nobody(a, e, s)
}

// stoppedFirewall is the firewall that used to have an address: one that was
// deallocated has no ip configuration, and so no address in its document.
func (x *Index) stoppedFirewall(ip netip.Addr) *firewall {
	s, ok := x.subnets.Lookup(ip)
	if !ok || !strings.EqualFold(s.Name, "AzureFirewallSubnet") {
		return nil
	}
	for _, f := range x.stopped {
		if !f.doc.PrivateIP.IsValid() {
			return f
		}
	}
	return nil
}

// nobody judges a next hop that no interface which was read has.
func (t *tracer) nobody(a attachment, e *EffectiveRoute, s model.Step) {
	x := t.x
	in, _ := x.inVNetSpace(e.NextHop, a.subnet)
	hiding := x.attachedUnread(e.NextHop)
	complete := x.read("nic") && x.read("firewall") && hiding == ""
	v := x.vnetOf(a.subnet)
	own := v != nil && containsAddr(v.Prefixes, e.NextHop)
	drops := s.Verdict == model.Pass // a route that is not sure to be taken drops nothing for sure
	switch {
	case !e.NextHop.IsValid():
		s.Reason = e.text() + ", without an address to send to"
	case in == no:
		s.Reason = fmt.Sprintf("%s, an address that neither the VNet nor a peer holds: the network drops it silently", e.text())
	case complete && own:
		s.Reason = fmt.Sprintf("%s, and no firewall and no network interface has that address: the network drops it silently", e.text())
	default:
		drops = false
		s.Reason = fmt.Sprintf("%s, and nothing that was read has that address", e.text())
		s.Gaps = append(s.Gaps, x.whoHas(e.NextHop, hiding))
	}
	s.Verdict = model.Unknown
	if drops {
		s.Verdict = model.Drop
	}
	t.add(s)
	if drops {
		t.end()
		return
	}
	t.endpoint()
}

// attachedUnread is a resource that has an address in the same subnet and was not
// read. Lists of Azure show only what one may see: an empty one is no proof that
// nobody is there, but the subnet names all that is attached to it.
func (x *Index) attachedUnread(ip netip.Addr) string {
	s, ok := x.subnets.Lookup(ip)
	if !ok {
		return ""
	}
	for _, id := range s.Attached {
		if x.az.NICs[id] == nil && x.az.Firewalls[id] == nil && x.az.LoadBalancers[id] == nil && !strings.Contains(id, "/virtualnetworkgateways/") {
			return id
		}
	}
	return ""
}

func (x *Index) whoHas(ip netip.Addr, hiding string) model.Gap {
	what := "who has " + ip.String()
	if hiding == "" {
		return x.gap("nic", what, "", "Microsoft.Network/networkInterfaces/read")
	}
	permission := "Microsoft.Network/networkInterfaces/read"
	if strings.Contains(hiding, "/azurefirewalls/") {
		permission = "Microsoft.Network/azureFirewalls/read"
	}
	return model.Gap{What: what, Reason: "the subnet has " + hiding + " in it, which could not be read", Permission: permission}
}

// machine forwards by a network interface: a node that owns the destination's
// pod range, or an appliance in a virtual machine.
func (t *tracer) machine(a attachment, e *EffectiveRoute, at nicAddr, turns int) {
	x := t.x
	m, _ := x.addrAttachment(e.NextHop)
	t.flowVia(m)
	if at.nic != nil && !t.forwards(at.nic) {
		return
	}
	if n := x.nodeByIP[e.NextHop]; n != nil {
		t.viaNode(n, e)
		return
	}
	s := model.Step{Hop: model.HopAppliance, At: model.NewRef("nic", at.nic.Name), Title: "appliance with network interface " + at.nic.Name}
	if name, power := x.power(at.nic); power != "" && !strings.EqualFold(lastOf(power), "running") {
		s.At = model.NewRef("vmss", name)
		s.Verdict, s.Decided, s.Reason = model.Drop, s.At, fmt.Sprintf("the machine behind next hop %s is not running (%s)", e.NextHop, lastOf(power))
		t.add(s)
		t.end()
		return
	}
	s.Reason = "the machine forwards; its own rules and address translation are in no document"
	if dst := t.flow.Dst; !dst.IsValid() || !privateAddr(dst) {
		s.Out = t.flow
		s.Out.Src = e.NextHop // appliances that send to the internet translate to their own address
	}
	t.add(s)
	if m.subnet == nil {
		t.endpoint()
		return
	}
	if r := x.routingOf(m.subnet); r != nil {
		if c := r.choose(x, t.flow); c.sure && c.route != nil && c.route.Type == nextAppliance && c.route.NextHop == e.NextHop {
			t.add(model.Step{
				Hop: model.HopRoute, At: x.subnetRef(m.subnet), Title: "routes of subnet " + m.subnet.Name, Verdict: model.Drop, Decided: c.route.Ref,
				Reason: fmt.Sprintf("the appliance is in subnet %s, whose own table sends the packet back to it: %s", m.subnet.Name, c.route.text()),
			})
			t.end()
			return
		}
	}
	t.bare = nil
	t.nsgsOut(m)
	t.route(m, turns+1)
}

// flowVia judges the NSGs in front of an appliance's network interface: they
// see the packet's own addresses, not the appliance's.
func (t *tracer) flowVia(m attachment) {
	if m.subnet != nil || m.nic != nil {
		t.nsgsIn(m)
	}
}

// forwards says whether a NIC takes packets that are not for its own address.
func (t *tracer) forwards(n *model.NIC) bool {
	if n.IPForwarding {
		return true
	}
	ref := model.NewRef("nic", n.Name)
	t.add(model.Step{
		Hop: model.HopAppliance, At: ref, Title: "network interface " + n.Name, Verdict: model.Drop, Decided: ref,
		Reason: fmt.Sprintf("enableIPForwarding is false on network interface %s: Azure drops packets that are not for its own address", n.Name),
	})
	t.end()
	return false
}

// power is the machine of a NIC and its power state, when they were read.
func (x *Index) power(n *model.NIC) (string, string) {
	if n.VMID == "" {
		return "", ""
	}
	for _, id := range sorted(x.az.VMSSs) {
		v := x.az.VMSSs[id]
		if v == nil {
			continue
		}
		for _, i := range v.Instances {
			if strings.EqualFold(i.ID, n.VMID) {
				return v.Name, i.Power
			}
		}
	}
	return "", ""
}

// viaNode is kubenet: the route to a pod range leads to its node.
func (t *tracer) viaNode(n *model.Node, e *EffectiveRoute) {
	p := t.x.podByIP[t.flow.Dst]
	if p != nil && p.Node == n.Name {
		m := t.x.nodeAttachment(n)
		t.member, t.sent = &m, t.flow.Src
		t.kernelIn(n)
		t.arrivePod(p)
		return
	}
	s := model.Step{Hop: model.HopRoute, At: model.NewRef("node", n.Name), Title: "node " + n.Name, Verdict: model.Drop, Decided: e.Ref}
	s.Reason = fmt.Sprintf("%s is node %s, and no pod there has %s", e.text(), n.Name, dstText(t.flow))
	switch {
	case p == nil && !t.x.read("pod"):
		s.Verdict, s.Decided, s.Reason = model.Unknown, "", fmt.Sprintf("%s is node %s, and which pods it has was not read", e.text(), n.Name)
		s.Gaps = []model.Gap{t.x.gap("pod", "pods of the cluster", "", "list pods (cluster scope)")}
	case p != nil:
		s.Reason = fmt.Sprintf("%s is node %s, but pod %s/%s runs on %s", e.text(), n.Name, p.Namespace, p.Name, p.Node)
	}
	t.add(s)
	t.end()
}

// firewall sends the packet through an Azure Firewall.
func (t *tracer) firewall(f *firewall, turns int) {
	ref := model.NewRef("firewall", f.doc.Name)
	s := model.Step{Hop: model.HopAppliance, At: ref, Title: "Azure Firewall " + f.doc.Name}
	if !f.doc.Allocated {
		s.Verdict, s.Decided = model.Drop, ref
		s.Reason = fmt.Sprintf("firewall %s has no ip configuration (it is deallocated): nobody is at the route's next hop", f.doc.Name)
		t.add(s)
		t.end()
		return
	}
	d := t.x.Firewall(f.doc.PrivateIP, t.flow)
	s.Verdict, s.Decided, s.Reason, s.Trail, s.Gaps = d.Verdict, d.Decided, d.Reason, d.Trail, d.Gaps
	s.Terminates = d.Application
	if st := f.doc.State; st != "" && !strings.EqualFold(st, "Succeeded") {
		s.Trail = append(s.Trail, "its provisioning state is "+st)
	}
	if s.Verdict != model.Drop && s.Verdict != model.Reject {
		t.firewallSource(f, d, &s)
	}
	t.add(s)
	if s.Verdict == model.Drop || s.Verdict == model.Reject {
		t.endpoint() // not reached; it is what would come after
		return
	}
	t.beyondFirewall(f, turns)
}

// firewallSource decides which source address leaves the firewall: application
// rules always translate, network rules not towards private ranges.
func (t *tracer) firewallSource(f *firewall, d FirewallDecision, s *model.Step) {
	t.through, t.entered = f, t.flow.Src
	if !d.Application {
		if p, ok := f.keepsSource(t.flow.Dst); ok {
			if !t.flow.Dst.IsValid() || !privateAddr(t.flow.Dst) {
				s.Verdict, s.Decided = model.Drop, f.ref("")
				s.Reason = fmt.Sprintf("%s; but its private ranges (%s) exempt the destination from source translation, so %s leaves towards the internet and no answer finds back",
					s.Reason, p, addrText(t.flow.Src))
			}
			t.kept = true
			return
		}
	}
	s.Out = t.flow
	s.Out.Src = f.doc.PrivateIP.Unmap()
	s.Out.SrcPort = 0
}

// beyondFirewall goes on from the firewall's own subnet.
func (t *tracer) beyondFirewall(f *firewall, turns int) {
	x := t.x
	private := f.doc.PrivateIP.Unmap()
	subnet, ok := x.subnets.Lookup(private)
	if !ok {
		t.add(model.Step{
			Hop: model.HopRoute, At: model.NewRef("firewall", f.doc.Name), Title: "routes of the firewall's subnet",
			Reason: "the firewall's subnet was not read, so its routes are not known",
			Gaps:   []model.Gap{x.gap("subnet", "subnet of firewall "+f.doc.Name, "", "Microsoft.Network/virtualNetworks/subnets/read")},
		})
		t.firewallSNAT(f, nil)
		return
	}
	r := x.routingOf(subnet)
	if r == nil {
		t.firewallSNAT(f, subnet)
		return
	}
	c := r.choose(x, t.flow)
	if c.route == nil || c.sure && c.route.Type == nextInternet {
		t.firewallSNAT(f, subnet)
		return
	}
	a := attachment{what: "firewall " + f.doc.Name, ref: model.NewRef("firewall", f.doc.Name), subnet: subnet}
	if c.route.Type == nextInternet { // not sure: say so, then go on
		t.add(model.Step{Hop: model.HopRoute, At: x.subnetRef(subnet), Title: "routes of subnet " + subnet.Name, Decided: c.route.Ref, Reason: "probably " + c.route.text() + ", but " + c.why, Gaps: c.gaps})
		t.firewallSNAT(f, subnet)
		return
	}
	if c.route.Type == nextAppliance && c.route.NextHop == private {
		t.add(model.Step{
			Hop: model.HopRoute, At: x.subnetRef(subnet), Title: "routes of subnet " + subnet.Name, Verdict: model.Drop, Decided: c.route.Ref,
			Reason: fmt.Sprintf("the firewall's own subnet sends the packet back to it: %s", c.route.text()),
		})
		t.end()
		return
	}
	t.route(a, turns+1)
}

// firewallSNAT is the firewall's way to the internet: its own addresses, or a
// NAT gateway on its subnet.
func (t *tracer) firewallSNAT(f *firewall, subnet *model.Subnet) {
	x, ref := t.x, model.NewRef("firewall", f.doc.Name)
	if subnet != nil && subnet.NATGatewayID != "" {
		t.addEgress(attachment{subnet: subnet}, x.natGateway(subnet))
		t.endpoint()
		return
	}
	e := Egress{Verdict: model.Pass, Hop: model.HopAppliance, Device: ref, Decided: ref}
	for _, id := range f.doc.PublicIPs {
		x.publicIP(id, &e)
	}
	n := len(f.doc.PublicIPs)
	e.Reason = fmt.Sprintf("firewall %s translates to %s of its own", f.doc.Name, plural(n, "public address"))
	if n == 0 {
		e.Verdict, e.Reason = model.Drop, fmt.Sprintf("firewall %s has no public address and its subnet no NAT gateway", f.doc.Name)
	}
	t.path.Device, t.path.Egress = ref, e.Addrs
	s := model.Step{Hop: e.Hop, At: ref, Title: "source address translation by firewall " + f.doc.Name, Verdict: e.Verdict, Decided: ref, Reason: e.Reason, Trail: e.Trail}
	if e.Verdict == model.Pass {
		s.Out = t.flow
		s.Out.Src = netip.Addr{}
		if len(e.Addrs) == 1 {
			s.Out.Src = e.Addrs[0]
		}
	}
	t.add(s)
	t.endpoint()
}

// toFirewall is a connection to the firewall's own address: its explicit proxy,
// its DNS proxy, or nothing.
func (t *tracer) toFirewall(f *firewall) {
	ref := model.NewRef("firewall", f.doc.Name)
	s := model.Step{Hop: model.HopAppliance, At: ref, Title: "Azure Firewall " + f.doc.Name}
	p, port := f.policy, int(t.flow.DstPort)
	switch {
	case !f.doc.Allocated:
		s.Verdict, s.Decided, s.Reason = model.Drop, ref, fmt.Sprintf("firewall %s is deallocated", f.doc.Name)
	case p != nil && port != 0 && (port == p.ExplicitProxyHTTP || port == p.ExplicitProxyHTTPS):
		d := f.throughProxy(t.x, t.flow)
		s.Verdict, s.Decided, s.Reason, s.Trail, s.Gaps = d.Verdict, d.Decided, d.Reason, d.Trail, d.Gaps
	case p != nil && p.DNSProxy && port == 53:
		s.Verdict, s.Reason = model.Pass, "the firewall's DNS proxy answers"
	case f.missing != nil:
		s.Reason, s.Gaps = "the firewall's policy was not read", []model.Gap{*f.missing}
	default:
		s.Verdict, s.Decided = model.Drop, f.ref("")
		s.Reason = fmt.Sprintf("firewall %s does not listen on port %d: neither its explicit proxy nor its DNS proxy is there", f.doc.Name, port)
	}
	t.add(s)
	t.end()
}
