package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var firewallNoAddress = diagnose.Rule{
	ID: "firewall-no-address",
	Doc: `The firewall has no public address

The route leads through an Azure Firewall that runs and allows the connection, and has neither a public address of its own nor a NAT gateway on
its subnet: it has nothing to translate the source to, and the packets go no further.

Look-alikes: a stopped firewall has no addresses at all. A firewall whose private ranges hold the destination has an address and does not
use it.

Mend it by giving the firewall a public address, or its subnet a NAT gateway.
`,
	Hop:   model.HopAppliance,
	Needs: []string{"firewall", "routetable"},
	Sees:  func(o *model.Observation) bool { return diagnose.Silence(o) || refusedByName(o) },
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopAppliance, func(w diagnose.Way, step *model.Step) {
			fw := firewallNamed(p, step.Decided)
			if fw == nil || !fw.Allocated || len(fw.PublicIPs) > 0 {
				return
			}
			name := fw.Name + "-ip"
			p.ReportAt(w, step, diagnose.Finding{
				Title:    fmt.Sprintf("Firewall %s has no public address", fw.Name),
				Summary:  "It allows the connection and has nothing to translate the source to.",
				Evidence: []diagnose.Evidence{arm(fmt.Sprintf("firewall %s: no ip configuration has a public address", fw.Name), step.Decided)},
				Fix: []diagnose.Command{
					{Text: "Make a public address", Line: diagnose.Az("network public-ip create", fw.ID, "--name", name, "--sku", "Standard", "--allocation-method", "Static")},
					{Text: "Give it to the firewall", Line: diagnose.Az("network firewall ip-config create", fw.ID, "--firewall-name", fw.Name, "--name", "public", "--public-ip-address", name), Verify: again(p)},
				},
			})
		})
	},
}
