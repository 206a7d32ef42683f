package check

import (
	"cmp"
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var certificateDates = Check{
	ID: "certificate-dates",
	Doc: `A certificate has expired, or soon will

The API server's own certificate, and the authorities that it trusts for webhooks and for aggregated APIs (caBundle). After its date
nobody accepts it: webhooks fail as if nobody were behind them.

Look-alikes: a bundle that holds an old and a new authority side by side is in the middle of a rotation; only the one that lasts longest
counts. Certificates that are kept in Secrets are not read.

Rotate it: for webhooks restart what injects the bundle (cert-manager's cainjector), for AKS az aks rotate-certs.
`,
	Group: Ahead, Hop: model.HopTLS,
	Source: "https://learn.microsoft.com/azure/aks/certificate-rotation",
	Run: func(p *Pass) {
		if p.now.IsZero() {
			return
		}
		last := map[string]model.Certificate{}
		var order []string
		for _, c := range p.World.Kube.Certificates {
			key := c.What + " " + string(c.Of)
			if _, have := last[key]; !have {
				order = append(order, key)
			}
			if c.NotAfter.After(last[key].NotAfter) {
				last[key] = c
			}
		}
		for _, key := range order {
			p.dated(last[key])
		}
	},
}

// soon is when a certificate's end is told.
const soon = 30 * 24 * time.Hour

func (p *Pass) dated(c model.Certificate) {
	left := c.NotAfter.Sub(p.now)
	f := Finding{
		Subject: cmp.Or(c.Of, model.Ref("cluster")), Evidence: []diagnose.Evidence{kube(fmt.Sprintf("%s: %s, valid from %s to %s", c.What, cmp.Or(c.Name, "without a name"), day(c.NotBefore), day(c.NotAfter)), c.Of)},
		Fix: []diagnose.Command{{Text: "Rotate it"}},
	}
	switch {
	case left <= 0:
		f.Severity, f.Group, f.Title = Broken, Control, fmt.Sprintf("The certificate of %s expired on %s", c.What, day(c.NotAfter))
	case p.now.Before(c.NotBefore):
		f.Severity, f.Group, f.Title = Broken, Control, fmt.Sprintf("The certificate of %s is not valid before %s", c.What, day(c.NotBefore))
	case left < soon:
		f.Severity, f.Confidence, f.Title = Risk, diagnose.Possible, fmt.Sprintf("The certificate of %s expires on %s, in %d days", c.What, day(c.NotAfter), int(left.Hours()/24))
	default:
		return
	}
	p.Report(f)
}

func day(t time.Time) string { return t.Format("2 January 2006") }
