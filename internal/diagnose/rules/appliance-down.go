package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var applianceDown = diagnose.Rule{
	ID: "appliance-down",
	Doc: `The appliance on the way is down

The route leads to a firewall or another appliance that does not forward anything: it is stopped (a deallocated Azure Firewall has no
addresses), its machine is off, or it is broken. Everything that takes this route fails at once and silently; destinations inside
the VNet work.

Look-alikes: a route to an address that nobody owns fails the same way, and the route is what to change then. An appliance
without IP forwarding runs, and Azure drops before it. A rule that is missing lets other hosts pass.

Mend it by starting the appliance or failing over to another.
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-down"},
	Needs:  []string{"firewall", "routetable", "vmss"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		for _, hop := range []model.Hop{model.HopAppliance, model.HopRoute} {
			p.Broken(hop, func(w diagnose.Way, step *model.Step) { reportStopped(p, w, step) })
		}
		reportSilent(p)
	},
}

// reportStopped is an appliance that the documents say is off.
func reportStopped(p *diagnose.Pass, w diagnose.Way, step *model.Step) {
	fw := firewallNamed(p, step.Decided)
	if _, route := p.Route(step.Decided); route != nil && strings.EqualFold(route.NextHopType, "VirtualAppliance") && p.OwnerOf(route.NextHop).Ref == "" {
		fw = stoppedFirewall(p) // it gave its address up, so the route points at nobody
	}
	switch {
	case fw != nil && !fw.Allocated:
		f := diagnose.Finding{
			Subject:  model.NewRef("firewall", fw.Name),
			Title:    fmt.Sprintf("Firewall %s is stopped", fw.Name),
			Summary:  "It has no ip configuration, so nobody takes the packets that the route sends to it.",
			Evidence: []diagnose.Evidence{arm(fmt.Sprintf("firewall %s: no ip configurations, provisioning state %s", fw.Name, firstOf(fw.State, "not said")), model.NewRef("firewall", fw.Name))},
			Fix: []diagnose.Command{{
				Text: "Give it its subnet and public address again (this starts it)",
				Line: diagnose.Az("network firewall ip-config create", fw.ID, "--firewall-name", fw.Name, "--name", "ipconfig1", "--public-ip-address", publicIPOf(fw), "--vnet-name", vnetOf(p)), Verify: again(p),
			}},
		}
		p.ReportAt(w, step, f)
	case step.Decided.Kind() == "vmss":
		p.ReportAt(w, step, diagnose.Finding{
			Title:   fmt.Sprintf("The appliance %s is not running", step.Decided.Name()),
			Summary: "The machine behind the route's next hop is off, so nobody takes the packets.",
			Fix:     []diagnose.Command{{Text: "Start it", Line: startMachine(p, step.Decided), Verify: again(p)}},
		})
	}
}

// firewallNamed is the firewall that a Ref names without a rule, or nil.
func firewallNamed(p *diagnose.Pass, ref model.Ref) *model.Firewall {
	if ref.Kind() != "firewall" || ref.Part(1) != "" {
		return nil
	}
	for _, id := range sortedKeys(p.Case.World.Azure.Firewalls) {
		if fw := p.Case.World.Azure.Firewalls[id]; strings.EqualFold(fw.Name, ref.Name()) {
			return fw
		}
	}
	return nil
}

func publicIPOf(fw *model.Firewall) string {
	if len(fw.PublicIPs) > 0 {
		return diagnose.ParseArmID(fw.PublicIPs[0]).Name
	}
	return "PUBLIC-ADDRESS"
}

func vnetOf(p *diagnose.Pass) string {
	if v := p.VNet(); v != nil {
		return v.Name
	}
	return "VNET"
}

func startMachine(p *diagnose.Pass, ref model.Ref) string {
	for _, id := range sortedKeys(p.Case.World.Azure.VMSSs) {
		if v := p.Case.World.Azure.VMSSs[id]; strings.EqualFold(v.Name, ref.Name()) {
			if v.Single {
				return diagnose.Az("vm start", v.ID, "--name", v.Name)
			}
			return diagnose.Az("vmss start", v.ID, "--name", v.Name)
		}
	}
	return ""
}

// reportSilent is an appliance that the documents call healthy and that lets
// nothing through: its rules allow this, it would take the TCP connection
// itself, everybody behind it gets silence, and the host answers others.
func reportSilent(p *diagnose.Pass) {
	seen := p.Seen()
	if seen == nil || brokenAnywhere(p) || !p.External() {
		return
	}
	subject, name := applianceOnWay(p)
	if subject == "" || !nothingPasses(p) || p.Fate(model.VantageHere) == diagnose.Broken && !p.Farther(model.VantageHere) {
		return
	}
	f := diagnose.Finding{
		Subject:    subject,
		Confidence: diagnose.Likely,
		Title:      fmt.Sprintf("%s lets nothing through", name),
		Summary:    "The route leads through it and its rules allow the connection, and nothing that takes this route gets an answer.",
		Evidence:   []diagnose.Evidence{arm(fmt.Sprintf("the route for %s leads to %s (%s)", p.Target().Addr(), p.NextHop(), subject), subject)},
	}
	for _, o := range p.Control(p.Origin(), "control:other-host") {
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s: %s fails as well: %s", diagnose.PlaceOf(o), o.Target, diagnose.OutcomeOf(o)), o.From))
	}
	if fw, _ := p.Firewall(); fw != nil {
		f.Fix = []diagnose.Command{{Text: "See whether it is healthy", Line: diagnose.Az("monitor metrics list", fw.ID, "--resource", fw.ID, "--metric", "FirewallHealth")}}
	} else {
		f.Fix = []diagnose.Command{{Text: "See whether the appliance runs and forwards; start it, or fail over", Verify: again(p)}}
	}
	switch {
	case p.Farther(model.VantageHere) && !unknownBack(p):
		f.Confidence = diagnose.Proven
	case p.Fate(model.VantageHere) == diagnose.Unseen:
		f.Confidence = diagnose.Possible // the far side may be silent to everybody
		f.Gaps = p.Gaps([]string{"probe:here"})
	}
	p.ReportByExclusion(f)
}

// unknownBack says that the answers may be lost after the appliance has sent them.
func unknownBack(p *diagnose.Pass) bool {
	for _, w := range p.Ways() {
		if slices.ContainsFunc(w.Path.Return, func(s model.Step) bool { return s.Verdict == model.Unknown }) {
			return true
		}
	}
	return false
}

// nothingPasses says that no probe from the cluster to the outside got as far as
// a connection, and that more than the question's own was sent.
func nothingPasses(p *diagnose.Pass) bool {
	tried := 0
	for i := range p.Case.Observations {
		o := &p.Case.Observations[i]
		if o.Vantage == model.VantageHere || !o.Address.IsValid() || o.Address.Addr().IsPrivate() || o.Result == model.ProbeFailed {
			continue
		}
		if o.Failed != "tcp" || o.Result != model.TimedOut {
			return false
		}
		if o.Purpose == "control:other-host" {
			tried++
		}
	}
	return tried > 0
}
