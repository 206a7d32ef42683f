package rules

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var podRangeExhausted = diagnose.Rule{
	ID: "pod-range-exhausted",
	Doc: `The pods' range of the cluster has no part left for another node

Each node takes a fixed part of the pods' range (a /24, for 254 pods). When all parts are given out, a new node gets none (Node.spec.podCIDR stays empty): its
network plugin does not come up, and pods on it have no address. The controller says so in an event of the node: CIDRNotAvailable. It shows first during an
upgrade, when surge nodes come on top.

Look-alikes: a node whose own part is full has one. A plugin that is broken leaves the node its part.

Mend it by enlarging the pods' range (Azure CNI Overlay can be given another one; kubenet and a plugin of your own cannot, there it takes a new cluster), or
by having fewer nodes.
`,
	Hop:           model.HopCNI,
	Covers:        []string{"cni-overlay-podcidr-exhausted"},
	Needs:         []string{"node"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		pod := homeless(p)
		if pod == nil {
			return
		}
		for _, name := range candidates(p, pod) {
			if lacksRange(p, name) {
				reportRange(p, pod, name)
				return
			}
		}
	},
}

func reportRange(p *diagnose.Pass, pod *model.Pod, name string) {
	w, ref := &p.Case.World, model.NewRef("node", name)
	f := diagnose.Finding{
		Subject:    ref,
		Confidence: surely(pod),
		Title:      fmt.Sprintf("Node %s was given no range of addresses for pods", name),
		Summary:    "Nothing opens the connection: the network plugin has no addresses on that node, and the pod waits for one.",
		Evidence:   append([]diagnose.Evidence{kube(podState(pod), pod.Ref()), kube(fmt.Sprintf("node %s: spec.podCIDR is empty, other nodes have one", name), ref)}, scheduling(pod)...),
		Fix:        []diagnose.Command{{Text: "See why: the node's events", Line: diagnose.Kubectl("describe", "node", name)}},
	}
	full := false
	if e := newest(eventsAbout(p, ref), noRange); e != nil {
		f.Evidence, full = append(f.Evidence, kube(fmt.Sprintf("event %s of node %s: %s", e.Reason, name, oneLine(e.Message)), ref)), true
	}
	if c := w.Azure.Cluster; c != nil && len(c.PodCIDRs) > 0 {
		parts, given := partsOf(c.PodCIDRs[0], w.Kube.Nodes)
		cluster := model.NewRef("cluster", c.Name)
		f.Evidence = append(f.Evidence, arm(fmt.Sprintf("cluster %s: podCidr %s has %d parts, %d nodes have one", c.Name, c.PodCIDRs[0], parts, given), cluster))
		if full || given >= parts {
			f.Subject = cluster
			f.Title = fmt.Sprintf("The pods' range %s has no part left for node %s", c.PodCIDRs[0], name)
			f.Fix = append(f.Fix, diagnose.Command{
				Text: "With Azure CNI Overlay: enlarge the range (it must hold the old one); else have fewer nodes, or a new cluster with a larger range",
				Line: diagnose.Az("aks update", c.ID, "--name", c.Name, "--pod-cidr", larger(c.PodCIDRs[0])), Verify: again(p),
			})
		}
	}
	if w.Azure.Cluster == nil {
		unsurely(p, &f, "cluster")
	}
	p.Report(f)
}

// partsOf is how many nodes a range serves, and how many have a part of it.
func partsOf(all netip.Prefix, nodes map[string]*model.Node) (parts, given int) {
	bits := 24
	for _, n := range nodes {
		if n != nil && len(n.PodCIDRs) > 0 {
			given++
			bits = n.PodCIDRs[0].Bits()
		}
	}
	return 1 << min(max(bits-all.Bits(), 0), 30), given
}

// larger is a range that holds four times as much.
func larger(p netip.Prefix) string {
	return netip.PrefixFrom(p.Addr(), max(p.Bits()-2, 8)).Masked().String()
}
