package rules

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var clockSkew = diagnose.Rule{
	ID: "clock-skew",
	Doc: `The node's clock is wrong

A certificate is judged by the clock of the machine that checks it. When a node's clock runs behind, good certificates are
"not yet valid"; when it runs ahead, they "have expired"; tokens are refused the same way. Several unrelated hosts fail in the same
direction, and the Date header of any answer shows how far the clock is off.

Look-alikes: a certificate that really has expired (or is not valid yet) fails from everywhere, with a clock that agrees
with the Date header of others. podpath compares clocks before it blames either.

Mend it by mending time synchronisation on the node: AKS nodes take the time from their host (PTP); find why chrony does not.
`,
	Hop:    model.HopNodeKernel,
	Covers: []string{"nk-clock-skew"},
	Needs:  []string{"nodefacts", "probe:here"},
	Sees: func(o *model.Observation) bool {
		return o.Result == model.CertNotYetValid || o.Result == model.CertExpired
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || (seen.Result != model.CertNotYetValid && seen.Result != model.CertExpired) {
			return
		}
		skew, how := clockError(p)
		others := alike(p, seen)
		if agreed(p) || !skewExplains(p, seen, skew) && (len(others) == 0 || p.Fate(model.VantageHere) != diagnose.Works) {
			return
		}
		name := p.Node()
		subject := model.NewRef("node", name)
		if name == "" {
			subject = p.Client()
		}
		direction := "ahead"
		if seen.Result == model.CertNotYetValid {
			direction = "behind"
		}
		f := diagnose.Finding{
			Subject: subject,
			Title:   fmt.Sprintf("The clock of node %s runs %s", name, direction),
			Summary: "The certificate is good by other clocks; by this node's it is outside its time.",
			Fix: []diagnose.Command{
				{Text: "Look at the node's time synchronisation", Line: onNode(name, "timedatectl; chronyc tracking")},
				{Text: "Start it again", Line: onNode(name, "systemctl restart chronyd || systemctl restart chrony"), Verify: again(p)},
			},
			Evidence: append(how, probe(certTimes(seen))),
		}
		if skew != 0 {
			f.Title = fmt.Sprintf("The clock of node %s is %s %s", name, skew.Abs().Round(time.Second), direction)
		} else {
			f.Confidence = diagnose.Likely
		}
		for _, o := range others {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("an unrelated host fails in the same direction: %s: %s", o.Target, diagnose.OutcomeOf(o)), o.From))
		}
		p.Report(f)
	},
}

// clockError is how far the asking side's clock is off, and who says so. A
// Date header is good to a second; podpath's own clock may itself be wrong, so a
// header of some host is believed first.
func clockError(p *diagnose.Pass) (time.Duration, []diagnose.Evidence) {
	for i := range p.Case.Observations {
		o := &p.Case.Observations[i]
		sameClock := o.Vantage == p.Origin() || o.Vantage == model.VantagePeer || o.Vantage == model.VantageNode
		if sameClock && o.Clock.Abs() > time.Minute {
			return o.Clock, []diagnose.Evidence{probe(fmt.Sprintf("%s answered with a Date that differs by %s from the sender's clock", o.Target, o.Clock.Abs().Round(time.Second)), o.From)}
		}
	}
	if facts := p.Case.World.Nodes[p.Node()]; facts != nil && facts.Clock.Abs() > time.Minute {
		return facts.Clock, []diagnose.Evidence{node(fmt.Sprintf("node %s: its clock differs by %s from that of the machine podpath runs on", facts.Node, facts.Clock.Abs().Round(time.Second)), model.NewRef("node", facts.Node))}
	}
	return 0, nil
}

// agreed says that some answer's Date agrees with the asking side's clock.
func agreed(p *diagnose.Pass) bool {
	for i := range p.Case.Observations {
		o := &p.Case.Observations[i]
		if (o.Vantage == p.Origin() || o.Vantage == model.VantageNode) && o.Clock != 0 && o.Clock.Abs() <= time.Minute {
			return true
		}
	}
	return false
}

// skewExplains says that the certificate is outside its time by the asking
// side's clock, and good by the time that the answers tell: its own clock less
// the skew. podpath's clock stands for the asking side's where it was not read.
func skewExplains(p *diagnose.Pass, o *model.Observation, skew time.Duration) bool {
	if skew == 0 || len(o.Certs) == 0 {
		return false
	}
	own := p.Case.Asked
	if facts := p.Case.World.Nodes[p.Node()]; facts != nil {
		own = own.Add(facts.Clock)
	}
	cert, told := o.Certs[0], own.Add(-skew)
	return told.After(cert.NotBefore) && told.Before(cert.NotAfter)
}

// alike are probes of other hosts, from the same place, that fail for the same reason.
func alike(p *diagnose.Pass, seen *model.Observation) []*model.Observation {
	var out []*model.Observation
	for _, o := range p.Control(p.Origin(), "control:other-host") {
		if o.Result == seen.Result && o.Address.Addr() != seen.Address.Addr() {
			out = append(out, o)
		}
	}
	return out
}

func certTimes(o *model.Observation) string {
	if len(o.Certs) == 0 {
		return "no certificate was kept"
	}
	c := o.Certs[0]
	return fmt.Sprintf("the certificate of %s is valid from %s to %s", c.Subject, c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
}
