package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var corednsDown = diagnose.Rule{
	ID: "coredns-down",
	Doc: `The cluster's DNS has no running pod

The Service that pods ask for names has no ready endpoint: CoreDNS was scaled to zero, crashes, or cannot be scheduled. kube-proxy refuses
queries at once, or they vanish; every name fails in every namespace, those of the cluster as well.

Look-alikes: a policy that forgets DNS affects the selected pods only. A dead upstream fails names outside the cluster only. A bad
coredns-custom makes CoreDNS crash: then its log says which line.

Mend it by bringing the Deployment back; look at its pods' events and the previous container's log first.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-coredns-down", "dns-coredns-oom"},
	Needs:  []string{"service", "pod", "endpointslice"},
	Under:  []string{"corefile-broken", "corefile-loop", "dns-address-differs"},
	Sees:   dnsFailed,
	Run: func(p *diagnose.Pass) {
		svc, servers := p.NameServers()
		if svc == nil || !p.Case.World.Read["pod"] && len(servers) == 0 && !endpointsRead(p, svc) {
			return
		}
		for _, pod := range servers {
			if pod.Ready {
				return
			}
		}
		if readyEndpoints(p, svc) > 0 || len(servers) == 0 && !noneReady(corednsPods(p)) {
			return
		}
		ref := model.NewRef("service", svc.Namespace, svc.Name)
		subject := dnsWorkload(p, svc)
		f := diagnose.Finding{
			Subject:  subject,
			Title:    fmt.Sprintf("No pod of the cluster's DNS is ready (Service %s/%s has no endpoint)", svc.Namespace, svc.Name),
			Summary:  "Every lookup of every pod goes to this Service, and nobody answers there.",
			Evidence: []diagnose.Evidence{kube(fmt.Sprintf("service %s/%s has no ready endpoint", svc.Namespace, svc.Name), ref)},
			Fix: []diagnose.Command{
				{Text: "See why its pods are not ready", Line: diagnose.Kubectl("-n", svc.Namespace, "describe", "pods", "-l", labelText(svc.Selector))},
				{Text: "Bring it back", Line: diagnose.Kubectl("-n", svc.Namespace, "scale", "deployment/"+subject.Name(), "--replicas=2"), Verify: again(p)},
			},
		}
		if w := p.Case.World.Kube.Workloads[subject]; w != nil {
			f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s: %d replicas wanted, %d ready", subject, w.Replicas, w.Ready), subject))
		}
		for _, pod := range servers {
			f.Evidence = append(f.Evidence, kube(podState(pod), pod.Ref()))
		}
		if len(servers) == 0 && !endpointsRead(p, svc) || !podsRead(p, svc) || !p.Case.World.Read["endpointslice"] && !p.Case.World.Read["endpointslice/"+svc.Namespace] {
			f.Confidence = diagnose.Possible // one of the two lists that would have to agree was not read
			f.Gaps = p.Gaps([]string{"pod", "endpointslice"})
		}
		if doubt := p.Gaps([]string{"configmap"}); len(servers)+len(corednsPods(p)) > 0 && len(doubt) > 0 {
			f.Confidence, f.Gaps = diagnose.Possible, append(f.Gaps, doubt...) // its configuration may be what keeps it from starting
		}
		p.ReportOn(diagnose.Way{Kind: "dns"}, f)
	},
}

// podsRead says that the pods of the Service's namespace are all known.
func podsRead(p *diagnose.Pass, svc *model.Service) bool {
	return p.Case.World.Read["pod"] || p.Case.World.Read["pod/"+svc.Namespace]
}

func endpointsRead(p *diagnose.Pass, svc *model.Service) bool {
	for _, s := range p.Case.World.Kube.EndpointSlices {
		if s.Namespace == svc.Namespace && s.Service == svc.Name {
			return true
		}
	}
	return p.Case.World.Read["endpointslice"]
}

func readyEndpoints(p *diagnose.Pass, svc *model.Service) int {
	n := 0
	for _, s := range p.Case.World.Kube.EndpointSlices {
		if s.Namespace != svc.Namespace || s.Service != svc.Name {
			continue
		}
		for _, e := range s.Endpoints {
			if e.Ready {
				n++
			}
		}
	}
	return n
}

// dnsWorkload is the workload behind the DNS Service: by its pods, else by a
// workload with the Service's labels, else the name that AKS gives it.
func dnsWorkload(p *diagnose.Pass, svc *model.Service) model.Ref {
	_, pods := p.NameServers()
	for _, pod := range pods {
		if pod.Owner != "" {
			return pod.Owner
		}
	}
	for _, ref := range sortedRefs(p.Case.World.Kube.Workloads) {
		w := p.Case.World.Kube.Workloads[ref]
		if ref.Part(0) == svc.Namespace && ref.Kind() == "deployment" && w.Selector != nil && len(svc.Selector) > 0 && sameLabels(svc.Selector, w.Selector.MatchLabels) {
			return ref
		}
	}
	return model.NewRef("deployment", svc.Namespace, "coredns")
}

func sameLabels(want, have model.Labels) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

func labelText(labels model.Labels) string {
	out := ""
	for _, k := range sortedKeys(labels) {
		if out != "" {
			out += ","
		}
		out += k + "=" + labels[k]
	}
	return out
}
