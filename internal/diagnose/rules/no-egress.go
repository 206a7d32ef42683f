package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var noEgressByDesign = diagnose.Rule{
	ID: "no-egress",
	Doc: `The cluster has no way to the internet, by its outbound type

The outbound type is none or block: AKS makes nothing that leads out, and nothing else gives the subnet's packets a public
source address (no NAT gateway, no default route to an appliance). Every connection to the internet is dropped silently.

Look-alikes: with any other outbound type a missing NAT gateway, outbound rule or default route is a fault of its own,
and podpath names that.

Mend it, if it is not what was wanted, by giving the subnet a NAT gateway or a default route to an appliance, or by
changing the cluster's outbound type.
`,
	Hop:   model.HopSNAT,
	Needs: []string{"cluster", "subnet"},
	Under: []string{"proxy-not-used"},
	Sees:  diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		noEgress(p, func(e egress) {
			if (e.kind != "none" && e.kind != "block") || e.subnet.NATGatewayID != "" {
				return
			}
			cluster := p.Case.World.Azure.Cluster
			p.ReportAt(e.way, e.step, diagnose.Finding{
				Subject:  model.NewRef("cluster", cluster.Name),
				Title:    fmt.Sprintf("The cluster's outbound type is %s: nothing leads to the internet", cluster.OutboundType),
				Summary:  "That may be what was wanted. Nothing gives the packets a public source address, so they are dropped.",
				Evidence: append([]diagnose.Evidence{arm(fmt.Sprintf("cluster %s: outboundType %s", cluster.Name, cluster.OutboundType), model.NewRef("cluster", cluster.Name))}, privateText(p, e.subnet)...),
				Fix: []diagnose.Command{{
					Text: "If it should reach the internet: attach a NAT gateway to the subnet (az network vnet subnet update --nat-gateway), and change the outbound type to match",
					Line: diagnose.Az("aks update", cluster.ID, "--name", cluster.Name, "--outbound-type", "userAssignedNATGateway"), Verify: again(p),
				}},
			})
		})
	},
}
