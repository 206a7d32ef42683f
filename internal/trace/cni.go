package trace

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// podNet is how pods get addresses, and so which address the network sees.
type podNet string

const (
	netUnknown    podNet = ""
	netKubenet    podNet = "kubenet"
	netNodeSubnet podNet = "azure node subnet"
	netPodSubnet  podNet = "azure pod subnet"
	netOverlay    podNet = "azure overlay"
	netOwn        podNet = "a plugin of the cluster's own"
)

// inVNet says whether pods have addresses that the VNet knows.
func (n podNet) inVNet() bool { return n == netNodeSubnet || n == netPodSubnet }

// podNetOf tells a node's model from the cluster's document, else from what the
// node and its pods show.
func (x *Index) podNetOf(n *model.Node, pod netip.Addr) podNet {
	if c := x.az.Cluster; c != nil {
		switch {
		case strings.EqualFold(c.NetworkPlugin, "kubenet"):
			return netKubenet
		case strings.EqualFold(c.NetworkPlugin, "azure") && strings.EqualFold(c.PluginMode, "overlay"):
			return netOverlay
		case strings.EqualFold(c.NetworkPlugin, "azure"):
			if p := x.poolOf(n); p != nil && p.PodSubnetID != "" {
				return netPodSubnet
			}
			return netNodeSubnet
		}
	}
	if x.net.Own() {
		return netOwn
	}
	if n == nil {
		return netUnknown
	}
	switch n.Labels["kubernetes.azure.com/podnetwork-type"] {
	case "overlay":
		return netOverlay
	case "vnet", "vnetblock":
		return netPodSubnet
	}
	if n.Labels["kubernetes.azure.com/azure-cni-overlay"] == "true" {
		return netOverlay
	}
	return x.podNetFromAddress(n, pod)
}

// podNetFromAddress is the last resort: a pod's address is in a subnet, or in
// its node's own range.
func (x *Index) podNetFromAddress(n *model.Node, pod netip.Addr) podNet {
	if s, ok := x.subnets.Lookup(pod); pod.IsValid() && ok {
		for _, ip := range n.InternalIPs {
			if ns, ok := x.subnets.Lookup(ip.Unmap()); ok && ns == s {
				return netNodeSubnet
			}
		}
		return netPodSubnet
	}
	if len(n.PodCIDRs) == 0 || !x.az.Found {
		return netUnknown
	}
	for _, rt := range x.az.RouteTables {
		if rt != nil && slices.ContainsFunc(rt.Routes, func(r model.Route) bool { return r.Prefix == n.PodCIDRs[0].String() }) {
			return netKubenet
		}
	}
	return netOverlay
}

// poolOf is a node's agent pool.
func (x *Index) poolOf(n *model.Node) *model.AgentPool {
	c := x.az.Cluster
	if c == nil {
		return nil
	}
	if n != nil {
		name := cmp.Or(n.Labels["kubernetes.azure.com/agentpool"], n.Labels["agentpool"])
		for i := range c.AgentPools {
			if c.AgentPools[i].Name == name {
				return &c.AgentPools[i]
			}
		}
	}
	if len(c.AgentPools) == 1 {
		return &c.AgentPools[0]
	}
	return nil
}

// attachment is where something is plugged into a VNet.
type attachment struct {
	what    string // for people: "node n1"
	ref     model.Ref
	subnet  *model.Subnet // nil: not known
	nic     *model.NIC    // nil: not known, or none (wantNIC tells which)
	cfg     *model.IPConfig
	wantNIC bool
	node    *model.Node
	foreign bool // no node of the cluster: its way out is not the cluster's outbound type
	gaps    []model.Gap
}

// nodeAttachment finds a node's NIC by its address; without NICs, its pool's
// subnet, or the subnet that holds its address.
func (x *Index) nodeAttachment(n *model.Node) attachment {
	a := attachment{wantNIC: true, node: n}
	if n == nil {
		a.what, a.ref = "a node that was not read", "node"
		a.gaps = append(a.gaps, x.gap("node", "nodes", "", "list nodes (cluster scope)"))
		return a
	}
	a.what, a.ref = "node "+n.Name, model.NewRef("node", n.Name)
	for _, ip := range n.InternalIPs {
		if at, ok := x.nicByIP[ip.Unmap()]; ok {
			a.nic, a.cfg = at.nic, at.cfg
			a.subnet = x.subnetByID(at.cfg.SubnetID, &a)
			return a
		}
	}
	if p := x.poolOf(n); p != nil && p.SubnetID != "" {
		a.subnet = x.subnetByID(p.SubnetID, &a)
		return a
	}
	for _, ip := range n.InternalIPs {
		if s, ok := x.subnets.Lookup(ip.Unmap()); ok {
			a.subnet = s
			return a
		}
	}
	a.gaps = append(a.gaps, x.gap("subnet", "subnet of node "+n.Name, "", "Microsoft.Network/virtualNetworks/subnets/read"))
	return a
}

func (x *Index) subnetByID(id string, a *attachment) *model.Subnet {
	if s := x.az.Subnets[strings.ToLower(id)]; s != nil {
		return s
	}
	if s := x.az.Subnets[id]; s != nil {
		return s
	}
	ref := model.NewRef("subnet", segment(id, "virtualNetworks"), lastOf(id))
	a.gaps = append(a.gaps, x.gap("subnet", "subnet "+lastOf(id), ref, "Microsoft.Network/virtualNetworks/subnets/read"))
	return nil
}

// podAttachment is where a pod's packets enter the fabric: its node's NIC, and
// the pod subnet where pods have one.
func (x *Index) podAttachment(n *model.Node, pod netip.Addr, net podNet) attachment {
	a := x.nodeAttachment(n)
	if net != netPodSubnet {
		return a
	}
	if p := x.poolOf(n); p != nil && p.PodSubnetID != "" {
		a.gaps = nil
		a.subnet = x.subnetByID(p.PodSubnetID, &a)
	}
	if s, ok := x.subnets.Lookup(pod); ok {
		a.subnet = s
	}
	return a
}

// addrAttachment is where any address of a VNet is plugged in.
func (x *Index) addrAttachment(ip netip.Addr) (attachment, bool) {
	if p := x.podByIP[ip]; p != nil {
		n := x.w.Kube.Nodes[p.Node]
		return x.podAttachment(n, ip, x.podNetOf(n, ip)), true
	}
	if n := x.nodeByIP[ip]; n != nil {
		return x.nodeAttachment(n), true
	}
	a := attachment{what: ip.String(), ref: model.NewRef("host", ip.String()), foreign: true}
	if at, ok := x.nicByIP[ip]; ok {
		a.nic, a.cfg, a.wantNIC = at.nic, at.cfg, true
		a.what, a.ref = "network interface "+at.nic.Name, model.NewRef("nic", at.nic.Name)
		a.subnet = x.subnetByID(at.cfg.SubnetID, &a)
		return a, true
	}
	if s, ok := x.subnets.Lookup(ip); ok {
		a.subnet = s
		return a, true
	}
	return a, false
}
