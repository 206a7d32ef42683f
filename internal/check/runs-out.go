package check

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
)

var runsOut = Check{
	ID: "runs-out",
	Doc: `Something that connections need is nearly used up

Source ports at the way out, connection tables of nodes, operating system disks, what the size of machines allows their disks and their network, ports of gateways and firewalls: what was read of each is compared with its
limit. One is told when four fifths of it are used, when it will be gone within the hour at the pace of the last minutes, or when something
failed for want of it.

Look-alikes: a peak that has passed stands in the metrics of the last half hour. An average over a minute hides a burst.

Mend what is named: the one who uses most of it, or the limit.
`,
	Group: Nodes, Hop: model.HopNodeResource,
	Source: "https://learn.microsoft.com/azure/aks/custom-node-configuration",
	Covers: []string{"nk-conntrack-table-full", "snat-exhaustion-lb", "natgw-snat-exhaustion", "nva-snat-exhaustion", "node-disk-saturation"},
	Run: func(p *Pass) {
		for _, u := range resource.All(&model.Case{World: *p.World, Asked: p.now}) {
			if u.State == resource.Near || u.State == resource.Out {
				p.runsOut(&u)
			}
		}
	},
}

// runsOut reports one resource: likely where it has run out, worth a look where it is near.
func (p *Pass) runsOut(u *resource.Use) {
	f := Finding{
		Severity: Risk, Confidence: diagnose.Possible, Subject: u.Of,
		Title: titleOf(u), Fix: u.Remedy,
		Evidence: []diagnose.Evidence{{Text: u.Text(), Refs: []model.Ref{u.Of}, Source: u.Source}},
	}
	if u.State == resource.Out {
		f.Severity, f.Confidence = Broken, diagnose.Likely
	}
	if u.Left > 0 && u.State != resource.Out {
		f.Summary = fmt.Sprintf("At its pace of %.3g a minute it will be gone in %s.", u.Pace, u.Left)
	}
	for _, s := range u.Says {
		f.Evidence = append(f.Evidence, diagnose.Evidence{Text: s, Refs: []model.Ref{u.Of}, Source: u.Source})
	}
	for _, w := range u.Who {
		f.Evidence = append(f.Evidence, diagnose.Evidence{Text: u.Sharing(w), Refs: []model.Ref{w.Ref}, Source: u.Source})
	}
	p.Report(f)
}

// titleOf says how it stands. What failed for want of a thing counts also where a
// minute's mean leaves room.
func titleOf(u *resource.Use) string {
	switch {
	case u.State != resource.Out:
		return u.Text() + " is nearly used up"
	case u.Limit > 0 && u.Used >= 0.8*u.Limit:
		return u.Text() + " is used up"
	}
	return u.Text() + ", and something failed for want of it"
}
