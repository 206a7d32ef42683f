package tracetest

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/model"
)

// flannel adds what Flannel leaves in the API: a DaemonSet with a pod on each
// node, its ConfigMap, annotations of nodes.
func (s *small) flannel() {
	k, set := &s.w.Kube, model.Ref("daemonset/kube-flannel/kube-flannel-ds")
	k.Workloads = map[model.Ref]*model.Workload{set: {Ref: set, Replicas: 2, Ready: 2, Labels: model.Labels{"app": "flannel"}}}
	k.ConfigMaps = map[model.Ref]map[string]string{"configmap/kube-flannel/kube-flannel-cfg": {
		"net-conf.json": `{"Network": "10.50.0.0/16", "Backend": {"Type": "vxlan"}}`,
	}}
	for n := 1; n <= 2; n++ {
		name := fmt.Sprintf("n%d", n)
		p := &model.Pod{
			Namespace: "kube-flannel", Name: "kube-flannel-ds-" + name, Node: name, Owner: set, HostNetwork: true, Phase: "Running", Ready: true,
			IPs: []netip.Addr{nodeAddr(n)}, Containers: []model.Container{{Name: "kube-flannel", Command: []string{"/opt/bin/flanneld", "--ip-masq", "--kube-subnet-mgr"}}},
		}
		k.Pods[p.Ref()] = p
		k.Nodes[name].Annotations = model.Labels{
			"flannel.alpha.coreos.com/backend-type": "vxlan", "flannel.alpha.coreos.com/public-ip": nodeAddr(n).String(),
		}
	}
}

// vxlan adds what Flannel leaves on a node: its device with the other node's
// entries, the bridge, and a route to each.
func (s *small) vxlan(f *model.NodeFacts, n int) {
	own, far := fmt.Sprintf("10.50.%d.0", n), fmt.Sprintf("10.50.%d.0", 3-n)
	f.CNIRead = true
	f.CNI = []model.CNIConfig{{File: "10-flannel.conflist", Name: "cbr0", Plugins: []string{"flannel", "portmap"}, Hairpin: true}}
	f.Sysctls["net.ipv4.conf.flannel.1.forwarding"] = "1"
	f.Links = []model.Link{
		f.Links[0],
		{Name: "flannel.1", Up: true, MTU: 1450, Kind: "vxlan", Addrs: []netip.Prefix{prefix(own + "/32")}, Tunnel: &model.Tunnel{
			ID: 1, Port: 8472, Local: nodeAddr(n), PeersRead: true, Peers: []model.TunnelPeer{{Inner: addr(far), Outer: nodeAddr(3 - n)}},
		}},
		{Name: "cni0", Up: true, MTU: 1450, Kind: "bridge", Addrs: []netip.Prefix{prefix(fmt.Sprintf("10.50.%d.1/24", n))}},
		{Name: "veth1", Up: true, MTU: 1450, Kind: "veth", Master: "cni0"},
	}
	f.Routes = append(f.Routes,
		model.KernelRoute{Table: 254, Dst: prefix(own + "/24"), Dev: "cni0"},
		model.KernelRoute{Table: 254, Dst: prefix(far + "/24"), Gw: addr(far), Dev: "flannel.1"},
	)
}
