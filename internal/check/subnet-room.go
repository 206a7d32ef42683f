package check

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var subnetRoom = Check{
	ID: "subnet-room",
	Doc: `A subnet has too few addresses for its node pools

Every node takes an address of its subnet; with Azure CNI in the node subnet, so does every pod that the node may run (its maximum, at once).
An upgrade makes further nodes before it removes old ones. Where the subnet has no addresses left, the upgrade, the autoscaler or a
replaced node fails with InsufficientSubnetSize.

Look-alikes: what else has addresses of the subnet (private endpoints, load balancers) is not counted, so less may be left than this says.

Give the pool a larger subnet, or fewer pods a node.
`,
	Group: Addresses, Hop: model.HopCNI, Needs: []string{"cluster", "subnet", "node"},
	Source: "https://learn.microsoft.com/azure/aks/concepts-network-ip-address-planning",
	Covers: []string{"cni-ipam-subnet-full"},
	Run: func(p *Pass) {
		c := p.World.Azure.Cluster
		if c == nil {
			return
		}
		for _, s := range p.clusterSubnets() {
			need := p.need(c, s)
			if need.now == 0 {
				continue
			}
			room, ref := usable(s), p.subnetRef(s)
			f := Finding{
				Severity: Risk, Subject: ref,
				Summary:  "When a node is added and no address is left, the operation fails with InsufficientSubnetSize.",
				Evidence: []diagnose.Evidence{arm(fmt.Sprintf("%s: %v, %d usable; %s", ref, s.Prefixes, room, strings.Join(need.how, "; ")), ref)},
				Fix:      []diagnose.Command{{Text: "Move the pool to a larger subnet (a new pool), or lower its maximum of pods a node"}},
			}
			switch {
			case need.now > room:
				f.Title = fmt.Sprintf("Subnet %s has %d addresses, and its pools need %d while they are upgraded", s.Name, room, need.now)
			case need.later > room:
				f.Confidence = diagnose.Possible
				f.Title = fmt.Sprintf("Subnet %s has %d addresses, and its pools may grow to need %d", s.Name, room, need.later)
			default:
				continue
			}
			p.Report(f)
		}
	},
}

// needs are the addresses that pools take of a subnet.
type needs struct {
	now, later int      // with the surge of an upgrade; grown as far as they may
	how        []string // for people
}

// batch is how many addresses a node takes from a pod subnet at a time.
// https://learn.microsoft.com/azure/aks/concepts-network-azure-cni-pod-subnet
const batch = 16

func (p *Pass) need(c *model.ManagedCluster, s *model.Subnet) needs {
	var n needs
	nodeSubnets := p.nodeSubnets()
	for i := range c.AgentPools {
		pool := &c.AgentPools[i]
		each := 0
		switch {
		case strings.EqualFold(pool.PodSubnetID, s.ID):
			each = batch
		case strings.EqualFold(pool.SubnetID, s.ID), pool.SubnetID == "" && len(nodeSubnets) == 1 && nodeSubnets[0] == s:
			each = 1
			if flat(c, pool) {
				each += defaultMaxPods(c, pool)
			}
		default:
			continue
		}
		n.now += each * (pool.Count + surge(pool))
		n.later += each * (most(pool) + surge(pool))
		n.how = append(n.how, fmt.Sprintf("pool %s: %d nodes (at most %d) and %d more in an upgrade, %d addresses each", pool.Name, pool.Count, most(pool), surge(pool), each))
	}
	return n
}
