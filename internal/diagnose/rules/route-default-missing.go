package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var routeDefaultMissing = diagnose.Rule{
	ID: "route-default-missing",
	Doc: `The route table has no default route, and nothing else leads out

The cluster's outbound type is userDefinedRouting: AKS makes no load balancer rule and no NAT gateway, and relies on a
route 0.0.0.0/0 to an appliance. The subnet's table has none, so packets take the system route to the internet, where
nothing gives them a public source address. They are dropped silently; new nodes fail to join.

Look-alikes: a subnet without any table lacks the association, not the route. A default route of type None, or to an
appliance that is down, is there and leads nowhere. In older subnets default outbound access hides the fault: packets
leave by an address that nobody owns.

Mend it by adding the route 0.0.0.0/0 with the appliance's address as next hop.
`,
	Hop:    model.HopRoute,
	Covers: []string{"route-udr-default-missing"},
	Needs:  []string{"routetable", "subnet", "cluster"},
	Under:  []string{"proxy-not-used"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		noEgress(p, func(e egress) {
			if e.kind != "userdefinedrouting" || e.table == nil || defaultRoute(e.table) != nil {
				return
			}
			ref := model.NewRef("routetable", e.table.Name)
			p.ReportAt(e.way, e.step, diagnose.Finding{
				Subject: ref,
				Title:   fmt.Sprintf("Route table %s has no route for 0.0.0.0/0", e.table.Name),
				Summary: "The cluster's outbound type is userDefinedRouting, so only such a route leads out; without it nothing translates the packets' source.",
				Evidence: append([]diagnose.Evidence{
					arm(fmt.Sprintf("route table %s of subnet %s holds %d routes, none for 0.0.0.0/0", e.table.Name, e.subnet.Name, len(e.table.Routes)), ref, p.SubnetRef(e.subnet)),
					arm("the cluster's outbound type is userDefinedRouting", model.NewRef("cluster", p.Case.World.Azure.Cluster.Name)),
				}, privateText(p, e.subnet)...),
				Fix: addDefaultRoute(p, e.table),
			})
		})
	},
}

func addDefaultRoute(p *diagnose.Pass, table *model.RouteTable) []diagnose.Command {
	hop := ""
	for _, id := range sortedKeys(p.Case.World.Azure.Firewalls) {
		if fw := p.Case.World.Azure.Firewalls[id]; fw.PrivateIP.IsValid() {
			hop = fw.PrivateIP.String()
			break
		}
	}
	if hop == "" {
		return []diagnose.Command{{Text: "Add the route 0.0.0.0/0 to the table, with the appliance's address as next hop (az network route-table route create --next-hop-type VirtualAppliance)"}}
	}
	return []diagnose.Command{{
		Text: "Add the default route to the firewall",
		Line: diagnose.Az("network route-table route create", table.ID, "--route-table-name", table.Name, "--name", "default",
			"--address-prefix", "0.0.0.0/0", "--next-hop-type", "VirtualAppliance", "--next-hop-ip-address", hop),
		Verify: again(p),
	}}
}
