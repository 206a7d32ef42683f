package rules

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nodePortClosed = diagnose.Rule{
	ID: "node-port-closed",
	Doc: `Nothing listens on that port of the node

The connection reaches the node, whose kernel refuses it: no process of the node (or pod with hostNetwork or hostPort) listens there, and no Service has
it as its node port. A node port that was given away anew when its Service was made again is the usual reason; an agent that does not run on this node, another.

Look-alikes: a node port of a Service without endpoints is refused as well; that Service is named then. A rule of the node's own that rejects is named by
node-firewall-rejects.

Mend the port in the client, or start what is to listen there.
`,
	Hop:   model.HopNodeKernel,
	Needs: []string{"probe", "service", "node"},
	Under: []string{"node-firewall-rejects"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "tcp" && o.Result == model.Refused
	},
	Run: func(p *diagnose.Pass) {
		seen, path := p.Seen(), p.Question()
		if seen == nil || path == nil || seen.Failed != "tcp" || seen.Result != model.Refused || seen.Proxy != "" || len(path.Steps) == 0 {
			return
		}
		last := path.Steps[len(path.Steps)-1]
		n := p.Case.World.Kube.Nodes[last.At.Name()]
		if last.At.Kind() != "node" || path.Broken() != nil || n == nil || !slices.Contains(n.InternalIPs, seen.Address.Addr()) {
			return
		}
		reportClosedNode(p, seen, n)
	},
}

func reportClosedNode(p *diagnose.Pass, seen *model.Observation, n *model.Node) {
	ref, port := model.NewRef("node", n.Name), seen.Address.Port()
	f := diagnose.Finding{
		Subject: ref, Title: fmt.Sprintf("Nothing listens on port %d of node %s", port, n.Name),
		Summary:  "The packets arrive, and the node's own kernel refuses the connection.",
		Evidence: []diagnose.Evidence{probe(fmt.Sprintf("from %s: %s refuses", diagnose.PlaceOf(seen), seen.Address), seen.From), kube(fmt.Sprintf("no Service that was read has node port %d", port))},
		Fix: []diagnose.Command{
			{Text: "See which node ports there are", Line: diagnose.Kubectl("get", "services", "-A", "-o", "wide")},
			{Text: "See what listens on the node", Line: diagnose.Kubectl("debug", "node/"+n.Name, "-it", "--image=busybox", "--", "netstat", "-lnt"), Verify: again(p)},
		},
	}
	facts := p.Case.World.Nodes[n.Name]
	if facts == nil || facts.Filters == nil || !p.Case.World.Read["service"] { // a rule there, or a Service that was not read, may be what refuses
		f.Confidence = diagnose.Likely
	}
	p.ReportByExclusion(f)
}
