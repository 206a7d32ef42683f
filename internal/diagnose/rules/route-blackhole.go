package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var routeBlackhole = diagnose.Rule{
	ID: "route-blackhole",
	Doc: `A user-defined route throws the packets away

The route with the longest prefix that holds the destination has the next hop type None. Azure drops the packets
silently in its fabric: the client waits until its time-out, nothing answers, and no firewall or NAT gateway ever sees
the packet. Destinations inside the VNet still work, because their routes are more specific.

Look-alikes: an NSG that denies is as silent, and is asked before the route; podpath reads both. A route to an appliance
that is down or that nobody owns looks the same from the pod; its next hop type is VirtualAppliance. A missing default
route in a subnet without public egress fails at source translation instead.

Mend it by giving the route the next hop that was meant (the firewall's address, or Internet), or by deleting it so that
the next best route decides.
`,
	Hop:    model.HopRoute,
	Covers: []string{"route-udr-default-none"},
	Needs:  []string{"routetable", "subnet"},
	Under:  []string{"proxy-not-used"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopRoute, func(w diagnose.Way, step *model.Step) {
			table, route := p.Route(step.Decided)
			if route == nil || !strings.EqualFold(route.NextHopType, "None") {
				return
			}
			p.ReportAt(w, step, diagnose.Finding{
				Title:    fmt.Sprintf("Route %s of table %s sends %s to nowhere (next hop None)", route.Name, table.Name, route.Prefix),
				Summary:  fmt.Sprintf("%s is the most specific route for %s, and its next hop type None drops every packet without an answer.", route.Name, step.In.Dst),
				Evidence: []diagnose.Evidence{arm(routeText(table, route), model.NewRef("routetable", table.Name, route.Name))},
				Fix:      routeFix(p, table, route),
			})
		})
	},
}

func routeText(table *model.RouteTable, route *model.Route) string {
	hop := route.NextHopType
	if route.NextHop.IsValid() {
		hop += " " + route.NextHop.String()
	}
	return fmt.Sprintf("route table %s, route %s: %s → %s", table.Name, route.Name, route.Prefix, hop)
}

// routeFix offers the appliance when the network has one, and the way without the route.
func routeFix(p *diagnose.Pass, table *model.RouteTable, route *model.Route) []diagnose.Command {
	var out []diagnose.Command
	for _, id := range sortedKeys(p.Case.World.Azure.Firewalls) {
		fw := p.Case.World.Azure.Firewalls[id]
		if fw.PrivateIP.IsValid() && fw.PrivateIP != route.NextHop && p.TableOf(p.Subnet(fw.PrivateIP)) != table {
			out = append(out, diagnose.Command{
				Text: fmt.Sprintf("Send it through firewall %s", fw.Name),
				Line: diagnose.Az("network route-table route update", table.ID, "--route-table-name", table.Name, "--name", route.Name,
					"--next-hop-type", "VirtualAppliance", "--next-hop-ip-address", fw.PrivateIP.String()),
				Verify: again(p),
			})
		}
	}
	word := "Delete"
	if len(out) > 0 {
		word = "Or delete"
	}
	return append(out, diagnose.Command{
		Text:   word + " the route, so that the next best one decides (mind that this may bypass an inspection that somebody wants)",
		Line:   diagnose.Az("network route-table route delete", table.ID, "--route-table-name", table.Name, "--name", route.Name),
		Verify: again(p),
	})
}
