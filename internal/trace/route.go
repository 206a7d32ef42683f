package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/podpath/podpath/internal/model"
)

// Kinds of next hop. The set is open: others are passed through as served.
const (
	nextVNet      = "VnetLocal"
	nextPeering   = "VNetPeering"
	nextInternet  = "Internet"
	nextNone      = "None"
	nextAppliance = "VirtualAppliance"
	nextGateway   = "VirtualNetworkGateway"
	nextService   = "VirtualNetworkServiceEndpoint"
)

// EffectiveRoute is one route as Azure would list it for a NIC in a subnet.
type EffectiveRoute struct {
	Name    string       // the user-defined route's name
	Prefix  netip.Prefix // unset for a service tag
	Tag     string
	Type    string // next hop type
	NextHop netip.Addr
	Source  string    // Default, VirtualNetworkGateway, User
	Active  bool      // false: overridden by a better source for the same prefix
	Ref     model.Ref // routetable/NAME/ROUTE, peering/VNET/NAME, vnet/NAME
}

// rank orders sources for one prefix: user-defined, then BGP, then system.
func (r *EffectiveRoute) rank() int {
	switch r.Source {
	case sourceUser:
		return 2
	case sourceBGP:
		return 1
	}
	return 0
}

const (
	sourceSystem = "Default"
	sourceBGP    = "VirtualNetworkGateway"
	sourceUser   = "User"
)

// routing is what one subnet's packets are routed by.
type routing struct {
	subnet     *model.Subnet
	doc        *model.RouteTable // nil: none, or not read
	table      bart.Table[*EffectiveRoute]
	all        []*EffectiveRoute
	user, tags []*EffectiveRoute
	bgp        []netip.Prefix // learned, also where propagation hides them
	complete   bool           // the route table, if there is one, was read
	bgpOpen    string         // a gateway whose learned routes were not read
	gaps       []model.Gap
}

// systemNone are the ranges that Azure drops unless the VNet holds them.
var systemNone = parsePrefixes(
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "198.18.0.0/15", "25.4.0.0/14",
	"25.148.0.0/15", "25.150.0.0/16", "25.152.0.0/14", "25.156.0.0/16", "25.159.0.0/16", "25.176.0.0/13", "25.184.0.0/14", "40.108.0.0/17",
	"40.109.0.0/16", "104.146.0.0/17", "104.147.0.0/16", "157.59.0.0/16", "23.103.0.0/18", "20.35.252.0/22")

func parsePrefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// buildRouting computes a subnet's effective routes: Azure itself will not give
// them for the NICs of scale sets.
func (x *Index) buildRouting(s *model.Subnet) *routing {
	r := &routing{subnet: s, complete: true}
	v := x.vnetOf(s)
	x.systemRoutes(r, s, v)
	if id := s.RouteTableID; id != "" {
		r.doc = x.routeTable(id)
		if r.doc == nil {
			r.complete = false
			name := lastOf(id)
			r.gaps = append(r.gaps, x.gap("routetable", "route table "+name, model.NewRef("routetable", name), "Microsoft.Network/routeTables/read"))
		}
	}
	x.bgpRoutes(r, v)
	if r.doc != nil {
		r.userRoutes()
	}
	for _, e := range r.all {
		if !e.Prefix.IsValid() {
			e.Active = true
			continue
		}
		if best, ok := r.table.Get(e.Prefix); ok {
			e.Active = best == e
		}
	}
	return r
}

func (x *Index) routeTable(id string) *model.RouteTable {
	if d := x.az.RouteTables[strings.ToLower(id)]; d != nil {
		return d
	}
	return x.az.RouteTables[id]
}

func (r *routing) insert(e *EffectiveRoute) {
	r.all = append(r.all, e)
	if e.Source == sourceUser {
		r.user = append(r.user, e)
	}
	if e.Tag != "" {
		r.tags = append(r.tags, e)
		return
	}
	if old, ok := r.table.Get(e.Prefix); ok && old.rank() >= e.rank() {
		return
	}
	r.table.Insert(e.Prefix, e)
}

func (x *Index) systemRoutes(r *routing, s *model.Subnet, v *model.VNet) {
	prefixes, ref := s.Prefixes, x.subnetRef(s)
	if v != nil {
		prefixes, ref = v.Prefixes, model.NewRef("vnet", v.Name)
	} else {
		name := segment(s.ID, "virtualNetworks")
		r.gaps = append(r.gaps, x.gap("vnet", "virtual network "+name, model.NewRef("vnet", name), "Microsoft.Network/virtualNetworks/read"))
	}
	system := func(p netip.Prefix, kind string, ref model.Ref) {
		r.insert(&EffectiveRoute{Prefix: p.Masked(), Type: kind, Source: sourceSystem, Ref: ref})
	}
	for _, p := range prefixes {
		system(p, nextVNet, ref)
	}
	if v != nil {
		for i := range v.Peerings {
			p := &v.Peerings[i]
			if !connected(p) {
				continue
			}
			for _, remote := range p.RemotePrefixes {
				system(remote, nextPeering, model.NewRef("peering", v.Name, p.Name))
			}
		}
	}
	for _, p := range systemNone {
		system(p, nextNone, x.subnetRef(s))
	}
	system(netip.MustParsePrefix("0.0.0.0/0"), nextInternet, x.subnetRef(s))
	system(netip.MustParsePrefix("::/0"), nextInternet, x.subnetRef(s))
}

// bgpRoutes adds what a gateway of the VNet (or of a peer that lends it) has
// learned, unless the table hides it.
func (x *Index) bgpRoutes(r *routing, v *model.VNet) {
	list := x.gatewaysOf(v)
	if len(list) == 0 && !x.read("vnetgateway") && (v == nil || hasGatewaySubnet(v)) && (r.doc == nil || !r.doc.DisablePropagation) {
		r.bgpOpen = "of the virtual network"
		if v != nil {
			r.gaps = append(r.gaps, x.gap("vnetgateway", "virtual network gateways", "", "Microsoft.Network/virtualNetworkGateways/read"))
		}
	}
	for _, g := range list {
		learned := g.Learned
		if g.DefaultSite != "" {
			learned = append(slices.Clone(learned), netip.MustParsePrefix("0.0.0.0/0"))
		}
		r.bgp = append(r.bgp, learned...)
		if r.doc != nil && r.doc.DisablePropagation {
			continue
		}
		if g.Learned == nil && g.DefaultSite == "" {
			r.bgpOpen = g.Name
			r.gaps = append(r.gaps, x.gap("vnetgateway", "routes that gateway "+g.Name+" has learned", "", "Microsoft.Network/virtualNetworkGateways/getLearnedRoutes/action"))
		}
		for _, p := range learned {
			r.insert(&EffectiveRoute{Prefix: p.Masked(), Type: nextGateway, Source: sourceBGP, Ref: model.NewRef("vnet", segment(g.VNetID, "virtualNetworks"))})
		}
	}
}

func (r *routing) userRoutes() {
	name := cmp.Or(r.doc.Name, lastOf(r.doc.ID))
	for _, u := range r.doc.Routes {
		e := &EffectiveRoute{Name: u.Name, Type: canonicalNext(u.NextHopType), NextHop: u.NextHop.Unmap(), Source: sourceUser, Ref: model.NewRef("routetable", name, u.Name)}
		if p, err := netip.ParsePrefix(u.Prefix); err == nil {
			e.Prefix = p.Masked()
		} else if a, err := netip.ParseAddr(u.Prefix); err == nil {
			e.Prefix = netip.PrefixFrom(a, a.BitLen())
		} else {
			e.Tag = u.Prefix
		}
		r.insert(e)
	}
}

func canonicalNext(kind string) string {
	for _, k := range []string{nextVNet, nextInternet, nextNone, nextAppliance, nextGateway} {
		if strings.EqualFold(k, kind) {
			return k
		}
	}
	if strings.EqualFold(kind, "VirtualNetwork") {
		return nextVNet
	}
	return kind
}

// choice is the route that a packet takes, and how sure that is.
type choice struct {
	route *EffectiveRoute
	sure  bool
	why   string // why it is not
	trail []string
	gaps  []model.Gap
}

// choose picks the route for an address: the longest prefix, then the source.
func (r *routing) choose(x *Index, f model.Flow) choice {
	c := choice{sure: true}
	dst := f.Dst
	if dst.IsValid() {
		c.route, _ = r.table.Lookup(dst)
	} else {
		c.route, _ = r.table.Get(netip.MustParsePrefix("0.0.0.0/0"))
	}
	for _, e := range r.all {
		if e != c.route && (e.Prefix.IsValid() && dst.IsValid() && e.Prefix.Contains(dst)) {
			c.trail = append(c.trail, fmt.Sprintf("%s: less specific or overridden", e.text()))
		}
	}
	r.preferSystem(&c, dst)
	if !r.complete {
		c.sure, c.why = false, "the subnet's route table was not read"
		c.gaps = r.gaps
		return c
	}
	r.openTags(x, f, &c)
	r.openAddress(f, &c)
	if c.route != nil && r.bgpOpen != "" && (c.route.Source == sourceUser && c.route.Prefix.Bits() < 32 || c.route.Source == sourceSystem && c.route.Type != nextVNet && c.route.Type != nextPeering) {
		c.sure, c.why = false, fmt.Sprintf("gateway %s may have learned a more specific route", r.bgpOpen)
		c.gaps = r.gaps
	}
	return c
}

// openAddress makes the choice unsure when the address is not known and a route
// of its own may hold it.
func (r *routing) openAddress(f model.Flow, c *choice) {
	if f.Dst.IsValid() {
		return
	}
	for _, e := range r.user {
		if e.Prefix.IsValid() && e.Prefix.Bits() > 0 && !privateAddr(e.Prefix.Addr()) && !sameNext(c.route, e) {
			c.sure, c.why = false, fmt.Sprintf("%s may hold the address, which is not known", e.text())
			c.gaps = append(c.gaps, model.Gap{What: "address of " + cmp.Or(f.Host, "the destination"), Reason: "no probe found it out"})
			return
		}
	}
}

// userHolds is the length of the longest user-defined route for an address, -1 without one.
func (r *routing) userHolds(a netip.Addr) int {
	bits := -1
	for _, u := range r.user {
		if u.Prefix.IsValid() && u.Prefix.Contains(a) {
			bits = max(bits, u.Prefix.Bits())
		}
	}
	return bits
}

// preferSystem lets the VNet's own and peering routes win over more specific BGP routes.
func (r *routing) preferSystem(c *choice, dst netip.Addr) {
	if c.route == nil || c.route.Source != sourceBGP || !dst.IsValid() {
		return
	}
	for _, e := range r.all {
		if e.Source == sourceSystem && e.Active && (e.Type == nextVNet || e.Type == nextPeering) && e.Prefix.Contains(dst) {
			c.route = e
		}
	}
}

// openTags makes the choice unsure when a service-tag route could hold the
// destination. An explicit prefix wins over a tag only when it is as long, so
// only a host route is safe.
func (r *routing) openTags(x *Index, f model.Flow, c *choice) {
	for _, e := range r.tags {
		m, why := x.inTag(e.Tag, f.Dst, f, r.subnet, true)
		switch m {
		case no:
			c.trail = append(c.trail, e.text()+": not in the tag")
		case yes:
			c.route = e
		case maybe:
			if c.route != nil && c.route.Source == sourceUser && c.route.Prefix.IsSingleIP() || sameNext(c.route, e) {
				continue
			}
			c.sure, c.why = false, fmt.Sprintf("%s may win: %s", e.text(), why)
		}
	}
}

func sameNext(a, b *EffectiveRoute) bool {
	return a != nil && a.Type == b.Type && a.NextHop == b.NextHop
}

func (e *EffectiveRoute) text() string {
	what := cmp.Or(e.Tag, e.Prefix.String())
	to := e.Type
	if e.NextHop.IsValid() {
		to += " " + e.NextHop.String()
	}
	from := "system route"
	switch e.Source {
	case sourceUser:
		from = "route " + e.Name
	case sourceBGP:
		from = "route learned by the gateway"
	}
	return fmt.Sprintf("%s %s → %s", from, what, to)
}

// EffectiveRoutes lists the routes of a subnet, overridden ones too, longest prefix first.
func (x *Index) EffectiveRoutes(subnetID string) []EffectiveRoute {
	r := x.routing[strings.ToLower(subnetID)]
	if r == nil {
		return nil
	}
	out := make([]EffectiveRoute, len(r.all))
	for i, e := range r.all {
		out[i] = *e
	}
	slices.SortStableFunc(out, func(a, b EffectiveRoute) int {
		return cmp.Or(b.Prefix.Bits()-a.Prefix.Bits(), a.Prefix.Addr().Compare(b.Prefix.Addr()), b.rank()-a.rank())
	})
	return out
}

// gatewaysOf are the gateways that a VNet may use: its own, and those of peers that lend theirs.
func (x *Index) gatewaysOf(v *model.VNet) []*model.VNetGateway {
	if v == nil {
		return nil
	}
	out := slices.Clone(x.gateways[strings.ToLower(v.ID)])
	for i := range v.Peerings {
		if p := &v.Peerings[i]; connected(p) && p.UseRemoteGateways {
			remote := x.gateways[strings.ToLower(p.RemoteVNetID)]
			if len(remote) == 0 {
				remote = []*model.VNetGateway{{Name: "of " + lastOf(p.RemoteVNetID), VNetID: p.RemoteVNetID}}
			}
			out = append(out, remote...)
		}
	}
	if len(out) == 0 && !x.read("vnetgateway") && hasGatewaySubnet(v) {
		out = append(out, &model.VNetGateway{Name: "of " + v.Name, VNetID: v.ID})
	}
	return out
}

// hasGatewaySubnet is the sign of a gateway that was not read: only gateways live in that subnet.
func hasGatewaySubnet(v *model.VNet) bool {
	return slices.ContainsFunc(v.SubnetIDs, func(id string) bool { return strings.EqualFold(lastOf(id), "GatewaySubnet") })
}

func connected(p *model.Peering) bool { return strings.EqualFold(p.State, "Connected") }
