package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// filtered calls f for every step at which a node's packet filter stops the
// packet with a verdict, certainly or perhaps.
func filtered(p *diagnose.Pass, v model.Verdict, f func(diagnose.Way, *model.Step)) {
	p.Broken(model.HopNodeKernel, func(w diagnose.Way, s *model.Step) {
		if s.Filter != nil && s.Verdict == v {
			f(w, s)
		}
	})
	for _, w := range p.Ways() {
		for _, s := range slices.Concat(pointers(w.Path.Steps), pointers(w.Path.Return)) {
			if s.Filter != nil && s.Verdict == model.Unknown && (s.Filter.With != "") == (v == model.Reject) {
				f(w, s)
			}
		}
	}
}

func pointers(steps []model.Step) []*model.Step {
	out := make([]*model.Step, len(steps))
	for i := range steps {
		out[i] = &steps[i]
	}
	return out
}

// filterFinding is a finding about the rule that decided at a step.
func filterFinding(p *diagnose.Pass, s *model.Step, does string) diagnose.Finding {
	name, rule := s.At.Name(), s.Filter
	f := diagnose.Finding{
		Subject: s.At,
		Title:   fmt.Sprintf("The packet filter of node %s %s %s: %s", name, does, shareOf(rule), filterText(rule)),
		Summary: fmt.Sprintf("A rule of the node's own packet filter (%s, table %s %s, chain %s) %s packets of this connection. It is no rule of Kubernetes or of the network plugin unless one of them wrote it: a host firewall (ufw, firewalld, docker) or a hardening script is the usual author.", rule.Tool, rule.Family, rule.Table, rule.Chain, does),
		Fix: []diagnose.Command{
			{Text: "Look at the rule and at what it counts", Line: onNode(name, listRule(rule))},
			{Text: "Take it away, and away from what writes it, or accept the pods' range before it", Line: onNode(name, removeRule(rule)), Verify: again(p)},
		},
	}
	if s.Verdict == model.Unknown {
		f.Confidence = diagnose.Possible
	}
	return f
}

// shareOf is how much of the connection's packets a rule hits.
func shareOf(r *model.FilterRule) string {
	if r.Share > 0 && r.Share < 1 && !counted.MatchString(r.Text) {
		return fmt.Sprintf("%.0f %% of its packets", 100*r.Share)
	}
	return "it"
}

func filterText(r *model.FilterRule) string {
	return fmt.Sprintf("%s %s %s: %s", r.Family, r.Table, r.Chain, r.Text)
}

// isPolicy says that a chain's policy decided rather than a rule.
func isPolicy(r *model.FilterRule) bool { return r.Handle == 0 && !strings.HasPrefix(r.Text, "-A ") }

// iptablesOf is the program that knows a table of iptables.
func iptablesOf(r *model.FilterRule) string {
	program := "iptables"
	if r.Family == "ip6" {
		program = "ip6tables"
	}
	return program + strings.TrimPrefix(r.Tool, "iptables")
}

func listRule(r *model.FilterRule) string {
	if r.Tool == "nft" {
		return fmt.Sprintf("nft -a list chain %s %s %s", r.Family, r.Table, r.Chain)
	}
	return fmt.Sprintf("%s -t %s -vnL %s", iptablesOf(r), r.Table, r.Chain)
}

func removeRule(r *model.FilterRule) string {
	switch {
	case r.Tool == "nft" && isPolicy(r):
		return fmt.Sprintf("nft chain %s %s %s '{ policy accept; }'", r.Family, r.Table, r.Chain)
	case r.Tool == "nft":
		return fmt.Sprintf("nft delete rule %s %s %s handle %d", r.Family, r.Table, r.Chain, r.Handle)
	case isPolicy(r):
		return fmt.Sprintf("%s -t %s -P %s ACCEPT", iptablesOf(r), r.Table, r.Chain)
	}
	return fmt.Sprintf("%s -t %s -D %s", iptablesOf(r), r.Table, strings.TrimPrefix(r.Text, "-A "))
}
