package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var dnsServiceNoPods = diagnose.Rule{
	ID: "dns-service-no-pods",
	Doc: `The cluster's DNS Service selects no pod, although CoreDNS runs

The selector of the Service that pods ask for names matches no pod: somebody changed it, or the labels of CoreDNS. CoreDNS runs and is
ready, and nobody can reach it by the Service's address; every name fails in every namespace.

Look-alikes: CoreDNS that is down has no ready pod at all. A policy hits the selected pods only.

Mend the selector; on AKS it is k8s-app=kube-dns, and the add-on manager puts it back when the Service carries its label.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-coredns-down"},
	Needs:  []string{"service", "pod", "endpointslice"},
	Sees:   dnsFailed,
	Run: func(p *diagnose.Pass) {
		svc, selected := p.NameServers()
		if svc == nil || len(selected) > 0 || !podsRead(p, svc) || !endpointsRead(p, svc) || readyEndpoints(p, svc) > 0 || !asksClusterDNS(p) {
			return
		}
		ref := model.NewRef("service", svc.Namespace, svc.Name)
		f := diagnose.Finding{
			Subject:  ref,
			Title:    fmt.Sprintf("Service %s/%s selects no pod (%s)", svc.Namespace, svc.Name, labelText(svc.Selector)),
			Summary:  "CoreDNS runs, but the Service that every pod asks for names has no endpoint, because its selector matches none of CoreDNS's pods.",
			Evidence: []diagnose.Evidence{kube(fmt.Sprintf("service %s/%s: selector %s, no ready endpoint", svc.Namespace, svc.Name, labelText(svc.Selector)), ref)},
		}
		running := 0
		for _, pod := range corednsPods(p) {
			if pod.Ready {
				running++
				f.Evidence = append(f.Evidence, kube(fmt.Sprintf("pod %s/%s is ready, with labels %s", pod.Namespace, pod.Name, labelText(pod.Labels)), pod.Ref()))
			}
		}
		if running == 0 {
			return
		}
		f.Fix = []diagnose.Command{{
			Text:   "Select CoreDNS's pods again",
			Line:   diagnose.Kubectl("-n", svc.Namespace, "patch", "service", svc.Name, "--type=json", "-p", `[{"op":"replace","path":"/spec/selector","value":{"k8s-app":"kube-dns"}}]`),
			Verify: again(p),
		}}
		p.ReportOn(dnsWay, f)
	},
}
