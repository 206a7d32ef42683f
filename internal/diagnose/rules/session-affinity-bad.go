package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

var sessionAffinityBad = diagnose.Rule{
	ID: "session-affinity-bad",
	Doc: `Session affinity keeps the client at an endpoint that does not serve

A Service with sessionAffinity ClientIP sends a client to the endpoint that it got first, for three hours unless it says otherwise. One
endpoint is bad, and this client is kept there: every one of its connections fails, while the other endpoints are well and other
clients never see a failure. Where many users come by one address, all of them share its fate.

podpath asks each endpoint by itself and compares that with how the Service itself fares.

Look-alikes: without affinity a share of every client's connections fails (service-endpoint-dead, endpoint-not-serving). When no endpoint serves, affinity
changes nothing.

Mend the endpoint at once, which is named; then ask whether the application needs affinity by address at all, or can have it by cookie.

Source: https://kubernetes.io/docs/reference/networking/virtual-ips/#session-affinity
`,
	Hop:    model.HopService,
	Covers: []string{"svc-session-affinity-sticky-bad"},
	Needs:  []string{"probe", "service", "endpointslice", "pod"},
	Run: func(p *diagnose.Pass) {
		svc, seen := askedService(p), p.Seen()
		if svc == nil || svc.SessionAffinity != "ClientIP" || seen == nil || !diagnose.Fails(seen) || !always(p) {
			return
		}
		var bad []endpoint
		tried := endpointsTried(p)
		for _, e := range tried {
			if diagnose.Fails(e.seen) && e.seen.Failed == seen.Failed && e.seen.Result == seen.Result {
				bad = append(bad, e)
			}
		}
		if len(bad) == 1 && len(tried) > 1 {
			reportSticky(p, svc, bad[0], len(tried))
		}
	},
}

// always says that the question fails each time it is asked: of a Service that
// spreads connections a share would work.
func always(p *diagnose.Pass) bool {
	if r := watch.Failures(p.Case.Tries)[p.Origin()]; r.Enough() {
		return r.Count == r.Of
	}
	for _, o := range p.Asked(p.Origin()) {
		if !diagnose.Fails(o) {
			return false
		}
	}
	return true
}

func reportSticky(p *diagnose.Pass, svc *model.Service, e endpoint, all int) {
	ref := model.NewRef("service", svc.Namespace, svc.Name)
	who, fix := e.seen.Address.String(), []diagnose.Command(nil)
	if e.pod != nil {
		who = string(e.pod.Ref())
		fix = []diagnose.Command{{Text: "Set the bad endpoint up anew: its controller makes another one", Line: diagnose.Kubectl("-n", e.pod.Namespace, "delete", "pod", e.pod.Name), Verify: again(p)}}
	}
	p.Report(diagnose.Finding{
		Subject: ref,
		Title:   fmt.Sprintf("sessionAffinity of %s keeps %s at %s, which does not serve", ref, from(p), who),
		Summary: fmt.Sprintf("A client stays with the endpoint that it got first. Of the %d endpoints one is bad, and this client is kept there; clients at the others never fail.", all),
		Evidence: []diagnose.Evidence{
			kube(fmt.Sprintf("%s: sessionAffinity: ClientIP", ref), ref),
			probe(fmt.Sprintf("from %s to endpoint %s alone: %s%s; each of the other %d endpoints answers", diagnose.PlaceOf(e.seen), e.seen.Address, diagnose.OutcomeOf(e.seen), e.often(), all-1), e.seen.From),
		},
		Fix: append(fix, diagnose.Command{
			Text: "If the application does not need it, let the Service spread connections",
			Line: diagnose.Kubectl("-n", svc.Namespace, "patch", "service", svc.Name, "-p", `{"spec":{"sessionAffinity":"None"}}`),
		}),
	})
}
