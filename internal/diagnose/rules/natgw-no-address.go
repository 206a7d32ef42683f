package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var natgwNoAddress = diagnose.Rule{
	ID: "natgw-no-address",
	Doc: `The NAT gateway has no public address

The subnet is attached to a NAT gateway that has neither a public address nor a prefix. It takes the subnet's packets and
has nothing to translate their source to; they are dropped silently. It happens when an address was detached or
deleted, for example to be reused.

Look-alikes: a subnet without NAT gateway fails the same way, and the subnet is what has to change then. A NAT gateway that
has run out of ports fails only for some connections and shows it in its metrics.

Mend it by attaching a public address of the gateway's SKU.
`,
	Hop:    model.HopNATGW,
	Covers: []string{"natgw-no-public-ip"},
	Needs:  []string{"subnet", "natgateway"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		noEgress(p, func(e egress) {
			if e.nat == nil || len(e.nat.PublicIPs)+len(e.nat.Prefixes) > 0 {
				return
			}
			f := diagnose.Finding{
				Subject: model.NewRef("natgateway", e.nat.Name),
				Title:   fmt.Sprintf("NAT gateway %s has no public address", e.nat.Name),
				Summary: fmt.Sprintf("Subnet %s is attached to it, so nothing else translates the packets, and the gateway has nothing to translate them to.", e.subnet.Name),
				Evidence: []diagnose.Evidence{
					arm(fmt.Sprintf("NAT gateway %s: publicIpAddresses and publicIpPrefixes are empty", e.nat.Name), model.NewRef("natgateway", e.nat.Name)),
					arm(fmt.Sprintf("subnet %s is attached to it", e.subnet.Name), p.SubnetRef(e.subnet)),
				},
			}
			for _, id := range sortedKeys(p.Case.World.Azure.PublicIPs) {
				if ip := p.Case.World.Azure.PublicIPs[id]; ip.Attached == "" {
					f.Fix = append(f.Fix, diagnose.Command{
						Text:   fmt.Sprintf("Attach public address %s (%s), which nothing uses", ip.Name, ip.Addr),
						Line:   diagnose.Az("network nat gateway update", e.nat.ID, "--name", e.nat.Name, "--public-ip-addresses", ip.ID),
						Verify: again(p),
					})
				}
			}
			if len(f.Fix) == 0 {
				name := e.nat.Name + "-ip"
				f.Fix = []diagnose.Command{
					{Text: "Make a public address", Line: diagnose.Az("network public-ip create", e.nat.ID, "--name", name, "--sku", "Standard", "--allocation-method", "Static")},
					{Text: "Attach it", Line: diagnose.Az("network nat gateway update", e.nat.ID, "--name", e.nat.Name, "--public-ip-addresses", name), Verify: again(p)},
				}
			}
			p.ReportAt(e.way, e.step, f)
		})
	},
}
