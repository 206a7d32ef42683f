package rules

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var kubeProxyNoMasquerade = diagnose.Rule{
	ID: "kube-proxy-no-masquerade",
	Doc: `A node sends node port traffic on without masquerading it

What comes to a node port (or to a Service from outside the cluster) and goes on to a pod of another node has to leave with the node's own address, so that the
answer comes back the same way and is translated back. kube-proxy marks such packets and masquerades them. Where it does not (its --cluster-cidr
covers the clients, --masquerade-all is missing, or somebody has flushed its rules), the pod answers the client from its own address. The client knows no such
connection: it waits until its time-out. Endpoints on the node itself work, so with several endpoints a share of the connections fails.

Look-alikes: externalTrafficPolicy: Local wants no masquerading, and drops where the node has no pod. A route or NSG that drops between nodes stops the pods' own
addresses as well.

Mend kube-proxy's --cluster-cidr (its detect-local mode), and restart it, so that it writes its rules anew.
`,
	Hop:    model.HopKubeProxy,
	Covers: []string{"kp-wrong-cluster-cidr"},
	Needs:  []string{"service", "endpointslice", "node"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		skipUnreadPort(p)
		p.Broken(model.HopKubeProxy, func(w diagnose.Way, s *model.Step) {
			if s.Proxy == nil || !s.Proxy.Bare {
				return
			}
			p.ReportAt(w, s, diagnose.Finding{
				Subject: s.At,
				Title:   fmt.Sprintf("Node %s does not masquerade what it sends on to pods of other nodes", s.At.Name()),
				Summary: "The pod answers the client directly, from an address that the client did not connect to.",
				Fix: []diagnose.Command{
					{Text: "See which range kube-proxy takes for the cluster's own", Line: diagnose.Kubectl("-n", "kube-system", "get", "daemonset,configmap", "kube-proxy", "-o", "yaml")},
					{Text: "Restart it: it writes its rules anew", Line: restartKubeProxy(s.At.Name()), Verify: again(p)},
				},
			})
		})
	},
}

// skipUnreadPort says that the rules of the node whose port was asked for were not
// read: whether they masquerade is not known.
func skipUnreadPort(p *diagnose.Pass) {
	path, seen := p.Question(), p.Seen()
	if path == nil || path.Broken() != nil || seen != nil && !diagnose.Unanswered(seen) {
		return
	}
	for _, s := range path.Steps {
		for _, n := range p.Case.World.Kube.Nodes {
			facts, ref := p.Case.World.Nodes[n.Name], model.NewRef("node", n.Name)
			if s.Hop != model.HopService || !slices.Contains(n.InternalIPs, s.In.Dst) || facts != nil && facts.Filters != nil {
				continue
			}
			g := model.Gap{What: "packet filter of " + string(ref), Ref: ref, Reason: "it was not read", Permission: "create pods (a host-network pod that reads the node)"}
			for _, known := range p.Case.World.Gaps {
				if known.Ref == ref {
					g = known
				}
			}
			p.Skip(g)
		}
	}
}
