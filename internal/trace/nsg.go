package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Addresses of the platform that the fabric treats apart.
var (
	wireServer = netip.MustParseAddr("168.63.129.16") // Azure DNS, health probes, agents
	imds       = netip.MustParseAddr("169.254.169.254")
)

// nsg is a network security group with its rules parsed and in order.
type nsg struct {
	doc     *model.NSG
	in, out []nsgRule
}

type nsgRule struct {
	model.NSGRule
	ref              model.Ref
	custom           bool
	src, dst         addrSet
	srcPorts, dports portSet
	bad              string // what of it podpath does not understand
}

// addrSet is one side of a rule: prefixes, tags and application security groups.
type addrSet struct {
	any      bool
	prefixes []netip.Prefix
	ranges   [][2]netip.Addr
	tags     []string
	asgs     []string
}

type portSet struct {
	any    bool
	ranges [][2]uint16
}

// defaultRules are the six that every NSG has, for documents that leave them out.
var defaultRules = []model.NSGRule{
	defaultRule("AllowVnetInBound", 65000, true, true, "VirtualNetwork", "VirtualNetwork"),
	defaultRule("AllowAzureLoadBalancerInBound", 65001, true, true, "AzureLoadBalancer", "*"),
	defaultRule("DenyAllInBound", 65500, true, false, "*", "*"),
	defaultRule("AllowVnetOutBound", 65000, false, true, "VirtualNetwork", "VirtualNetwork"),
	defaultRule("AllowInternetOutBound", 65001, false, true, "*", "Internet"),
	defaultRule("DenyAllOutBound", 65500, false, false, "*", "*"),
}

func defaultRule(name string, priority int, inbound, allow bool, src, dst string) model.NSGRule {
	return model.NSGRule{
		Name: name, Priority: priority, Inbound: inbound, Allow: allow, Protocol: "*",
		Sources: []string{src}, Destinations: []string{dst}, SourcePorts: []string{"*"}, DestPorts: []string{"*"},
	}
}

func compileNSG(doc *model.NSG) *nsg {
	n := &nsg{doc: doc}
	defaults := doc.Defaults
	if len(defaults) == 0 {
		defaults = defaultRules
	}
	name := cmp.Or(doc.Name, lastOf(doc.ID))
	for i, r := range slices.Concat(doc.Rules, defaults) {
		c := nsgRule{NSGRule: r, ref: model.NewRef("nsg", name, r.Name), custom: i < len(doc.Rules)}
		c.src, c.bad = parseAddrs(r.Sources, r.SourceASGs, c.bad)
		c.dst, c.bad = parseAddrs(r.Destinations, r.DestASGs, c.bad)
		c.srcPorts, c.bad = parsePorts(r.SourcePorts, c.bad)
		c.dports, c.bad = parsePorts(r.DestPorts, c.bad)
		if r.Inbound {
			n.in = append(n.in, c)
		} else {
			n.out = append(n.out, c)
		}
	}
	for _, list := range [][]nsgRule{n.in, n.out} {
		slices.SortStableFunc(list, func(a, b nsgRule) int { return a.Priority - b.Priority })
	}
	return n
}

// parseAddrs reads one side of a rule. What is neither address nor prefix is a
// service tag: the set of tags is open.
func parseAddrs(entries, asgs []string, bad string) (addrSet, string) {
	var s addrSet
	for _, e := range entries {
		e = strings.TrimSpace(e)
		if e == "*" || strings.EqualFold(e, "any") {
			s.any = true
		} else if p, err := netip.ParsePrefix(e); err == nil {
			s.prefixes = append(s.prefixes, p.Masked())
		} else if a, err := netip.ParseAddr(e); err == nil {
			s.prefixes = append(s.prefixes, netip.PrefixFrom(a, a.BitLen()))
		} else if first, last, ok := parseRange(e); ok {
			s.ranges = append(s.ranges, [2]netip.Addr{first, last})
		} else if e != "" {
			s.tags = append(s.tags, e)
		}
	}
	for _, a := range asgs {
		s.asgs = append(s.asgs, strings.ToLower(a))
	}
	if len(entries) == 0 && len(asgs) == 0 {
		bad = cmp.Or(bad, "a side without addresses")
	}
	return s, bad
}

func parseRange(e string) (netip.Addr, netip.Addr, bool) {
	from, to, ok := strings.Cut(e, "-")
	if !ok {
		return netip.Addr{}, netip.Addr{}, false
	}
	a, err1 := netip.ParseAddr(strings.TrimSpace(from))
	b, err2 := netip.ParseAddr(strings.TrimSpace(to))
	return a, b, err1 == nil && err2 == nil && a.Is4() == b.Is4()
}

func parsePorts(entries []string, bad string) (portSet, string) {
	var s portSet
	if len(entries) == 0 {
		s.any = true // old documents leave out "*"
	}
	for _, e := range entries {
		e = strings.TrimSpace(e)
		if e == "*" || e == "" {
			s.any = true
			continue
		}
		from, to, ranged := strings.Cut(e, "-")
		if !ranged {
			to = from
		}
		a, err1 := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
		b, err2 := strconv.ParseUint(strings.TrimSpace(to), 10, 16)
		if err1 != nil || err2 != nil {
			bad = cmp.Or(bad, fmt.Sprintf("port %q", e))
			continue
		}
		s.ranges = append(s.ranges, [2]uint16{uint16(a), uint16(b)})
	}
	return s, bad
}

// holds says whether a port is in the set. Port 0 is any ephemeral port: only a
// set that holds all of them is sure to hold it.
func (s portSet) holds(port uint16, ephemeral bool) tri {
	if s.any {
		return yes
	}
	for _, r := range s.ranges {
		if ephemeral && port == 0 {
			if r[0] <= 1024 && r[1] == 65535 {
				return yes
			}
			if r[1] >= 32768 {
				return maybe
			}
		} else if port >= r[0] && port <= r[1] {
			return yes
		}
	}
	return no
}

func (s addrSet) holdsAddr(a netip.Addr) bool {
	for _, p := range s.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	for _, r := range s.ranges {
		if r[0].Compare(a) <= 0 && a.Compare(r[1]) <= 0 {
			return true
		}
	}
	return false
}

// holdsPublic is holdsAddr for an address that is not known, but public.
func (s addrSet) holdsPublic() tri {
	result := no
	for _, p := range s.prefixes {
		switch {
		case p.Bits() == 0:
			return yes
		case !privateAddr(p.Addr()):
			result = maybe
		}
	}
	if len(s.ranges) > 0 {
		result = maybe
	}
	return result
}

// NSGDecision is what one NSG does to one flow in one direction.
type NSGDecision struct {
	Verdict model.Verdict
	Decided model.Ref // nsg/NAME/RULE
	Custom  bool      // the deciding rule is not one of the six defaults
	Reason  string
	Trail   []string
	Gaps    []model.Gap
}

// evaluate walks the rules by priority. A rule that cannot be judged is tried
// both ways: if the answer is the same, it holds.
func (x *Index) evaluate(n *nsg, inbound bool, f model.Flow, at *model.Subnet) NSGDecision {
	rules := n.out
	if inbound {
		rules = n.in
	}
	var d NSGDecision
	var open []*nsgRule // rules that may match, and come before the one that does
	var whys []string
	for i := range rules {
		r := &rules[i]
		m, why := x.nsgRuleMatches(r, f, at)
		if m == no {
			if r.custom {
				d.Trail = append(d.Trail, fmt.Sprintf("%d %s: %s", r.Priority, r.Name, why))
			}
			continue
		}
		if m == maybe {
			d.Trail = append(d.Trail, fmt.Sprintf("%d %s (%s): cannot be told: %s", r.Priority, r.Name, access(r.Allow), why))
			open, whys = append(open, r), append(whys, why)
			continue
		}
		d.Trail = append(d.Trail, fmt.Sprintf("%d %s: matches, %s", r.Priority, r.Name, access(r.Allow)))
		d.Decided, d.Custom = r.ref, r.custom
		for i, o := range open {
			if o.Allow != r.Allow {
				d.Decided, d.Custom = o.ref, o.custom
				d.Gaps = []model.Gap{doubtful(o.ref, whys[i])}
				d.Reason = fmt.Sprintf("whether rule %s (priority %d, %s) matches %s cannot be told; else %s (%d) would %s it",
					o.Name, o.Priority, access(o.Allow), dstText(f), r.Name, r.Priority, verb(r.Allow))
				return d
			}
		}
		d.Verdict = passIf(r.Allow)
		d.Reason = fmt.Sprintf("rule %s (priority %d) %s %s from %s to %s",
			r.Name, r.Priority, verbs(r.Allow), strings.ToUpper(f.Protocol), srcText(f), dstText(f))
		return d
	}
	d.Verdict, d.Decided = model.Drop, model.NewRef("nsg", cmp.Or(n.doc.Name, lastOf(n.doc.ID)))
	d.Reason = "no rule matches, and what no rule allows is denied"
	if len(open) > 0 {
		d.Verdict, d.Gaps = model.Unknown, []model.Gap{doubtful(open[0].ref, whys[0])}
	}
	return d
}

// NSG judges a flow by one security group, seen from a subnet: its own rules,
// whatever the platform exempts.
func (x *Index) NSG(nsgID string, inbound bool, f model.Flow, subnetID string) NSGDecision {
	n := x.nsgs[strings.ToLower(nsgID)]
	if n == nil {
		return NSGDecision{Reason: fmt.Sprintf("NSG %s was not read", lastOf(nsgID))}
	}
	return x.evaluate(n, inbound, x.normal(f), x.az.Subnets[strings.ToLower(subnetID)])
}

// EffectiveNSG lists a group's rules of one direction as they are tried, the default ones last.
func (x *Index) EffectiveNSG(nsgID string, inbound bool) []model.NSGRule {
	n := x.nsgs[strings.ToLower(nsgID)]
	if n == nil {
		return nil
	}
	rules := n.out
	if inbound {
		rules = n.in
	}
	out := make([]model.NSGRule, len(rules))
	for i := range rules {
		out[i] = rules[i].NSGRule
	}
	return out
}

func access(allow bool) string { return map[bool]string{true: "Allow", false: "Deny"}[allow] }
func verb(allow bool) string   { return map[bool]string{true: "allow", false: "deny"}[allow] }
func verbs(allow bool) string  { return map[bool]string{true: "allows", false: "denies"}[allow] }

func srcText(f model.Flow) string {
	if f.Src.IsValid() {
		return f.Src.String()
	}
	return "an address that is not known"
}

// nsgRuleMatches says whether a rule matches, and which part does not or is not known.
func (x *Index) nsgRuleMatches(r *nsgRule, f model.Flow, at *model.Subnet) (tri, string) {
	if p := r.Protocol; p != "*" && p != "" && !strings.EqualFold(p, f.Protocol) && !strings.EqualFold(p, "all") && !strings.EqualFold(p, "any") {
		return no, "protocol " + p
	}
	result, why := yes, ""
	check := func(m tri, text string) bool {
		if m == maybe && result == yes {
			result, why = maybe, text
		}
		return m == no
	}
	if check(r.dports.holds(f.DstPort, false), "destination port") {
		return no, "destination port " + strings.Join(r.DestPorts, ",")
	}
	if check(r.srcPorts.holds(f.SrcPort, true), "source port") {
		return no, "source port " + strings.Join(r.SourcePorts, ",")
	}
	m, text := x.sideMatches(&r.dst, f.Dst, f, at, true)
	if check(m, text) {
		return no, "destination " + strings.Join(r.Destinations, ",")
	}
	m, text = x.sideMatches(&r.src, f.Src, f, at, false)
	if check(m, text) {
		return no, "source " + strings.Join(r.Sources, ",")
	}
	if r.bad != "" {
		return maybe, "podpath does not understand its " + r.bad
	}
	return result, why
}

func (x *Index) sideMatches(s *addrSet, a netip.Addr, f model.Flow, at *model.Subnet, dst bool) (tri, string) {
	if s.any {
		return yes, ""
	}
	result := no
	if a.IsValid() {
		result = triOf(s.holdsAddr(a))
	} else if dst {
		result = s.holdsPublic()
	} else if len(s.prefixes)+len(s.ranges) > 0 {
		result = maybe
	}
	why := "the address is not known"
	for _, asg := range s.asgs {
		m := x.inASG(asg, a)
		if m == maybe && result == no {
			why = "the members of application security group " + lastOf(asg) + " were not all read"
		}
		result = result.or(m)
	}
	for _, tag := range s.tags {
		m, text := x.inTag(tag, a, f, at, dst)
		if m == maybe && result == no {
			why = text
		}
		result = result.or(m)
	}
	return result, why
}

func (x *Index) inASG(asg string, a netip.Addr) tri {
	if slices.Contains(x.asgs[a], asg) {
		return yes
	}
	if x.read("nic") || !a.IsValid() || !privateAddr(a) {
		return no
	}
	if _, known := x.nicByIP[a]; known {
		return no
	}
	return maybe
}

// nsgStep judges one NSG on the way.
func (t *tracer) nsgStep(id string, inbound bool, at *model.Subnet, where string) {
	t.add(t.x.judgeNSG(id, inbound, at, where, t.flow))
}

// judgeNSG judges a flow by one NSG. Exempt traffic is let pass by the platform itself.
func (x *Index) judgeNSG(id string, inbound bool, at *model.Subnet, where string, f model.Flow) model.Step {
	name := lastOf(id)
	dir := "outbound"
	if inbound {
		dir = "inbound"
	}
	s := model.Step{Hop: model.HopNSG, At: model.NewRef("nsg", name), Title: fmt.Sprintf("NSG %s on %s, %s", name, where, dir)}
	n := x.nsgs[strings.ToLower(id)]
	if n == nil {
		gap := x.gap("nsg", "network security group "+name, model.NewRef("nsg", name), "Microsoft.Network/networkSecurityGroups/read")
		s.Reason, s.Gaps = fmt.Sprintf("NSG %s was not read: %s", name, gap.Reason), []model.Gap{gap}
		return s
	}
	if n.doc.Name != "" {
		s.At = model.NewRef("nsg", n.doc.Name)
		s.Title = fmt.Sprintf("NSG %s on %s, %s", n.doc.Name, where, dir)
	}
	if tag := exemptTag(f); tag != "" && !names(n, tag) {
		s.Verdict = model.Pass
		s.Reason = fmt.Sprintf("%s is the platform's own: NSGs do not apply to it unless a rule names %s", dstText(f), tag)
		return s
	}
	d := x.evaluate(n, inbound, f, at)
	s.Verdict, s.Decided, s.Reason, s.Trail, s.Gaps = d.Verdict, d.Decided, d.Reason, d.Trail, d.Gaps
	return s
}

// exemptTag is the service tag that alone can block traffic to the platform.
func exemptTag(f model.Flow) string {
	switch {
	case f.Dst == wireServer && f.DstPort == 53:
		return "AzurePlatformDNS"
	case f.Dst == imds:
		return "AzurePlatformIMDS"
	}
	return ""
}

func names(n *nsg, tag string) bool {
	return slices.ContainsFunc(n.out, func(r nsgRule) bool {
		return slices.ContainsFunc(r.dst.tags, func(t string) bool { return strings.EqualFold(t, tag) })
	})
}

// nsgsOut judges the NSGs that a packet meets on its way out: NIC, then subnet.
func (t *tracer) nsgsOut(a attachment) {
	t.nicNSG(a, false)
	t.subnetNSG(a, false)
}

// nsgsIn judges the NSGs on its way in: subnet, then NIC.
func (t *tracer) nsgsIn(a attachment) {
	t.subnetNSG(a, true)
	t.nicNSG(a, true)
}

func (t *tracer) nicNSG(a attachment, inbound bool) {
	switch {
	case a.nic != nil && a.nic.NSGID != "":
		t.nsgStep(a.nic.NSGID, inbound, a.subnet, "NIC "+cmp.Or(a.nic.Name, lastOf(a.nic.ID)))
	case a.nic == nil && a.subnet != nil && a.wantNIC:
		gap := t.x.gap("nic", "network interface of "+a.what, "", "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read")
		t.add(model.Step{
			Hop: model.HopNSG, At: a.ref, Title: "NSG on the network interface of " + a.what,
			Reason: "the network interface was not read, so whether an NSG is on it is not known", Gaps: []model.Gap{gap},
		})
	}
}

func (t *tracer) subnetNSG(a attachment, inbound bool) {
	if a.subnet != nil && a.subnet.NSGID != "" {
		t.nsgStep(a.subnet.NSGID, inbound, a.subnet, "subnet "+a.subnet.Name)
	}
}
