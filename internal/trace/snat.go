package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Ports that the devices have for each of their public addresses.
const (
	natGatewayPorts = 64512
	frontendPorts   = 64000
)

// lbMembership is one pool of a load balancer that an ip configuration is in.
type lbMembership struct {
	lb   *model.LoadBalancer
	pool *model.BackendPool
}

// Egress is how a NIC in a subnet reaches the internet.
type Egress struct {
	Verdict model.Verdict
	Hop     model.Hop
	Device  model.Ref // natgateway/…, loadbalancer/NAME/RULE, publicip/…; empty for default outbound
	Decided model.Ref
	Addrs   []netip.Addr // the addresses that the far end may see
	Ports   int          // source ports for one machine (load balancer) or for all (NAT gateway); 0: not limited that way, or not known
	Shared  bool         // Ports are shared by all machines of the gateway's subnets
	Reason  string
	Trail   []string
	Gaps    []model.Gap
}

// EgressOf is how something with a NIC (id may be "") in a subnet gets a public
// source address once its route says Internet: NAT gateway, then the instance's
// own address, then a load balancer's outbound rule, then default outbound access.
func (x *Index) EgressOf(subnetID, nicID string) Egress {
	a := attachment{what: lastOf(nicID)}
	a.subnet = x.subnetByID(subnetID, &a)
	if n := x.az.NICs[strings.ToLower(nicID)]; n != nil {
		a.nic, a.wantNIC = n, true
		a.cfg = primaryConfig(n)
	}
	if a.subnet == nil {
		return Egress{Hop: model.HopSNAT, Reason: "the subnet was not read", Gaps: a.gaps}
	}
	return x.egress(a, model.Flow{Protocol: "tcp"})
}

func primaryConfig(n *model.NIC) *model.IPConfig {
	for i := range n.IPConfigs {
		if n.IPConfigs[i].Primary {
			return &n.IPConfigs[i]
		}
	}
	if len(n.IPConfigs) > 0 {
		return &n.IPConfigs[0]
	}
	return nil
}

func (x *Index) egress(a attachment, f model.Flow) Egress {
	if a.subnet.NATGatewayID != "" {
		return x.natGateway(a.subnet)
	}
	if a.cfg == nil && a.nic != nil {
		a.cfg = primaryConfig(a.nic)
	}
	if a.cfg != nil && a.cfg.PublicIPID != "" {
		e := Egress{Verdict: model.Pass, Hop: model.HopSNAT, Ports: 65535}
		pip := x.publicIP(a.cfg.PublicIPID, &e)
		e.Device = model.NewRef("publicip", pip)
		e.Decided = e.Device
		e.Reason = fmt.Sprintf("no NAT gateway on subnet %s; the machine's own public address %s is used", a.subnet.Name, pip)
		return e
	}
	return x.lbEgress(a, f)
}

func (x *Index) natGateway(s *model.Subnet) Egress {
	id := s.NATGatewayID
	g := x.az.NATGateways[strings.ToLower(id)]
	e := Egress{Hop: model.HopNATGW, Device: model.NewRef("natgateway", lastOf(id))}
	if g == nil {
		gap := x.gap("natgateway", "NAT gateway "+lastOf(id), e.Device, "Microsoft.Network/natGateways/read")
		e.Reason, e.Gaps = "the NAT gateway was not read", []model.Gap{gap}
		return e
	}
	e.Device = model.NewRef("natgateway", g.Name)
	e.Decided = e.Device
	if len(g.PublicIPs)+len(g.Prefixes) == 0 {
		e.Verdict = model.Drop
		e.Reason = fmt.Sprintf("NAT gateway %s on subnet %s has no public address and no prefix: nothing can leave", g.Name, s.Name)
		return e
	}
	for _, ip := range g.PublicIPs {
		x.publicIP(ip, &e)
	}
	addresses := len(g.PublicIPs)
	for _, p := range g.Prefixes {
		addresses += x.prefix(p, &e)
	}
	e.Verdict, e.Ports, e.Shared = model.Pass, natGatewayPorts*addresses, true
	e.Reason = fmt.Sprintf("NAT gateway %s on subnet %s: %s, %d ports shared by all machines of its subnets",
		g.Name, s.Name, plural(addresses, "public address"), e.Ports)
	if strings.EqualFold(g.State, "Failed") {
		e.Trail = append(e.Trail, "its provisioning state is Failed")
	}
	return e
}

// publicIP adds a public address and says its name.
func (x *Index) publicIP(id string, e *Egress) string {
	p := x.az.PublicIPs[strings.ToLower(id)]
	if p == nil {
		name := lastOf(id)
		g := x.gap("publicip", "public address "+name, model.NewRef("publicip", name), "Microsoft.Network/publicIPAddresses/read")
		e.Trail = append(e.Trail, fmt.Sprintf("public address %s was not read (%s)", name, g.Permission))
		return name
	}
	if p.Addr.IsValid() && !slices.Contains(e.Addrs, p.Addr) {
		e.Addrs = append(e.Addrs, p.Addr)
	}
	return p.Name
}

// prefix adds a public prefix's addresses and says how many they are.
func (x *Index) prefix(id string, e *Egress) int {
	p := x.az.PublicIPPrefixes[strings.ToLower(id)]
	if p == nil || !p.Prefix.IsValid() {
		e.Trail = append(e.Trail, fmt.Sprintf("public prefix %s was not read (Microsoft.Network/publicIPPrefixes/read)", lastOf(id)))
		return 1
	}
	n := 0
	for a := p.Prefix.Masked().Addr(); p.Prefix.Contains(a) && n < 16; a = a.Next() {
		e.Addrs = append(e.Addrs, a)
		n++
	}
	return n
}

// pools are the load balancer pools that an attachment's NIC is in.
func (x *Index) pools(a attachment) []lbMembership {
	if a.nic == nil || a.cfg == nil {
		return nil
	}
	out := slices.Clone(x.lbOf[ipConfigKey(a.nic.ID+"/ipConfigurations/"+a.cfg.Name)])
	for _, id := range sorted(x.az.LoadBalancers) {
		lb := x.az.LoadBalancers[id]
		if lb == nil {
			continue
		}
		for i := range lb.Pools {
			p := &lb.Pools[i]
			in := slices.ContainsFunc(a.cfg.BackendPools, func(b string) bool { return strings.EqualFold(b, p.ID) }) ||
				a.cfg.Addr.IsValid() && slices.Contains(p.Addrs, a.cfg.Addr)
			if in && !slices.ContainsFunc(out, func(m lbMembership) bool { return m.pool == p }) {
				out = append(out, lbMembership{lb, p})
			}
		}
	}
	return out
}

// lbEgress looks for an outbound rule of a load balancer; without one, for
// default outbound access.
func (x *Index) lbEgress(a attachment, f model.Flow) Egress {
	if a.nic == nil && a.wantNIC {
		return x.lbGuess(a)
	}
	pools := x.pools(a)
	for _, m := range pools {
		for i := range m.lb.Outbound {
			r := &m.lb.Outbound[i]
			if strings.EqualFold(r.PoolID, m.pool.ID) && (strings.EqualFold(r.Protocol, "all") || r.Protocol == "" || strings.EqualFold(r.Protocol, f.Protocol)) {
				return x.outboundRule(m, r, a)
			}
		}
	}
	for _, m := range pools {
		if e, ok := x.implicitSNAT(m); ok {
			return e
		}
	}
	if e, ok := x.unreadPool(a, pools); ok {
		return e
	}
	return x.defaultOutbound(a, pools, f.Protocol)
}

// lbGuess is what can be said of a machine whose NIC was not read.
func (x *Index) lbGuess(a attachment) Egress {
	e := Egress{Hop: model.HopSNAT, Gaps: []model.Gap{
		x.gap("nic", "network interface of "+a.what, "", "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read"),
	}}
	e.Reason = "no NAT gateway on subnet " + a.subnet.Name + "; the network interface was not read, so its load balancer pools and public address are not known"
	for _, id := range sorted(x.az.LoadBalancers) {
		if lb := x.az.LoadBalancers[id]; lb != nil && len(lb.Outbound) > 0 {
			e.Device = model.NewRef("loadbalancer", lb.Name, lb.Outbound[0].Name)
			e.Reason += fmt.Sprintf("; probably outbound rule %s of load balancer %s", lb.Outbound[0].Name, lb.Name)
			return e
		}
	}
	return e
}

func (x *Index) outboundRule(m lbMembership, r *model.OutboundRule, a attachment) Egress {
	e := Egress{Hop: model.HopSNAT, Device: model.NewRef("loadbalancer", m.lb.Name, r.Name)}
	e.Decided = e.Device
	frontends := 0
	for _, id := range r.FrontendIDs {
		frontends += x.frontend(m.lb, id, &e)
	}
	if frontends == 0 {
		e.Verdict = model.Drop
		e.Reason = fmt.Sprintf("outbound rule %s of load balancer %s %s", r.Name, m.lb.Name, noFrontend(m.lb, r))
		return e
	}
	machines := Machines(x.az, m.lb, r)
	how := "by the default table"
	e.Ports = DefaultPorts(machines)
	if r.AllocatedPorts > 0 {
		e.Ports, how = r.AllocatedPorts, "set on the rule"
	}
	e.Verdict = model.Pass
	e.Reason = fmt.Sprintf("outbound rule %s of load balancer %s: %s, %d ports for each of %s (%s)",
		r.Name, m.lb.Name, plural(frontends, "public address"), e.Ports, plural(machines, "machine"), how)
	if need := e.Ports * machines; r.AllocatedPorts > 0 && need > frontendPorts*frontends {
		e.Trail = append(e.Trail, fmt.Sprintf("%d machines × %d ports = %d, more than the %d of its addresses", machines, e.Ports, need, frontendPorts*frontends))
	}
	return e
}

// Machines are those that share an outbound rule's ports: the members of its pool,
// and those that the cluster's node pools have by their count, which are added one
// by one while it grows; at least one.
func Machines(az *model.Azure, lb *model.LoadBalancer, r *model.OutboundRule) int {
	n := 1
	for _, p := range lb.Pools {
		if strings.EqualFold(p.ID, r.PoolID) {
			n = max(n, len(p.IPConfigs)+len(p.Addrs))
		}
	}
	if az.Cluster == nil || !strings.EqualFold(lb.Name, "kubernetes") { // the name that AKS gives its own
		return n
	}
	count := 0
	for _, pool := range az.Cluster.AgentPools {
		count += pool.Count
	}
	return max(n, count)
}

// noFrontend says of an outbound rule that gives no public address why it gives none.
func noFrontend(lb *model.LoadBalancer, r *model.OutboundRule) string {
	var private, absent []string
	for _, id := range r.FrontendIDs {
		i := slices.IndexFunc(lb.Frontends, func(f model.Frontend) bool { return strings.EqualFold(f.ID, id) })
		switch {
		case i < 0:
			absent = append(absent, lastOf(id))
		case lb.Frontends[i].PrivateIP.IsValid():
			private = append(private, lb.Frontends[i].Name+" ("+lb.Frontends[i].PrivateIP.String()+", a private address)")
		default:
			private = append(private, lb.Frontends[i].Name)
		}
	}
	switch {
	case len(private) > 0:
		return "leads to frontend " + strings.Join(private, ", ") + ", which has no public address"
	case len(absent) > 0:
		return "leads to frontend " + strings.Join(absent, ", ") + ", which the load balancer does not have"
	}
	return "names no frontend"
}

// frontend adds the public addresses of a frontend and says how many they are.
func (x *Index) frontend(lb *model.LoadBalancer, id string, e *Egress) int {
	for _, f := range lb.Frontends {
		if !strings.EqualFold(f.ID, id) {
			continue
		}
		switch {
		case f.PublicIPID != "":
			x.publicIP(f.PublicIPID, e)
			return 1
		case f.PrefixID != "":
			return x.prefix(f.PrefixID, e)
		}
		return 0
	}
	return 0
}

// DefaultPorts is how many source ports a Standard load balancer gives each
// machine of a pool of that size when the rule does not say.
func DefaultPorts(machines int) int {
	for _, b := range PortBrackets {
		if machines <= b.Machines {
			return b.Ports
		}
	}
	return 32
}

// PortBrackets are the sizes of a pool up to which each machine gets so many ports;
// above the last it is 32.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-outbound-connections#preallocatedports
var PortBrackets = []struct{ Machines, Ports int }{{50, 1024}, {100, 512}, {200, 256}, {400, 128}, {800, 64}}

// implicitSNAT is a public inbound rule that also gives egress (disableOutboundSnat is false).
func (x *Index) implicitSNAT(m lbMembership) (Egress, bool) {
	for _, r := range m.lb.Rules {
		if r.DisableSNAT || !strings.EqualFold(r.PoolID, m.pool.ID) {
			continue
		}
		e := Egress{Verdict: model.Pass, Hop: model.HopSNAT, Device: model.NewRef("loadbalancer", m.lb.Name, r.Name)}
		if x.frontend(m.lb, r.FrontendID, &e) > 0 {
			e.Decided, e.Ports = e.Device, DefaultPorts(max(len(m.pool.IPConfigs), 1))
			e.Reason = fmt.Sprintf("no outbound rule, but inbound rule %s of load balancer %s also translates outbound connections", r.Name, m.lb.Name)
			return e, true
		}
	}
	return Egress{}, false
}

// unreadPool is a NIC in the pool of a load balancer that was not read.
func (x *Index) unreadPool(a attachment, known []lbMembership) (Egress, bool) {
	if a.cfg == nil {
		return Egress{}, false
	}
	for _, id := range a.cfg.BackendPools {
		if slices.ContainsFunc(known, func(m lbMembership) bool { return strings.EqualFold(m.pool.ID, id) }) {
			continue
		}
		name := cmp.Or(segment(id, "loadBalancers"), lastOf(id))
		ref := model.NewRef("loadbalancer", name)
		gap := x.gap("loadbalancer", "load balancer "+name, ref, "Microsoft.Network/loadBalancers/read")
		return Egress{Hop: model.HopSNAT, Device: ref, Reason: "load balancer " + name + " was not read", Gaps: []model.Gap{gap}}, true
	}
	return Egress{}, false
}

// defaultOutbound is the last resort, which a private subnet or membership of a
// Standard load balancer takes away.
func (x *Index) defaultOutbound(a attachment, pools []lbMembership, protocol string) Egress {
	e := Egress{Hop: model.HopSNAT, Verdict: model.Drop}
	e.Decided, e.Hop, e.Reason = x.lacking(a, pools, protocol)
	standard := slices.ContainsFunc(pools, func(m lbMembership) bool { return !strings.EqualFold(m.lb.SKU, "basic") })
	switch d := a.subnet.DefaultOutbound; {
	case a.nic != nil && a.nic.DefaultOutboundConnectivity != nil && !*a.nic.DefaultOutboundConnectivity:
		e.Trail = append(e.Trail, "default outbound access is off for this network interface")
	case d != nil && !*d:
		e.Trail = append(e.Trail, fmt.Sprintf("default outbound access is off for subnet %s", a.subnet.Name))
	case standard:
		e.Trail = append(e.Trail, "membership of a Standard load balancer takes default outbound access away")
	default:
		return Egress{
			Verdict: model.Pass, Hop: model.HopSNAT, Decided: x.subnetRef(a.subnet),
			Reason: fmt.Sprintf("default outbound access of subnet %s: an address that nobody owns and that may change", a.subnet.Name),
			Trail:  []string{e.Reason},
		}
	}
	return e
}

// lacking names what should give egress, by what the cluster is meant to use.
func (x *Index) lacking(a attachment, pools []lbMembership, protocol string) (model.Ref, model.Hop, string) {
	subnet, kind := x.subnetRef(a.subnet), ""
	if c := x.az.Cluster; c != nil && !a.foreign {
		kind = cmp.Or(strings.ToLower(c.OutboundType), "loadbalancer")
	}
	nothing := fmt.Sprintf("nothing gives machines of subnet %s a public source address", a.subnet.Name)
	switch {
	case strings.Contains(kind, "natgateway"):
		return subnet, model.HopNATGW, nothing + fmt.Sprintf(": the outbound type is %s, and the subnet has no NAT gateway", x.az.Cluster.OutboundType)
	case kind == "userdefinedrouting":
		if rt := x.routingOf(a.subnet); rt != nil && rt.doc != nil {
			return model.NewRef("routetable", rt.doc.Name), model.HopRoute, nothing + fmt.Sprintf(": the outbound type is userDefinedRouting, and route table %s sends it to the internet, not to an appliance", rt.doc.Name)
		}
		return subnet, model.HopRoute, nothing + ": the outbound type is userDefinedRouting, and the subnet has no route table"
	case kind == "none" || kind == "block":
		return x.clusterRef(), model.HopSNAT, nothing + fmt.Sprintf(": the outbound type is %s", kind)
	case kind == "loadbalancer" && len(pools) > 0:
		if ref, why := otherProtocol(pools, protocol); why != "" {
			return ref, model.HopSNAT, nothing + ": " + why
		}
		return model.NewRef("loadbalancer", pools[0].lb.Name), model.HopSNAT, nothing + fmt.Sprintf(": load balancer %s has no outbound rule for pool %s", pools[0].lb.Name, pools[0].pool.Name)
	case kind == "loadbalancer" && a.nic != nil:
		return model.NewRef("nic", a.nic.Name), model.HopSNAT, nothing + fmt.Sprintf(": network interface %s is in no load balancer pool", a.nic.Name)
	}
	return subnet, model.HopSNAT, nothing
}

// otherProtocol is an outbound rule of these pools that is for another protocol.
func otherProtocol(pools []lbMembership, protocol string) (model.Ref, string) {
	for _, m := range pools {
		for _, r := range m.lb.Outbound {
			if strings.EqualFold(r.PoolID, m.pool.ID) {
				return model.NewRef("loadbalancer", m.lb.Name, r.Name),
					fmt.Sprintf("outbound rule %s of load balancer %s is for %s alone, and this is %s", r.Name, m.lb.Name, strings.ToUpper(r.Protocol), strings.ToUpper(protocol))
			}
		}
	}
	return "", ""
}

// snat translates the source for the internet.
func (t *tracer) snat(a attachment, via *EffectiveRoute) {
	e := t.x.egress(a, t.flow)
	if e.Verdict == model.Drop && e.Hop == model.HopRoute && via.Source == sourceUser {
		e.Decided = via.Ref // the table leads elsewhere; it is this route that goes past what leads out
		e.Reason += ": " + via.text()
	}
	if b := t.bare; b != nil && t.cannotTranslate(a, e) {
		t.add(model.Step{
			Hop: model.HopMasquerade, At: t.nodeRef(), Title: "source address translation",
			Verdict: model.Drop, Decided: b.decided,
			Reason: fmt.Sprintf("the packet carries %s, a pod's address that no device translates: %s", t.flow.Src, b.reason),
		})
		t.endpoint()
		return
	}
	t.addEgress(a, e)
	t.endpoint()
}

// cannotTranslate says whether a pod's own address is beyond the device: it is
// no address of the VNet, or a load balancer translates only primary ones.
func (t *tracer) cannotTranslate(a attachment, e Egress) bool {
	if _, ok := t.x.nicByIP[t.flow.Src]; !ok {
		if s, ok := t.x.subnets.Lookup(t.flow.Src); !ok || s != a.subnet {
			return true
		}
	}
	return e.Device.Kind() == "loadbalancer" || e.Device.Kind() == "publicip"
}

func (t *tracer) addEgress(a attachment, e Egress) {
	at := e.Device
	if at == "" {
		at = t.x.subnetRef(a.subnet)
	}
	s := model.Step{
		Hop: e.Hop, At: at, Title: "source address translation of subnet " + a.subnet.Name,
		Verdict: e.Verdict, Decided: e.Decided, Reason: e.Reason, Trail: e.Trail, Gaps: e.Gaps,
	}
	if e.Verdict == model.Pass {
		s.Out = t.flow
		s.Out.Src = netip.Addr{}
		if len(e.Addrs) == 1 {
			s.Out.Src = e.Addrs[0]
		}
		s.Out.SrcPort = 0
	}
	t.path.Device, t.path.Egress = e.Device, e.Addrs
	t.add(s)
}
