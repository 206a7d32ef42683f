package check

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nodeRoom = Check{
	ID: "node-room",
	Doc: `A node's range of addresses for pods is nearly used up

With kubenet, Flannel and other plugins that hand out addresses of a range for each node (spec.podCIDR), a node takes no more pods than
the range holds: three addresses of it are nobody's, and some plugins keep those of pods that are gone for a while. A pod beyond that stays
in ContainerCreating.

Look-alikes: pods that wait for CPU or memory are Pending without a node. Where pods have addresses of a subnet, the subnet is what fills up.

Let fewer pods on a node (maxPods), or give nodes larger ranges; both need new nodes.
`,
	Group: Addresses, Hop: model.HopCNI, Needs: []string{"node", "pod"},
	Source: "https://www.cni.dev/plugins/current/ipam/host-local/",
	Covers: []string{"cni-ipam-subnet-full"},
	Run: func(p *Pass) {
		used := map[netip.Prefix]int{}
		for _, pod := range values(p.World.Kube.Pods) {
			n := p.World.Kube.Nodes[pod.Node]
			if n == nil || pod.HostNetwork || pod.Phase == "Succeeded" || pod.Phase == "Failed" {
				continue
			}
			for _, r := range n.PodCIDRs {
				for _, a := range pod.IPs {
					if r.Contains(a) {
						used[r]++
					}
				}
			}
		}
		for _, n := range values(p.World.Kube.Nodes) {
			for _, r := range n.PodCIDRs {
				p.nodeRange(n, r, used[r])
			}
		}
	},
}

// reserved are the addresses of a node's range that no pod gets: the network's, the bridge's, the broadcast's.
const reserved = 3

// nodeRange reports a range in which few addresses are left.
func (p *Pass) nodeRange(n *model.Node, r netip.Prefix, used int) {
	if !r.Addr().Is4() || size(r) <= reserved {
		return
	}
	room := size(r) - reserved
	if pool := p.World.PoolOf(n.Name); used*10 < room*9 || pool != nil && defaultMaxPods(p.World.Azure.Cluster, pool) <= room {
		return // there is room, or the kubelet takes no more pods than there is room for
	}
	f := Finding{
		Severity: Risk, Confidence: diagnose.Possible, Subject: model.NewRef("node", n.Name),
		Title:    fmt.Sprintf("Node %s has used %d of the %d addresses that its range %s has for pods", n.Name, used, room, r),
		Summary:  "Pods beyond that wait in ContainerCreating.",
		Evidence: []diagnose.Evidence{kube(fmt.Sprintf("spec.podCIDR %s; %d of its addresses are those of pods", r, used), model.NewRef("node", n.Name))},
		Fix:      []diagnose.Command{{Text: "Let fewer pods on a node (maxPods), or give nodes larger ranges"}},
	}
	if used >= room {
		f.Confidence = diagnose.Likely
	}
	p.Report(f)
}
