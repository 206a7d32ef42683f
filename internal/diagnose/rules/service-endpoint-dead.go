package rules

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceEndpointDead = diagnose.Rule{
	ID: "service-endpoint-dead",
	Doc: `An endpoint behind the Service does not answer

A Service spreads connections over its endpoints, and one of them does not answer: a pod that is listed as ready and is not, or an address
that nobody has (a manual EndpointSlice that was never brought up to date). With several endpoints a share of the connections fails, one in
three for one of three, and it looks like chance.

Look-alikes: when every pod refuses, the port is wrong or nothing listens. When only endpoints on one node fail, the way to that node is at fault,
and podpath names the hop.

Mend the endpoint: its pod, its readiness probe, or the EndpointSlice that lists it.
`,
	Hop:           model.HopEndpoint,
	Covers:        []string{"svc-one-endpoint-dead", "svc-selectorless-stale-endpoints"},
	Needs:         []string{"probe", "endpointslice", "pod"},
	Under:         []string{"session-affinity-bad", "listen-backlog", "open-files", "oom-killed", "crash-loop", "pod-terminating", "duplicate-address"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		tried := endpointsTried(p)
		if len(p.Control(p.Origin(), "control:endpoint")) == 0 {
			return
		}
		var dead []endpoint
		for _, e := range tried {
			if e.seen.Failed == "tcp" && diagnose.Fails(e.seen) {
				dead = append(dead, e)
			}
		}
		all := len(dead) == len(tried)
		for _, e := range dead {
			if all && (e.pod != nil || e.seen.Result == model.Refused) {
				continue // all alike: what they have in common is at fault
			}
			reportDead(p, e, len(dead), len(tried))
		}
	},
}

func reportDead(p *diagnose.Pass, e endpoint, dead, all int) {
	behind := p.Host()
	if svc := askedService(p); svc != nil {
		behind = fmt.Sprintf("Service %s/%s", svc.Namespace, svc.Name)
	}
	f := diagnose.Finding{
		Hop: model.HopEndpoint, Sometimes: dead < all,
		Title:   fmt.Sprintf("Endpoint %s of %s is dead (%d of %d)", e.seen.Address, behind, dead, all),
		Summary: "The Service sends a share of the connections there, and they fail.",
		Evidence: []diagnose.Evidence{
			probe(fmt.Sprintf("from %s to endpoint %s: %s", diagnose.PlaceOf(e.seen), e.seen.Address, diagnose.OutcomeOf(e.seen))+e.often(), e.seen.From),
		},
	}
	if e.answersToo() {
		f.Confidence = diagnose.Possible // a packet that is lost on the way shows like this as well
		f.Title = fmt.Sprintf("Endpoint %s of %s fails now and then", e.seen.Address, behind)
	}
	slice := sliceOf(p, e.seen)
	if e.pod != nil {
		f.Subject, f.Hop = e.pod.Ref(), model.HopPod
		f.Evidence = append(f.Evidence, kube(podState(e.pod), e.pod.Ref()))
		f.Fix = []diagnose.Command{
			{Text: "See what ails the pod", Line: diagnose.Kubectl("-n", e.pod.Namespace, "describe", "pod", e.pod.Name)},
			{Text: "Set it up anew: its controller makes another one", Line: diagnose.Kubectl("-n", e.pod.Namespace, "delete", "pod", e.pod.Name), Verify: again(p)},
		}
		if step := p.BrokenTo(e.seen.Address); step != nil {
			f.Hop, f.Subject = step.Hop, step.Decided
			if f.Subject == "" {
				f.Subject = step.At
			}
			f.Title = fmt.Sprintf("Endpoint %s of %s cannot be reached (%d of %d)", e.seen.Address, behind, dead, all)
			f.Evidence = append(f.Evidence, diagnose.Evidence{Text: step.Title + ": " + step.Reason, Refs: []model.Ref{step.At}, Source: "trace"})
			f.Fix = nil
		}
	} else {
		if slice == "" {
			return // gone meanwhile, or the lists were not read
		}
		f.Subject = slice
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s lists it; no pod that was read has this address", f.Subject), f.Subject))
		f.Fix = []diagnose.Command{{Text: "Bring the list of addresses up to date", Line: diagnose.KubectlFor(f.Subject, "edit"), Verify: again(p)}}
	}
	if !p.Case.World.Read["pod"] && e.pod == nil {
		f.Confidence = diagnose.Likely
	}
	if dead == all { // nothing to compare with: the way there may be at fault
		p.ReportByExclusion(f)
		return
	}
	p.Report(f)
}

// sliceOf is the EndpointSlice that lists an address.
func sliceOf(p *diagnose.Pass, o *model.Observation) model.Ref {
	for _, ref := range sortedRefs(p.Case.World.Kube.EndpointSlices) {
		s := p.Case.World.Kube.EndpointSlices[ref]
		for _, e := range s.Endpoints {
			if slices.Contains(e.Addresses, o.Address.Addr().String()) {
				return ref
			}
		}
	}
	return ""
}
