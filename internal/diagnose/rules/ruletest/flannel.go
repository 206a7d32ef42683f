package ruletest

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/model"
)

// flannel adds what Flannel leaves in the API and on both nodes, which were
// entered: pods reach those of the other node by vxlan.
func (b *builder) flannel() {
	k, set := &b.w.Kube, model.Ref("daemonset/kube-flannel/kube-flannel-ds")
	b.w.Read["daemonset"] = true
	labels := model.Labels{"app": "flannel", "k8s-app": "flannel"}
	k.Workloads[set] = &model.Workload{Ref: set, Replicas: 2, Ready: 2, Labels: labels, Selector: &model.Selector{MatchLabels: labels}}
	k.ConfigMaps["configmap/kube-flannel/kube-flannel-cfg"] = map[string]string{
		"cni-conf.json": `{"name": "cbr0", "plugins": [{"type": "flannel", "delegate": {"hairpinMode": true, "isDefaultGateway": true}}, {"type": "portmap"}]}`,
		"net-conf.json": `{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}`,
	}
	for i := range 2 {
		p := &model.Pod{
			Namespace: "kube-flannel", Name: fmt.Sprintf("kube-flannel-ds-%d", i), Node: nodeName(i), Owner: set, Labels: labels, HostNetwork: true, Phase: "Running", Ready: true,
			IPs: []netip.Addr{nodeAddr(i)}, Containers: []model.Container{{Name: "kube-flannel", State: "running", Ready: true, Command: []string{"/opt/bin/flanneld", "--ip-masq", "--kube-subnet-mgr"}}},
		}
		k.Pods[p.Ref()] = p
		k.Nodes[nodeName(i)].Annotations = model.Labels{
			"flannel.alpha.coreos.com/backend-type": "vxlan", "flannel.alpha.coreos.com/public-ip": nodeAddr(i).String(),
		}
		b.w.Nodes[nodeName(i)] = vxlan(i)
	}
}

// vxlan is the inside of node i.
func vxlan(i int) *model.NodeFacts {
	own, far := fmt.Sprintf("10.244.%d.0", i), fmt.Sprintf("10.244.%d.0", 1-i)
	return &model.NodeFacts{
		Node: nodeName(i), CNIRead: true, CNI: []model.CNIConfig{{File: "10-flannel.conflist", Name: "cbr0", Plugins: []string{"flannel", "portmap"}, Hairpin: true}},
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.eth0.rp_filter": "0", "net.ipv4.conf.lo.rp_filter": "0"},
		Links: []model.Link{
			{Name: "eth0", Up: true, MTU: 1500, Addrs: []netip.Prefix{netip.PrefixFrom(nodeAddr(i), 19)}},
			{Name: "flannel.1", Up: true, MTU: 1450, Kind: "vxlan", Addrs: []netip.Prefix{prefix(own + "/32")}, Tunnel: &model.Tunnel{
				ID: 1, Port: 8472, Local: nodeAddr(i), PeersRead: true, Peers: []model.TunnelPeer{{Inner: addr(far), Outer: nodeAddr(1 - i)}},
			}},
			{Name: "cni0", Up: true, MTU: 1450, Kind: "bridge", Addrs: []netip.Prefix{prefix(fmt.Sprintf("10.244.%d.1/24", i))}},
			{Name: "veth1", Up: true, MTU: 1450, Kind: "veth", Master: "cni0"},
		},
		Routes: []model.KernelRoute{
			{Table: 254, Dst: prefix("0.0.0.0/0"), Gw: addr("10.20.0.1"), Dev: "eth0"},
			{Table: 254, Dst: prefix("10.20.0.0/19"), Dev: "eth0"},
			{Table: 254, Dst: prefix(own + "/24"), Dev: "cni0"},
			{Table: 254, Dst: prefix(far + "/24"), Gw: addr(far), Dev: "flannel.1"},
		},
	}
}
