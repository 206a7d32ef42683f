package rules

import (
	"fmt"
	"slices"
	"time"

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
tells the share of time in which something waited for a CPU (PSI), where it has that. Where podpath's prober in a pod without a CPU limit, or
probers in several places of the node, are held up for much of the time, and one on another node is not, the node is short of CPU however busy it
looks: a quota of the group that its pods share, a host that gives its machine too little.

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
		u := cpusOf(p)
		together := lateTogether(p)
		if u.State == resource.Out || together != nil {
			u.Says = append(together, u.Says...)
			if u.State == resource.Room || u.State == "" { // it has no room for this pod, however it looks
				u.Says = append(u.Says, resource.Shares(p.Case, p.Node())...)
			}
			reportNodeCPU(p, s, &u)
		}
	},
}

// cpusOf is the use of the node's CPUs; without a reading, only what would help.
func cpusOf(p *diagnose.Pass) resource.Use {
	at := model.NewRef("node", p.Node())
	for _, u := range resource.Kind(p.Case, resource.NodeCPU) {
		if u.Of == at {
			return u
		}
	}
	return resource.Use{Of: at, Remedy: []diagnose.Command{{Text: "See who uses the CPUs, and move or limit it", Line: diagnose.Kubectl("top", "pods", "-A", "--sort-by=cpu")}}}
}

// lateTogether says, in words, that it is the node that holds the question's own
// prober up, and not the pod's own limit: the pod has none, or another place of the
// node is held up as well; and one on another node is not. None: that is not so.
func lateTogether(p *diagnose.Pass) (says []string) {
	own, here, there := probersOf(p)
	switch {
	case own == nil || there == nil || 2*there.HeldShare() > own.HeldShare():
		return nil // busy everywhere, or nobody looked elsewhere
	case here != nil && watch.Held(here):
		says = append(says, "another prober on this node ("+string(here.Vantage)+") did not get to run either, "+heldText(here))
	case p.Pod() != nil && unlimited(p.Pod()):
		says = append(says, "no container of the pod has a CPU limit: it is not its own quota that holds it up")
	default:
		return nil
	}
	return append(says, "the prober on another node, "+there.Node+", was held up "+heldText(there)+" only")
}

func heldText(n *model.Noise) string {
	return fmt.Sprintf("for %s of %s", n.Held.Round(100*time.Millisecond), n.Over.Round(100*time.Millisecond))
}

// probersOf are the question's own prober where it is held up, one in another place
// of its node, and one on another node; nil: there is none.
func probersOf(p *diagnose.Pass) (own, here, there *model.Noise) {
	for i := range p.Case.Noise {
		n := &p.Case.Noise[i]
		switch {
		case n.Vantage == p.Origin() && watch.Held(n):
			own = n
		case n.Vantage == p.Origin() || n.Node == "" || n.Over == 0:
		case n.Node == p.Node():
			here = n
		default:
			there = n
		}
	}
	return own, here, there
}

func unlimited(pod *model.Pod) bool {
	return !slices.ContainsFunc(pod.Containers, func(c model.Container) bool { return c.CPUQuota > 0 })
}

func reportNodeCPU(p *diagnose.Pass, s *watch.Slowness, u *resource.Use) {
	f := diagnose.Finding{
		Subject:    u.Of,
		Confidence: diagnose.Likely,
		Title:      fmt.Sprintf("What runs on node %s waits for a CPU, and is late", u.Of.Name()),
		Summary:    "Processes wait for a CPU: connections, handshakes and lookups from this node are late whatever their destination.",
		Evidence:   []diagnose.Evidence{slowEvidence(s)},
		Fix:        u.Remedy,
	}
	for _, says := range u.Says {
		f.Evidence = append(f.Evidence, node("node "+u.Of.Name()+": "+says, u.Of))
	}
	for _, w := range u.Who {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s uses %.2f cores", w.Ref, w.Count), w.Ref))
	}
	f.Fix[0].Verify = again(p)
	p.Report(f)
}
