package fabric

import (
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/lab/nft"
	"github.com/podpath/podpath/lab/plan"
)

// The router's links. Each node has one as well (node0, node1, …).
const (
	fwLink       = "fw"
	dnsLink      = "azure-dns"
	apiLink      = "apiserver"
	internetLink = "internet"
	// nullLink leads nowhere. What Azure drops at a route goes there, with a next
	// hop that says why, so that the drop can be counted after the NSG had its say;
	// a blackhole route would drop before it.
	nullLink = "null0"
)

var (
	internetHop = netip.MustParseAddr("100.64.0.2")
	nullHops    = map[string]netip.Addr{
		counterNoneRoute:   netip.MustParseAddr("169.254.0.1"),
		counterNoHost:      netip.MustParseAddr("169.254.0.2"),
		counterNoAppliance: netip.MustParseAddr("169.254.0.3"),
		counterGateway:     netip.MustParseAddr("169.254.0.4"),
		counterPeering:     netip.MustParseAddr("169.254.0.5"),
		counterInbound:     netip.MustParseAddr("169.254.0.6"),
	}
)

// systemNone are the ranges that Azure's own routes send to None.
var systemNone = func() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range strings.Fields("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 127.0.0.0/8 198.18.0.0/15 25.4.0.0/14 " +
		"25.148.0.0/15 25.150.0.0/16 25.152.0.0/14 25.156.0.0/16 25.159.0.0/16 25.176.0.0/13 25.184.0.0/14 40.108.0.0/17 40.109.0.0/16 " +
		"104.146.0.0/17 104.147.0.0/16 157.59.0.0/16 23.103.0.0/18 20.35.252.0/22") {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

// hop is one entry of a subnet's effective routes.
type hop struct {
	prefix  netip.Prefix
	kind    string // as ARM writes it, lower case
	addr    netip.Addr
	learned bool // by BGP
}

// effective is what a subnet's packets are routed by: one hop a prefix, user
// routes before learned ones before Azure's own.
func (w *world) effective(s *resource[subnet]) ([]hop, error) {
	byPrefix := map[netip.Prefix]hop{}
	add := func(prefixes []netip.Prefix, kind string) {
		for _, p := range prefixes {
			byPrefix[p] = hop{prefix: p, kind: kind}
		}
	}
	add([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, "internet")
	add(systemNone, "none")
	table, hasTable := w.docs.tables[s.Properties.RouteTable.key()]
	if !hasTable || !table.Properties.DisableBgpRoutePropagation {
		for _, p := range w.learned {
			// Azure prefers its own routes for the VNet and its peers, whatever BGP says.
			if !slices.ContainsFunc(slices.Concat(w.vnet, w.peered), func(v netip.Prefix) bool { return v.Bits() <= p.Bits() && v.Overlaps(p) }) {
				byPrefix[p] = hop{prefix: p, kind: "virtualnetworkgateway", learned: true}
			}
		}
	}
	add(w.peered, "vnetpeering")
	add(w.vnet, "vnetlocal")
	for _, r := range table.Properties.Routes {
		hops, err := w.userRoute(r.Properties)
		if err != nil {
			return nil, fmt.Errorf("route table %s, route %s: %w", table.Name, r.Name, err)
		}
		for _, h := range hops {
			byPrefix[h.prefix] = h
		}
	}
	out := make([]hop, 0, len(byPrefix))
	for _, h := range byPrefix {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b hop) int {
		if c := a.prefix.Addr().Compare(b.prefix.Addr()); c != 0 {
			return c
		}
		return a.prefix.Bits() - b.prefix.Bits()
	})
	return out, nil
}

// userRoute reads a user route; one for a service tag is one for each of its ranges.
func (w *world) userRoute(r route) ([]hop, error) {
	h := hop{kind: lower(r.NextHopType)}
	if h.kind == "virtualappliance" {
		a, err := netip.ParseAddr(r.NextHopIPAddress)
		if err != nil {
			return nil, fmt.Errorf("nextHopIpAddress: %w", err)
		}
		h.addr = a
	}
	if t, isTag := w.tag(r.AddressPrefix); isTag {
		var out []hop
		for _, s := range t {
			for _, p := range s.CIDRs() {
				h.prefix = p
				out = append(out, h)
			}
		}
		return out, nil
	}
	p, err := nft.ParsePrefix(r.AddressPrefix)
	if err != nil {
		return nil, fmt.Errorf("addressPrefix: %w", err)
	}
	if !p.Addr().Is4() {
		return nil, nil
	}
	h.prefix = p
	return []hop{h}, nil
}

// lookup finds the hop for an address.
func lookup(hops []hop, a netip.Addr) hop {
	best := hop{prefix: netip.PrefixFrom(a, 0), kind: "none"}
	found := false
	for _, h := range hops {
		if h.prefix.Contains(a) && (!found || h.prefix.Bits() > best.prefix.Bits()) {
			best, found = h, true
		}
	}
	return best
}

// compileRoutes writes the router's rules and routes as lines for `ip -batch`,
// without their verb: "rule …" and "route …". Each subnet has a table of its own.
func (w *world) compileRoutes() ([]string, error) {
	var lines []string
	for _, a := range []netip.Addr{plan.AzureDNS, plan.APIServer.Addr()} {
		lines = append(lines, fmt.Sprintf("rule pref 10 to %s lookup main", a)) // the platform and the control plane are no subject of routes
	}
	used := map[uint32]string{}
	for i := range w.subnets {
		s := &w.subnets[i]
		hops, err := w.effective(s)
		if err != nil {
			return nil, err
		}
		id := tableID(s.key(), used)
		for _, n := range w.nics {
			if n.link == "" {
				continue
			}
			if n.subnet == s.key() {
				lines = append(lines, fmt.Sprintf("rule pref 200 iif %s lookup %d", n.link, id))
			} else if w.carries(n, s) {
				for _, p := range subnetPrefixes(s) {
					lines = append(lines, fmt.Sprintf("rule pref 100 iif %s from %s lookup %d", n.link, p, id))
				}
			}
		}
		// A table has one route for a prefix: where a user's says "in the VNet" of what
		// somebody has, it is the one that leads there.
		hosts := w.hostRoutes(hops, id)
		for _, h := range hops {
			if _, has := hosts[h.prefix]; !has {
				lines = append(lines, fmt.Sprintf("route %s %s table %d", h.prefix, w.via(h), id))
			}
		}
		lines = slices.AppendSeq(lines, maps.Values(hosts))
	}
	lines = append(lines, w.mainRoutes()...)
	slices.Sort(lines)
	return slices.Compact(lines), nil
}

// tableID is stable for a subnet whatever other subnets come and go.
func tableID(key string, used map[uint32]string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(key))
	id := 1000 + h.Sum32()%1000000
	for used[id] != "" {
		id++
	}
	used[id] = key
	return id
}

func null(counter string) string {
	return fmt.Sprintf("via %s dev %s onlink", nullHops[counter], nullLink)
}

// via is where a hop leads.
func (w *world) via(h hop) string {
	switch h.kind {
	case "internet":
		return fmt.Sprintf("via %s dev %s onlink", internetHop, internetLink)
	case "vnetlocal":
		return null(counterNoHost) // the hosts that are there have routes of their own
	case "virtualnetworkgateway":
		return null(counterGateway)
	case "vnetpeering":
		return null(counterPeering)
	case "virtualappliance":
		if n := w.owner(h.addr); n != nil && n.forwarding && n.link != "" {
			return fmt.Sprintf("via %s dev %s onlink", n.addr, n.link)
		}
		return null(counterNoAppliance)
	}
	return null(counterNoneRoute)
}

// hostRoutes lead to the addresses that NICs have, where the subnet's routes say
// "in the VNet", and to what the platform carries for an overlay.
func (w *world) hostRoutes(hops []hop, table uint32) map[netip.Prefix]string {
	lines := map[netip.Prefix]string{}
	for _, n := range w.nics {
		if n.link == "" {
			continue
		}
		for _, a := range n.addrs {
			if lookup(hops, a).kind == "vnetlocal" {
				host := netip.PrefixFrom(a, 32)
				lines[host] = fmt.Sprintf("route %s %s table %d", host, n.to(a), table)
			}
		}
		for _, p := range n.carried {
			h := lookup(hops, p.Addr())
			if h.kind == "vnetlocal" || (w.overlay() && h.prefix.Bits() < p.Bits()) {
				lines[p] = fmt.Sprintf("route %s via %s dev %s onlink table %d", p, n.addr, n.link, table)
			}
		}
	}
	return lines
}

// to is the way to one of a NIC's own addresses. Only the primary one is asked
// for by ARP; the others are the pods', behind the node.
func (n *nic) to(a netip.Addr) string {
	if a == n.addr {
		return "dev " + n.link
	}
	return fmt.Sprintf("via %s dev %s onlink", n.addr, n.link)
}

// mainRoutes serve what comes from the internet, the platform and the control
// plane, which reach every address of the VNet and every pod.
func (w *world) mainRoutes() []string {
	lines := []string{
		fmt.Sprintf("route default via %s dev %s onlink", internetHop, internetLink),
		fmt.Sprintf("route %s dev %s", netip.PrefixFrom(plan.AzureDNS, 32), dnsLink),
		fmt.Sprintf("route %s dev %s", netip.PrefixFrom(plan.APIServer.Addr(), 32), apiLink),
		fmt.Sprintf("route %s %s", plan.EgressPrefix, null(counterInbound)),
	}
	for _, p := range slices.Concat(systemNone[:4], w.vnet) {
		lines = append(lines, fmt.Sprintf("route %s %s", p, null(counterNoHost)))
	}
	for _, n := range w.nics {
		if n.link == "" {
			continue
		}
		for _, a := range n.addrs {
			lines = append(lines, fmt.Sprintf("route %s %s", netip.PrefixFrom(a, 32), n.to(a)))
		}
		if n.node != nil && !w.plan.Topology.PodsInVNet() || len(n.carried) > 0 {
			lines = append(lines, fmt.Sprintf("route %s via %s dev %s onlink", n.node.PodCIDR, n.addr, n.link))
		}
	}
	return lines
}
