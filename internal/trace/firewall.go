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

// firewall is an Azure Firewall with its rules in the order in which it tries them.
type firewall struct {
	doc          *model.Firewall
	policy       *model.FirewallPolicy // nil: classic rules, or not read
	missing      *model.Gap            // a policy (its own or a parent) that was not read
	network, app []fwRule
	private      []netip.Prefix // destinations to which network rules do not translate
	names        bool           // its DNS proxy is on, so that it knows names in network rules
}

type fwRule struct {
	*model.FirewallRule
	ref   model.Ref
	where string // collection and priority, for people
	allow bool
	src   addrSet
	dst   addrSet
	ports portSet
	bad   string
	names bool // names in network rules are resolved

	srcMissing, dstMissing string // an IP group that was not read
}

// FirewallDecision is what an Azure Firewall's rules do to one flow.
type FirewallDecision struct {
	Verdict     model.Verdict
	Decided     model.Ref // firewallpolicy/NAME/RULE, or the policy when no rule matches
	Application bool      // an application rule decided: the firewall ends the connection itself
	Reason      string
	Trail       []string
	Gaps        []model.Gap

	unmatched bool // no rule decided
}

func (x *Index) indexFirewalls() {
	x.fwByIP = map[netip.Addr]*firewall{}
	for _, id := range sorted(x.az.Firewalls) {
		doc := x.az.Firewalls[id]
		if doc == nil {
			continue
		}
		f := x.compileFirewall(doc)
		if doc.PrivateIP.IsValid() {
			x.fwByIP[doc.PrivateIP.Unmap()] = f
		}
		if !doc.Allocated {
			x.stopped = append(x.stopped, f)
		}
	}
}

// compileFirewall puts all rules in order: a parent policy's before its
// child's, groups by priority, collections by priority within, rules as written.
func (x *Index) compileFirewall(doc *model.Firewall) *firewall {
	f := &firewall{doc: doc}
	var ranges []string
	if doc.PolicyID == "" {
		f.names = true // the documents of classic rules do not say
		f.addGroups(x, model.NewRef("firewall", doc.Name), doc.Groups)
	} else {
		chain := x.policyChain(doc.PolicyID, f)
		f.names = slices.ContainsFunc(chain, func(p *model.FirewallPolicy) bool { return p.DNSProxy })
		for i := len(chain) - 1; i >= 0; i-- {
			f.addGroups(x, model.NewRef("firewallpolicy", chain[i].Name), chain[i].Groups)
			if len(chain[i].PrivateRanges) > 0 {
				ranges = chain[i].PrivateRanges
			}
		}
		if len(chain) > 0 && strings.EqualFold(cmp.Or(lastOf(doc.PolicyID)), chain[0].Name) {
			f.policy = chain[0]
		}
	}
	f.private = privateRanges(ranges)
	return f
}

// policyChain is a policy with its parents, child first.
func (x *Index) policyChain(id string, f *firewall) []*model.FirewallPolicy {
	var chain []*model.FirewallPolicy
	for id != "" && len(chain) < 8 {
		p := x.az.FirewallPolicies[strings.ToLower(id)]
		if p == nil || slices.Contains(chain, p) {
			if p == nil {
				name := lastOf(id)
				g := x.gap("firewallpolicy", "firewall policy "+name, model.NewRef("firewallpolicy", name), "Microsoft.Network/firewallPolicies/read")
				f.missing = &g
			}
			return chain
		}
		if g := x.groupsGap(p.Name); g != nil {
			f.missing = g
			return chain
		}
		chain = append(chain, p)
		id = p.BaseID
	}
	return chain
}

// groupsGap is the gap of a policy's rule collection groups: the policy itself
// says nothing of its rules, so one without them is not one that denies all.
func (x *Index) groupsGap(policy string) *model.Gap {
	for i, g := range x.w.Gaps {
		if strings.HasPrefix(g.What, "rule collection group") && (strings.HasSuffix(g.What, " of "+policy) || strings.EqualFold(g.Ref.Part(0), policy)) {
			return &x.w.Gaps[i]
		}
	}
	return nil
}

func (f *firewall) addGroups(x *Index, owner model.Ref, groups []model.RuleGroup) {
	groups = slices.Clone(groups)
	slices.SortStableFunc(groups, func(a, b model.RuleGroup) int { return a.Priority - b.Priority })
	for _, g := range groups {
		collections := slices.Clone(g.Collections)
		slices.SortStableFunc(collections, func(a, b model.RuleCollection) int { return a.Priority - b.Priority })
		for _, c := range collections {
			for i := range c.Rules {
				f.addRule(x, owner, g, c, &c.Rules[i])
			}
		}
	}
}

func (f *firewall) addRule(x *Index, owner model.Ref, g model.RuleGroup, c model.RuleCollection, doc *model.FirewallRule) {
	r := fwRule{FirewallRule: doc, ref: owner + "/" + model.Ref(doc.Name), allow: strings.EqualFold(c.Action, "Allow")}
	r.where = fmt.Sprintf("collection %s (priority %d)", c.Name, c.Priority)
	if g.Name != "" {
		r.where += fmt.Sprintf(" of group %s (priority %d)", g.Name, g.Priority)
	}
	var sources, destinations []string
	sources, r.srcMissing = x.withGroups(doc.Sources, doc.SourceGroups)
	destinations, r.dstMissing = x.withGroups(doc.Destinations, doc.DestGroups)
	r.src, _ = parseAddrs(sources, nil, "")
	r.dst, _ = parseAddrs(destinations, nil, "")
	r.names = f.names
	r.ports, r.bad = parsePorts(doc.DestPorts, "")
	switch doc.Kind {
	case "network":
		f.network = append(f.network, r)
	case "application":
		f.app = append(f.app, r)
	}
}

// withGroups adds what IP groups hold to a list; missing is one that was not read.
func (x *Index) withGroups(list, groups []string) (out []string, missing string) {
	out = slices.Clone(list)
	for _, g := range groups {
		held, ok := x.az.IPGroups[g]
		if !ok {
			missing = lastOf(g)
		}
		out = append(out, held...)
	}
	return out, missing
}

// ref is the policy (or classic firewall), or one of its rules.
func (f *firewall) ref(rule string) model.Ref {
	if f.doc.PolicyID == "" {
		return model.NewRef("firewall", f.doc.Name, rule)
	}
	name := lastOf(f.doc.PolicyID)
	if f.policy != nil {
		name = f.policy.Name
	}
	return model.NewRef("firewallpolicy", name, rule)
}

// privateRanges reads snat.privateRanges; none means the private ranges of the
// registry, 255.255.255.255/32 means that everything is translated.
func privateRanges(list []string) []netip.Prefix {
	ianaPrivate := append(slices.Clone(agentDefaults), carrierNAT)
	if len(list) == 0 {
		return ianaPrivate
	}
	var out []netip.Prefix
	for _, e := range list {
		if strings.EqualFold(e, "IANAPrivateRanges") {
			out = append(out, ianaPrivate...)
		} else if p, err := netip.ParsePrefix(e); err == nil {
			out = append(out, p.Masked())
		} else if a, err := netip.ParseAddr(e); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// keepsSource says whether network rules leave the source as it is, and by which range.
func (f *firewall) keepsSource(dst netip.Addr) (netip.Prefix, bool) {
	if !dst.IsValid() {
		for _, p := range f.private {
			if p.Bits() == 0 {
				return p, true
			}
		}
		return netip.Prefix{}, false
	}
	return holder(f.private, dst)
}

// Firewall judges a flow by the rules of the firewall with that private address:
// network rules first, then application rules for HTTP, HTTPS and SQL, then denial.
func (x *Index) Firewall(private netip.Addr, f model.Flow) FirewallDecision {
	fw := x.fwByIP[private.Unmap()]
	if fw == nil {
		return FirewallDecision{Reason: fmt.Sprintf("no firewall that was read has %s", private)}
	}
	if fw.missing != nil {
		d := FirewallDecision{Decided: fw.ref(""), Gaps: []model.Gap{*fw.missing}}
		d.Reason = fmt.Sprintf("%s was not read, so the firewall's rules are not known", fw.missing.What)
		return d
	}
	d, decided := fw.networkRules(x, f)
	if !decided {
		trail := d.Trail
		d = fw.application(x, f)
		d.Trail = append(trail, d.Trail...)
	}
	if d.Verdict == model.Unknown && len(d.Gaps) == 0 {
		d.Gaps = []model.Gap{doubtful(d.Decided, d.Reason)}
	}
	if d.Verdict == model.Pass && strings.EqualFold(fw.threatIntel(), "deny") && (!f.Dst.IsValid() || !privateAddr(f.Dst)) {
		d.Verdict = model.Unknown
		d.Reason += "; but threat intelligence is set to deny, and its list is in no document"
		d.Gaps = []model.Gap{doubtful(fw.ref(""), "threat intelligence is set to deny, and its list is in no document")}
	}
	return d
}

// doubtful is the Gap of a decision that the documents alone do not give.
func doubtful(decided model.Ref, why string) model.Gap {
	g := model.Gap{What: "what " + string(decided) + " decides", Ref: decided, Reason: why}
	if strings.Contains(why, "IP group ") {
		g.Permission = "Microsoft.Network/ipGroups/read"
	}
	return g
}

func (f *firewall) threatIntel() string {
	if f.policy != nil {
		return f.policy.ThreatIntel
	}
	return f.doc.ThreatIntel
}

// tally walks rules in order, three-valued: the first sure match decides unless
// an earlier rule that may match would decide otherwise.
type tally struct {
	open []*fwRule
	why  []string
}

func (t *tally) differs(allow bool) (*fwRule, string) {
	for i, r := range t.open {
		if r.allow != allow {
			return r, t.why[i]
		}
	}
	return nil, ""
}

func (f *firewall) networkRules(x *Index, flow model.Flow) (FirewallDecision, bool) {
	var d FirewallDecision
	var open tally
	for i := range f.network {
		r := &f.network[i]
		m, why := x.networkRule(r, flow)
		if m == no {
			if why != "" {
				d.Trail = append(d.Trail, fmt.Sprintf("network rule %s: %s", r.Name, why))
			}
			continue
		}
		if m == maybe {
			open.open, open.why = append(open.open, r), append(open.why, why)
			d.Trail = append(d.Trail, fmt.Sprintf("network rule %s (%s): cannot be told: %s", r.Name, access(r.allow), why))
			continue
		}
		d.Verdict, d.Decided = passIf(r.allow), r.ref
		d.Reason = fmt.Sprintf("network rule %s in %s %s it", r.Name, r.where, verbs(r.allow))
		if o, why := open.differs(r.allow); o != nil {
			d.Verdict, d.Decided = model.Unknown, o.ref
			d.Reason = fmt.Sprintf("network rule %s may come first: %s", o.Name, why)
		}
		return d, true
	}
	// Rules that may match settle nothing here unless application rules agree.
	if len(open.open) > 0 {
		app := f.application(x, flow)
		allowed := app.Verdict == model.Pass
		if o, why := open.differs(allowed); o != nil || app.Verdict == model.Unknown {
			o = cmp.Or(o, open.open[0])
			d.Verdict, d.Decided = model.Unknown, o.ref
			d.Reason = fmt.Sprintf("whether network rule %s (%s) matches cannot be told: %s", o.Name, access(o.allow), cmp.Or(why, open.why[0]))
			return d, true
		}
	}
	return d, false
}

func (x *Index) networkRule(r *fwRule, f model.Flow) (tri, string) {
	if !slices.ContainsFunc(r.Protocols, func(p string) bool { return strings.EqualFold(p, "any") || strings.EqualFold(p, f.Protocol) }) {
		return no, ""
	}
	if r.ports.holds(f.DstPort, false) == no {
		return no, ""
	}
	src, why := x.fwSource(r, f)
	if src == no {
		return no, "source " + strings.Join(r.Sources, ",")
	}
	dst, whyDst := x.fwDest(r, f)
	if dst == no {
		if !r.names && len(r.DestFQDNs) > 0 {
			return no, "names in network rules need the firewall's DNS proxy, which is off"
		}
		return no, ""
	}
	if m := src.and(dst); m != maybe {
		return m, ""
	}
	return maybe, cmp.Or(why, whyDst)
}

func (x *Index) fwSource(r *fwRule, f model.Flow) (tri, string) {
	if r.src.any {
		return yes, ""
	}
	m, why := no, ""
	switch {
	case f.Src.IsValid():
		m = triOf(r.src.holdsAddr(f.Src))
	case len(r.src.prefixes)+len(r.src.ranges) > 0:
		m, why = maybe, "the source address is not known"
	}
	if m == no && r.srcMissing != "" {
		m, why = maybe, "IP group "+r.srcMissing+" was not read"
	}
	return m, why
}

func (x *Index) fwDest(r *fwRule, f model.Flow) (tri, string) {
	if r.dst.any {
		return yes, ""
	}
	m, why := no, ""
	if f.Dst.IsValid() {
		m = triOf(r.dst.holdsAddr(f.Dst))
	} else if m = r.dst.holdsPublic(); m == maybe {
		why = "the destination's address is not known"
	}
	for _, tag := range r.dst.tags {
		hit, text := x.inTag(tag, f.Dst, f, nil, true)
		if m = m.or(hit); m == maybe {
			why = text
		}
	}
	for _, name := range r.DestFQDNs {
		switch {
		case !r.names: // names in network rules work with the firewall's DNS proxy only
		case strings.EqualFold(strings.TrimSuffix(name, "."), f.Host):
			m = yes // the firewall resolves the same name, when it asks the same DNS
		case f.Host == "" && f.Dst.IsValid() && !privateAddr(f.Dst):
			if m = m.or(maybe); m == maybe {
				why = "what " + name + " resolves to is not known"
			}
		case !r.allow && f.Dst.IsValid() && !privateAddr(f.Dst):
			if m = m.or(maybe); m == maybe {
				why = "whether " + name + " shares the address " + f.Dst.String() + " is not known"
			}
		}
	}
	if m == no && r.dstMissing != "" {
		m, why = maybe, "IP group "+r.dstMissing+" was not read"
	}
	return m, why
}

// appProtocol is the protocol that application rules would see, or "".
func (f *firewall) appProtocol(flow model.Flow) string {
	if flow.Protocol != "tcp" {
		return ""
	}
	if flow.Scheme == "http" || flow.Scheme == "https" {
		return flow.Scheme
	}
	switch flow.DstPort {
	case 443:
		return "https"
	case 80:
		return "http"
	case 1433:
		return "mssql"
	}
	return ""
}

// listens says whether application rules take connections to a port at all.
func (f *firewall) listens(protocol string, port uint16) bool {
	if protocol == "https" && port == 443 || protocol == "http" && port == 80 {
		return true
	}
	return slices.ContainsFunc(f.app, func(r fwRule) bool { return r.takes(protocol, port) })
}

func (r *fwRule) takes(protocol string, port uint16) bool {
	return slices.ContainsFunc(r.Protocols, func(p string) bool {
		kind, num, ok := strings.Cut(p, ":")
		if !strings.EqualFold(strings.TrimSpace(kind), protocol) {
			return false
		}
		if !ok {
			num = map[string]string{"http": "80", "https": "443", "mssql": "1433"}[protocol]
		}
		n, err := strconv.ParseUint(strings.TrimSpace(num), 10, 16)
		return err == nil && uint16(n) == port
	})
}

// application judges by name. Denied HTTP gets an answer from the firewall,
// denied TLS a reset after the ClientHello; everything else is dropped.
func (f *firewall) application(x *Index, flow model.Flow) FirewallDecision {
	protocol := f.appProtocol(flow)
	d := FirewallDecision{Decided: f.ref("")}
	if protocol == "" || !f.listens(protocol, flow.DstPort) {
		d.Verdict, d.unmatched = model.Drop, true
		d.Reason = fmt.Sprintf("no network rule allows %s to %s, and application rules do not take that: dropped silently", strings.ToUpper(flow.Protocol), dstText(flow))
		return d
	}
	d.Application = true
	var open tally
	for i := range f.app {
		r := &f.app[i]
		m, why := x.appRule(r, flow, protocol)
		if m == no {
			if why != "" {
				d.Trail = append(d.Trail, fmt.Sprintf("application rule %s (%s): %s", r.Name, access(r.allow), why))
			}
			continue
		}
		if m == maybe {
			open.open, open.why = append(open.open, r), append(open.why, why)
			d.Trail = append(d.Trail, fmt.Sprintf("application rule %s (%s): cannot be told: %s", r.Name, access(r.allow), why))
			continue
		}
		d.Decided, d.Verdict = r.ref, model.Pass
		if !r.allow {
			d.Verdict = model.Reject
		}
		d.Reason = fmt.Sprintf("application rule %s in %s %s %s", r.Name, r.where, verbs(r.allow), hostText(flow))
		if r.TerminateTLS {
			d.Trail = append(d.Trail, "the rule ends TLS: the client sees a certificate that the firewall made")
		}
		return open.settle(d, r.allow)
	}
	d.Verdict, d.unmatched = model.Reject, true
	d.Reason = fmt.Sprintf("no rule allows %s: %s", hostText(flow), refusal(protocol))
	return open.settle(d, false)
}

// throughProxy judges what the explicit proxy is asked for. Whom it turns away it
// answers: nothing is dropped, and no ClientHello comes that could be reset.
func (f *firewall) throughProxy(x *Index, flow model.Flow) FirewallDecision {
	flow.Dst, flow.Scheme = netip.Addr{}, cmp.Or(flow.Scheme, "https")
	flow.DstPort = cmp.Or(flow.HostPort, map[string]uint16{"http": 80}[flow.Scheme], 443)
	d := f.application(x, flow)
	if d.Verdict == model.Unknown {
		d.Gaps = []model.Gap{doubtful(d.Decided, d.Reason)}
	}
	if d.Verdict == model.Drop || d.Verdict == model.Reject {
		d.Verdict = model.Reject
		if d.unmatched {
			d.Reason = "no application rule allows " + hostText(flow)
		}
		d.Reason += ": the proxy answers with an HTTP error instead of a tunnel"
	}
	d.Reason = "explicit proxy: " + d.Reason
	return d
}

// settle makes a decision unknown when an earlier rule that may match says otherwise.
func (t *tally) settle(d FirewallDecision, allow bool) FirewallDecision {
	if o, why := t.differs(allow); o != nil {
		d.Verdict, d.Decided = model.Unknown, o.ref
		d.Reason = fmt.Sprintf("whether application rule %s (%s) matches cannot be told: %s", o.Name, access(o.allow), why)
	}
	return d
}

func hostText(f model.Flow) string {
	if f.Host != "" {
		return fmt.Sprintf("%s:%d", f.Host, f.DstPort)
	}
	return dstText(f) + " (no name is sent)"
}

func refusal(protocol string) string {
	switch protocol {
	case "http":
		return "the firewall answers HTTP 470"
	case "https":
		return "the firewall accepts the connection and resets it after the ClientHello"
	}
	return "the firewall resets the connection"
}

func (x *Index) appRule(r *fwRule, f model.Flow, protocol string) (tri, string) {
	if !r.takes(protocol, f.DstPort) {
		return no, "other protocol or port"
	}
	src, why := x.fwSource(r, f)
	if src == no {
		return no, "source " + strings.Join(r.Sources, ",")
	}
	if len(r.dst.prefixes) > 0 && f.Dst.IsValid() && !r.dst.any && !r.dst.holdsAddr(f.Dst) {
		return no, "destination address"
	}
	host, whyHost := x.appHost(r, f)
	if host == no {
		return no, "other names (" + strings.Join(slices.Concat(r.FQDNs, r.FQDNTags, r.URLs), ", ") + ")"
	}
	return src.and(host), cmp.Or(why, whyHost)
}

func (x *Index) appHost(r *fwRule, f model.Flow) (tri, string) {
	m, why := no, ""
	for _, name := range r.FQDNs {
		if name == "*" && f.Host == "" {
			m, why = m.or(maybe), "the connection sends no name"
		} else if nameMatches(name, f.Host) {
			return yes, ""
		}
	}
	for _, tag := range r.FQDNTags {
		if hit := x.inFQDNTag(tag, f.Host); hit != no {
			m, why = m.or(hit), "which names tag "+tag+" holds is not wholly known"
		}
	}
	for _, u := range r.URLs {
		host, path, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(u, "https://"), "http://"), "/")
		if nameMatches(host, f.Host) {
			if path == "" || path == "*" {
				return yes, ""
			}
			m, why = m.or(maybe), "the rule looks at the path of the URL"
		}
	}
	if len(r.WebCategories) > 0 && m == no && f.Host != "" {
		m, why = maybe, "which web category "+f.Host+" is in is not known"
	}
	return m, why
}

// nameMatches matches a name with a pattern whose wildcard is at its left end.
func nameMatches(pattern, host string) bool {
	pattern = strings.ToLower(strings.TrimSuffix(pattern, "."))
	if host == "" {
		return false
	}
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, rest) && len(host) > len(rest)
	}
	return pattern == host
}

// inFQDNTag says whether a name is in one of Microsoft's FQDN tags. The tag of
// AKS is known from what the cluster needs; the others hold Microsoft's names only.
func (x *Index) inFQDNTag(tag, host string) tri {
	if host == "" {
		return no
	}
	if strings.EqualFold(tag, "AzureKubernetesService") {
		for _, e := range x.required {
			if nameMatches(e.Domain, host) {
				return yes
			}
		}
	}
	if microsoftName(host) {
		return maybe
	}
	return no
}
