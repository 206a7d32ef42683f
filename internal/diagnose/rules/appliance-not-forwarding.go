package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var applianceNotForwarding = diagnose.Rule{
	ID: "appliance-not-forwarding",
	Doc: `IP forwarding is switched off on the appliance's network interface

The route leads to a machine whose network interface has enableIPForwarding set to false. Azure then drops every packet that is not for the
interface's own address, before the machine sees it. The machine itself runs, answers on its own address, and has
internet.

Look-alikes: an appliance that is down does not answer on its own address either. An address that nobody owns has no interface at
all. A machine whose own kernel does not forward receives the packets, and drops them inside.

Mend it by switching IP forwarding on for the interface, in Azure and in the machine's own kernel.
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-ip-forwarding-disabled"},
	Needs:  []string{"nic", "routetable"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopAppliance, func(w diagnose.Way, step *model.Step) {
			if step.Decided.Kind() != "nic" {
				return
			}
			f := diagnose.Finding{
				Title:   fmt.Sprintf("Network interface %s does not forward (enableIPForwarding is false)", step.Decided.Name()),
				Summary: "The route leads to this interface, and Azure drops every packet that is not for its own address.",
			}
			for _, id := range sortedKeys(p.Case.World.Azure.NICs) {
				if nic := p.Case.World.Azure.NICs[id]; nic.Name == step.Decided.Name() {
					f.Evidence = append(f.Evidence, arm(fmt.Sprintf("network interface %s: enableIPForwarding is %t", nic.Name, nic.IPForwarding), step.Decided))
					f.Fix = []diagnose.Command{{Text: "Switch it on", Line: diagnose.Az("network nic update", nic.ID, "--name", nic.Name, "--ip-forwarding", "true"), Verify: again(p)}}
				}
			}
			p.ReportAt(w, step, f)
		})
	},
}
