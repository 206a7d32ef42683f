package cni

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// world is a cluster of two nodes on which a case leaves its signs.
type world struct{ *model.World }

func newWorld() world {
	w := world{&model.World{Read: map[string]bool{"daemonset": true, "node": true, "pod": true}}}
	k := &w.Kube
	k.Nodes, k.Pods, k.Workloads = map[string]*model.Node{}, map[model.Ref]*model.Pod{}, map[model.Ref]*model.Workload{}
	k.ConfigMaps, w.Nodes = map[model.Ref]map[string]string{}, map[string]*model.NodeFacts{}
	for i, name := range []string{"n1", "n2"} {
		k.Nodes[name] = &model.Node{
			Name: name, Ready: true, InternalIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(4 + i)})}, Labels: model.Labels{}, Annotations: model.Labels{},
			PodCIDRs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 50, byte(i), 0}), 24)},
		}
	}
	return w
}

func (w world) cluster(plugin, mode, dataplane string) world {
	w.Azure.Cluster = &model.ManagedCluster{Name: "c1", NetworkPlugin: plugin, PluginMode: mode, Dataplane: dataplane}
	for _, n := range w.Kube.Nodes {
		n.ProviderID = "azure:///subscriptions/x"
	}
	return w
}

// agent is a DaemonSet with a pod on each node.
func (w world) agent(ns, name string, labels model.Labels, command ...string) world {
	ref := model.NewRef("daemonset", ns, name)
	w.Kube.Workloads[ref] = &model.Workload{Ref: ref, Labels: labels, Replicas: 2, Ready: 2}
	for node := range w.Kube.Nodes {
		p := &model.Pod{Namespace: ns, Name: name + "-" + node, Node: node, Owner: ref, Labels: labels, HostNetwork: true, Phase: "Running", Ready: true, Containers: []model.Container{{Name: "agent", Command: command}}}
		w.Kube.Pods[p.Ref()] = p
	}
	return w
}

func (w world) annotate(key, value string) world {
	for _, n := range w.Kube.Nodes {
		n.Annotations[key] = value
	}
	return w
}

func (w world) config(ref model.Ref, data map[string]string) world {
	w.Kube.ConfigMaps[ref] = data
	return w
}

func (w world) facts(c model.CNIConfig, links ...model.Link) world {
	w.Nodes["n1"] = &model.NodeFacts{Node: "n1", CNI: []model.CNIConfig{c}, CNIRead: true, Links: links}
	return w
}

func (w world) poolSubnet() world {
	w.Azure.Cluster.AgentPools = []model.AgentPool{{Name: "p", PodSubnetID: "/subnets/pods"}}
	return w
}

func (w world) label(key, value string) world {
	w.Kube.Nodes["n1"].Labels[key] = value
	return w
}

const flannelPrefix = "flannel.alpha.coreos.com/"

func flannelCluster(backend, conf string) world {
	w := newWorld().agent("kube-flannel", "kube-flannel-ds", model.Labels{"app": "flannel", "k8s-app": "flannel"}, "/opt/bin/flanneld", "--ip-masq", "--kube-subnet-mgr").
		annotate(flannelPrefix+"backend-type", backend).annotate(flannelPrefix+"public-ip", "10.1.0.4").annotate(flannelPrefix+"backend-data", `{"VNI":1,"VtepMAC":"be:00:00:00:00:01"}`)
	if conf != "" {
		w.config("configmap/kube-flannel/kube-flannel-cfg", map[string]string{"cni-conf.json": "{}", "net-conf.json": conf})
	}
	return w
}

func TestRecognition(t *testing.T) {
	for _, c := range []struct {
		name string
		w    world
		want string // kind, how packets travel
	}{
		{"kubenet", newWorld().cluster("kubenet", "", ""), "kubenet: routed"},
		{"node subnet", newWorld().cluster("azure", "", "azure"), "azure-node: routed"},
		{"pod subnet", newWorld().cluster("azure", "", "azure").poolSubnet(), "azure-pod: routed"},
		{"overlay", newWorld().cluster("azure", "overlay", "azure"), "azure: routed"},
		{"overlay by its labels", newWorld().label("kubernetes.azure.com/azure-cni-overlay", "true"), "azure: routed"},
		{"pod subnet by its labels", newWorld().label("kubernetes.azure.com/podnetwork-type", "vnetblock"), "azure-pod: routed"},
		{"Azure's Cilium", newWorld().cluster("azure", "overlay", "cilium").agent("kube-system", "cilium", model.Labels{"k8s-app": "cilium"}), "azure-cilium: routed"},
		{"Calico as a policy engine", newWorld().cluster("azure", "overlay", "azure").agent("calico-system", "calico-node", model.Labels{"k8s-app": "calico-node"}), "azure: routed"},
		{"the same, the cluster not read", newWorld().cluster("", "", "").unread().agent("calico-system", "calico-node", model.Labels{"k8s-app": "calico-node"}), ": "},
		{
			"Calico, BYO, vxlan",
			newWorld().cluster("none", "", "").agent("calico-system", "calico-node", model.Labels{"k8s-app": "calico-node"}).
				annotate("projectcalico.org/IPv4Address", "10.1.0.4/16").annotate("projectcalico.org/IPv4VXLANTunnelAddr", "10.50.0.1"),
			"calico: vxlan, UDP 4789",
		},
		{
			"Calico, IP in IP",
			newWorld().agent("kube-system", "calico-node", nil).annotate("projectcalico.org/IPv4Address", "10.1.0.4/16").annotate("projectcalico.org/IPv4IPIPTunnelAddr", "10.50.0.1"),
			"calico: IP in IP (protocol 4)",
		},
		{"Calico, BGP", newWorld().agent("kube-system", "calico-node", nil).annotate("projectcalico.org/IPv4Address", "10.1.0.4/16"), "calico: routed"},
		{
			"Calico, WireGuard",
			newWorld().agent("kube-system", "calico-node", nil).annotate("projectcalico.org/IPv4WireguardInterfaceAddr", "10.50.0.1").annotate("projectcalico.org/WireguardPublicKey", "k="),
			"calico: wireguard, UDP 51820",
		},
		{"Calico without annotations", newWorld().agent("kube-system", "calico-node", nil), "calico: in a way that is not known"},
		{"Flannel, vxlan", flannelCluster("vxlan", `{"Network":"10.50.0.0/16","Backend":{"Type":"vxlan"}}`), "flannel: vxlan, UDP 8472"},
		{"Flannel on IANA's port", flannelCluster("vxlan", `{"Network":"10.50.0.0/16","Backend":{"Type":"vxlan","Port":4789}}`), "flannel: vxlan, UDP 4789"},
		{"Flannel, its configuration not read", flannelCluster("vxlan", ""), "flannel: vxlan, UDP 8472"},
		{"Flannel, host-gw", flannelCluster("host-gw", `{"Network":"10.50.0.0/16","Backend":{"Type":"host-gw"}}`), "flannel: routed"},
		{"Flannel, WireGuard", flannelCluster("wireguard", `{"Network":"10.50.0.0/16","Backend":{"Type":"wireguard"}}`), "flannel: wireguard, UDP 51820"},
		{"Flannel of a chart, by its label", newWorld().agent("net", "overlay", model.Labels{"app": "flannel"}), "flannel: in a way that is not known"},
		{"Flannel, one DaemonSet an architecture", newWorld().agent("kube-system", "kube-flannel-ds-amd64", nil).annotate(flannelPrefix+"backend-type", "vxlan"), "flannel: vxlan, UDP 8472"},
		{
			"Canal",
			newWorld().agent("kube-system", "canal", model.Labels{"k8s-app": "canal"}).annotate(flannelPrefix+"backend-type", "vxlan").
				config("configmap/kube-system/canal-config", map[string]string{"net-conf.json": `{"Network":"10.50.0.0/16","Backend":{"Type":"vxlan"}}`}),
			"canal: vxlan, UDP 8472",
		},
		{
			"Flannel with Calico's agent beside it",
			flannelCluster("vxlan", "").agent("kube-system", "calico-node", model.Labels{"k8s-app": "calico-node"}), "canal: vxlan, UDP 8472",
		},
		{
			"Cilium, vxlan by default",
			newWorld().cluster("none", "", "").agent("kube-system", "cilium", model.Labels{"k8s-app": "cilium"}).config(ciliumMap, map[string]string{"kube-proxy-replacement": "true"}),
			"cilium: vxlan, UDP 8472",
		},
		{"Cilium, native", newWorld().agent("kube-system", "cilium", nil).config(ciliumMap, map[string]string{"routing-mode": "native"}), "cilium: routed"},
		{"Cilium, geneve", newWorld().agent("kube-system", "cilium", nil).config(ciliumMap, map[string]string{"routing-mode": "tunnel", "tunnel-protocol": "geneve"}), "cilium: geneve, UDP 6081"},
		{"Cilium, an old configuration", newWorld().agent("kube-system", "cilium", nil).config(ciliumMap, map[string]string{"tunnel": "disabled"}), "cilium: routed"},
		{
			"Cilium, encrypted",
			newWorld().agent("kube-system", "cilium", nil).config(ciliumMap, map[string]string{"routing-mode": "tunnel", "enable-wireguard": "true"}), "cilium: wireguard, UDP 51871",
		},
		{"Cilium, its configuration not read", newWorld().agent("kube-system", "cilium", nil), "cilium: in a way that is not known"},
		{"Weave", newWorld().agent("kube-system", "weave-net", model.Labels{"name": "weave-net"}), "weave: vxlan, UDP 6784"},
		{"Antrea", newWorld().agent("kube-system", "antrea-agent", model.Labels{"app": "antrea", "component": "antrea-agent"}), "antrea: geneve, UDP 6081"},
		{"by the file on a node", newWorld().facts(model.CNIConfig{File: "10-flannel.conflist", Plugins: []string{"flannel", "portmap"}}), "flannel: in a way that is not known"},
		{"by a device of a node", newWorld().facts(model.CNIConfig{File: "x.conf", Plugins: []string{"bridge"}}, model.Link{Name: "weave", Kind: "bridge"}), "weave: vxlan, UDP 6784"},
		{"none", newWorld().cluster("none", "", ""), "none: in a way that is not known"},
		{"nothing read", world{&model.World{}}, ": in a way that is not known"},
	} {
		n := Detect(c.w.World)
		got := fmt.Sprintf("%s: %s", n.Kind, n.Carrier())
		if n.Kind == Unknown && c.want == ": " {
			got = ": "
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s (told from %q)", c.name, got, c.want, n.Told)
		}
		if n.Kind != Unknown && len(n.Told) == 0 {
			t.Errorf("%s: told from nothing", c.name)
		}
	}
}

// unread takes the cluster's document away.
func (w world) unread() world {
	w.Azure.Cluster = nil
	return w
}

func TestFlannelInDetail(t *testing.T) {
	w := flannelCluster("vxlan", `{"Network":"10.50.0.0/16","IPv6Network":"fd00::/48","Backend":{"Type":"vxlan","VNI":7,"MTU":1400,"DirectRouting":true}}`)
	n := Detect(w.World)
	if n.Agent != "daemonset/kube-flannel/kube-flannel-ds" || n.Config != "configmap/kube-flannel/kube-flannel-cfg" || n.MTU != 1400 || !n.Direct || len(n.Ranges) != 2 || n.Assumed || n.Overhead() != 50 {
		t.Errorf("%+v", n)
	}
	if n.Masquerades == nil || !*n.Masquerades {
		t.Error("--ip-masq was not seen")
	}
	for _, p := range w.Kube.Pods {
		p.Containers[0].Command = []string{"/opt/bin/flanneld", "--ip-masq=false"}
	}
	if n := Detect(w.World); n.Masquerades == nil || *n.Masquerades {
		t.Error("--ip-masq=false was not seen")
	}
	clear(w.Kube.Pods)
	if n := Detect(w.World); n.Masquerades != nil {
		t.Error("its pods were not read, and yet it is known how they are started")
	}
	broken := Detect(flannelCluster("vxlan", `{"Network":`).World)
	if !broken.Assumed || len(broken.Gaps) != 1 || broken.Port != 8472 {
		t.Errorf("%+v", broken)
	}
	if !Detect(flannelCluster("vxlan", "").World).Assumed {
		t.Error("a default passes for what was read")
	}
}

func TestHealth(t *testing.T) {
	notReady := model.Condition{Type: "Ready", Status: "False", Reason: "KubeletNotReady", Message: "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"}
	for _, c := range []struct {
		name  string
		spoil func(world)
		want  string // part of the only problem
	}{
		{"nothing", func(world) {}, ""},
		{"the plugin is not initialized", func(w world) { w.Kube.Nodes["n1"].Conditions = []model.Condition{notReady} }, "cni plugin not initialized"},
		{"not ready for another reason", func(w world) {
			w.Kube.Nodes["n1"].Conditions = []model.Condition{{Type: "Ready", Status: "False", Message: "PLEG is not healthy"}}
		}, ""},
		{"the network is unavailable", func(w world) {
			w.Kube.Nodes["n1"].Conditions = []model.Condition{{Type: "NetworkUnavailable", Status: "True", Reason: "NoRouteCreated"}}
		}, "NoRouteCreated"},
		{"no configuration", func(w world) { w.Nodes["n1"] = &model.NodeFacts{CNIRead: true} }, "/etc/cni/net.d"},
		{"configuration not read", func(w world) { w.Nodes["n1"] = &model.NodeFacts{} }, ""},
		{"no range", func(w world) { w.Kube.Nodes["n1"].PodCIDRs = nil }, "spec.podCIDR"},
		{"no node has a range: the plugin keeps its own", func(w world) { w.Kube.Nodes["n1"].PodCIDRs, w.Kube.Nodes["n2"].PodCIDRs = nil, nil }, ""},
		{"the agent is not ready", func(w world) { w.Kube.Pods["pod/kube-flannel/kube-flannel-ds-n1"].Ready = false }, "is not ready"},
		{"another node's agent is not ready", func(w world) { w.Kube.Pods["pod/kube-flannel/kube-flannel-ds-n2"].Ready = false }, ""},
		{"no agent", func(w world) { delete(w.Kube.Pods, "pod/kube-flannel/kube-flannel-ds-n1") }, "has no pod on node n1"},
		{"no agent among the pods that were read", func(w world) { delete(w.Kube.Pods, "pod/kube-flannel/kube-flannel-ds-n1"); w.Read["pod"] = false }, ""},
	} {
		w := flannelCluster("vxlan", `{"Network":"10.50.0.0/16","Backend":{"Type":"vxlan"}}`)
		c.spoil(w)
		got := Detect(w.World).Health(w.World, "n1")
		switch {
		case c.want == "" && len(got) > 0, c.want != "" && len(got) != 1:
			t.Errorf("%s: %+v", c.name, got)
		case c.want != "" && !strings.Contains(got[0].Text, c.want):
			t.Errorf("%s: %s", c.name, got[0].Text)
		}
	}
}

func TestThePageNamesEveryPlugin(t *testing.T) {
	page := Explain()
	for kind, tr := range known {
		if !strings.Contains(page, "\n"+tr.name+"\n") || !slices.Contains(order, kind) {
			t.Errorf("%s is not on the page", kind)
		}
	}
	if !strings.Contains(page, "UDP 8472") {
		t.Error("Flannel's port is not on the page")
	}
}

// What a ConfigMap holds is somebody's text.
func FuzzConfiguration(f *testing.F) {
	f.Add(`{"Network":"10.50.0.0/16","Backend":{"Type":"vxlan","Port":8472}}`, "vxlan")
	f.Add(`{"Backend":{"Port":"99999999999999999999"}}`, "geneve")
	f.Fuzz(func(t *testing.T, conf, protocol string) {
		w := flannelCluster("", conf)
		w.config(ciliumMap, map[string]string{"tunnel-protocol": protocol, "tunnel-port": conf, "mtu": conf})
		for _, n := range []Network{Detect(w.World), Detect(newWorld().agent("kube-system", "cilium", nil).config(ciliumMap, w.Kube.ConfigMaps[ciliumMap]).World)} {
			if n.MTU < 0 || n.MTU > 1<<16 || n.Name() == "" {
				t.Errorf("%+v", n)
			}
		}
	})
}

// TestMatrix: every plugin has its row, and those that wrap packets the port that firewalls must let pass.
func TestMatrix(t *testing.T) {
	page := Explain()
	for _, want := range []string{"\nkubenet                      routed ", "\nFlannel                      vxlan, wireguard, host-gw         8472, 51820 ", "\nCilium                       vxlan, geneve, wireguard, routed  8472, 6081, 51871 "} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in:\n%s", want, page)
		}
	}
	for _, k := range order {
		if known[k].services == "" || known[k].policies == "" {
			t.Errorf("%s: who translates Services, or who carries policies out, is not said", k)
		}
	}
}
