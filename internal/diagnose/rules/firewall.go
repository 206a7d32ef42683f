package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// atFirewall calls f for each way that a firewall's rules end.
func atFirewall(p *diagnose.Pass, f func(diagnose.Way, *model.Step)) {
	p.Broken(model.HopAppliance, func(w diagnose.Way, step *model.Step) {
		if kind := step.Decided.Kind(); kind == "firewallpolicy" || kind == "firewall" && step.Decided.Part(1) != "" {
			f(w, step)
		}
	})
}

// byName says that the firewall refused because of a name (it answers then),
// rather than dropping by address and port.
func byName(step *model.Step) bool { return step.Verdict == model.Reject }

// untranslated says that the firewall's rules let the packet pass, and its
// private ranges keep it from translating the source.
func untranslated(step *model.Step) bool { return strings.Contains(step.Reason, "source translation") }

// policyOf finds a firewall policy, or nil.
func policyOf(p *diagnose.Pass, ref model.Ref) *model.FirewallPolicy {
	for _, id := range sortedKeys(p.Case.World.Azure.FirewallPolicies) {
		if fp := p.Case.World.Azure.FirewallPolicies[id]; strings.EqualFold(fp.Name, ref.Part(0)) {
			return fp
		}
	}
	return nil
}

// collectionFor is the group and collection that a new allow rule of a kind
// would go to: one that allows and already holds rules of the kind.
func collectionFor(policy *model.FirewallPolicy, kind string) (group, collection string) {
	for _, g := range policy.Groups {
		for _, c := range g.Collections {
			if !strings.EqualFold(c.Action, "Allow") {
				continue
			}
			for _, r := range c.Rules {
				if r.Kind == kind {
					group, collection = g.Name, c.Name
				}
			}
		}
	}
	return group, collection
}

// collectionOf is where a rule stands, and the highest priority number before it
// that no collection of its group has; 0: there is none.
func collectionOf(policy *model.FirewallPolicy, rule string) (g model.RuleGroup, c model.RuleCollection, before int) {
	for _, g = range policy.Groups {
		for _, c = range g.Collections {
			if !slices.ContainsFunc(c.Rules, func(r model.FirewallRule) bool { return r.Name == rule }) {
				continue
			}
			for before = c.Priority - 1; before >= 100; before-- {
				if !slices.ContainsFunc(g.Collections, func(o model.RuleCollection) bool { return o.Priority == before }) {
					return g, c, before
				}
			}
			return g, c, 0
		}
	}
	return model.RuleGroup{}, model.RuleCollection{}, 0
}

// allowInPolicy is the command that lets the flow pass: a rule that allows it, or,
// where a rule denies it, one in a collection before that: what comes after is
// never asked.
func allowInPolicy(p *diagnose.Pass, policy *model.FirewallPolicy, step *model.Step, application bool) []diagnose.Command {
	in := step.In
	source := in.Src.String()
	if s := p.Subnet(in.Src); s != nil && len(s.Prefixes) > 0 {
		source = s.Prefixes[0].String()
	}
	kind := "network"
	if application {
		kind = "application"
	}
	group, collection := collectionFor(policy, kind)
	args := []string{"--policy-name", policy.Name}
	verb := "network firewall policy rule-collection-group collection rule add"
	var fix []diagnose.Command
	if rule := denyingRule(step); rule != "" {
		g, c, before := collectionOf(policy, rule)
		away := diagnose.Command{
			Text: fmt.Sprintf("Or take the rule away, if nobody needs it (look what else it denies: collection %s of group %s)", c.Name, g.Name),
			Line: diagnose.Az(verb[:len(verb)-len("add")]+"remove", policy.ID, append(args, "--rule-collection-group-name", g.Name, "--collection-name", c.Name, "--name", rule)...),
		}
		if before == 0 {
			away.Text, away.Verify = "Take the rule away, or what it should not deny out of it: there is no priority before it for a rule that allows", again(p)
			return []diagnose.Command{away}
		}
		verb = "network firewall policy rule-collection-group collection add-filter-collection"
		group, collection = g.Name, fmt.Sprintf("before-%s", c.Name)
		args = append(args, "--action", "Allow", "--collection-priority", fmt.Sprint(before))
		fix = []diagnose.Command{away}
	} else if group == "" {
		verb = "network firewall policy rule-collection-group collection add-filter-collection"
		group, collection = "DefaultNetworkRuleCollectionGroup", "allow-"+kind
		if len(policy.Groups) > 0 {
			group = policy.Groups[len(policy.Groups)-1].Name
		}
		args = append(args, "--action", "Allow", "--collection-priority", "1000")
	}
	args = append(args, "--rule-collection-group-name", group, "--collection-name", collection, "--source-addresses", source)
	if application {
		name := firstOf(in.Host, p.Host())
		scheme, port := in.Scheme, in.DstPort
		if seen := p.Seen(); seen != nil && seen.Proxy != "" { // the rule is about where the proxy is asked to go
			scheme, port = p.Case.Question.To.Scheme, p.Case.Question.To.Port
		}
		protocol := "Https"
		if scheme == "http" || port == 80 {
			protocol = "Http"
		}
		args = append(args, "--name", "allow-"+name, "--rule-type", "ApplicationRule", "--protocols", fmt.Sprintf("%s=%d", protocol, port), "--target-fqdns", name)
	} else {
		args = append(args, "--name", fmt.Sprintf("allow-%s-%d", in.Protocol, in.DstPort), "--rule-type", "NetworkRule", "--ip-protocols", upper(in.Protocol),
			"--destination-addresses", in.Dst.String(), "--destination-ports", fmt.Sprint(in.DstPort))
	}
	return append([]diagnose.Command{{
		Text: "Allow it in the policy (a change takes minutes to come into force)", Line: diagnose.Az(verb, policy.ID, args...), Verify: again(p),
	}}, fix...)
}

// denyingRule tells a rule that denies from the lack of one that allows.
func denyingRule(step *model.Step) string { return step.Decided.Part(1) }

// requiredName says whether a name is one that AKS itself needs, and for what.
func requiredName(p *diagnose.Pass, host string) (string, bool) {
	if p.Required == nil {
		return "", false
	}
	for _, e := range p.Required() {
		if matchesDomain(e.Domain, host) {
			return e.Category, true
		}
	}
	return "", false
}

func matchesDomain(pattern, host string) bool {
	pattern, host = lower(strings.TrimSuffix(pattern, ".")), lower(strings.TrimSuffix(host, "."))
	if rest, ok := strings.CutPrefix(pattern, "*"); ok {
		return host != "" && strings.HasSuffix(host, rest) && len(host) > len(rest)
	}
	return host != "" && pattern == host
}
