package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
	"github.com/podpath/podpath/internal/watch"
)

var nodeCPU = diagnose.Rule{
	ID: "node-cpu",
	Doc: `The node's CPUs are all busy

More processes want to run than the node has CPUs, and each waits for its turn: the application, kube-proxy, CoreDNS, and the kernel's own work
on packets. Everything on the node is late, to any destination; podpath's own prober there beats every 20 ms and knows how late it was. The kernel
tells the share of time in which something waited for a CPU (PSI), where it has that.

Look-alikes: a container that is stopped by its own CPU limit is late on an idle node. A far side that is slow is so from every node. A
node that is busy and gives everybody its turn in time explains nothing.

Mend it by moving or limiting what uses the CPUs, by requests that say what pods need, or by more or larger nodes.
`,
	Hop:    model.HopNodeResource,
	Covers: []string{"node-cpu-overload"},
	Needs:  []string{"nodefacts"},
	Under:  []string{"cpu-throttled"},
	Run: func(p *diagnose.Pass) {
		s := p.Slow()
		if s == nil || s.Phase != watch.Sender || p.Node() == "" {
			return
		}
		if p.Case.World.Nodes[p.Node()] == nil {
			for _, g := range p.Gaps([]string{"nodefacts"}) {
				p.Skip(g)
			}
		}
		for _, u := range resource.Kind(p.Case, resource.NodeCPU) {
			if u.Of == model.NewRef("node", p.Node()) && u.State == resource.Out {
				reportNodeCPU(p, s, &u)
			}
		}
	},
}

func reportNodeCPU(p *diagnose.Pass, s *watch.Slowness, u *resource.Use) {
	f := diagnose.Finding{
		Subject:    u.Of,
		Confidence: diagnose.Likely,
		Title:      fmt.Sprintf("The CPUs of node %s are all busy, and what runs there is late", u.Of.Name()),
		Summary:    "Processes wait for a CPU: connections, handshakes and lookups from this node are late whatever their destination.",
		Evidence:   []diagnose.Evidence{slowEvidence(s)},
		Fix:        u.Remedy,
	}
	for _, says := range u.Says {
		f.Evidence = append(f.Evidence, node("node "+u.Of.Name()+": "+says, u.Of))
	}
	for _, w := range u.Who {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s uses %.2f cores (metrics API)", w.Ref, w.Count), w.Ref))
	}
	f.Fix[0].Verify = again(p)
	p.Report(f)
}
