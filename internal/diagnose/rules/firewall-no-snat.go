package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var firewallNoSNAT = diagnose.Rule{
	ID: "firewall-no-snat",
	Doc: `The firewall does not translate the source address

The firewall's rules let the packet pass, and its private ranges (the destinations to which it does not translate) hold the destination: with
0.0.0.0/0 among them nothing is translated. Packets leave with a private source address, and no answer finds back. The client
waits until its time-out; traffic that application rules handle is translated always, and works.

Look-alikes: a network rule that is missing drops before; pods' addresses that leave the node untranslated are the masquerading's
fault.

Mend it by taking the range out of the policy's private ranges; the default is the private ranges of RFC 1918 and 100.64.0.0/10.
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-no-snat"},
	Needs:  []string{"firewall", "firewallpolicy"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		atFirewall(p, func(w diagnose.Way, step *model.Step) {
			if !untranslated(step) {
				return
			}
			ref := model.NewRef(step.Decided.Kind(), step.Decided.Part(0))
			f := diagnose.Finding{
				Subject: ref,
				Title:   fmt.Sprintf("Firewall policy %s does not translate the source towards %s", ref.Name(), step.In.Dst),
				Summary: fmt.Sprintf("Its private ranges hold the destination, so %s leaves with its private address and no answer finds back.", step.In.Src),
			}
			if policy := policyOf(p, ref); policy != nil {
				f.Evidence = append(f.Evidence, arm(fmt.Sprintf("firewall policy %s: snat.privateRanges is %s", policy.Name, strings.Join(policy.PrivateRanges, ", ")), ref))
				f.Fix = []diagnose.Command{{
					Text:   "Leave only private ranges in it",
					Line:   diagnose.Az("network firewall policy update", policy.ID, "--name", policy.Name, "--private-ranges", "IANAPrivateRanges"),
					Verify: again(p),
				}}
			}
			p.ReportAt(w, step, f)
		})
	},
}
