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
	Needs:  []string{"nodefacts"},
	Sees: func(o *model.Observation) bool {
		return o.Result == model.CertNotYetValid || o.Result == model.CertExpired
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || (seen.Result != model.CertNotYetValid && seen.Result != model.CertExpired) {
			return
		}
		skew, how := clockError(p)
		if !skewExplains(p, seen, skew) {
			return
		}
		name := p.Node()
		subject := model.NewRef("node", name)
		if name == "" {
			subject = p.Client()
		}
		direction := "ahead"
		if skew < 0 {
			direction = "behind"
		}
		p.Report(diagnose.Finding{
			Subject:  subject,
			Title:    fmt.Sprintf("The clock of node %s is %s %s", name, skew.Abs().Round(time.Second), direction),
			Summary:  "The certificate is good by everybody else's clock; by this node's it is outside its time.",
			Evidence: append(how, probe(certTimes(seen))),
			Fix: []diagnose.Command{
				{Text: "Look at the node's time synchronisation", Line: onNode(name, "timedatectl; chronyc tracking")},
				{Text: "Start it again", Line: onNode(name, "systemctl restart chronyd || systemctl restart chrony"), Verify: again(p)},
			},
		})
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

// skewExplains says that the certificate is good by the true time and outside
// its time by the node's.
func skewExplains(p *diagnose.Pass, o *model.Observation, skew time.Duration) bool {
	if skew == 0 || len(o.Certs) == 0 {
		return false
	}
	cert, now := o.Certs[0], p.Case.Asked
	return now.After(cert.NotBefore) && now.Before(cert.NotAfter) && (now.Add(skew).Before(cert.NotBefore) || now.Add(skew).After(cert.NotAfter))
}

func certTimes(o *model.Observation) string {
	if len(o.Certs) == 0 {
		return "no certificate was kept"
	}
	c := o.Certs[0]
	return fmt.Sprintf("the certificate of %s is valid from %s to %s", c.Subject, c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
}
