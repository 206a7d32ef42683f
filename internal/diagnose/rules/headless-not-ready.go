package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var headlessNotReady = diagnose.Rule{
	ID: "headless-not-ready",
	Doc: `The headless Service has no ready pod, so its name has no address

A headless Service has no address of its own: its name stands for its ready pods, and without one CoreDNS answers as if the
name did not exist. The same pods would be found with publishNotReadyAddresses, which peers that look for each other while they start need.

Look-alikes: a Service that does not exist gives the same answer. A Service with a cluster address keeps its name, and refuses.

Mend the pods' readiness; or set publishNotReadyAddresses where peers must find each other before they are ready.
`,
	Hop:    model.HopDNS,
	Covers: []string{"svc-headless-no-ready-nxdomain"},
	Needs:  []string{"probe", "service", "endpointslice", "pod"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "dns" && (o.Result == model.NXDomain || o.Result == model.NoData)
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Failed != "dns" || seen.Result != model.NXDomain && seen.Result != model.NoData {
			return
		}
		name, ns, ok := serviceName(p.LookedUp())
		ref := model.NewRef("service", ns, name)
		svc := p.Case.World.Kube.Services[ref]
		if !ok || svc == nil || !svc.Headless || svc.PublishNotReady || !p.Case.World.Read["endpointslice"] || published(p, svc) {
			return
		}
		f := diagnose.Finding{
			Subject: ref,
			Title:   fmt.Sprintf("Headless Service %s/%s has no ready pod, so its name has no address", ns, name),
			Summary: "Its name stands for its ready pods alone.",
			Fix:     []diagnose.Command{{Text: "See what it selects", Line: diagnose.Kubectl("-n", ns, "get", "pods,endpointslices", "-l", labelText(svc.Selector)), Verify: again(p)}},
		}
		pods := selected(p, svc)
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("its selector %s matches %d pods", firstOf(labelText(svc.Selector), "(none)"), len(pods)), ref))
		if owner := unready(pods); owner != "" {
			f.Subject = owner
			f.Evidence = append(f.Evidence, kube(podState(pods[0])+"; it is not ready", pods[0].Ref()))
			f.Evidence = append(f.Evidence, eventEvidence(p, pods[0].Ref())...)
			f.Fix = []diagnose.Command{
				{Text: "See what the readiness probe gets", Line: diagnose.Kubectl("-n", ns, "describe", "pod", pods[0].Name)},
				{Text: "Mend the server, or the probe's path and port", Line: diagnose.KubectlFor(owner, "edit"), Verify: again(p)},
			}
		}
		p.ReportOn(dnsWay, f)
	},
}

// published says that the name of a headless Service has an address.
func published(p *diagnose.Pass, svc *model.Service) bool {
	for _, s := range p.Case.World.Kube.EndpointSlices {
		if s.Namespace != svc.Namespace || s.Service != svc.Name {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Ready && len(e.Addresses) > 0 {
				return true
			}
		}
	}
	return false
}

// selected are the pods that a Service's selector matches.
func selected(p *diagnose.Pass, svc *model.Service) []*model.Pod {
	var out []*model.Pod
	for _, ref := range sortedRefs(p.Case.World.Kube.Pods) {
		if pod := p.Case.World.Kube.Pods[ref]; len(svc.Selector) > 0 && pod.Namespace == svc.Namespace && sameLabels(svc.Selector, pod.Labels) {
			out = append(out, pod)
		}
	}
	return out
}
