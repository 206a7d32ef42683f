package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var certIncomplete = diagnose.Rule{
	ID: "cert-incomplete",
	Doc: `The host does not send its intermediate certificate

The host's certificate is signed by an intermediate authority whose certificate it does not send along. Browsers fetch the missing one
by themselves, so people see no fault; most libraries do not, and break the handshake off ("unable to get local issuer
certificate").

Look-alikes: a self-signed certificate and one of an unknown authority give the same text in some clients; here exactly one
certificate is sent, and it names an issuer that is not itself.

Mend it at the host: serve the whole chain (fullchain.pem), leaf first.
`,
	Hop:    model.HopTLS,
	Covers: []string{"tls-incomplete-chain"},
	Needs:  []string{"probe"},
	Sees:   result(model.CertIncomplete),
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Result != model.CertIncomplete {
			return
		}
		reportCert(p, diagnose.Finding{
			Title:    fmt.Sprintf("%s does not send its intermediate certificate", p.Host()),
			Summary:  "The host is reachable; the chain that it sends has a hole between its certificate and the authority that the client trusts.",
			Evidence: []diagnose.Evidence{probe(fmt.Sprintf("the host sent %d certificate(s); the last one's issuer is not among them", len(seen.Certs)))},
			Fix: []diagnose.Command{
				{Text: "Serve the whole chain at the host: its own certificate, then the intermediate (fullchain.pem)"}, showCert(p),
			},
		})
	},
}
