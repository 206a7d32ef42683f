// Package firewall is the lab's Azure Firewall: a policy read from ARM documents,
// compiled to nftables for what the kernel decides (network rules, source NAT),
// and an engine that ends connections on application rules as the real one does.
package firewall

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/lab/nft"
	"github.com/podpath/podpath/lab/plan"
)

type (
	ref struct {
		ID string `json:"id"`
	}
	document[P any] struct {
		ID         string `json:"id"`
		Name       string `json:"name"`
		Tags       map[string]string
		Properties P `json:"properties"`
	}
	firewallDoc struct {
		FirewallPolicy             *ref
		NetworkRuleCollections     []document[collection]
		ApplicationRuleCollections []document[collection]
		AdditionalProperties       map[string]string
	}
	policyDoc struct {
		BasePolicy *ref
		Snat       *struct{ PrivateRanges []string }
		DNSSetting *struct {
			Servers     []string
			EnableProxy bool
		} `json:"dnsSettings"`
		ExplicitProxy *struct {
			EnableExplicitProxy bool
			HTTPPort, HTTPSPort int
		}
	}
	groupDoc struct {
		Priority        int
		RuleCollections []collection
	}
	ipGroupDoc struct{ IPAddresses []string }
	collection struct {
		Name     string
		Priority int
		Action   struct{ Type string }
		Rules    []ruleDoc
	}
	protocol struct {
		ProtocolType string
		Port         int
	}
	ruleDoc struct {
		Name, RuleType                                          string
		Protocols                                               json.RawMessage // strings of a classic network rule, objects of an application rule
		IPProtocols                                             []string
		SourceAddresses, DestinationAddresses, DestinationFqdns []string
		SourceIPGroups, DestinationIPGroups                     []string
		DestinationPorts                                        []string
		TargetFqdns, TargetUrls, FqdnTags                       []string
	}
)

// networkRule is one rule of a network collection, in the order of evaluation.
type networkRule struct {
	name      string // group/collection/rule
	allow     bool
	from, to  nft.Set // nil: any
	protocols []string
	ports     nft.Set // nil: any
	fqdns     []string
}

// applicationRule is one rule of an application collection.
type applicationRule struct {
	group, collection, name string
	allow                   bool
	from                    nft.Set // nil: any
	protocols               []protocol
	fqdns                   []string
	urls                    []string
}

// Policy is what a firewall does to packets and requests.
type Policy struct {
	Addr        netip.Addr
	Up          bool
	Idle        int  // seconds without a packet after which a connection is forgotten; 0: the kernel's own, five days
	Silent      bool // says nothing when a forgotten connection is used again
	plain       bool // forwards and translates everything
	network     []networkRule
	application []applicationRule
	private     nft.Set // destinations that network rules do not translate sources for
	proxyPorts  []int   // of the explicit proxy
	dnsProxy    bool
	dnsServer   netip.Addr
}

var rfc1918 = nft.Prefixes(netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"))

// AKSFqdns are what the FQDN tag AzureKubernetesService stands for.
var AKSFqdns = []string{
	"*.hcp." + plan.Location + ".azmk8s.io", "mcr.microsoft.com", "*.data.mcr.microsoft.com", "mcr-0001.mcr-msedge.net",
	"management.azure.com", "login.microsoftonline.com", "packages.microsoft.com", "acs-mirror.azureedge.net", "packages.aks.azure.com",
	"security.ubuntu.com", "azure.archive.ubuntu.com", "changelogs.ubuntu.com", "snapshot.ubuntu.com",
}

// Plain is an appliance that is no Azure Firewall: it forwards everything, with
// its own address as the source towards the internet.
func Plain(addr netip.Addr) *Policy {
	return &Policy{Addr: addr, Up: true, plain: true, private: rfc1918, dnsServer: plan.AzureDNS}
}

type reader struct {
	policies map[string]document[policyDoc]
	groups   []document[groupDoc]
	ipGroups map[string]document[ipGroupDoc]
}

// Compile reads the policy of the firewall documents. up says whether the firewall
// is running at addr; one that is not lets nothing pass.
func Compile(docs []map[string]any, addr netip.Addr, up bool) (*Policy, error) {
	p := &Policy{Addr: addr, Up: up, private: rfc1918, dnsServer: plan.AzureDNS}
	r := reader{policies: map[string]document[policyDoc]{}, ipGroups: map[string]document[ipGroupDoc]{}}
	var fw *document[firewallDoc]
	for _, doc := range docs {
		id, _ := doc["id"].(string)
		id = strings.ToLower(id)
		var err error
		switch {
		case strings.Contains(id, "/providers/microsoft.network/azurefirewalls/"):
			if fw == nil {
				fw = &document[firewallDoc]{}
				err = decode(doc, fw)
			}
		case strings.Contains(id, "/rulecollectiongroups/"):
			var g document[groupDoc]
			err = decode(doc, &g)
			r.groups = append(r.groups, g)
		case strings.Contains(id, "/providers/microsoft.network/firewallpolicies/"):
			var d document[policyDoc]
			err = decode(doc, &d)
			r.policies[id] = d
		case strings.Contains(id, "/providers/microsoft.network/ipgroups/"):
			var d document[ipGroupDoc]
			err = decode(doc, &d)
			r.ipGroups[id] = d
		}
		if err != nil {
			return nil, err
		}
	}
	if fw == nil {
		return p, nil
	}
	p.Idle, _ = strconv.Atoi(fw.Tags["labIdleSeconds"])
	p.Silent = fw.Tags["labIdleSilent"] == "true"
	return p, r.firewall(p, fw)
}

func decode(doc map[string]any, into any) error {
	text, err := json.Marshal(doc)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("document %v: %w", doc["id"], err)
	}
	return nil
}

func (r reader) firewall(p *Policy, fw *document[firewallDoc]) error {
	if fw.Properties.FirewallPolicy == nil {
		if err := r.classic(p, fw.Properties); err != nil {
			return err
		}
		return p.setPrivate(strings.Split(fw.Properties.AdditionalProperties["Network.SNAT.PrivateRanges"], ","))
	}
	var chain []string // a base policy's groups come before its child's
	seen := map[string]bool{}
	for id := strings.ToLower(fw.Properties.FirewallPolicy.ID); id != "" && !seen[id]; {
		seen[id] = true
		chain = append([]string{id}, chain...)
		base := r.policies[id].Properties.BasePolicy
		if id = ""; base != nil {
			id = strings.ToLower(base.ID)
		}
	}
	for _, id := range chain {
		if err := r.policy(p, id); err != nil {
			return err
		}
	}
	return nil
}

func (r reader) policy(p *Policy, id string) error {
	d := r.policies[id].Properties
	if d.Snat != nil {
		if err := p.setPrivate(d.Snat.PrivateRanges); err != nil {
			return fmt.Errorf("firewall policy %s: snat.privateRanges: %w", r.policies[id].Name, err)
		}
	}
	if d.DNSSetting != nil {
		p.dnsProxy = d.DNSSetting.EnableProxy
		if len(d.DNSSetting.Servers) > 0 {
			if a, err := netip.ParseAddr(d.DNSSetting.Servers[0]); err == nil && a.Is4() {
				p.dnsServer = a
			}
		}
	}
	if e := d.ExplicitProxy; e != nil && e.EnableExplicitProxy {
		for _, port := range []int{e.HTTPPort, e.HTTPSPort} {
			if port > 0 && port < 65536 && !slices.Contains(p.proxyPorts, port) {
				p.proxyPorts = append(p.proxyPorts, port)
			}
		}
	}
	var groups []document[groupDoc]
	for _, g := range r.groups {
		if strings.HasPrefix(strings.ToLower(g.ID), id+"/rulecollectiongroups/") {
			groups = append(groups, g)
		}
	}
	slices.SortStableFunc(groups, func(a, b document[groupDoc]) int {
		if d := a.Properties.Priority - b.Properties.Priority; d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, g := range groups {
		if err := r.collections(p, g.Name, g.Properties.RuleCollections); err != nil {
			return fmt.Errorf("rule collection group %s: %w", g.Name, err)
		}
	}
	return nil
}

// setPrivate reads the destinations that are left alone: IANAPrivateRanges is the
// default, 255.255.255.255/32 means "always translate", 0.0.0.0/0 "never".
func (p *Policy) setPrivate(ranges []string) error {
	var out nft.Set
	for _, s := range ranges {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if strings.EqualFold(s, "IANAPrivateRanges") {
			out = append(out, rfc1918...)
			continue
		}
		set, err := addressSet([]string{s})
		if err != nil {
			return err
		}
		if set == nil {
			set = nft.Set{{Lo: 0, Hi: 1<<32 - 1}}
		}
		out = append(out, set...)
	}
	if len(out) > 0 {
		p.private = out.Merge()
	}
	return nil
}

func (r reader) classic(p *Policy, fw firewallDoc) error {
	for _, list := range []struct {
		kind string
		docs []document[collection]
	}{{"NetworkRule", fw.NetworkRuleCollections}, {"ApplicationRule", fw.ApplicationRuleCollections}} {
		var out []collection
		for _, d := range list.docs {
			c := d.Properties
			c.Name = d.Name
			for i := range c.Rules {
				c.Rules[i].RuleType = list.kind
				if list.kind == "NetworkRule" && len(c.Rules[i].Protocols) > 0 {
					if err := json.Unmarshal(c.Rules[i].Protocols, &c.Rules[i].IPProtocols); err != nil {
						return fmt.Errorf("rule %s: protocols: %w", c.Rules[i].Name, err)
					}
				}
			}
			out = append(out, c)
		}
		if err := r.collections(p, "", out); err != nil {
			return err
		}
	}
	return nil
}

func (r reader) collections(p *Policy, group string, list []collection) error {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b collection) int { return a.Priority - b.Priority })
	for _, c := range list {
		allow := strings.EqualFold(c.Action.Type, "Allow")
		for _, d := range c.Rules {
			var err error
			switch {
			case strings.EqualFold(d.RuleType, "NetworkRule"):
				err = r.networkRule(p, group+"/"+c.Name+"/"+d.Name, allow, d)
			case strings.EqualFold(d.RuleType, "ApplicationRule"):
				err = r.applicationRule(p, applicationRule{group: group, collection: c.Name, name: d.Name, allow: allow}, d)
			}
			if err != nil {
				return fmt.Errorf("collection %s, rule %s: %w", c.Name, d.Name, err)
			}
		}
	}
	return nil
}

func (r reader) networkRule(p *Policy, name string, allow bool, d ruleDoc) error {
	n := networkRule{name: strings.TrimPrefix(name, "/"), allow: allow, fqdns: d.DestinationFqdns}
	var err error
	if n.from, err = addressSet(r.expand(d.SourceAddresses, d.SourceIPGroups)); err != nil {
		return err
	}
	if n.to, err = addressSet(r.expand(d.DestinationAddresses, d.DestinationIPGroups)); err != nil {
		return err
	}
	if n.ports, err = nft.Ports(d.DestinationPorts...); err != nil {
		return err
	}
	for _, proto := range d.IPProtocols {
		n.protocols = append(n.protocols, strings.ToLower(proto))
	}
	if none(n.from) || (none(n.to) && len(n.fqdns) == 0) {
		return nil // a service tag without addresses here, an empty group
	}
	p.network = append(p.network, n)
	return nil
}

func (r reader) applicationRule(p *Policy, a applicationRule, d ruleDoc) error {
	var err error
	if a.from, err = addressSet(r.expand(d.SourceAddresses, d.SourceIPGroups)); err != nil {
		return err
	}
	if len(d.Protocols) > 0 {
		if err := json.Unmarshal(d.Protocols, &a.protocols); err != nil {
			return fmt.Errorf("protocols: %w", err)
		}
	}
	a.fqdns, a.urls = slices.Clone(d.TargetFqdns), d.TargetUrls
	for _, tag := range d.FqdnTags {
		if strings.EqualFold(tag, "AzureKubernetesService") {
			a.fqdns = append(a.fqdns, AKSFqdns...)
			a.protocols = append(a.protocols, protocol{"Https", 443}, protocol{"Http", 80})
		}
	}
	if !none(a.from) {
		p.application = append(p.application, a)
	}
	return nil
}

// expand adds the addresses of IP groups to a list.
func (r reader) expand(addrs, groups []string) []string {
	out := slices.Clone(addrs)
	for _, g := range groups {
		out = append(out, r.ipGroups[strings.ToLower(g)].Properties.IPAddresses...)
	}
	return out
}

// none says that a set was given and is empty; a nil set is "any".
func none(s nft.Set) bool { return s != nil && len(s) == 0 }

// addressSet reads addresses, CIDRs and ranges. Any of "*" gives nil; names that
// are no addresses are service tags, which have none here.
func addressSet(list []string) (nft.Set, error) {
	out := nft.Set{}
	for _, s := range list {
		s = strings.TrimSpace(s)
		if s == "*" || strings.EqualFold(s, "Any") {
			return nil, nil
		}
		if lo, hi, ok := strings.Cut(s, "-"); ok {
			a, err1 := netip.ParseAddr(lo)
			b, err2 := netip.ParseAddr(hi)
			if err1 == nil && err2 == nil && a.Is4() && b.Is4() {
				out = append(out, nft.Range(a, b))
				continue
			}
		}
		p, err := nft.ParsePrefix(s)
		if err != nil {
			if s == "" || s[0] >= '0' && s[0] <= '9' {
				return nil, err
			}
			continue
		}
		if p.Addr().Is4() {
			out = append(out, nft.PrefixSpan(p))
		}
	}
	if out = out.Merge(); out == nil {
		out = nft.Set{}
	}
	if out.Everything() {
		return nil, nil
	}
	return out, nil
}

// verdict is what the application rules say about one request.
type verdict struct {
	allow  bool
	reason string // the text of a denial
}

const noRule = "Action: Deny. Reason: No rule matched. Proceeding with default action."

// decide finds the application rule for a request: kind is "Http" or "Https".
func (p *Policy) decide(from netip.Addr, kind string, port int, host, path string) verdict {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, r := range p.application {
		if !r.matches(from, kind, port, host, path) {
			continue
		}
		if r.allow {
			return verdict{allow: true}
		}
		return verdict{reason: fmt.Sprintf("Action: Deny. Rule Collection Group: %s. Rule Collection: %s. Rule: %s", r.group, r.collection, r.name)}
	}
	return verdict{reason: noRule}
}

func (r applicationRule) matches(from netip.Addr, kind string, port int, host, path string) bool {
	if r.from != nil && !r.from.Has(from) {
		return false
	}
	if !slices.ContainsFunc(r.protocols, func(p protocol) bool {
		want := p.Port
		if want == 0 {
			want = map[string]int{"http": 80, "https": 443, "mssql": 1433}[strings.ToLower(p.ProtocolType)]
		}
		return strings.EqualFold(p.ProtocolType, kind) && want == port
	}) {
		return false
	}
	if host == "" {
		return false
	}
	return slices.ContainsFunc(r.fqdns, func(f string) bool { return fqdnMatches(f, host) }) ||
		slices.ContainsFunc(r.urls, func(u string) bool { return urlMatches(u, host, path) })
}

// fqdnMatches knows exact names, "*" and a leading wildcard.
func fqdnMatches(pattern, host string) bool {
	pattern = strings.ToLower(strings.TrimSuffix(pattern, "."))
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(host, rest) && len(host) > len(rest)
	}
	return pattern == host
}

func urlMatches(pattern, host, path string) bool {
	pattern = strings.TrimPrefix(strings.TrimPrefix(pattern, "https://"), "http://")
	name, tail, _ := strings.Cut(pattern, "/")
	if !fqdnMatches(name, host) {
		return false
	}
	tail = "/" + tail
	if prefix, ok := strings.CutSuffix(tail, "*"); ok {
		return strings.HasPrefix(path, prefix)
	}
	return tail == "/" || tail == path
}

// applicationPorts are the TCP ports that the engine looks at.
func (p *Policy) applicationPorts() nft.Set {
	ports := nft.Set{{Lo: 80, Hi: 80}, {Lo: 443, Hi: 443}}
	for _, r := range p.application {
		for _, proto := range r.protocols {
			if proto.Port > 0 {
				ports = append(ports, nft.Span{Lo: uint32(proto.Port), Hi: uint32(proto.Port)})
			}
		}
	}
	return ports.Merge()
}

// Names are the FQDNs of network rules, which somebody has to resolve.
func (p *Policy) Names() []string {
	var out []string
	if !p.dnsProxy {
		return nil // without the DNS proxy, Azure does not honour them
	}
	for _, r := range p.network {
		out = append(out, r.fqdns...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
