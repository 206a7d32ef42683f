package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var http4xx = diagnose.Rule{
	ID: "http-4xx",
	Doc: `The far side refuses this request

The whole way works, and the service answers 400 to 499: it does not know the path (404), wants credentials (401), or refuses them (403).
The request is what has to change, not the network.

Look-alikes: a 403 may also be sent by a proxy or firewall on the way, which signs it; or by a service that accepts only known addresses, and then
answers others well. 407 comes from a proxy, 429 is a rate limit, 470 is Azure Firewall's.

Mend the request: its path, its credentials, its method.
`,
	Hop:    model.HopHTTP,
	Covers: []string{"endpoint-404"},
	Needs:  []string{"probe"},
	Under:  []string{"egress-address-refused", "proxy-auth-required", "rate-limited", "noproxy-missing"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		status := diagnose.Status(seen)
		if status < 400 || status > 499 || status == 407 || status == 429 || status == 470 || answererOr(p, seen, byOrigin) != byOrigin || otherProtocol(seen) != "" {
			return
		}
		f := diagnose.Finding{
			Subject:  farSide(p),
			Title:    fmt.Sprintf("%s answers %d to this request", p.Host(), status),
			Summary:  "The connection works up to the service, and the service refuses this request. " + noNSG,
			Evidence: append(answerEvidence(seen), compareHere(p)...),
			Fix:      []diagnose.Command{{Text: "Mend the request: " + remedy(status), Verify: again(p)}},
		}
		if answerer(p, seen) == "" {
			f.Confidence = diagnose.Likely
		}
		p.Report(f)
	},
}

func remedy(status int) string {
	switch status {
	case 401:
		return "send credentials that the service accepts"
	case 403:
		return "use credentials that are allowed to do this; see whether the service accepts only known addresses"
	case 404, 410:
		return "ask for a path that exists"
	case 405:
		return "use a method that the path takes"
	}
	return "see what the service says about it"
}
