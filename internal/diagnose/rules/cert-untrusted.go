package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var certUntrusted = diagnose.Rule{
	ID: "cert-untrusted",
	Doc: `The certificate is signed by nobody that the client trusts

The host shows a self-signed certificate, or one of an authority that is not in the client's bundle (a company's own, for instance).
The connection works up to the TLS handshake, and the client breaks it off.

Look-alikes: a chain without its intermediate ends the same way in most clients, and works in browsers. An appliance that
inspects TLS signs with an authority of its own: then every host fails so from the cluster, and this host shows
another certificate outside.

Mend it by trusting the authority in the client (mount its certificate; SSL_CERT_FILE), or by giving the host a certificate of a
public one. Switching verification off mends nothing.
`,
	Hop:    model.HopTLS,
	Covers: []string{"tls-self-signed"},
	Needs:  []string{"probe"},
	Sees:   result(model.CertSelfSigned, model.CertUnknownCA),
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || !result(model.CertSelfSigned, model.CertUnknownCA)(seen) {
			return
		}
		f := diagnose.Finding{
			Title:   fmt.Sprintf("%s shows a certificate of an authority that is not trusted", p.Host()),
			Summary: "The host is reachable; the chain of its certificate ends at an authority that the client does not know.",
			Fix: []diagnose.Command{
				{Text: "Trust the authority in the client: put its certificate into a ConfigMap, mount it, and point SSL_CERT_FILE at it; or give the host a certificate of a public authority", Line: editOf(p), Verify: again(p)},
				showCert(p),
			},
		}
		if seen.Result == model.CertSelfSigned {
			f.Title = fmt.Sprintf("%s shows a self-signed certificate", p.Host())
			f.Summary = "The host is reachable; its certificate is signed by itself, and the client has no reason to trust it."
		}
		reportCert(p, f)
	},
}
