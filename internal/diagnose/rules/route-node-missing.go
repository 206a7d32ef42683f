package rules

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var routeNodeMissing = diagnose.Rule{
	ID: "route-node-missing",
	Doc: `The route table has no route to a node's pods

In a kubenet cluster pods' packets travel between nodes by the route table: one route a node, from the node's pod range
to its address. The destination node's route is missing or names another address, so packets for its pods, and the
answers to them, are dropped. The node itself is Ready, and its pods reach each other.

Look-alikes: a table that is not attached loses every node at once. A node whose kernel does not forward receives the
packets and drops them there. An NSG that does not allow the pod range is asked before the route.

Mend it by adding the route, and find why the cloud's route controller did not (a lock, a policy, or a missing role on the table).
`,
	Hop:    model.HopRoute,
	Covers: []string{"route-kubenet-missing-node-route"},
	Needs:  []string{"routetable", "subnet", "node", "cluster"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		if !kubenet(p) {
			return
		}
		p.Broken(model.HopRoute, func(w diagnose.Way, step *model.Step) {
			name := podNode(p, step.In.Dst)
			table := p.TableOf(nodeSubnet(p, step.In.Src))
			if name == "" || table == nil {
				return
			}
			n := p.Case.World.Kube.Nodes[name]
			prefix, good := nodeRoute(table, n)
			if good {
				return
			}
			ref := model.NewRef("routetable", table.Name)
			f := diagnose.Finding{
				Subject:  ref,
				Title:    fmt.Sprintf("Route table %s has no route to the pods of node %s", table.Name, name),
				Summary:  fmt.Sprintf("Pods of %s have addresses from %s; no route leads there, so packets to them are dropped silently.", name, prefix),
				Evidence: []diagnose.Evidence{arm(fmt.Sprintf("route table %s: no route %s → %s", table.Name, prefix, list(addrs(n.InternalIPs))), ref), kube(fmt.Sprintf("node %s: podCIDR %s", name, prefix), model.NewRef("node", name))},
			}
			if wrong := exactRoute(table, prefix); wrong != nil {
				f.Subject = model.NewRef("routetable", table.Name, wrong.Name)
				f.Title = fmt.Sprintf("Route %s of table %s does not lead to node %s", wrong.Name, table.Name, name)
				f.Evidence = append(f.Evidence, arm(routeText(table, wrong), f.Subject))
			}
			if len(n.InternalIPs) > 0 {
				f.Fix = []diagnose.Command{{
					Text: "Add the node's route",
					Line: diagnose.Az("network route-table route create", table.ID, "--route-table-name", table.Name, "--name", name,
						"--address-prefix", prefix.String(), "--next-hop-type", "VirtualAppliance", "--next-hop-ip-address", n.InternalIPs[0].String()),
					Verify: again(p),
				}}
			}
			p.ReportAt(w, step, f)
		})
	},
}

// nodeRoute says whether the table leads a node's pod range to the node.
func nodeRoute(table *model.RouteTable, n *model.Node) (netip.Prefix, bool) {
	if len(n.PodCIDRs) == 0 {
		return netip.Prefix{}, true
	}
	for _, prefix := range n.PodCIDRs {
		r := exactRoute(table, prefix)
		if r == nil {
			return prefix, false
		}
		for _, ip := range n.InternalIPs {
			if r.NextHop == ip {
				return prefix, true
			}
		}
	}
	return n.PodCIDRs[0], false
}

func exactRoute(table *model.RouteTable, prefix netip.Prefix) *model.Route {
	for i := range table.Routes {
		if table.Routes[i].Prefix == prefix.String() {
			return &table.Routes[i]
		}
	}
	return nil
}

func addrs(list []netip.Addr) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}
