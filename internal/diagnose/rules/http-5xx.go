package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var http5xx = diagnose.Rule{
	ID: "http-5xx",
	Doc: `The far side answers with a server error

The whole way works, name, connection, TLS and request, and the service answers 500 to 599 itself. Its own logs say why; the
cluster's network has done its part.

Look-alikes: a proxy on the way answers 502, 503 or 504 in its own name, with a Via header or an error page of its own. A rate limit is 429, though
some services use 503 with Retry-After.

Mend it with the owner of the service; retry with a growing pause when it is 503.
`,
	Hop:    model.HopHTTP,
	Covers: []string{"endpoint-5xx"},
	Needs:  []string{"probe"},
	Under:  []string{"endpoint-not-serving", "session-affinity-bad", "noproxy-missing", "upstream-closes-idle"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		status := diagnose.Status(seen)
		who := answererOr(p, seen, byOrigin)
		if status < 500 || status > 599 || who != byOrigin {
			return
		}
		f := diagnose.Finding{
			Subject:  farSide(p),
			Title:    fmt.Sprintf("%s answers %d", p.Host(), status),
			Summary:  "The connection works up to the service, and the service itself answers with an error. " + noNSG,
			Evidence: append(answerEvidence(seen), compareHere(p)...),
			Fix:      []diagnose.Command{{Text: fmt.Sprintf("Look into the logs of %s, or ask its owner", p.Host()), Verify: again(p)}},
		}
		if answerer(p, seen) == "" {
			f.Confidence = diagnose.Likely
		}
		unreadBehind(p, &f)
		p.Report(f)
	},
}

// unreadBehind makes a finding but possible where a Service's name cannot be told from
// a host's: who answers behind it, and whom that asks in turn, was not read.
func unreadBehind(p *diagnose.Pass, f *diagnose.Finding) {
	if _, _, is := serviceName(p.Host()); !is || askedService(p) != nil {
		return
	}
	if g := p.Gaps([]string{"service", "endpointslice", "pod"}); len(g) > 0 {
		f.Confidence, f.Gaps = diagnose.Possible, g
	}
}

// answererOr is the answerer, or a default where nothing on the way could have sent it.
func answererOr(p *diagnose.Pass, o *model.Observation, def string) string {
	if o == nil {
		return ""
	}
	who := answerer(p, o)
	if who == "" && o.Proxy == "" {
		return def
	}
	return who
}

// farSide is what to change about the far side: the workload or Service of this
// cluster, else host/NAME.
func farSide(p *diagnose.Pass) model.Ref {
	for _, pod := range destinations(p) {
		return ownerOf(pod)
	}
	return p.Endpoint()
}
