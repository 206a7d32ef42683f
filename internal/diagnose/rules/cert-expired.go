package rules

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var certExpired = diagnose.Rule{
	ID: "cert-expired",
	Doc: `The certificate is outside its time

The host shows a certificate that has expired, or that is not yet valid, by a clock that is right. The connection works up to the
TLS handshake, and the client breaks it off. Most often a renewal failed, or the renewed certificate was never loaded.

Look-alikes: a node whose clock is wrong finds fault with good certificates of several hosts in the same direction; podpath
compares the clock with the Date header of answers first. A self-signed or incomplete chain is another complaint of
the same handshake.

Mend it at the host: renew the certificate (cert-manager, the provider), and make the server load it.
`,
	Hop:    model.HopTLS,
	Covers: []string{"tls-cert-expired"},
	Needs:  []string{"probe"},
	Under:  []string{"clock-skew"},
	Sees:   result(model.CertExpired, model.CertNotYetValid),
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || !result(model.CertExpired, model.CertNotYetValid)(seen) {
			return
		}
		f := diagnose.Finding{
			Title:    fmt.Sprintf("The certificate of %s has expired", p.Host()),
			Summary:  "The host is reachable; its certificate is past its end, and the client breaks the handshake off.",
			Evidence: []diagnose.Evidence{probe(certTimes(seen))},
			Fix: []diagnose.Command{
				{Text: "Renew the certificate at the host, and make its server load it (with cert-manager: cmctl renew)"}, showCert(p),
			},
		}
		if seen.Result == model.CertNotYetValid {
			f.Title = fmt.Sprintf("The certificate of %s is not yet valid", p.Host())
			f.Summary = "The host is reachable; its certificate begins in the future, and the client breaks the handshake off."
			f.Fix[0].Text = "Give the host a certificate that is already valid (or wait); see whether the clock of whoever issued it is right"
		}
		for i := range p.Case.Observations {
			if o := &p.Case.Observations[i]; o.HTTP != nil && o.Clock != 0 && o.Clock.Abs() < time.Minute {
				f.Evidence = append(f.Evidence, probe(fmt.Sprintf("the clock is right: the Date of %s agrees to %s", o.Target, o.Clock.Abs().Round(time.Second))))
				break
			}
		}
		if o := p.At(model.VantageHere); len(alike(p, seen)) > 0 && !agreed(p) && (o == nil || o.Failed == "dns" || o.Failed == "tcp") {
			f.Confidence = diagnose.Possible // several hosts at once: it may be the clock
			f.Gaps = p.Gaps([]string{"probe:here"})
		}
		reportCert(p, f)
	},
}
