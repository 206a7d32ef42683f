package fabric

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/lab/nft"
	"github.com/podpath/podpath/lab/plan"
)

// Counters of rules that no customer wrote.
const (
	counterNoneRoute   = "drop/route-none"
	counterNoHost      = "drop/no-host"
	counterNoAppliance = "drop/no-appliance"
	counterGateway     = "drop/gateway"
	counterPeering     = "drop/peering"
	counterUnNATed     = "drop/un-natted"
	counterNotOwn      = "drop/ip-forwarding-disabled"
	counterInbound     = "drop/inbound"
	counterICMP        = "drop/icmp-not-translated"
)

var reserved = nft.Prefixes(
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("224.0.0.0/3"),
)

var everywhere = nft.Set{{Lo: 0, Hi: 1<<32 - 1}}

// tag expands a service tag. VirtualNetwork is the VNet, its connected peers,
// what a gateway learned, the platform's address, the pods' range of an overlay,
// and the prefixes of user routes except a default route (Azure's documentation
// leaves open whether that one counts). A tag whose addresses are Microsoft's own
// has none in a lab.
func (w *world) tag(name string) (nft.Set, bool) {
	switch lower(name) {
	case "virtualnetwork":
		prefixes := slices.Concat(w.vnet, w.peered, w.learned, w.podCIDR, []netip.Prefix{netip.PrefixFrom(plan.AzureDNS, 32)})
		for _, s := range w.subnets {
			for _, r := range w.docs.tables[s.Properties.RouteTable.key()].Properties.Routes {
				if p, err := netip.ParsePrefix(r.Properties.AddressPrefix); err == nil && p.Addr().Is4() {
					prefixes = append(prefixes, p)
				}
			}
		}
		prefixes = slices.DeleteFunc(prefixes, func(p netip.Prefix) bool { return p.Bits() == 0 })
		return nft.Prefixes(prefixes...), true
	case "internet":
		vnet, _ := w.tag("VirtualNetwork")
		return everywhere.Minus(reserved).Minus(vnet), true
	case "azureloadbalancer", "azureplatformdns":
		return nft.Set{nft.AddrSpan(plan.AzureDNS)}, true
	case "azureplatformimds":
		return nft.Set{nft.AddrSpan(netip.MustParseAddr("169.254.169.254"))}, true
	}
	if _, err := nft.ParsePrefix(name); err == nil {
		return nil, false
	}
	return nil, true
}

// platform says whether a prefix is one of the tags that alone reach Azure's own
// services: rules that do not name them leave DNS and metadata alone.
func platform(prefix string) bool { return strings.HasPrefix(lower(prefix), "azureplatform") }

// side resolves one side of a rule. Nil nft.Set with ok mean "any"; not ok means
// that nothing can match.
func (w *world) side(prefix string, prefixes []string, groups []ref) (s nft.Set, ok bool, err error) {
	all := prefixes
	if prefix != "" {
		all = append(slices.Clone(prefixes), prefix)
	}
	for _, text := range all {
		if text == "*" || lower(text) == "any" {
			return nil, true, nil
		}
		if t, isTag := w.tag(text); isTag {
			s = append(s, t...)
			continue
		}
		p, err := nft.ParsePrefix(text)
		if err != nil {
			return nil, false, err
		}
		if p.Addr().Is4() {
			s = append(s, nft.PrefixSpan(p))
		}
	}
	for _, g := range groups {
		s = append(s, w.asg[g.key()]...)
	}
	s = s.Merge()
	if s.Everything() {
		return nil, true, nil
	}
	return s, len(s) > 0, nil
}

// defaultRules are there when a document does not list them.
func defaultRules() []resource[securityRule] {
	rule := func(name, direction, from, to, access string, priority int) resource[securityRule] {
		return resource[securityRule]{Name: name, Properties: securityRule{
			Protocol: "*", Access: access, Direction: direction, Priority: priority,
			SourcePortRange: "*", DestinationPortRange: "*", SourceAddressPrefix: from, DestinationAddressPrefix: to,
		}}
	}
	return []resource[securityRule]{
		rule("AllowVnetInBound", "Inbound", "VirtualNetwork", "VirtualNetwork", "Allow", 65000),
		rule("AllowAzureLoadBalancerInBound", "Inbound", "AzureLoadBalancer", "*", "Allow", 65001),
		rule("DenyAllInBound", "Inbound", "*", "*", "Deny", 65500),
		rule("AllowVnetOutBound", "Outbound", "VirtualNetwork", "VirtualNetwork", "Allow", 65000),
		rule("AllowInternetOutBound", "Outbound", "*", "Internet", "Allow", 65001),
		rule("DenyAllOutBound", "Outbound", "*", "*", "Deny", 65500),
	}
}

// compileNSGs writes four chains for each NSG: outbound and inbound, for all
// traffic and for the platform's. Allow returns, so that the next level decides;
// Deny drops without a word.
func (w *world) compileNSGs(t *nft.Table) error {
	ids := make([]string, 0, len(w.docs.nsgs))
	for id := range w.docs.nsgs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		g := w.docs.nsgs[id]
		rules := slices.Clone(g.Properties.SecurityRules)
		if len(g.Properties.DefaultSecurityRules) > 0 {
			rules = append(rules, g.Properties.DefaultSecurityRules...)
		} else {
			rules = append(rules, defaultRules()...)
		}
		slices.SortStableFunc(rules, func(a, b resource[securityRule]) int { return a.Properties.Priority - b.Properties.Priority })
		for _, direction := range []string{"Outbound", "Inbound"} {
			t.Chain(nsgChain(id, direction, false), "")
			t.Chain(nsgChain(id, direction, true), "")
			for _, r := range rules {
				if !strings.EqualFold(r.Properties.Direction, direction) {
					continue
				}
				if err := w.compileRule(t, id, g.Name, r); err != nil {
					return fmt.Errorf("network security group %s, rule %s: %w", g.Name, r.Name, err)
				}
			}
		}
	}
	return nil
}

func nsgChain(id, direction string, platform bool) string {
	name := "nsg_" + nft.Ident(group(id)+"_"+id[strings.LastIndexByte(id, '/')+1:]) + "_" + lower(direction)
	if platform {
		name += "_platform"
	}
	return name
}

// group is the resource group of an id.
func group(id string) string {
	_, rest, _ := strings.Cut(lower(id), "/resourcegroups/")
	name, _, _ := strings.Cut(rest, "/")
	return name
}

func (w *world) compileRule(t *nft.Table, id, nsg string, r resource[securityRule]) error {
	p := r.Properties
	match, any, err := w.ruleMatch(p)
	if err != nil {
		return err
	}
	if !any {
		return nil // an empty service tag or group: matches nothing
	}
	verdict := "return"
	if strings.EqualFold(p.Access, "Deny") {
		verdict = "drop"
	}
	counter := "nsg/" + nft.Ident(nsg) + "/" + nft.Ident(r.Name) + "/" + lower(p.Direction)
	chain := nsgChain(id, p.Direction, false)
	t.Rules(chain, match, counter, verdict)
	remote := append(slices.Clone(p.DestinationAddressPrefixes), p.DestinationAddressPrefix)
	if strings.EqualFold(p.Direction, "Inbound") {
		remote = append(slices.Clone(p.SourceAddressPrefixes), p.SourceAddressPrefix)
	}
	if slices.ContainsFunc(remote, platform) {
		t.Rules(nsgChain(id, p.Direction, true), match, counter, verdict)
	}
	return nil
}

// ruleMatch writes a rule's condition; several alternatives are needed where
// ports are given without a protocol.
func (w *world) ruleMatch(p securityRule) (match []string, any bool, err error) {
	from, ok1, err := w.side(p.SourceAddressPrefix, p.SourceAddressPrefixes, p.SourceApplicationSecurityGroups)
	if err != nil {
		return nil, false, fmt.Errorf("source: %w", err)
	}
	to, ok2, err := w.side(p.DestinationAddressPrefix, p.DestinationAddressPrefixes, p.DestinationApplicationSecurityGroups)
	if err != nil {
		return nil, false, fmt.Errorf("destination: %w", err)
	}
	sports, err := nft.Ports(append(slices.Clone(p.SourcePortRanges), p.SourcePortRange)...)
	if err != nil {
		return nil, false, fmt.Errorf("source port: %w", err)
	}
	dports, err := nft.Ports(append(slices.Clone(p.DestinationPortRanges), p.DestinationPortRange)...)
	if err != nil {
		return nil, false, fmt.Errorf("destination port: %w", err)
	}
	addrs := ""
	if from != nil {
		addrs += "ip saddr " + from.Text() + " "
	}
	if to != nil {
		addrs += "ip daddr " + to.Text() + " "
	}
	protocols, err := protocols(p.Protocol, sports != nil || dports != nil)
	if err != nil {
		return nil, false, err
	}
	for _, proto := range protocols {
		match = append(match, addrs+protocolMatch(proto, sports, dports))
	}
	return match, ok1 && ok2, nil
}

func protocols(name string, ports bool) ([]string, error) {
	switch p := lower(name); p {
	case "*", "any", "all", "":
		if ports {
			return []string{"th"}, nil
		}
		return []string{""}, nil
	case "tcp", "udp", "icmp", "esp", "ah":
		return []string{p}, nil
	}
	return nil, fmt.Errorf("protocol %q is none of Tcp, Udp, Icmp, Esp, Ah, *", name)
}

func protocolMatch(proto string, sports, dports nft.Set) string {
	out, header := "", proto
	switch proto {
	case "":
		return ""
	case "th":
		out = "meta l4proto { tcp, udp } "
	case "tcp", "udp":
		out = "meta l4proto " + proto + " "
		header = "th"
	default:
		return "meta l4proto " + proto + " "
	}
	if sports != nil {
		out += header + " sport " + sports.PortText() + " "
	}
	if dports != nil {
		out += header + " dport " + dports.PortText() + " "
	}
	return out
}

// compileNICs writes two chains for each NIC that somebody sits on. Outbound the
// NIC's own NSG comes first, inbound the subnet's.
func (w *world) compileNICs(t *nft.Table) {
	for _, n := range w.nics {
		if n.link == "" {
			continue
		}
		own := nft.Prefixes(n.carried...)
		for _, a := range n.addrs {
			own = append(own, nft.AddrSpan(a))
		}
		own = own.Merge()
		for _, platform := range []bool{false, true} {
			suffix := map[bool]string{true: "_platform"}[platform]
			out, in := "out_"+n.link+suffix, "in_"+n.link+suffix
			t.Chain(out, "")
			t.Chain(in, "")
			if !n.forwarding && !platform {
				t.Rules(out, []string{"ip saddr != " + own.Text() + " "}, counterNotOwn, "drop")
				t.Rules(in, []string{"ip daddr != " + own.Text() + " "}, counterNotOwn, "drop")
			}
			w.nsgJump(t, out, "", n.nsg, "Outbound", platform)
			w.subnetJumps(t, out, "saddr", n, "Outbound", platform)
			w.subnetJumps(t, in, "daddr", n, "Inbound", platform)
			w.nsgJump(t, in, "", n.nsg, "Inbound", platform)
		}
	}
}

const kubeletPort = "10250"

// compileKubelets writes a chain for each node's NIC: what security groups say of
// the API server's connections to its kubelet. The control plane is no subject of
// theirs else (a rule that denies everything must not cut a lab off from its own
// pods), but a rule that names the kubelet's port means just that.
func (w *world) compileKubelets(t *nft.Table) error {
	for _, n := range w.nics {
		if n.link == "" {
			continue
		}
		t.Chain("kubelet_"+n.link, "")
		groups := []string{n.nsg}
		if s := w.subnet(n.subnet); s != nil {
			groups = append(groups, s.Properties.NetworkSecurityGroup.key())
		}
		for _, id := range groups {
			if err := w.kubeletRules(t, "kubelet_"+n.link, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) kubeletRules(t *nft.Table, chain, id string) error {
	g := w.docs.nsgs[id]
	rules := slices.Clone(g.Properties.SecurityRules)
	slices.SortStableFunc(rules, func(a, b resource[securityRule]) int { return a.Properties.Priority - b.Properties.Priority })
	for _, r := range rules {
		p := r.Properties
		if !strings.EqualFold(p.Direction, "Inbound") || p.DestinationPortRange != kubeletPort && !slices.Contains(p.DestinationPortRanges, kubeletPort) {
			continue
		}
		match, any, err := w.ruleMatch(p)
		if err != nil {
			return fmt.Errorf("network security group %s, rule %s: %w", g.Name, r.Name, err)
		}
		verdict := "return"
		if strings.EqualFold(p.Access, "Deny") {
			verdict = "drop"
		}
		if any {
			t.Rules(chain, match, "nsg/"+nft.Ident(g.Name)+"/"+nft.Ident(r.Name)+"/inbound", verdict)
		}
	}
	return nil
}

func (w *world) nsgJump(t *nft.Table, chain, match, nsg, direction string, platform bool) {
	if _, ok := w.docs.nsgs[nsg]; ok {
		t.Rule(chain, match+"jump "+nsgChain(nsg, direction, platform))
	}
}

// subnetJumps picks the subnet whose NSG decides by the packet's own address:
// one NIC can carry pods of another subnet.
func (w *world) subnetJumps(t *nft.Table, chain, field string, n *nic, direction string, platform bool) {
	var others nft.Set
	for _, s := range w.subnets {
		if s.key() == n.subnet || !w.carries(n, &s) {
			continue
		}
		set := nft.Prefixes(subnetPrefixes(&s)...)
		w.nsgJump(t, chain, "ip "+field+" "+set.Text()+" ", s.Properties.NetworkSecurityGroup.key(), direction, platform)
		others = append(others, set...)
	}
	s := w.subnet(n.subnet)
	if s == nil {
		return
	}
	match := ""
	if others = others.Merge(); len(others) > 0 {
		match = "ip " + field + " != " + others.Text() + " "
	}
	w.nsgJump(t, chain, match, s.Properties.NetworkSecurityGroup.key(), direction, platform)
}

// carries says whether a NIC has addresses of a subnet.
func (w *world) carries(n *nic, s *resource[subnet]) bool {
	for _, p := range subnetPrefixes(s) {
		if slices.ContainsFunc(n.addrs, p.Contains) ||
			slices.ContainsFunc(n.carried, func(c netip.Prefix) bool { return p.Overlaps(c) }) {
			return true
		}
	}
	return false
}
