package rules

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var endpointNotServing = diagnose.Rule{
	ID: "endpoint-not-serving",
	Doc: `An endpoint is ready and takes connections, and does not serve

One of several pods behind a Service has lost what it needs (its database, a lock, a worker): it answers with errors, or takes the
connection and never answers. Its readiness probe asks something that still works, a static path or the bare port, so the Service
goes on sending it its share of the connections: one in N fails, and it looks like chance.

podpath asks each endpoint by itself, in the same way as the Service is asked, and compares them.

Look-alikes: an endpoint that takes no connection at all is dead (service-endpoint-dead). When every endpoint answers with errors now and then,
the application or what is behind it is at fault, not one pod. A client that session affinity keeps at the bad pod fails always, and others never.

Mend the pod (starting it anew often does); then let the readiness probe ask what the application needs to serve.
`,
	Hop:           model.HopHTTP,
	Covers:        []string{"app-readiness-too-shallow"},
	Needs:         []string{"probe", "endpointslice", "pod"},
	Under:         []string{"node-disk-saturated", "session-affinity-bad", "open-files", "cpu-throttled", "crash-loop"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		var bad []endpoint
		good, of, failed := 0, 0, 0
		tried := endpointsTried(p)
		for _, e := range tried {
			switch {
			case givenUpEarly(p, e.seen):
				good++
			case e.pod != nil && notServing(e.seen):
				bad = append(bad, e)
			case !diagnose.Fails(e.seen):
				good++
				of, failed = of+e.rate.Of, failed+e.rate.Count
			}
		}
		for _, e := range bad {
			if good > 0 {
				reportNotServing(p, e, len(tried), fmt.Sprintf("%d of %d", failed, of))
			}
		}
	},
}

// notServing says that an endpoint took the connection and did not serve it.
func notServing(o *model.Observation) bool {
	switch o.Failed {
	case "http":
		return o.Result != model.HTTPStatus || diagnose.Status(o) >= 500
	case "tls":
		return diagnose.CutOff(o)
	}
	return false
}

// givenUpEarly says that an endpoint got less time for its answer than good answers
// of the Service took: it may be as slow as they, and serve.
func givenUpEarly(p *diagnose.Pass, o *model.Observation) bool {
	waited := o.PhaseOf("http")
	if waited == nil || o.Failed != "http" || o.Result != model.TimedOut {
		return false
	}
	late := func(phases []model.Phase) bool {
		return slices.ContainsFunc(phases, func(ph model.Phase) bool {
			return ph.Name == "http" && ph.Result == model.OK && ph.Duration >= waited.Duration
		})
	}
	return slices.ContainsFunc(p.Asked(p.Origin()), func(q *model.Observation) bool { return late(q.Phases) }) ||
		slices.ContainsFunc(p.Case.Tries, func(t model.Try) bool { return t.Vantage == p.Origin() && t.Idle == 0 && late(t.Phases) })
}

func reportNotServing(p *diagnose.Pass, e endpoint, all int, others string) {
	f := diagnose.Finding{
		Subject: e.pod.Ref(), Sometimes: true,
		Title:   fmt.Sprintf("Pod %s/%s is ready and does not serve, one of %d endpoints of %s", e.pod.Namespace, e.pod.Name, all, p.Host()),
		Summary: fmt.Sprintf("About one connection in %d is sent there, and fails. Its readiness probe asks something that still works.", all),
		Evidence: []diagnose.Evidence{
			probe(fmt.Sprintf("from %s to endpoint %s alone: %s%s", diagnose.PlaceOf(e.seen), e.seen.Address, diagnose.OutcomeOf(e.seen), e.often()), e.seen.From, e.pod.Ref()),
			kube(fmt.Sprintf("%s; ready: %t; readiness: %s", podState(e.pod), e.pod.Ready, readinessOf(e.pod)), e.pod.Ref()),
		},
		Fix: []diagnose.Command{
			{Text: "See what ails the pod", Line: diagnose.Kubectl("-n", e.pod.Namespace, "logs", e.pod.Name, "--tail=50")},
			{Text: "Set it up anew: its controller makes another one", Line: diagnose.Kubectl("-n", e.pod.Namespace, "delete", "pod", e.pod.Name), Verify: again(p)},
			{Text: "Let the readiness probe ask what the application needs to serve", Line: diagnose.KubectlFor(ownerOf(e.pod), "edit")},
		},
	}
	if e.answersToo() {
		f.Title = fmt.Sprintf("Pod %s/%s fails %.0f %% of what it is asked, one of %d endpoints of %s", e.pod.Namespace, e.pod.Name, 100*e.rate.Share(), all, p.Host())
		f.Summary = fmt.Sprintf("About one connection in %d is sent there, and that share of them fails. It is called ready all the while.", all)
	}
	if e.seen.Result != model.HTTPStatus {
		f.Hop = model.HopPod // the connection stands, and nobody answers on it
	}
	if e.rate.Of > 0 {
		f.Evidence = append(f.Evidence, probe("of the other endpoints, asked in the same way, "+others+" tries failed"))
	}
	f.Evidence = append(f.Evidence, affinity(p)...)
	p.Report(f)
}

// readinessOf is what a pod's containers are asked before they are called ready.
func readinessOf(pod *model.Pod) string {
	var words []string
	for _, c := range pod.Containers {
		if c.Kind == "" && c.Readiness != "" {
			words = append(words, c.Name+": "+c.Readiness)
		}
	}
	if len(words) == 0 {
		return "no container has a probe"
	}
	return list(words)
}

// affinity says that a Service keeps each client at one endpoint.
func affinity(p *diagnose.Pass) []diagnose.Evidence {
	svc := askedService(p)
	if svc == nil || svc.SessionAffinity != "ClientIP" {
		return nil
	}
	ref := model.NewRef("service", svc.Namespace, svc.Name)
	return []diagnose.Evidence{kube(fmt.Sprintf("%s has sessionAffinity ClientIP: a client that got this endpoint stays there, and the others never meet it", ref), ref)}
}
