package model

import (
	"cmp"
	"net/netip"
	"strings"
)

// localDNS is where AKS LocalDNS answers pods that ask the cluster's DNS, on each
// node of a pool that has it: https://learn.microsoft.com/azure/aks/localdns-custom
var localDNS = netip.AddrFrom4([4]byte{169, 254, 10, 11})

// NodeDNS is the address on a node that its pods ask in place of the cluster's
// DNS Service; not valid where they ask that, or nothing says otherwise.
func (w *World) NodeDNS(node string) netip.Addr {
	if pool := w.PoolOf(node); pool != nil && pool.LocalDNS {
		return localDNS
	}
	return netip.Addr{}
}

// PoolOf is the node pool of a node, by the label that AKS gives it, or nil.
func (w *World) PoolOf(node string) *AgentPool {
	n, c := w.Kube.Nodes[node], w.Azure.Cluster
	if n == nil || c == nil {
		return nil
	}
	name := cmp.Or(n.Labels["kubernetes.azure.com/agentpool"], n.Labels["agentpool"])
	for i := range c.AgentPools {
		if strings.EqualFold(c.AgentPools[i].Name, name) {
			return &c.AgentPools[i]
		}
	}
	return nil
}
