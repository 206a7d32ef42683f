package azure

import (
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Firewalls keep their rules in two shapes: in a policy's rule collection
// groups, or (classic) in three lists on the firewall itself. Both become the
// same nouns.

func decodeFirewall(x value) *model.Firewall {
	p := x.props()
	f := &model.Firewall{
		ID: x.get("id").str(), Name: x.get("name").str(), PolicyID: p.ref("firewallPolicy"),
		State: p.get("provisioningState").str(), ThreatIntel: p.get("threatIntelMode").str(),
	}
	for _, c := range p.get("ipConfigurations").list() {
		f.Allocated = true
		if addr := c.props().get("privateIPAddress").addr(); addr.IsValid() && !f.PrivateIP.IsValid() {
			f.PrivateIP = addr
		}
		if ip := c.props().ref("publicIPAddress"); ip != "" {
			f.PublicIPs = append(f.PublicIPs, ip)
		}
	}
	// In a virtual hub the addresses stand elsewhere.
	if hub := p.get("hubIPAddresses"); !hub.missing() && !f.PrivateIP.IsValid() {
		f.PrivateIP = hub.get("privateIPAddress").addr()
		f.Allocated = f.PrivateIP.IsValid()
	}
	classic := model.RuleGroup{Name: "classic rules"}
	for _, list := range []struct{ name, kind string }{
		{"natRuleCollections", "nat"}, {"networkRuleCollections", "network"}, {"applicationRuleCollections", "application"},
	} {
		for _, c := range p.get(list.name).list() {
			q := c.props()
			collection := model.RuleCollection{Name: c.get("name").str(), Priority: q.get("priority").num(), Action: q.get("action", "type").str()}
			for _, r := range q.get("rules").list() {
				collection.Rules = append(collection.Rules, decodeFirewallRule(r, list.kind))
			}
			classic.Collections = append(classic.Collections, collection)
		}
	}
	if len(classic.Collections) > 0 {
		f.Groups = []model.RuleGroup{classic}
	}
	return f
}

func decodeFirewallPolicy(x value) *model.FirewallPolicy {
	p := x.props()
	policy := &model.FirewallPolicy{
		ID: x.get("id").str(), Name: x.get("name").str(), BaseID: p.ref("basePolicy"),
		ThreatIntel:   p.get("threatIntelMode").str(),
		PrivateRanges: p.get("snat", "privateRanges").strs(),
		DNSProxy:      p.get("dnsSettings", "enableProxy").is(), DNSServers: p.get("dnsSettings", "servers").strs(),
		TLSInspection: !p.get("transportSecurity", "certificateAuthority").missing(),
	}
	if proxy := p.get("explicitProxy"); proxy.get("enableExplicitProxy").is() {
		policy.ExplicitProxyHTTP = proxy.get("httpPort").num()
		policy.ExplicitProxyHTTPS = proxy.get("httpsPort").num()
	}
	for _, g := range p.get("ruleCollectionGroups").list() {
		if !g.get("properties", "ruleCollections").missing() { // usually only ids: the groups are read on their own
			policy.Groups = append(policy.Groups, decodeRuleGroup(g))
		}
	}
	return policy
}

func decodeRuleGroup(x value) model.RuleGroup {
	p := x.props()
	group := model.RuleGroup{Name: x.get("name").str(), Priority: p.get("priority").num()}
	for _, c := range p.get("ruleCollections").list() {
		collection := model.RuleCollection{
			Name: c.get("name").str(), Priority: c.get("priority").num(), Action: c.get("action", "type").str(),
		}
		for _, r := range c.get("rules").list() {
			kind := strings.ToLower(strings.TrimSuffix(strings.ToLower(r.get("ruleType").str()), "rule"))
			collection.Rules = append(collection.Rules, decodeFirewallRule(r, kind))
		}
		group.Collections = append(group.Collections, collection)
	}
	return group
}

// decodeFirewallRule reads a rule of either shape. kind is network, application or nat.
func decodeFirewallRule(x value, kind string) model.FirewallRule {
	r := model.FirewallRule{
		Name: x.get("name").str(), Kind: kind,
		Sources: x.get("sourceAddresses").strs(), SourceGroups: lower(x.get("sourceIpGroups").strs()),
		Destinations: x.get("destinationAddresses").strs(), DestGroups: lower(x.get("destinationIpGroups").strs()),
		DestFQDNs: x.get("destinationFqdns").strs(), DestPorts: x.get("destinationPorts").strs(),
		FQDNs: x.get("targetFqdns").strs(), FQDNTags: x.get("fqdnTags").strs(), URLs: x.get("targetUrls").strs(),
		WebCategories: x.get("webCategories").strs(), TerminateTLS: x.get("terminateTLS").is(),
		TranslatedAddr: x.get("translatedAddress").str(), TranslatedPort: x.get("translatedPort").str(),
	}
	if r.TranslatedAddr == "" {
		r.TranslatedAddr = x.get("translatedFqdn").str()
	}
	r.Protocols = x.get("ipProtocols").strs()
	for _, protocol := range x.get("protocols").list() {
		if _, isObject := protocol.v.(map[string]any); !isObject {
			r.Protocols = append(r.Protocols, protocol.str())
			continue
		}
		text := protocol.get("protocolType").str()
		if port := protocol.get("port").str(); port != "" {
			text += ":" + port
		}
		r.Protocols = append(r.Protocols, text)
	}
	return r
}

func lower(ids []string) []string {
	for i := range ids {
		ids[i] = Key(ids[i])
	}
	return ids
}
