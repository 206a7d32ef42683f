package policy

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Labels that Calico gives to pods and network sets beside their own.
const (
	calicoNamespace      = "projectcalico.org/namespace"
	calicoAccount        = "projectcalico.org/serviceaccount"
	calicoOrchestrator   = "projectcalico.org/orchestrator"
	calicoNamespaceLabel = "pcns."
	calicoAccountLabel   = "pcsa."
)

// calicoTiers are the tiers that Calico keeps for kinds of policy that are not its own.
var calicoTiers = map[string]string{
	"adminnetworkpolicy": "admin", "kube-admin": "admin", "baselineadminnetworkpolicy": "baseline", "kube-baseline": "baseline", "default": "default",
}

// calicoPolicies compiles Calico's own kinds. NetworkPolicy is part of its
// default tier, each policy with order 1000. A tier that has a policy for the
// pod and in which no rule decides denies, or passes on if its default action
// says so; after the last tier, a pod's profile allows.
// Source: https://docs.tigera.io/calico/latest/reference/resources/tier
func (c *compiler) calicoPolicies(tiers []placed) []placed {
	tiers[0].name = "default"
	if t := c.w.Kube.CalicoTiers["default"]; t != nil && t.Order != nil {
		tiers[0].order = *t.Order
	}
	c.networkSets()
	for _, ref := range slices.Sorted(maps.Keys(c.w.Kube.CalicoPolicies)) {
		cp := c.w.Kube.CalicoPolicies[ref]
		switch {
		case cp == nil:
		case cp.HostsOnly != "":
			c.ignore(cp.Ref, cp.HostsOnly)
		default:
			tiers = c.calicoPolicy(cp, tiers)
		}
	}
	return tiers
}

func (c *compiler) calicoPolicy(cp *model.CalicoPolicy, tiers []placed) []placed {
	p := &Policy{Ref: cp.Ref, Kind: "Calico NetworkPolicy"}
	if cp.Namespace == "" {
		p.Kind = "GlobalNetworkPolicy"
	}
	order := last
	p.Order = "no order"
	if cp.Order != nil {
		order = *cp.Order
		p.Order = "order " + strconv.FormatFloat(order, 'f', -1, 64)
	}
	p.Subject = calicoPods(cp.Selector, cp.NamespaceSelector, cp.Namespace)
	accounts, err := parseSelector(cp.ServiceAccountSelector)
	if err != nil {
		p.Subject.Unknown = cmp.Or(p.Subject.Unknown, "its serviceAccountSelector is not understood: "+err.Error())
	}
	if cp.ServiceAccountSelector != "" {
		p.Subject.Accounts = accounts
	}
	p.Subject.Unknown = cmp.Or(cp.Unknown, p.Subject.Unknown)
	i, isolates, why := c.calicoTier(cp.Tier, &tiers)
	p.Subject.Unknown = cmp.Or(p.Subject.Unknown, why)
	if cp.Ingress {
		p.Ingress = &Side{Rules: c.calicoRules(cp.IngressRules, cp.Namespace, true), Isolates: isolates}
	}
	if cp.Egress {
		p.Egress = &Side{Rules: c.calicoRules(cp.EgressRules, cp.Namespace, false), Isolates: isolates}
	}
	tiers[i].policies = append(tiers[i].policies, ordered{Policy: p, order: order, tie: cp.Name + "/" + cp.Namespace})
	return tiers
}

// calicoTier finds the tier of a policy, or makes it; isolates says that it
// denies what it does not decide. A tier that was not read could stand anywhere:
// it is put first, where the doubt covers everything.
func (c *compiler) calicoTier(name string, tiers *[]placed) (at int, isolates bool, why string) {
	known := c.w.Kube.CalicoTiers[name]
	common, special := calicoTiers[name]
	isolates = name == "default" || !special
	order := last
	switch {
	case known != nil:
		if isolates = known.DefaultAction != "Pass"; known.Order != nil {
			order = *known.Order
		}
	case common == "admin":
		order = adminOrder
	case common == "baseline":
		order = baselineOrder
	case !special:
		order, why = math.Inf(-1), "its tier "+name+" was not read, so its place in the order is not known"
	}
	if special {
		name = common
	}
	for i := range *tiers {
		if (*tiers)[i].name == name {
			return i, isolates, why
		}
	}
	*tiers = append(*tiers, placed{name: name, order: order})
	return len(*tiers) - 1, isolates, why
}

// calicoPods chooses pods by a selector and a namespace selector; own is the
// policy's namespace, "" for a global one.
func calicoPods(selector, namespaces, own string) Selection {
	var s Selection
	if err := s.calico(selector); err != "" {
		s.Unknown = err
	}
	switch {
	case namespaces != "":
		n, err := parseSelector(namespaces)
		if err != nil {
			s.Unknown = cmp.Or(s.Unknown, "its namespaceSelector is not understood: "+err.Error())
		}
		s.Namespaces = join(s.Namespaces, n)
	case own != "":
		s.Namespace = own
	}
	return s
}

// calico fills a selection in from a selector over pods. Calico's own labels say
// where a pod is from, which the neutral form says apart.
func (s *Selection) calico(text string) (unknown string) {
	e, err := parseExpr(text)
	if err != nil {
		return "its selector is not understood: " + err.Error()
	}
	var pods, spaces, accounts []*Expr
	for _, part := range e.parts() {
		r, plain := part.requirement()
		place, key := calicoKey(r.Key)
		switch {
		case plain && place == "namespace":
			spaces = append(spaces, part.as(key))
		case plain && place == "account":
			accounts = append(accounts, part.as(key))
		case plain && place == "accountname" && r.Op == In:
			s.ServiceAccounts = r.Values
		case plain && place == "orchestrator":
			if !r.Holds(model.Labels{calicoOrchestrator: "k8s"}) {
				pods = append(pods, never)
			}
		case part.some(func(e *Expr) bool { place, _ := calicoKey(e.key); return place != "" }):
			unknown = "its selector mixes Calico's own labels with others: " + part.text
		default:
			pods = append(pods, part)
		}
	}
	s.Pods, s.Namespaces, s.Accounts = selectorOf(pods), selectorOf(spaces), selectorOf(accounts)
	return unknown
}

// never matches nothing.
var never = (&Expr{kind: exprNot, of: []*Expr{(&Expr{}).finish()}}).finish()

// as is a plain expression about another key.
func (e *Expr) as(key string) *Expr {
	out := *e
	if e.kind == exprNot {
		out.of = []*Expr{e.of[0].as(key)}
	} else {
		out.key = key
	}
	return out.finish()
}

// calicoKey tells what a label of Calico's own is about, and the key that says
// the same in the neutral form.
func calicoKey(key string) (place, neutral string) {
	switch {
	case key == calicoNamespace:
		return "namespace", nameLabel
	case key == calicoAccount:
		return "accountname", ""
	case key == calicoOrchestrator:
		return "orchestrator", ""
	case strings.HasPrefix(key, calicoNamespaceLabel):
		return "namespace", key[len(calicoNamespaceLabel):]
	case strings.HasPrefix(key, calicoAccountLabel):
		return "account", key[len(calicoAccountLabel):]
	}
	return "", ""
}

// join is a selector for which both hold.
func join(a, b Selector) Selector {
	reqs := slices.Concat(a.Reqs, b.Reqs)
	switch {
	case a.Expr == nil:
		return newSelector(reqs, b.Expr)
	case b.Expr == nil:
		return newSelector(reqs, a.Expr)
	}
	return newSelector(reqs, (&Expr{kind: exprAnd, of: []*Expr{a.Expr, b.Expr}}).finish())
}

func (c *compiler) calicoRules(rules []model.CalicoRule, ns string, ingress bool) []Rule {
	out := make([]Rule, 0, len(rules))
	for i := range rules {
		m := &rules[i]
		r := Rule{Index: i, Unknown: m.Unknown}
		switch m.Action {
		case "Allow":
			r.Action = Allow
		case "Deny":
			r.Action = Deny
		case "Pass":
			r.Action = Next
		case "Log":
			r.Action = Log
		}
		peer, self := &m.Source, &m.Destination
		if !ingress {
			peer, self = self, peer
		}
		r.Peers, r.Self = c.entityPeers(peer, ns, m.IPVersion), c.entityPeers(self, ns, 0)
		c.calicoPorts(&r, m)
		if m.HTTP {
			r.Unknown = cmp.Or(r.Unknown, "it allows only some HTTP requests, which is not judged")
		}
		if len(m.Source.Ports)+len(m.Source.NotPorts) > 0 {
			r.Unknown = cmp.Or(r.Unknown, "it also asks for the source port")
		}
		out = append(out, r)
	}
	return out
}

func (c *compiler) calicoPorts(r *Rule, m *model.CalicoRule) {
	protocol := protocolName(m.Protocol)
	for _, text := range m.Destination.Ports {
		r.Ports = append(r.Ports, calicoPort(text, protocol))
	}
	for _, text := range m.Destination.NotPorts {
		r.NotPorts = append(r.NotPorts, calicoPort(text, ""))
	}
	if service := m.Destination.Service; service != "" {
		r.Ports = c.servicePorts(service)
	}
	if len(r.Ports) == 0 && protocol != "" {
		r.Ports = []Port{{Protocol: protocol, Last: math.MaxUint16}}
	}
	if m.NotProtocol != "" {
		r.NotPorts = append(r.NotPorts, Port{Protocol: protocolName(m.NotProtocol), Last: math.MaxUint16})
	}
}

func calicoPort(text, protocol string) Port {
	lo, hi, ok := strings.Cut(text, ":")
	if !ok {
		hi = lo
	}
	first, err := strconv.ParseUint(lo, 10, 16)
	end, err2 := strconv.ParseUint(hi, 10, 16)
	if err != nil || err2 != nil {
		return Port{Protocol: protocol, Name: text}
	}
	return Port{Protocol: protocol, First: uint16(first), Last: uint16(end)}
}

// protocolName brings IANA's numbers and any case into the form that flows use.
func protocolName(p string) string {
	names := map[string]string{"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6", "132": "sctp", "136": "udplite"}
	return cmp.Or(names[p], lower(p))
}

// entityPeers is one side of a rule; nil is everybody.
func (c *compiler) entityPeers(e *model.CalicoEntity, ns string, version int) []Peer {
	out := c.entityKinds(e, ns)
	if version == 0 && len(e.Nets)+len(e.NotNets) == 0 {
		return out
	}
	if out == nil {
		out = []Peer{{Kind: Anyone}}
	}
	nets := masked(e.Nets)
	if version != 0 {
		family := everywhere[:1]
		if version == 6 {
			family = everywhere[1:]
		}
		nets = intersect(nets, family, len(nets) == 0)
	}
	for i := range out {
		p := &out[i]
		if len(nets) > 0 || version != 0 || len(e.Nets) > 0 {
			p.CIDRs = intersect(p.CIDRs, nets, len(p.CIDRs) == 0)
			if len(p.CIDRs) == 0 && p.Kind != Mystery {
				p.Kind = Nobody
			}
		}
		p.Except = slices.Concat(p.Except, masked(e.NotNets))
		if p.Kind == Names {
			*p = Peer{Kind: Mystery, Why: "it asks for DNS names and addresses at once"}
		}
	}
	return out
}

// intersect is what two lists of ranges have in common; all says that the first
// one is everything.
func intersect(a, b []netip.Prefix, all bool) []netip.Prefix {
	if all {
		return b
	}
	var out []netip.Prefix
	for _, x := range a {
		for _, y := range b {
			if x.Overlaps(y) {
				out = append(out, netip.PrefixFrom(longer(x, y).Addr(), longer(x, y).Bits()))
			}
		}
	}
	return out
}

func longer(a, b netip.Prefix) netip.Prefix {
	if a.Bits() > b.Bits() {
		return a
	}
	return b
}

// entityKinds is a side without its address ranges.
func (c *compiler) entityKinds(e *model.CalicoEntity, ns string) []Peer {
	selects := e.Selector != "" || len(e.ServiceAccounts) > 0 || e.ServiceAccountSelector != ""
	switch {
	case e.Service != "":
		return c.serviceAddresses(e.Service)
	case len(e.Domains) > 0 && (selects || e.NotSelector != "" || e.NamespaceSelector != ""):
		return []Peer{{Kind: Mystery, Why: "it asks for DNS names and selects endpoints at once"}}
	case len(e.Domains) > 0:
		return []Peer{{Kind: Names, Names: slices.Clone(e.Domains)}}
	case !selects && e.NamespaceSelector == "" && (ns == "" || e.NotSelector == ""):
		if e.NotSelector == "" {
			return nil
		}
		return c.complement(e.NotSelector)
	}
	text := e.Selector
	if e.NotSelector != "" {
		text = "(" + cmp.Or(text, "all()") + ") && !(" + e.NotSelector + ")"
	}
	s := calicoPods(text, e.NamespaceSelector, ns)
	if len(e.ServiceAccounts) > 0 {
		s.ServiceAccounts = slices.Clone(e.ServiceAccounts)
	}
	if e.ServiceAccountSelector != "" {
		accounts, err := parseSelector(e.ServiceAccountSelector)
		if err != nil {
			s.Unknown = cmp.Or(s.Unknown, "its service account selector is not understood: "+err.Error())
		}
		s.Accounts = join(s.Accounts, accounts)
	}
	if s.Unknown != "" {
		return []Peer{{Kind: Mystery, Why: s.Unknown}}
	}
	out := []Peer{{Kind: Pods, Pods: s}}
	if len(e.ServiceAccounts) > 0 || e.ServiceAccountSelector != "" {
		return out // sets run as nobody
	}
	return append(out, c.matchingSets(text, e.NamespaceSelector, ns)...)
}

// complement is everybody but the endpoints that a selector selects: other
// pods, nodes, and addresses outside that are in no selected set.
func (c *compiler) complement(selector string) []Peer {
	not := calicoPods("!("+selector+")", "", "")
	if not.Unknown != "" {
		return []Peer{{Kind: Mystery, Why: not.Unknown}}
	}
	outside := Peer{Kind: Range, CIDRs: everywhere, Beyond: true}
	hosts := Peer{Kind: Hosts}
	pods := Peer{Kind: Pods, Pods: not}
	for _, p := range c.matchingSets(selector, "", "") {
		if p.Kind != Range {
			return []Peer{{Kind: Mystery, Why: cmp.Or(p.Why, "it excludes DNS names")}}
		}
		for _, o := range []*Peer{&outside, &hosts, &pods} {
			o.Except = slices.Concat(o.Except, p.CIDRs)
		}
	}
	return []Peer{pods, hosts, outside}
}
