package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var kubeProxyStale = diagnose.Rule{
	ID: "kube-proxy-stale",
	Doc: `A node sends connections of a Service to addresses that are no endpoints of it

kube-proxy on one node wrote its rules from endpoints that are gone, or somebody else's rules translate the Service's
address before it: leftovers of another mode, a rule added by hand. A share of the connections from this node goes to an address
that the Service does not have: a time-out, "no route to host", or a stranger's answer. Other nodes are right.

podpath walks the connection through the node's rules and compares every translation with the EndpointSlices.

Look-alikes: an endpoint that is dead and still listed fails from every node. A pod that is ready too early refuses, and is
an endpoint.

Mend it by restarting kube-proxy on the node; then find why it missed the change (its log, its connection to the API server).
`,
	Hop:    model.HopKubeProxy,
	Covers: []string{"kp-stale-rules", "kp-mode-transition-leftover"},
	Needs:  []string{"service", "endpointslice", "pod", "nodefacts"},
	Sees: func(o *model.Observation) bool {
		return diagnose.Unanswered(o) || o.Failed == "tcp" && result(model.Unreachable, model.Refused, model.NoRoute)(o)
	},
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopKubeProxy, func(w diagnose.Way, s *model.Step) {
			if s.Proxy == nil || len(s.Proxy.Stale) == 0 || s.Proxy.Refused {
				return
			}
			name := s.At.Name()
			f := diagnose.Finding{
				Subject: s.At,
				Title:   fmt.Sprintf("Node %s sends %.0f %% of the connections to %s, which is no endpoint", name, s.Proxy.Share*100, strings.Join(s.Proxy.Stale, ", ")),
				Summary: "The rules that translate the Service's address on this node lead to addresses that the API does not list for it.",
				Fix: []diagnose.Command{
					{Text: "Restart kube-proxy on the node: it writes its rules anew", Line: restartKubeProxy(name), Verify: again(p)},
					{Text: "If it stays, the rule is another's: it is named above; take it away on the node"},
				},
			}
			if s.Proxy.Order {
				f.Evidence = append(f.Evidence, diagnose.Evidence{Text: "that it fails says that the table of this rule comes before the other one of the same priority", Source: "trace"})
			}
			if s.Proxy.Share < 0.999 {
				f.Evidence = append(f.Evidence, diagnose.Evidence{Text: "the other endpoints are there: a try that meets one of them works", Source: "trace"})
			}
			p.ReportAt(w, s, f)
		})
	},
}

// restartKubeProxy deletes the pod of kube-proxy's DaemonSet on a node.
func restartKubeProxy(name string) string {
	return diagnose.Kubectl("delete", "pod", "-n", "kube-system", "-l", "component=kube-proxy", "--field-selector", "spec.nodeName="+name)
}
