package fabric

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/lab/nft"
	"github.com/podpath/podpath/lab/plan"
)

const (
	lbFirstPort    = 1024
	lbPorts        = 64000 // per frontend address and protocol
	natFirstPort   = 1024
	natLastPort    = 65535 // 64,512 ports
	fwPorts        = 2 * 2496
	tcpSynSent     = 30
	defaultMinutes = 4
)

// defaultOutbound is the address that nobody owns, of subnets that are not private.
var defaultOutbound = netip.MustParseAddr("192.0.2.250")

// egress is one way of translating sources towards the internet: who may use it,
// what they become.
type egress struct {
	resource string // ARM id of the device
	kind     string // natgw, instance, lb, firewall, default
	name     string // of its counters
	backend  netip.Addr
	sources  nft.Set
	protocol string // tcp, udp, or "" for both
	public   []netip.Addr
	lo, hi   uint32
	idle     int  // seconds without a packet after which a connection is forgotten
	reset    bool // answers what comes after the idle time-out
	icmp     bool
}

// lbDefaultPorts is Azure's table for an outbound rule without a number.
func lbDefaultPorts(instances int) int {
	for _, row := range []struct{ pool, ports int }{{50, 1024}, {100, 512}, {200, 256}, {400, 128}, {800, 64}} {
		if instances <= row.pool {
			return row.ports
		}
	}
	return 32
}

// outbound decides for every source of the VNet how it leaves: the subnet's NAT
// gateway before an address of the NIC before a load balancer's outbound rule
// before default outbound access. What has none of these has no egress.
func (w *world) outbound() []egress {
	var out []egress
	for i := range w.subnets {
		s := &w.subnets[i]
		sources := w.sources(s)
		if len(sources) == 0 {
			continue
		}
		if s.Properties.NatGateway != nil {
			if e, ok := w.natEgress(s, sources); ok {
				out = append(out, e)
			}
			continue // a NAT gateway without an address is still the way, and a dead end
		}
		out = append(out, w.nicEgress(s, sources)...)
	}
	return out
}

// sources are the addresses of a subnet that the platform knows: those of NICs,
// and blocks of a pod subnet. An overlay's or kubenet's pod range is not among
// them: such a packet, not masqueraded by its node, is nobody's.
func (w *world) sources(s *resource[subnet]) nft.Set {
	var out nft.Set
	for _, n := range w.nics {
		out = append(out, w.sourcesOf(n, s)...)
	}
	return out.Merge()
}

func (w *world) sourcesOf(n *nic, s *resource[subnet]) nft.Set {
	var out nft.Set
	for _, p := range subnetPrefixes(s) {
		for _, a := range n.addrs {
			if p.Contains(a) {
				out = append(out, nft.AddrSpan(a))
			}
		}
		for _, c := range n.carried {
			if p.Contains(c.Addr()) {
				out = append(out, nft.PrefixSpan(c))
			}
		}
	}
	return out.Merge()
}

func (w *world) natEgress(s *resource[subnet], sources nft.Set) (egress, bool) {
	g, ok := w.docs.nats[s.Properties.NatGateway.key()]
	public := w.docs.addresses(g.Properties.PublicIPAddresses, g.Properties.PublicIPPrefixes)
	if !ok || len(public) == 0 {
		return egress{}, false
	}
	return egress{
		resource: lower(g.ID), kind: "natgw", name: natCounter(g.Name), sources: sources, public: public,
		lo: natFirstPort, hi: lastPort(g.Tags, natLastPort), idle: idle(g.Tags, g.Properties.IdleTimeoutInMinutes), reset: g.Tags["labIdleSilent"] != "true",
	}, true
}

// idle is a device's idle time-out in seconds. Azure knows minutes; the tag
// labIdleSeconds makes it short enough to be waited for, and labIdleSilent lets
// the device say nothing when a forgotten connection is used again.
func idle(tags map[string]string, minutes int) int {
	return cmp.Or(number(tags, "labIdleSeconds"), cmp.Or(minutes, defaultMinutes)*60)
}

// number is a tag that is a number above zero, or 0. Tags that begin with "lab"
// make small and short what nobody could use up or wait for.
func number(tags map[string]string, name string) int {
	n, err := strconv.Atoi(tags[name])
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// lastPort is the last source port of each address of a device: the tag labPorts
// says how many there are.
func lastPort(tags map[string]string, last uint32) uint32 {
	if n := number(tags, "labPorts"); n > 0 {
		return min(last, natFirstPort+uint32(n)-1)
	}
	return last
}

func natCounter(name string) string { return "natgw/" + nft.Ident(name) }

// nicEgress is the way out of a subnet without NAT gateway, NIC by NIC.
func (w *world) nicEgress(s *resource[subnet], sources nft.Set) []egress {
	var out []egress
	left := sources
	for _, n := range w.nics {
		if len(n.public) == 0 || n.subnet != s.key() {
			continue
		}
		e := egress{
			resource: n.id, kind: "instance", name: "instance/" + nft.Ident(n.name), sources: nft.Set{nft.AddrSpan(n.addr)}, public: n.public,
			lo: natFirstPort, hi: natLastPort, idle: defaultMinutes * 60, icmp: true,
		}
		if n.firewall {
			e.kind, e.name, e.hi = "firewall", "firewall/"+nft.Ident(n.name), lastPort(n.tags, natFirstPort+fwPorts-1)
		}
		left = left.Minus(e.sources)
		out = append(out, e)
	}
	for _, e := range w.balancerEgress(s) {
		e.sources = e.sources.Minus(sources.Minus(left)) // what has an address of its own does not use the balancer
		if len(e.sources) > 0 {
			out = append(out, e)
		}
	}
	if open := s.Properties.DefaultOutboundAccess; open == nil || *open {
		for _, n := range w.nics {
			if len(n.pools) > 0 { // a Standard load balancer takes default outbound access away
				left = left.Minus(w.sourcesOf(n, s))
			}
		}
		if len(left) > 0 {
			out = append(out, egress{
				kind: "default", name: "default-outbound", sources: left, public: []netip.Addr{defaultOutbound},
				lo: natFirstPort, hi: natLastPort, idle: defaultMinutes * 60,
			})
		}
	}
	return out
}

// machines are those that the cluster's pools have in ARM: more than the lab runs
// take their share of an address all the same.
func (d *documents) machines() int {
	n := 0
	for _, c := range d.clusters {
		for _, p := range c.Properties.AgentPoolProfiles {
			n += p.Count
		}
	}
	return n
}

// balancerEgress gives every member of an outbound rule's pool its own ports.
func (w *world) balancerEgress(s *resource[subnet]) []egress {
	var out []egress
	for _, lb := range w.docs.balancers {
		for _, rule := range lb.Properties.OutboundRules {
			pool := rule.Properties.BackendAddressPool.key()
			public := w.frontends(lb, rule.Properties)
			if pool == "" || len(public) == 0 {
				continue
			}
			members := w.members(lb, pool)
			ports := rule.Properties.AllocatedOutboundPorts
			if ports <= 0 {
				ports = lbDefaultPorts(max(len(members), w.docs.machines()))
			}
			for i, n := range members {
				per := lbPorts / ports // instances that one address can serve
				if per == 0 || i/per >= len(public) {
					continue
				}
				e := egress{
					resource: lower(lb.ID), kind: "lb", name: "lb/" + nft.Ident(lb.Name) + "/" + nft.Ident(rule.Name) + "/" + n.addr.String(),
					backend: n.addr, public: public[i/per : i/per+1], idle: idle(lb.Tags, rule.Properties.IdleTimeoutInMinutes), reset: rule.Properties.EnableTCPReset,
					protocol: balancerProtocol(rule.Properties.Protocol),
				}
				e.lo = uint32(lbFirstPort + i%per*ports)
				e.hi = e.lo + uint32(ports) - 1
				if e.sources = w.balanced(n, s, pool); len(e.sources) > 0 {
					out = append(out, e)
				}
			}
		}
	}
	return out
}

func balancerProtocol(p string) string {
	if p = lower(p); p == "tcp" || p == "udp" {
		return p
	}
	return ""
}

func (w *world) frontends(lb resource[loadBalancer], rule outboundRule) []netip.Addr {
	var out []netip.Addr
	for _, r := range rule.FrontendIPConfigurations {
		for _, f := range lb.Properties.FrontendIPConfigurations {
			if strings.EqualFold(r.ID[strings.LastIndexByte(r.ID, '/')+1:], f.Name) {
				out = append(out, w.docs.addresses(refs(f.Properties.PublicIPAddress), refs(f.Properties.PublicIPPrefix))...)
			}
		}
	}
	return out
}

// members are the NICs of a pool, told by the NICs, by the pool, or by address.
func (w *world) members(lb resource[loadBalancer], pool string) []*nic {
	var out []*nic
	for _, n := range w.nics {
		in := len(n.poolAddrs[pool]) > 0
		for _, p := range lb.Properties.BackendAddressPools {
			if lower(p.ID) != pool && lower(lb.ID)+"/backendaddresspools/"+lower(p.Name) != pool {
				continue
			}
			for _, c := range p.Properties.BackendIPConfigurations {
				in = in || (n.id != "" && strings.HasPrefix(c.key(), n.id+"/"))
			}
			for _, a := range p.Properties.LoadBalancerBackendAddresses {
				in = in || a.Properties.IPAddress == n.addr.String()
			}
		}
		if in {
			out = append(out, n)
		}
	}
	return out
}

// balanced are the sources of a member that the balancer translates: the
// configurations in the pool, the primary one if none says so, and the pod blocks
// of a pod subnet, which leave through their node's NIC.
func (w *world) balanced(n *nic, s *resource[subnet], pool string) nft.Set {
	var out nft.Set
	addrs := n.poolAddrs[pool]
	if len(addrs) == 0 {
		addrs = []netip.Addr{n.addr}
	}
	for _, p := range subnetPrefixes(s) {
		for _, a := range addrs {
			if p.Contains(a) {
				out = append(out, nft.AddrSpan(a))
			}
		}
		for _, c := range n.carried {
			if w.plan.Topology.CNI == plan.PodSubnet && p.Contains(c.Addr()) {
				out = append(out, nft.PrefixSpan(c))
			}
		}
	}
	return out.Merge()
}

// compileOutbound writes what happens to a packet that the routes send to the
// internet.
func (w *world) compileOutbound(t *nft.Table, ways []egress) {
	t.Chain("outbound", "")
	t.Chain("nat", "type nat hook postrouting priority srcnat + 5; policy accept;")
	t.Chain("leave", "type filter hook postrouting priority srcnat + 50; policy accept;")
	timers := map[string]bool{}
	var live nft.Set
	for _, e := range ways {
		timer := fmt.Sprintf("%s-%d", e.kind, e.idle)
		if !timers[timer] {
			timers[timer] = true
			t.Objects = append(t.Objects, e.timer(timer))
		}
		from := "ip saddr " + e.sources.Text() + " "
		proto := "meta l4proto { tcp, udp } "
		if e.protocol != "" {
			proto = "meta l4proto " + e.protocol + " "
		}
		if e.reset {
			t.Rules("outbound", []string{from + "ct state invalid meta l4proto tcp tcp flags & rst == 0 "}, e.name+"/idle-reset", "reject with tcp reset")
		}
		t.Rule("outbound", from+`meta l4proto tcp ct timeout set "`+timer+`"`)
		if !e.icmp {
			t.Rules("outbound", []string{from + "meta l4proto icmp "}, counterICMP, "drop")
		}
		w.translate(t, e, from, proto)
		for _, a := range e.public {
			live = append(live, nft.AddrSpan(a))
		}
	}
	for _, lb := range w.docs.balancers { // flows outlive the day when a NAT gateway takes over
		for _, rule := range lb.Properties.OutboundRules {
			for _, a := range w.frontends(lb, rule.Properties) {
				live = append(live, nft.AddrSpan(a))
			}
		}
	}
	if live = live.Merge(); len(live) > 0 {
		t.Rules("leave", []string{`oifname "` + internetLink + `" ip saddr != ` + live.Text() + " "}, counterUnNATed, "drop")
	} else {
		t.Rules("leave", []string{`oifname "` + internetLink + `" `}, counterUnNATed, "drop")
	}
}

// timer is the device's idle time-out as a connection tracking policy. Closed
// connections give their port back after Azure's cool-down, not Linux's.
func (e egress) timer(name string) string {
	return fmt.Sprintf("ct timeout %s { protocol tcp; l3proto ip; policy = { established: %d, syn_sent: %d, fin_wait: 65, time_wait: 65, close: 16, last_ack: 30, close_wait: 60 }; }",
		name, e.idle, tcpSynSent)
}

func (w *world) translate(t *nft.Table, e egress, from, proto string) {
	out := `oifname "` + internetLink + `" ` + from
	if len(e.public) == 1 {
		t.Rules("nat", []string{out + proto}, e.name+"/attempted", e.snat(0))
	} else {
		chain := "nat_" + nft.Ident(strings.ReplaceAll(e.name, "/", "_"))
		t.Chain(chain, "")
		cases := make([]string, len(e.public))
		for i := range e.public {
			one := fmt.Sprintf("%s_%d", chain, i)
			t.Rule(one, proto+e.snat(i))
			cases[i] = fmt.Sprintf("%d : goto %s", i, one)
		}
		t.Rule(chain, fmt.Sprintf("jhash ip saddr . ip daddr mod %d vmap { %s }", len(e.public), strings.Join(cases, ", ")))
		t.Rules("nat", []string{out + proto}, e.name+"/attempted", "jump "+chain)
	}
	if e.icmp {
		t.Rule("nat", out+"meta l4proto icmp snat to "+e.public[0].String())
	}
}

func (e egress) snat(i int) string { return fmt.Sprintf("snat to %s:%d-%d", e.public[i], e.lo, e.hi) }

// compileInternet writes the table of the internet's router: private sources go
// nowhere, and what arrives translated is counted, connection by connection, so
// that attempts minus arrivals are the translations that failed.
func compileInternet(ways []egress) *nft.Table {
	t := nft.NewTable("ip", "fabric")
	t.Chain("forward", "type filter hook forward priority 0; policy accept;")
	t.Rules("forward", []string{`iifname "router" ip saddr ` + reserved.Text() + " "}, counterUnNATed, "drop")
	t.Chain("arrive", "type nat hook postrouting priority 0; policy accept;")
	seen := map[string]bool{}
	for _, e := range ways {
		for _, a := range e.public {
			for _, proto := range []string{"tcp", "udp"} {
				match := fmt.Sprintf(`ct state new iifname "router" ip saddr %s %s sport %d-%d `, a, proto, e.lo, e.hi)
				if e.protocol != "" && e.protocol != proto || seen[match] {
					continue
				}
				seen[match] = true
				t.Rules("arrive", []string{match}, e.name+"/arrived", "accept")
			}
		}
	}
	t.Chain("output", "type filter hook output priority 0; policy accept;")
	t.Rule("output", silentICMP)
	return t
}

// silentICMP keeps a router from telling anybody why it drops, but for the one
// message that path MTU discovery lives on.
const silentICMP = "icmp type { destination-unreachable, time-exceeded, redirect, parameter-problem } icmp code != frag-needed drop"

func sortedEgress(ways []egress) []egress {
	slices.SortStableFunc(ways, func(a, b egress) int { return strings.Compare(a.name, b.name) })
	return ways
}
