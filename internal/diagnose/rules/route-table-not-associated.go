package rules

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var routeTableNotAssociated = diagnose.Rule{
	ID: "route-table-not-associated",
	Doc: `The subnet has lost its route table

The subnet's packets are routed by Azure's own routes alone. In a kubenet cluster the route table is what carries pods'
packets from node to node: pods on different nodes no longer reach each other (nor the DNS pods on the other
node), while pods on one node do. In a cluster with userDefinedRouting it held the default route to the firewall: nothing
leads out any more, or the traffic bypasses the firewall.

Look-alikes: a table that is there and lacks one route loses one node or the way out. Forwarding switched off on a
node looks alike from that node only.

Mend it by attaching the table to the subnet again, and find what wrote the subnet without it (a template that does not
name the table removes it).
`,
	Hop:    model.HopRoute,
	Covers: []string{"route-table-not-associated"},
	Needs:  []string{"subnet", "routetable", "cluster"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		if p.Outbound() == "userdefinedrouting" {
			noEgress(p, func(e egress) {
				if e.subnet.RouteTableID == "" {
					reportNoTable(p, e.way, e.step, e.subnet, "The cluster's outbound type is userDefinedRouting: the table's default route is the only way out.")
				}
			})
		}
		if kubenet(p) {
			p.Broken(model.HopRoute, func(w diagnose.Way, step *model.Step) {
				subnet := nodeSubnet(p, step.In.Src)
				if subnet != nil && subnet.RouteTableID == "" && podNode(p, step.In.Dst) != "" {
					reportNoTable(p, w, step, subnet, "In a kubenet cluster the table holds the routes to each node's pods; without it pods of different nodes do not reach each other.")
				}
			})
		}
	},
}

func reportNoTable(p *diagnose.Pass, w diagnose.Way, step *model.Step, subnet *model.Subnet, why string) {
	f := diagnose.Finding{
		Subject:  p.SubnetRef(subnet),
		Title:    fmt.Sprintf("Subnet %s has no route table", subnet.Name),
		Summary:  why,
		Evidence: []diagnose.Evidence{arm(fmt.Sprintf("subnet %s: routeTable is empty", subnet.Name), p.SubnetRef(subnet))},
	}
	for _, id := range sortedKeys(p.Case.World.Azure.RouteTables) {
		table := p.Case.World.Azure.RouteTables[id]
		f.Fix = append(f.Fix, diagnose.Command{Text: "Attach route table " + table.Name, Line: subnetUpdate(p, subnet, "--route-table", table.ID), Verify: again(p)})
	}
	if len(f.Fix) == 0 {
		f.Fix = []diagnose.Command{{Text: "Attach the route table that belongs to the subnet (az network vnet subnet update --route-table); it was not among what podpath could read"}}
	}
	p.ReportAt(w, step, f)
}

func kubenet(p *diagnose.Pass) bool {
	c := p.Case.World.Azure.Cluster
	return c != nil && lower(c.NetworkPlugin) == "kubenet"
}

// nodeSubnet is the subnet of the node that sends an address's packets: a node's
// own address, or the node of a pod's.
func nodeSubnet(p *diagnose.Pass, src netip.Addr) *model.Subnet {
	if s := p.Subnet(src); s != nil {
		return s
	}
	if n := p.Case.World.Kube.Nodes[podNode(p, src)]; n != nil && len(n.InternalIPs) > 0 {
		return p.Subnet(n.InternalIPs[0])
	}
	return nil
}

// podNode is the node whose pod range holds an address, or "".
func podNode(p *diagnose.Pass, addr netip.Addr) string {
	for _, name := range sortedKeys(p.Case.World.Kube.Nodes) {
		for _, prefix := range p.Case.World.Kube.Nodes[name].PodCIDRs {
			if prefix.Contains(addr) {
				return name
			}
		}
	}
	return ""
}
