package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var rateLimited = diagnose.Rule{
	ID: "rate-limited",
	Doc: `The far side limits how often it is asked

The service answers 429 Too Many Requests. It counts by client, and to it all pods of the cluster are one client: they go out through one
public address (or a few).

Look-alikes: ports that run out at the load balancer show as silence, not as an answer. 503 with Retry-After is another way to say
the same.

Mend it by asking less often (a cache, a pause that grows, Retry-After obeyed), by authenticating, or by going out through more
addresses where the service allows that.
`,
	Hop:    model.HopHTTP,
	Covers: []string{"endpoint-rate-limited"},
	Needs:  []string{"probe"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if diagnose.Status(seen) != 429 {
			return
		}
		f := diagnose.Finding{
			Subject:  p.Endpoint(),
			Title:    fmt.Sprintf("%s limits how often it is asked (429)", p.Host()),
			Summary:  "The service is reached and counts its clients' requests; it has had too many from this address.",
			Evidence: append(answerEvidence(seen), compareHere(p)...),
			Fix:      []diagnose.Command{{Text: "Ask less often: cache answers, obey Retry-After, let the pause between tries grow; or authenticate", Verify: again(p)}},
		}
		if path := p.Question(); path != nil && len(path.Egress) > 0 {
			f.Evidence = append(f.Evidence, diagnose.Evidence{Text: fmt.Sprintf("all pods that go this way share %s", list(addrs(path.Egress))), Refs: []model.Ref{path.Device}, Source: "trace"})
		}
		p.Report(f)
	},
}
