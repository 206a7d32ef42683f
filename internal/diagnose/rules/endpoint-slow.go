package rules

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

var endpointSlow = diagnose.Rule{
	ID: "endpoint-slow",
	Doc: `The far side takes long to answer

Name, connection and TLS are quick, and then the service takes seconds until the first byte of its answer, or never gets so far before
the client gives up. From outside the cluster it takes as long.

Look-alikes: lost packets show in the connection's own time (one second, three seconds), before any request. A path that loses
large packets stalls in the middle of an answer, and not before it.

Mend it with the owner of the service; meanwhile raise the client's time-out above what it takes.
`,
	Hop:        model.HopEndpoint,
	Covers:     []string{"endpoint-slow"},
	Needs:      []string{"probe"},
	Under:      []string{"node-disk-saturated", "path-mtu", "endpoint-not-serving", "session-affinity-bad", "cpu-throttled", "open-files"},
	LastResort: true,
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if s := p.Slow(); s != nil && s.Phase == "http" && seen != nil && (!slowAnswer(seen) || s.Class == watch.Intermittent) {
			sometimesSlow(p, s)
			return
		}
		if seen == nil || !slowAnswer(seen) {
			return
		}
		ph := seen.PhaseOf("http")
		if small := smallPasses(p); small != nil && small.PhaseOf("http") != nil && 2*small.PhaseOf("http").Duration < ph.Duration {
			return // what small packets get at once is not slow: full ones are lost
		}
		title := fmt.Sprintf("%s takes %s to answer", p.Host(), ph.Duration.Round(100*time.Millisecond))
		if seen.Failed == "http" {
			title = fmt.Sprintf("%s gives no answer within %s", p.Host(), ph.Duration.Round(100*time.Millisecond))
		}
		f := diagnose.Finding{
			Subject:    farSide(p),
			Confidence: diagnose.Likely,
			Title:      title,
			Summary:    "The connection and TLS are quick; the time passes between the request and the answer.",
			Fix:        []diagnose.Command{{Text: "Ask the service's owner; raise the client's time-out above what it takes", Verify: again(p)}},
		}
		for _, phase := range seen.Phases {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("%s: %s", phase.Name, phase.Duration.Round(time.Millisecond))))
		}
		if here := p.At(model.VantageHere); here != nil && here.PhaseOf("http") != nil {
			if !slowAnswer(here) {
				return
			}
			f.Confidence = diagnose.Proven
		} else if p.External() {
			f.Confidence = diagnose.Possible // it may be quick elsewhere
			f.Gaps = p.Gaps([]string{"probe:here"})
		}
		unreadBehind(p, &f)
		p.Report(f)
	},
}

// sometimesSlow tells of a series in which a share of the answers took long; the
// first one need not have been among them.
func sometimesSlow(p *diagnose.Pass, s *watch.Slowness) {
	f := diagnose.Finding{
		Subject:    farSide(p),
		Confidence: diagnose.Likely,
		Title:      fmt.Sprintf("%s takes %s for some of its answers", p.Host(), s.Took.Round(100*time.Millisecond)),
		Summary:    "Connections and TLS are quick; the time passes between the request and the answer.",
		Evidence:   []diagnose.Evidence{slowEvidence(s)},
		Fix:        []diagnose.Command{{Text: "Ask the service's owner; raise the client's time-out above what it takes", Verify: again(p)}},
	}
	if e, of := slowEndpoint(p); e != nil {
		f.Subject, f.Confidence, f.Sometimes = e.pod.Ref(), diagnose.Proven, true
		f.Title = fmt.Sprintf("Pod %s/%s takes %s to answer, one of %d endpoints of %s", e.pod.Namespace, e.pod.Name, s.Took.Round(100*time.Millisecond), of, p.Host())
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("endpoint %s, asked by itself, is slow in its answers; the other endpoints are quick", e.seen.Address), e.pod.Ref()))
		f.Fix = []diagnose.Command{
			{Text: "See what ails the pod", Line: diagnose.Kubectl("-n", e.pod.Namespace, "logs", e.pod.Name, "--tail=50")},
			{Text: "Set it up anew: its controller makes another one", Line: diagnose.Kubectl("-n", e.pod.Namespace, "delete", "pod", e.pod.Name), Verify: again(p)},
		}
		p.Report(f)
		return
	}
	switch {
	case slowElsewhere(p, "http"):
		f.Confidence = diagnose.Proven
		f.Evidence = append(f.Evidence, probe("other places, too, wait for some of its answers"))
	case p.External():
		f.Confidence = diagnose.Possible // it may be quick elsewhere
	}
	unreadBehind(p, &f)
	p.Report(f)
}

// slowEndpoint is the only one of several endpoints whose answers are slow, by the
// tries of each by itself; nil: there is no such one.
func slowEndpoint(p *diagnose.Pass) (slow *endpoint, of int) {
	tried, rates := endpointsTried(p), watch.SlowAnswers(p.Case.Tries)
	for i := range tried {
		switch r := rates[tried[i].seen.Address]; {
		case r.Of >= 8 && r.Share() >= 0.9 && slow == nil && tried[i].pod != nil:
			slow = &tried[i]
		case r.Of < 8 || r.Share() > 0.1:
			return nil, len(tried)
		}
	}
	if len(tried) < 2 {
		slow = nil
	}
	return slow, len(tried)
}

// slowAnswer says that the time went into the answer and into nothing before it.
func slowAnswer(o *model.Observation) bool {
	ph := o.PhaseOf("http")
	if ph == nil || ph.Duration < 1500*time.Millisecond || o.Failed != "" && !(o.Failed == "http" && o.Result == model.TimedOut && o.Bytes == 0) {
		return false
	}
	for _, before := range o.Phases {
		if before.Name != "http" && before.Duration > time.Second {
			return false
		}
	}
	return true
}
