package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var applianceAsymmetric = diagnose.Rule{
	ID: "appliance-asymmetric",
	Doc: `A part of the connections comes back to an appliance that does not know them

The way leads through a pair of appliances (or several instances of one), each with a connection table of its own. The packets of one
direction are spread over them by another hash than those of the other, and nothing makes the answers come back where the connection was opened
(no source translation there, a load balancer without HA ports, two routes of equal weight). The answer then meets an appliance that has
no state of it and drops it. Which connections are hit is decided by their addresses and ports: about half of them with two instances, always
with all of their packets. The others work without a flaw.

Look-alikes: an appliance that is overloaded drops packets and not connections: a SYN that is sent again gets through, and connections stand
after a second. Source ports that run out show in the metrics. A far side with a dead part behind its load balancer fails from
elsewhere too. One bad node fails on that node alone.

Mend it by translating the source at the appliance, so that the answer can come back only there, or by one symmetric hash for both directions (an
internal load balancer with HA ports on both sides).

Sources: https://learn.microsoft.com/azure/architecture/networking/guide/network-virtual-appliance-high-availability
`,
	Hop:           model.HopAppliance,
	Covers:        []string{"nva-stateful-asymmetry"},
	Needs:         []string{"probe"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		all, ok := lossBehind(p)
		ref, name := applianceOnWay(p)
		sum := together(all)
		if !ok || !perConnection(sum) || sum.share() < 0.15 || sum.share() > 0.85 || shortOfPorts(p, ref, sum) {
			return
		}
		if ref == "" {
			skipGaps(p, wayKinds...)
			return
		}
		f := diagnose.Finding{
			Subject: ref, Sometimes: true, Confidence: diagnose.Likely,
			Title:   fmt.Sprintf("%s answers %.0f %% of new connections with nothing, whole ones each time", name, 100*sum.share()),
			Summary: "What is hit is the connection, not the packet: of those that lost their first SYN hardly one stood when it was sent again. So something that goes by addresses and ports decides, as when answers come back to an instance that has no state of them.",
			Evidence: append(lossEvidence(all),
				probe(fmt.Sprintf("of %d new connections that go through it, %d were lost with all their SYNs and %d stood after one was sent again", sum.of, sum.lost, sum.late), ref)),
			Fix: []diagnose.Command{
				{Text: "Make the answers come back where the connection was opened: translate the source at the appliance, or put an internal load balancer with HA ports before and behind its instances", Verify: watchAgain(p)},
				{Text: "At its instances: look for drops of packets without state (invalid, out of state, no session) of flows that another one opened"},
			},
		}
		p.Report(p.Excluded(f))
	},
}
