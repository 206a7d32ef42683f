package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var tlsResetByEndpoint = diagnose.Rule{
	ID: "tls-reset-by-endpoint",
	Doc: `The far side itself breaks the TLS handshake off

The TCP connection stands, and the far side resets or closes it as soon as the client has said which name it wants. A server or CDN that
does not know the name, refuses the client's address or region, or is broken, does so. From outside the cluster the same happens.

Look-alikes: a firewall that does not allow the name resets in the same moment; from outside, past the firewall, the handshake
works then, and another name at the same address passes. A client certificate that is missing is an alert, not a reset.

Mend it at the far side: ask its owner; check the name that is asked for and whether it is registered there.
`,
	Hop:    model.HopEndpoint,
	Covers: []string{"endpoint-tls-reset"},
	Needs:  []string{"probe", "probe:here"},
	Sees:   diagnose.CutOff,
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || !diagnose.CutOff(seen) || seen.Result == model.TimedOut || !p.External() || brokenAnywhere(p) {
			return
		}
		f := diagnose.Finding{
			Subject: p.Endpoint(),
			Title:   fmt.Sprintf("%s breaks the TLS handshake off", p.Host()),
			Summary: "The TCP connection stands and is reset after the client's first TLS message.",
			Fix: []diagnose.Command{
				{Text: fmt.Sprintf("Ask the owner of %s: does it know this name, and does it accept this client?", p.Host())}, showCert(p),
			},
		}
		here := p.At(model.VantageHere)
		fw, _ := p.Firewall()
		switch {
		case here != nil && diagnose.CutOff(here):
			f.Summary += " The same happens from outside the cluster, so nothing of the cluster's network is at fault."
		case p.Farther(model.VantageHere):
			return // it works from outside: somebody on the way, or an allow-list
		case fw != nil:
			return // the firewall may have done it, and nobody asked from outside
		default:
			f.Confidence = diagnose.Likely
			f.Gaps = p.Gaps([]string{"probe:here"})
			p.ReportByExclusion(f)
			return
		}
		p.Report(f)
	},
}
