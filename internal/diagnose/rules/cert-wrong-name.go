package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var certWrongName = diagnose.Rule{
	ID: "cert-wrong-name",
	Doc: `The certificate is for another name

The host shows a certificate that does not cover the name it was asked by. The name points at the wrong host, the host does not know
the name (and shows its default certificate), or the client asked by an address or an alias.

Look-alikes: an appliance that inspects TLS shows certificates for the right name by an authority of its own. A hard-coded
address that now belongs to somebody else shows that somebody's certificate; the name's own address is another then.

Mend it by asking by a name that the certificate covers, or by adding the name to the certificate.
`,
	Hop:    model.HopTLS,
	Covers: []string{"tls-hostname-mismatch"},
	Needs:  []string{"probe"},
	Under:  []string{"hardcoded-address", "external-name"},
	Sees:   result(model.CertWrongName),
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Result != model.CertWrongName {
			return
		}
		names := "another name"
		if len(seen.Certs) > 0 && len(seen.Certs[0].Names) > 0 {
			names = strings.Join(seen.Certs[0].Names, ", ")
		}
		f := diagnose.Finding{
			Title:   fmt.Sprintf("The certificate of %s is for %s", p.Host(), names),
			Summary: "The host is reachable; its certificate does not cover the name that was asked for, and the client breaks the handshake off.",
			Fix: []diagnose.Command{
				{Text: fmt.Sprintf("Ask for a name that the certificate covers, or let the host show one that covers %s", p.Host()), Line: editOf(p), Verify: again(p)}, showCert(p),
			},
		}
		if _, _, ok := serviceName(p.Host()); ok {
			if gaps := p.Gaps([]string{"service"}); len(gaps) > 0 { // it may be an alias of somebody else
				f.Confidence, f.Gaps = diagnose.Possible, gaps
			}
		}
		reportCert(p, f)
	},
}
