package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var forcedTunnel = diagnose.Rule{
	ID: "forced-tunnel",
	Doc: `A gateway takes internet traffic to another network (forced tunnelling)

The subnet's effective route for the internet leads to a virtual network gateway: on-premises routers announce 0.0.0.0/0 by BGP, or the gateway
has a default site. Nobody in the cluster wrote that route. What lies behind the gateway drops the packets, or sends them out by
another address, slowly.

Look-alikes: a user-defined route to an appliance is in a route table, with a name. A NAT gateway or load balancer that looks right is
never asked, because the route goes elsewhere first.

Mend it by telling the other side not to announce a default route, or by a route table on the subnet that does not let learned
routes in (and has a default route of its own).
`,
	Hop:    model.HopRoute,
	Covers: []string{"route-forced-tunnel-bgp"},
	Needs:  []string{"vnetgateway", "routetable", "subnet"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		path := p.Question()
		if path == nil || p.Target().Addr().IsPrivate() {
			return
		}
		for i := range path.Steps {
			if step := &path.Steps[i]; step.Hop == model.HopGateway && step.Verdict != model.Pass {
				reportTunnel(p, path, step)
				return
			}
		}
	},
}

func reportTunnel(p *diagnose.Pass, path *model.Path, step *model.Step) {
	subnet := p.EgressSubnet()
	if subnet == nil {
		return
	}
	f := diagnose.Finding{
		Hop:     model.HopRoute,
		Subject: p.SubnetRef(subnet),
		Title:   fmt.Sprintf("Internet traffic of subnet %s leaves through a gateway", subnet.Name),
		Summary: "The effective default route leads to a virtual network gateway (learned by BGP, or a default site), so packets for the internet go to another network.",
	}
	if _, route := p.Route(step.Decided); route != nil {
		f.Subject = step.Decided
	}
	if p.Fate(model.VantageHere) != diagnose.Works && !p.Same(model.VantageNode) {
		f.Confidence = diagnose.Likely
	}
	for i := range path.Steps {
		for _, g := range path.Steps[i].Gaps {
			if k := g.Ref.Kind(); path.Steps[i].Hop == model.HopRoute && (k == "routetable" || k == "subnet") {
				f.Confidence = diagnose.Possible // a table that was not read may keep learned routes out
				f.Gaps = append(f.Gaps, g)
			}
		}
	}
	for _, id := range sortedKeys(p.Case.World.Azure.Gateways) {
		g := p.Case.World.Azure.Gateways[id]
		text := fmt.Sprintf("gateway %s (%s)", g.Name, firstOf(g.Type, "type not said"))
		if g.DefaultSite != "" {
			text += ": default site " + diagnose.ParseArmID(g.DefaultSite).Name
			f.Fix = append(f.Fix, diagnose.Command{Text: "Take the default site away, if it is not wanted", Line: diagnose.Az("network vnet-gateway update", g.ID, "--name", g.Name, "--remove", "gatewayDefaultSite"), Verify: again(p)})
		}
		f.Evidence = append(f.Evidence, arm(text, model.NewRef("gateway", g.Name)))
	}
	table, word := p.TableOf(subnet), "Keep"
	if len(f.Fix) > 0 {
		word = "Or keep"
	}
	switch {
	case table != nil:
		f.Fix = append(f.Fix, diagnose.Command{Text: word + " learned routes out of the subnet (give the table a default route of its own first)", Line: diagnose.Az("network route-table update", table.ID, "--name", table.Name, "--disable-bgp-route-propagation", "true")})
	default:
		f.Fix = append(f.Fix, diagnose.Command{
			Text: word + " learned routes out of the subnet: give it a route table that does so and sends the internet its own way, and attach it",
			Line: diagnose.Az("network route-table create", subnet.ID, "--name", "rt-"+subnet.Name, "--disable-bgp-route-propagation", "true"),
		})
	}
	for i := range path.Steps {
		if s := &path.Steps[i]; s.Hop == model.HopRoute && s.Reason != "" {
			f.Evidence = append(f.Evidence, diagnose.Evidence{Text: s.Title + ": " + s.Reason, Refs: []model.Ref{s.At}, Source: "trace"})
		}
	}
	p.Report(f)
}
