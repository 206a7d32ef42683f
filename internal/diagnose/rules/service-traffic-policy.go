package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceTrafficPolicy = diagnose.Rule{
	ID: "service-traffic-policy",
	Doc: `The Service sends only to pods of the same node, and there are none

With internalTrafficPolicy: Local a connection to the Service's own address goes only to endpoints on the client's node. With
externalTrafficPolicy: Local one to a node port (or to a load balancer's address, from outside) goes only to endpoints on the node that it comes
to. Where that node has none while others have, kube-proxy drops the packet: the client waits until its time-out. From a node that runs one of
the pods the same Service answers.

Look-alikes: a Service without any ready endpoint refuses at once, from everywhere. An NSG or a route that drops between nodes is as silent, but drops
connections to the pods' own addresses too.

Mend it by running a pod of the Service on every node that asks for it (a DaemonSet, or topology spread), by asking a node that has one (a load
balancer finds them by the Service's healthCheckNodePort), or by the policy Cluster, with which the pods no longer see the client's own address.
`,
	Hop:    model.HopService,
	Covers: []string{"svc-etp-local-no-local-pod"},
	Needs:  []string{"service", "endpointslice", "node"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopService, func(w diagnose.Way, step *model.Step) {
			if c := step.Service; c != nil && (c.By == "externalTrafficPolicy" || c.By == "internalTrafficPolicy") && c.All > 0 {
				reportLocal(p, w, step, c)
			}
		})
	},
}

func reportLocal(p *diagnose.Pass, w diagnose.Way, step *model.Step, c *model.ServiceChoice) {
	ns, name := step.At.Part(0), step.At.Part(1)
	f := diagnose.Finding{
		Title:   fmt.Sprintf("Service %s/%s sends only to pods of node %s (%s: Local), and none runs there", ns, name, c.Node, c.By),
		Summary: "kube-proxy drops the connection on that node instead of sending it to another node's pods.",
		Evidence: []diagnose.Evidence{
			kube(fmt.Sprintf("%s of service %s/%s is Local", c.By, ns, name), step.At),
			kube(fmt.Sprintf("its ready endpoints (%d) are on %s; on %s there is none", c.All, list(c.Elsewhere), c.Node), step.At, model.NewRef("node", c.Node)),
		},
		Fix: []diagnose.Command{
			{Text: "See on which nodes its pods run", Line: diagnose.Kubectl("-n", ns, "get", "endpointslices", "-l", "kubernetes.io/service-name="+name, "-o", "wide")},
			{Text: "Let it send to pods of every node (they no longer see the client's own address)", Line: diagnose.Kubectl("-n", ns, "patch", "service", name, "-p", fmt.Sprintf(`{"spec":{%q:"Cluster"}}`, c.By)), Verify: again(p)},
		},
	}
	if c.By == "internalTrafficPolicy" {
		f.Fix[1].Text = "Let it send to pods of every node"
	}
	p.ReportAt(w, step, f)
}
