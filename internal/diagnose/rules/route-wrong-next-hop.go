package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var routeWrongNextHop = diagnose.Rule{
	ID: "route-wrong-next-hop",
	Doc: `A user-defined route points at an address that nobody owns

The route's next hop type is VirtualAppliance, and no network interface, firewall or load balancer of the network has
the address it names. The packets go nowhere, silently: the client waits until its time-out.

Look-alikes: an appliance that is down owns its address and does not answer; one with IP forwarding switched off owns it
as well. A firewall that was stopped has lost its address: then it is the firewall that has to be started, not the route
to be changed.

Mend it by pointing the route at the appliance that was meant.
`,
	Hop:    model.HopRoute,
	Covers: []string{"route-udr-wrong-next-hop", "route-intra-vnet-udr"},
	Needs:  []string{"routetable", "subnet", "nic", "firewall", "loadbalancer"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		for _, hop := range []model.Hop{model.HopRoute, model.HopAppliance} {
			p.Broken(hop, func(w diagnose.Way, step *model.Step) {
				table, route := p.Route(step.Decided)
				if route == nil || !strings.EqualFold(route.NextHopType, "VirtualAppliance") || p.OwnerOf(route.NextHop).Ref != "" || stoppedFirewall(p) != nil {
					return
				}
				p.ReportAt(w, step, diagnose.Finding{
					Hop:      model.HopRoute,
					Title:    fmt.Sprintf("Route %s of table %s points at %s, which nobody owns", route.Name, table.Name, route.NextHop),
					Summary:  "Packets for an appliance that does not exist are dropped silently.",
					Evidence: []diagnose.Evidence{arm(routeText(table, route), model.NewRef("routetable", table.Name, route.Name)), arm(fmt.Sprintf("no network interface, firewall or load balancer frontend that was read has %s", route.NextHop))},
					Fix:      routeFix(p, table, route),
				})
			})
		}
	},
}

// stoppedFirewall is a firewall that has given up its addresses: what pointed
// at it now points at nobody.
func stoppedFirewall(p *diagnose.Pass) *model.Firewall {
	for _, id := range sortedKeys(p.Case.World.Azure.Firewalls) {
		if fw := p.Case.World.Azure.Firewalls[id]; !fw.Allocated {
			return fw
		}
	}
	return nil
}
