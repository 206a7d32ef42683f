package cluster

import (
	"encoding/json"
	"net/netip"

	"github.com/podpath/podpath/lab/plan"
)

// cniConfig is a node's CNI configuration, file name and content: the plugins of
// Debian in the shape that AKS's own give a node. Kubenet has a bridge; with
// Azure CNI every pod has its own link and the node a route to each.
func cniConfig(p *plan.Plan, n plan.Node) (name, content string, err error) {
	pod := map[string]any{"subnet": n.PodCIDR.String()}
	switch p.Topology.CNI {
	case plan.NodeSubnet: // the NIC's secondary addresses
		first := n.PodCIDR.Addr().Next()
		last := first
		for range maxPods(p.Topology.CNI) - 1 {
			last = last.Next()
		}
		pod["rangeStart"], pod["rangeEnd"] = first.String(), last.String()
		gateway := n.PodCIDR.Addr().As4()
		gateway[3] = 254 // the node's end of every pod's link; no address of the NIC
		pod["gateway"] = netip.AddrFrom4(gateway).String()
	case plan.PodSubnet: // Azure keeps a subnet's first addresses
		pod["rangeStart"] = n.PodCIDR.Addr().Next().Next().Next().Next().String()
	}
	ipam := map[string]any{"type": "host-local", "ranges": [][]any{{pod}}, "routes": []any{map[string]any{"dst": "0.0.0.0/0"}}}
	link := map[string]any{"type": "ptp", "mtu": 1500, "ipam": ipam}
	name, network := "10-azure.conflist", "azure"
	switch p.Topology.CNI {
	case plan.Overlay:
		name = "15-azure-swift-overlay.conflist"
	case plan.Kubenet:
		name, network = "10-containerd-net.conflist", "kubenet"
		link = map[string]any{"type": "bridge", "bridge": "cbr0", "mtu": 1500, "isGateway": true, "ipMasq": false,
			"promiscMode": true, "hairpinMode": false, "ipam": ipam}
	}
	data, err := json.MarshalIndent(map[string]any{
		"cniVersion": "0.3.1", "name": network,
		"plugins": []any{link, map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}, "snat": true}},
	}, "", "  ")
	return name, string(data) + "\n", err
}

// maxPods is what AKS allows a node by default.
func maxPods(cni string) int {
	return map[string]int{plan.Kubenet: 110, plan.NodeSubnet: 30, plan.PodSubnet: 110, plan.Overlay: 250}[cni]
}

// nonMasquerade are the destinations that AKS tells its ip-masq-agent to leave
// alone: what the VNet can route a pod's address back from.
func nonMasquerade(cni string) []string {
	switch cni {
	case plan.NodeSubnet:
		return []string{plan.VNetPrefix.String()}
	case plan.PodSubnet: // the egress device sees the pod itself
		return []string{"0.0.0.0/0"}
	}
	return []string{plan.PodCIDR.String()}
}

// localCIDR is what kube-proxy takes for the pods' own range.
func localCIDR(t plan.Topology) string {
	if t.PodsInVNet() {
		return plan.VNetPrefix.String()
	}
	return plan.PodCIDR.String()
}
