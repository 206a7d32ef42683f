package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var wrongProtocol = diagnose.Rule{
	ID: "wrong-protocol",
	Doc: `The port speaks another protocol than the client

The connection stands, and what comes over it is not what was asked for: plain text where TLS was expected (https:// to a port that serves
http://), TLS where plain text was sent, or a protocol of another kind (SSH, a database). Every client gets the same.

Look-alikes: a proxy or portal on the way that answers in the destination's place is seen from inside the cluster only. A reset in the TLS
handshake is no answer of another protocol.

Mend the URL: its scheme, or its port.
`,
	Hop:    model.HopApp,
	Covers: []string{"app-wrong-port"},
	Needs:  []string{"probe", "probe:here"},
	Sees:   func(o *model.Observation) bool { return otherProtocol(o) != "" },
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		speaks := otherProtocol(seen)
		if speaks == "" || seen.Proxy != "" || p.Farther(model.VantageHere) || someoneInside(p) {
			return
		}
		asked := "HTTP"
		if seen.Failed == "tls" {
			asked = "TLS"
		}
		f := diagnose.Finding{
			Subject:  p.Client(),
			Title:    fmt.Sprintf("Port %d of %s %s; the client speaks %s", seen.Address.Port(), p.Host(), speaks, asked),
			Summary:  "The network does its part: the connection stands, and the far side answers in another protocol.",
			Evidence: []diagnose.Evidence{probe("what came: " + seen.Detail)},
			Fix:      []diagnose.Command{{Text: fmt.Sprintf("Correct the scheme or the port where %s gets its URL from (its variables, arguments, ConfigMaps)", from(p)), Line: editOf(p), Verify: again(p)}},
		}
		if seen.HTTP != nil {
			f.Evidence = answerEvidence(seen)
		}
		if !p.Same(model.VantageHere) && p.External() {
			f.Confidence = diagnose.Possible // something on the way may answer in its place
			f.Gaps = p.Gaps([]string{"probe:here"})
		}
		p.Report(f)
	},
}

// plainToTLS is how servers begin their answer to plain HTTP on a TLS port: Go, nginx, Apache.
var plainToTLS = []string{"Client sent an HTTP request to an HTTPS server", "plain HTTP request was sent to HTTPS port", "speaking plain HTTP to an SSL-enabled server port"}

// otherProtocol is what an answer shows that is not what was asked for, or "".
func otherProtocol(o *model.Observation) string {
	switch {
	case o == nil:
		return ""
	case o.Result == model.BadAnswer && o.Failed == "tls" && strings.Contains(o.Detail, `begins "HTTP/`):
		return "serves HTTP without TLS"
	case o.Result == model.BadAnswer && (o.Failed == "tls" || o.Failed == "http") && strings.Contains(o.Detail, `begins "SSH-`):
		return "serves SSH"
	case o.Result == model.BadAnswer && o.Failed == "tls":
		return "does not speak TLS"
	case o.Result == model.BadAnswer && o.Failed == "http" && strings.HasPrefix(o.Detail, "HTTP "):
		return "" // it is HTTP, if of a bad kind
	case o.Result == model.BadAnswer && o.Failed == "http":
		return "does not speak HTTP"
	}
	if o.HTTP != nil && o.HTTP.Status == 400 {
		for _, begin := range plainToTLS {
			if strings.Contains(o.HTTP.Body, begin) {
				return "serves TLS"
			}
		}
	}
	return ""
}
