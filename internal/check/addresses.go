package check

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// reservedPerSubnet are the addresses of a subnet that Azure keeps.
// https://learn.microsoft.com/azure/virtual-network/virtual-networks-faq
const reservedPerSubnet = 5

// subnetOf finds the subnet that holds an address; with several, the narrowest.
func (p *Pass) subnetOf(a netip.Addr) *model.Subnet {
	var best *model.Subnet
	bits := -1
	for _, s := range values(p.World.Azure.Subnets) {
		for _, prefix := range s.Prefixes {
			if prefix.Contains(a) && prefix.Bits() > bits {
				best, bits = s, prefix.Bits()
			}
		}
	}
	return best
}

// subnetRef is subnet/VNET/NAME.
func (p *Pass) subnetRef(s *model.Subnet) model.Ref {
	vnet := diagnose.ParseArmID(s.ID).Parent
	if v := p.World.Azure.VNets[strings.ToLower(s.VNetID)]; v != nil {
		vnet = v.Name
	}
	return model.NewRef("subnet", vnet, s.Name)
}

// size is how many IPv4 addresses a prefix has.
func size(prefix netip.Prefix) int {
	if !prefix.Addr().Is4() {
		return 0
	}
	return 1 << (32 - prefix.Bits())
}

// usable is how many machines and pods a subnet has addresses for.
func usable(s *model.Subnet) int {
	n := 0
	for _, prefix := range s.Prefixes {
		if k := size(prefix); k > 0 {
			n += k - reservedPerSubnet
		}
	}
	return n
}

// nodeSubnets are the subnets that hold nodes, by the nodes' addresses.
func (p *Pass) nodeSubnets() []*model.Subnet {
	var out []*model.Subnet
	for _, n := range values(p.World.Kube.Nodes) {
		for _, a := range n.InternalIPs {
			if s := p.subnetOf(a); s != nil && !slices.Contains(out, s) {
				out = append(out, s)
			}
		}
	}
	return out
}

// clusterSubnets are those of nodes and of pods.
func (p *Pass) clusterSubnets() []*model.Subnet {
	out := p.nodeSubnets()
	if c := p.World.Azure.Cluster; c != nil {
		for i := range c.AgentPools {
			for _, id := range []string{c.AgentPools[i].SubnetID, c.AgentPools[i].PodSubnetID} {
				if s := p.World.Azure.Subnets[strings.ToLower(id)]; s != nil && !slices.Contains(out, s) {
					out = append(out, s)
				}
			}
		}
	}
	return out
}

// surge is how many machines a pool has beside its own while it is upgraded.
// https://learn.microsoft.com/azure/aks/upgrade-aks-cluster#customize-node-surge-upgrade
func surge(pool *model.AgentPool) int {
	text, percent := strings.CutSuffix(pool.MaxSurge, "%")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1000 {
		return 1
	}
	if percent {
		return max(1, (pool.Count*n+99)/100)
	}
	return n
}

// most is how many machines a pool may have: what its autoscaler may grow it to.
func most(pool *model.AgentPool) int { return max(pool.Count, pool.MaxCount) }

// flat says that pods have addresses of the nodes' subnet.
func flat(c *model.ManagedCluster, pool *model.AgentPool) bool {
	return strings.EqualFold(c.NetworkPlugin, "azure") && c.PluginMode == "" && pool.PodSubnetID == ""
}

// blocks says that each node has a /24 of the cluster's pod range.
func blocks(c *model.ManagedCluster) bool {
	return strings.EqualFold(c.NetworkPlugin, "kubenet") || strings.EqualFold(c.PluginMode, "overlay")
}

// defaultMaxPods are the pods that a node takes where the pool does not say.
// https://learn.microsoft.com/azure/aks/concepts-network-ip-address-planning
func defaultMaxPods(c *model.ManagedCluster, pool *model.AgentPool) int {
	switch {
	case pool.MaxPods > 0:
		return pool.MaxPods
	case flat(c, pool):
		return 30
	case strings.EqualFold(c.PluginMode, "overlay"):
		return 250
	}
	return 110
}

// counted is a number with its noun, for nouns of irregular plural.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}
