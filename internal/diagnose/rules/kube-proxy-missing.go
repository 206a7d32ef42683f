package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var kubeProxyMissing = diagnose.Rule{
	ID: "kube-proxy-missing",
	Doc: `A node has no rules for a Service that the API has

kube-proxy on the node has not written the Service: it does not run, cannot reach the API server, or its last write failed.
Packets to the Service's address leave the node by its default route and are lost, or, where the node still has the Service
as one without endpoints, are refused. Other nodes are right.

Look-alikes: a Service without endpoints has none in the API either. A NetworkPolicy hits the pods that it selects on every
node. A node that drops in its packet filter hits other destinations too.

Mend it by starting kube-proxy on the node; its log says what failed ("Failed to execute", "iptables-restore", connection errors).
`,
	Hop:    model.HopKubeProxy,
	Covers: []string{"kp-rules-not-programmed"},
	Needs:  []string{"service", "endpointslice", "pod", "nodefacts"},
	Sees: func(o *model.Observation) bool {
		return diagnose.Unanswered(o) || o.Failed == "tcp" && result(model.Unreachable, model.Refused, model.NoRoute)(o)
	},
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopKubeProxy, func(w diagnose.Way, s *model.Step) {
			if s.Proxy == nil || !s.Proxy.Absent && !s.Proxy.Refused {
				return
			}
			name := s.At.Name()
			f := diagnose.Finding{
				Subject: s.At,
				Title:   fmt.Sprintf("Node %s has no rule that translates the Service's address", name),
				Summary: "The API has the Service and its endpoints; what kube-proxy wrote on this node does not lead to them.",
				Fix: []diagnose.Command{
					{Text: "See what kube-proxy says on the node", Line: diagnose.Kubectl("logs", "-n", "kube-system", "-l", "component=kube-proxy", "--prefix", "--tail=50")},
					{Text: "Restart it: it writes its rules anew", Line: restartKubeProxy(name), Verify: again(p)},
				},
			}
			if s.Proxy.Refused {
				f.Title = fmt.Sprintf("Node %s refuses the Service as one without endpoints, and the API has some", name)
			}
			p.ReportAt(w, s, f)
		})
	},
}
