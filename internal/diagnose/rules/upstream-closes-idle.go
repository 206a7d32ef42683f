package rules

import (
	"fmt"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

var upstreamClosesIdle = diagnose.Rule{
	ID: "upstream-closes-idle",
	Doc: `A proxy uses a kept connection that the server behind it has just closed

A reverse proxy or ingress controller keeps connections to its backends and uses them again. A backend that closes kept connections after a
silence shorter than the proxy's own limit may do so just as the proxy sends the next request: that request is answered with a reset, and the
proxy says 502 ("upstream prematurely closed connection", "recv() failed (104: Connection reset by peer)"), at once. It is seldom where there is much
to do, and most frequent where there is little.

While the proxy is asked again and again, podpath asks the Service that the proxy's pods name in their arguments or variables by itself: over new
connections it always answers, and it closes connections that are kept.

Look-alikes: a backend that fails answers its own callers with errors too. One that crashes, or is rolled out, refuses connections for a while.
A device on the way that forgets silent connections says nothing, and the request times out.

Mend it by letting the backend keep idle connections for longer than the proxy does (nginx keeps them for 60 s, Envoy for an hour), or the proxy for
less long; and let the proxy try requests again that may be repeated.
`,
	Hop:    model.HopHTTP,
	Covers: []string{"ing-upstream-keepalive-race"},
	Needs:  []string{"probe", "pod", "service"},
	Under:  []string{"pod-terminating", "crash-loop", "oom-killed"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		status := diagnose.Status(seen)
		if status != 502 && status != 503 || !sometimesAnswers(p) {
			return
		}
		if took, ok := waitedMedian(p); !ok || took > soon {
			return // it waited for a server that is hung, overloaded or away
		}
		for _, to := range behindOf(p.Case.Behind) {
			if to.closes > 0 && to.rate.Of >= fewestBehind && to.rate.Count == 0 && !restless(p, to.service) {
				reportClosesIdle(p, seen, to)
				return
			}
		}
	},
}

// fewestBehind is how often what lies behind a proxy has to have answered, each time, to be called well.
const fewestBehind = 8

// behindProxy is a Service behind a proxy as the series saw it by itself.
type behindProxy struct {
	service model.Ref
	rate    watch.Rate    // of failures over new connections
	closes  time.Duration // the shortest silence after which it closed a kept connection; 0: it closed none
}

func behindOf(tries []model.Try) []behindProxy {
	var out []behindProxy
	for _, t := range tries {
		if t.Result == model.ProbeFailed || t.Lag > watch.Lateness {
			continue
		}
		at := slices.IndexFunc(out, func(b behindProxy) bool { return string(b.service) == t.Target })
		if at < 0 {
			at, out = len(out), append(out, behindProxy{service: model.Ref(t.Target)})
		}
		out[at].add(&t)
	}
	return out
}

func (b *behindProxy) add(t *model.Try) {
	if t.Idle == 0 {
		b.rate.Of++
		if t.Result != model.OK {
			b.rate.Count++
		}
		return
	}
	if t.Result != model.Closed && t.Result != model.Reset || t.Failed != "idle" {
		return
	}
	after := t.Idle
	for _, ph := range t.Phases {
		if ph.Name == "idle" && ph.Duration > 0 {
			after = ph.Duration
		}
	}
	if b.closes == 0 || after < b.closes {
		b.closes = after
	}
}

// sometimesAnswers says that some of the question's tries were answered, and some not.
func sometimesAnswers(p *diagnose.Pass) bool {
	r := watch.Failures(p.Case.Tries)[p.Origin()]
	return r.Enough() && r.Count > 0 && r.Count < r.Of
}

// restless says that pods of a Service ended or were restarted meanwhile.
func restless(p *diagnose.Pass, ref model.Ref) bool {
	svc := p.Case.World.Kube.Services[ref]
	if svc == nil {
		return true
	}
	for _, pod := range selected(p, svc) {
		if pod.Ending != nil {
			return true
		}
		for i := range pod.Containers {
			if pod.Containers[i].Watched > 0 {
				return true
			}
		}
	}
	return false
}

func reportClosesIdle(p *diagnose.Pass, seen *model.Observation, to behindProxy) {
	svc := p.Case.World.Kube.Services[to.service]
	subject := to.service
	for _, pod := range selected(p, svc) {
		subject = ownerOf(pod)
		break
	}
	r := watch.Failures(p.Case.Tries)[p.Origin()]
	status := diagnose.Status(seen)
	took, _ := waitedMedian(p)
	f := diagnose.Finding{
		Subject: subject, Sometimes: true, Confidence: diagnose.Likely,
		Title:   fmt.Sprintf("%s closes idle connections that %s still uses", subject, p.Host()),
		Summary: fmt.Sprintf("%s sends requests on over connections that it keeps. What is behind it closes them after %s of silence: a request that is sent at that moment is lost, and answered with %d.", p.Host(), shortly(to.closes), status),
		Evidence: append([]diagnose.Evidence{
			probe(fmt.Sprintf("%d of %d tries failed, with status %d, most within %s of the request", r.Count, r.Of, status, (took+time.Millisecond-1).Truncate(time.Millisecond)), seen.From),
			probe(fmt.Sprintf("%s, asked by itself over new connections, answered all of %d tries", to.service, to.rate.Of), to.service),
			probe(fmt.Sprintf("%s closed connections that were kept to it after %s of silence", to.service, shortly(to.closes)), to.service),
		}, answerEvidence(seen)...),
		Fix: []diagnose.Command{
			{Text: "Let the server keep idle connections for longer than the proxy does (keepAliveTimeout, keepalive_timeout, server.connection-timeout …)", Line: diagnose.KubectlFor(subject, "edit"), Verify: again(p)},
			{Text: "Or let the proxy keep them for less long, and try requests again that may be repeated (nginx: keepalive_timeout in upstream, proxy_next_upstream)"},
		},
	}
	p.Report(f)
}

func shortly(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// soon is how long a proxy takes to say that its connection was closed: it waits for nobody.
const soon = 250 * time.Millisecond

// waitedMedian is how long the answers took with which tries of the question failed, in the middle.
func waitedMedian(p *diagnose.Pass) (time.Duration, bool) {
	var took []time.Duration
	for _, t := range p.Case.Tries {
		if t.Vantage != p.Origin() || t.Purpose != "question" || t.Failed != "http" || t.Idle > 0 || t.Lag > watch.Lateness {
			continue
		}
		for _, ph := range t.Phases {
			if ph.Name == "http" {
				took = append(took, ph.Duration)
			}
		}
	}
	if len(took) == 0 {
		return 0, false
	}
	slices.Sort(took)
	return took[len(took)/2], true
}
