package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nodeTranslation = diagnose.Rule{
	ID: "node-translation",
	Doc: `The node's own rules give packets a source address that no answer comes back to

What leaves a node for the outside has to carry an address of the node: the masquerading agent writes rules for that. Here the node's rules do
something else than the agent is told: somebody's rule before them translates to an address that the node does not have, a rule keeps
the connection from being tracked (NOTRACK), so that nothing translates it, or the agent's rules are gone (flushed by a firewall that was started, or never
written because its pod does not run on this node).

Look-alikes: an agent that is told to exempt the destination shows in its ConfigMap. A rule that drops is named by its own page. From
the node itself it works in all of these; from pods of other nodes too, if only this node has the rule.

Mend it by taking the rule away, and away from what writes it, or by letting the agent write its rules anew (delete its pod on the node).
`,
	Hop:   model.HopMasquerade,
	Needs: []string{"nodefacts", "configmap", "node", "nic", "cluster", "subnet"},
	Sees:  diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopMasquerade, func(w diagnose.Way, step *model.Step) {
			masq := byNode(w)
			if masq == nil || step.Decided != masq.Decided {
				return
			}
			name := masq.Decided.Name()
			f := diagnose.Finding{
				Subject: masq.Decided,
				Title:   fmt.Sprintf("Node %s sends packets of pods to %s on with a source address that is not its own", name, step.In.Dst),
				Summary: "Answers to that address do not come back to the node.",
				Fix:     show("See which rules translate on this node", onNode(name, "iptables -t raw -S; iptables -t nat -S POSTROUTING; nft list ruleset"), "Take the rule away, and away from what writes it; or delete the masquerading agent's pod on the node, so that it writes its rules anew"),
			}
			if r := masq.Filter; r != nil && step == masq {
				f.Title += ": " + filterText(r)
				f.Fix[0] = diagnose.Command{Text: "Look at the rule and at what it counts", Line: onNode(name, listRule(r))}
				f.Fix[1] = diagnose.Command{Text: "Take it away, and away from what writes it", Line: onNode(name, removeRule(r)), Verify: again(p)}
			} else {
				f.Evidence = append(f.Evidence, node(masq.Title+": "+masq.Reason, masq.At))
				f.Fix[1].Verify = again(p)
			}
			p.ReportAt(w, step, f)
		})
	},
}

// byNode is the step at which a node's own rules decide the source address
// against what the masquerading agent is told; nil where they do not.
func byNode(w diagnose.Way) *model.Step {
	for i := range w.Path.Steps {
		if s := &w.Path.Steps[i]; s.Hop == model.HopMasquerade && s.At == s.Decided && s.Decided.Kind() == "node" {
			return s
		}
	}
	return nil
}
