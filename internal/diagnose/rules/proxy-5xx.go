package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var proxy5xx = diagnose.Rule{
	ID: "proxy-5xx",
	Doc: `The proxy cannot reach the destination

The proxy that the pod uses answers 502, 503 or 504 itself: it cannot resolve or reach the destination, or is overloaded. The pod's way to the
proxy works.

Look-alikes: the same statuses from the destination come over a tunnel that the proxy opened with success, and are the same from
outside. A 403 or 407 is a decision of the proxy, not a failure.

Mend it at the proxy: its name resolution, its own way out, its load.
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-proxy-5xx"},
	Needs:  []string{"probe"},
	Under:  []string{"noproxy-missing", "upstream-closes-idle"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		status := diagnose.Status(seen)
		if status < 500 || answerer(p, seen) != byProxy {
			return
		}
		subject := proxyRef(p, seen)
		f := diagnose.Finding{
			Subject:  subject,
			Title:    fmt.Sprintf("The proxy %s answers %d for %s", subject.Name(), status, p.Host()),
			Summary:  "The proxy sent this answer itself: it could not get one from the destination. The pod's way to the proxy works.",
			Evidence: append(answerEvidence(seen), compareHere(p)...),
			Fix:      []diagnose.Command{{Text: "Look into the proxy's log: does it resolve the name, and does it reach the address?", Verify: again(p)}},
		}
		for _, o := range p.Control(p.Origin(), "control:direct") {
			if !diagnose.Fails(o) {
				f.Evidence = append(f.Evidence, probe("past the proxy, from the same pod, it works", o.From))
				f.Fix = append(f.Fix, diagnose.Command{Text: fmt.Sprintf("Or let the workload go past the proxy for this host: add %s to its NO_PROXY", p.Host()), Line: editOf(p)})
			}
		}
		p.Report(f)
	},
}
