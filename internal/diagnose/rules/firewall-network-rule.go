package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var firewallNetworkRule = diagnose.Rule{
	ID: "firewall-network-rule",
	Doc: `The firewall has no network rule that allows the connection

The subnet's default route leads through an Azure Firewall (or another appliance whose rules are known), and no network rule allows this address, port and
protocol, or one denies it. The firewall drops silently: the client waits until its time-out. Connections to other ports or hosts pass.

Look-alikes: for HTTP and HTTPS the firewall first takes the connection and then looks at the name: that is refused with an
answer or a reset, not with silence. An NSG that denies comes before the route. A firewall that does not translate the source lets
the packet out, and the answer is lost.

Mend it by adding a network rule for the subnet's range, the destination and the port; changes take minutes.
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-deny-network-rule"},
	Needs:  []string{"firewall", "firewallpolicy", "routetable", "subnet"},
	Under:  []string{"proxy-not-used"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		atFirewall(p, func(w diagnose.Way, step *model.Step) {
			if byName(step) || untranslated(step) {
				return
			}
			owner := step.Decided.Part(0)
			f := diagnose.Finding{
				Title:   fmt.Sprintf("Firewall rules of %s do not allow %s", owner, flowText(step.In)),
				Summary: "No network rule allows it, so the firewall drops the packets silently.",
			}
			if rule := denyingRule(step); rule != "" {
				f.Title = fmt.Sprintf("Rule %s of %s denies %s", rule, owner, flowText(step.In))
				f.Summary = fmt.Sprintf("Rule %s matches first and denies; the firewall drops the packets silently.", rule)
			}
			for _, t := range step.Trail {
				f.Evidence = append(f.Evidence, arm(t, step.Decided))
			}
			if policy := policyOf(p, step.Decided); policy != nil {
				f.Fix = allowInPolicy(p, policy, step, false)
			} else {
				f.Fix = []diagnose.Command{{Text: "Allow it in the firewall's rules"}}
			}
			changing(p, step, &f)
			p.ReportAt(w, step, f)
		})
	},
}
