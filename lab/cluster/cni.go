package cluster

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/podpath/podpath/lab/plan"
)

// cniConfig is a node's CNI configuration, file name and content: the plugins of
// Debian in the shape that AKS's own give a node. Kubenet has a bridge; with
// Azure CNI every pod has its own link and the node a route to each.
func cniConfig(p *plan.Plan, n plan.Node) (name, content string, err error) {
	if p.Topology.CNI == plan.Flannel {
		return "10-flannel.conflist", flannelConfig, nil
	}
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
		link = map[string]any{
			"type": "bridge", "bridge": "cbr0", "mtu": 1500, "isGateway": true, "ipMasq": false,
			"promiscMode": true, "hairpinMode": false, "ipam": ipam,
		}
	}
	data, err := json.MarshalIndent(map[string]any{
		"cniVersion": "0.3.1", "name": network,
		"plugins": []any{link, map[string]any{"type": "portmap", "capabilities": map[string]any{"portMappings": true}, "snat": true}},
	}, "", "  ")
	return name, string(data) + "\n", err
}

// maxPods is what AKS allows a node by default.
func maxPods(cni string) int {
	return map[string]int{plan.Kubenet: 110, plan.NodeSubnet: 30, plan.PodSubnet: 110, plan.Overlay: 250, plan.Flannel: 250}[cni]
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

const (
	cniDir    = "/etc/cni/bin" // on a node
	debianCNI = "/usr/lib/cni"
)

// keepForwarding wraps a plugin that switches IP forwarding on with every pod.
// Azure's does not: a node on which somebody has switched it off stays broken,
// however many pods come. The lock keeps two calls from undoing each other.
const keepForwarding = `#!/bin/sh
exec 9>/run/cni.lock
flock 9
read -r was </proc/sys/net/ipv4/ip_forward
` + debianCNI + `/%s 9>&-
code=$?
[ "$was" = 1 ] || echo "$was" >/proc/sys/net/ipv4/ip_forward
exit $code
`

// cniPlugins fills a node's folder of plugins.
func cniPlugins() error {
	if err := os.MkdirAll(cniDir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"host-local", "portmap", "loopback"} {
		if err := os.Symlink(filepath.Join(debianCNI, name), filepath.Join(cniDir, name)); err != nil {
			return err
		}
	}
	for _, name := range []string{"ptp", "bridge"} {
		script := strings.ReplaceAll(keepForwarding, "%s", name)
		if err := os.WriteFile(filepath.Join(cniDir, name), []byte(script), 0o755); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(cniDir, "flannel"), []byte(flannelPlugin), 0o755)
}
