package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceSourceRanges = diagnose.Rule{
	ID: "service-source-ranges",
	Doc: `loadBalancerSourceRanges of the Service leave the client out

A Service of type LoadBalancer may say from which ranges its public address is to be reached. The cloud writes them to its NSG, and kube-proxy
enforces them on every node: a pod that uses the public address (mostly by a public name) never leaves its node, and its own address is in
none of the ranges that somebody wrote for customers. kube-proxy drops the packets; the Service's own address (its ClusterIP) answers.

Look-alikes: a load balancer or a firewall outside that drops fails the same way from outside, too. A NetworkPolicy at the receiving pods stops the Service's own
address as well.

Mend it by asking for the Service by its name inside the cluster, or by adding the pods' range to the ranges.
`,
	Hop:    model.HopService,
	Covers: []string{"svc-lb-source-ranges"},
	Needs:  []string{"service", "endpointslice"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopService, func(w diagnose.Way, step *model.Step) {
			if c := step.Service; c == nil || c.By != "loadBalancerSourceRanges" {
				return
			}
			ns, name := step.At.Part(0), step.At.Part(1)
			p.ReportAt(w, step, diagnose.Finding{
				Title:   fmt.Sprintf("loadBalancerSourceRanges of Service %s/%s leave out %s", ns, name, step.In.Src),
				Summary: "kube-proxy enforces them on every node, for pods too: what comes from elsewhere is dropped before it is sent to an endpoint.",
				Fix: []diagnose.Command{
					{Text: fmt.Sprintf("Ask for it inside the cluster as %s.%s.svc, which has no such ranges", name, ns)},
					{Text: "Or add the pods' range to them", Line: diagnose.KubectlFor(step.At, "edit"), Verify: again(p)},
				},
			})
		})
	},
}
