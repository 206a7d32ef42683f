package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var natgwNotAssociated = diagnose.Rule{
	ID: "natgw-not-associated",
	Doc: `The subnet has no NAT gateway although the cluster goes out through one

The cluster's outbound type says NAT gateway, and the subnet from which these packets leave is not attached to one.
Association is per subnet: a second node pool in a subnet of its own, or a subnet that was written again from a template, loses it.
In a private subnet nothing else gives the packets a public source address, and they are dropped silently; in an older subnet
they leave by an address that nobody chose.

Look-alikes: a NAT gateway without a public address is attached and still useless. An NSG that denies is asked before the
NAT gateway. A user-defined default route takes the packets elsewhere before the gateway is considered.

Mend it by attaching the NAT gateway to the subnet. New connections use it at once.
`,
	Hop:    model.HopNATGW,
	Covers: []string{"natgw-not-associated", "natgw-second-pool-subnet"},
	Needs:  []string{"subnet", "natgateway", "cluster"},
	Under:  []string{"proxy-not-used"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		noEgress(p, func(e egress) {
			if !isNATType(e.kind) || e.subnet.NATGatewayID != "" {
				return
			}
			f := diagnose.Finding{
				Subject: p.SubnetRef(e.subnet),
				Title:   fmt.Sprintf("Subnet %s has no NAT gateway, and the cluster's outbound type is %s", e.subnet.Name, p.Case.World.Azure.Cluster.OutboundType),
				Summary: "Nothing gives packets from this subnet a public source address, so they are dropped on the way out.",
			}
			f.Evidence = append(f.Evidence, privateText(p, e.subnet)...)
			if with := siblings(p, e.subnet, func(s *model.Subnet) bool { return s.NATGatewayID != "" }); len(with) > 0 {
				f.Evidence = append(f.Evidence, arm("the cluster's other subnets have one: "+strings.Join(with, ", ")))
			}
			for _, id := range sortedKeys(p.Case.World.Azure.NATGateways) {
				nat := p.Case.World.Azure.NATGateways[id]
				f.Fix = append(f.Fix, diagnose.Command{Text: "Attach NAT gateway " + nat.Name, Line: subnetUpdate(p, e.subnet, "--nat-gateway", nat.ID), Verify: again(p)})
			}
			if len(f.Fix) == 0 {
				f.Fix = []diagnose.Command{{Text: "Make a NAT gateway with a public address, and attach it to the subnet (az network nat gateway create, then az network vnet subnet update --nat-gateway)"}}
			}
			p.ReportAt(e.way, e.step, f)
		})
	},
}
