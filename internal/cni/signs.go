package cni

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// signs looks at every source, the most telling first.
func (d *detector) signs() {
	d.cloud()
	d.daemonSets()
	d.annotations()
	d.labels()
	d.files()
	d.devices()
}

// cloud is what the managed cluster's document says.
func (d *detector) cloud() {
	c := d.w.Azure.Cluster
	if c == nil {
		return
	}
	ref := model.NewRef("cluster", c.Name)
	plugin, mode := strings.ToLower(c.NetworkPlugin), strings.ToLower(c.PluginMode)
	kind := Unknown
	switch {
	case plugin == "kubenet":
		kind = Kubenet
	case plugin != "azure":
		return
	case strings.EqualFold(c.Dataplane, "cilium"):
		kind = AzureCilium
	case mode == "overlay":
		kind = AzureOver
	case slices.ContainsFunc(c.AgentPools, func(p model.AgentPool) bool { return p.PodSubnetID != "" }):
		kind = AzurePods
	default:
		kind = AzureNodes
	}
	d.add(kind, ref, "networkPlugin %s%s of cluster %s", plugin, map[bool]string{true: " in mode " + mode}[mode != ""], c.Name)
}

// agents are DaemonSets by name, or by the label that their own manifests and
// charts put on them.
var agents = []struct {
	kind   Kind
	names  []string // a dash at the end: a prefix
	labels []string // of keys k8s-app, app, component
}{
	{Cilium, []string{"cilium"}, []string{"cilium"}},
	{Canal, []string{"canal", "rke2-canal"}, []string{"canal"}},
	{Flannel, []string{"kube-flannel", "kube-flannel-ds", "kube-flannel-ds-"}, []string{"flannel"}},
	{Calico, []string{"calico-node"}, []string{"calico-node"}},
	{Weave, []string{"weave-net"}, []string{"weave-net"}},
	{Antrea, []string{"antrea-agent"}, []string{"antrea"}},
}

func (d *detector) daemonSets() {
	sets := daemonSets(d.w)
	for _, a := range agents {
		for _, ref := range slices.Sorted(maps.Keys(sets)) {
			if !named(ref.Name(), a.names) && !labelled(sets[ref], a.labels) {
				continue
			}
			if a.kind == Calico && !d.calicoCarries() {
				continue
			}
			d.add(a.kind, ref, "DaemonSet %s/%s", ref.Part(0), ref.Name())
		}
	}
}

// daemonSets are those that were read, or that own pods that were.
func daemonSets(w *model.World) map[model.Ref]model.Labels {
	out := map[model.Ref]model.Labels{}
	for ref, s := range w.Kube.Workloads {
		if ref.Kind() == "daemonset" && s != nil {
			out[ref] = s.Labels
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, p := range w.Kube.Pods {
		if p != nil && p.Owner.Kind() == "daemonset" {
			out[p.Owner] = p.Labels
		}
	}
	return out
}

func named(name string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		return name == n || strings.HasSuffix(n, "-") && strings.HasPrefix(name, n)
	})
}

func labelled(l model.Labels, values []string) bool {
	for _, key := range []string{"k8s-app", "app", "component", "app.kubernetes.io/name"} {
		if l[key] != "" && slices.Contains(values, l[key]) {
			return true
		}
	}
	return false
}

// calicoCarries says whether Calico's agent may be more than a policy engine,
// which is all that it is on a network of Azure's.
func (d *detector) calicoCarries() bool {
	if d.has(Kubenet) || d.has(AzureNodes) || d.has(AzurePods) || d.has(AzureOver) {
		return false
	}
	c := d.w.Azure.Cluster
	if c == nil && azureNodes(d.w) {
		return d.annotated("projectcalico.org/IPv4VXLANTunnelAddr", "projectcalico.org/IPv4IPIPTunnelAddr", "projectcalico.org/IPv4Address") != ""
	}
	return true
}

func azureNodes(w *model.World) bool {
	for _, n := range w.Kube.Nodes {
		if n != nil && strings.HasPrefix(n.ProviderID, "azure:") {
			return true
		}
	}
	return false
}

// prefixes of annotations that agents put on their nodes.
var annotations = []struct {
	kind   Kind
	prefix string
}{
	{Flannel, "flannel.alpha.coreos.com/"},
	{Cilium, "network.cilium.io/"},
	{Cilium, "io.cilium.network."},
	{Calico, "projectcalico.org/IPv4"},
	{Antrea, "node.antrea.io/"},
}

func (d *detector) annotations() {
	for _, a := range annotations {
		if key, node := d.nodeWith(func(key string) bool { return strings.HasPrefix(key, a.prefix) }); node != "" {
			d.add(a.kind, model.NewRef("node", node), "annotation %s of node %s", key, node)
		}
	}
}

// nodeWith is the first node with such an annotation, and its key.
func (d *detector) nodeWith(match func(key string) bool) (key, node string) {
	for _, name := range slices.Sorted(maps.Keys(d.w.Kube.Nodes)) {
		n := d.w.Kube.Nodes[name]
		if n == nil {
			continue
		}
		for _, k := range slices.Sorted(maps.Keys(n.Annotations)) {
			if match(k) {
				return k, name
			}
		}
	}
	return "", ""
}

// annotated is the value of the first of the keys that a node has.
func (d *detector) annotated(keys ...string) string { return annotation(d.w, keys...) }

func annotation(w *model.World, keys ...string) string {
	d := &detector{w: w}
	for _, key := range keys {
		if _, node := d.nodeWith(func(k string) bool { return k == key }); node != "" {
			return w.Kube.Nodes[node].Annotations[key]
		}
	}
	return ""
}

// labels are those that AKS puts on its nodes.
func (d *detector) labels() {
	for _, name := range slices.Sorted(maps.Keys(d.w.Kube.Nodes)) {
		n := d.w.Kube.Nodes[name]
		if n == nil {
			continue
		}
		kind := Unknown
		switch {
		case n.Labels["kubernetes.azure.com/podnetwork-type"] == "overlay", n.Labels["kubernetes.azure.com/azure-cni-overlay"] == "true":
			kind = AzureOver
		case strings.HasPrefix(n.Labels["kubernetes.azure.com/podnetwork-type"], "vnet"):
			kind = AzurePods
		default:
			continue
		}
		d.add(kind, model.NewRef("node", name), "labels of node %s", name)
		return
	}
}

// plugins are the types that configuration files name.
var plugins = map[string]Kind{
	"flannel": Flannel, "calico": Calico, "cilium-cni": Cilium, "cilium": Cilium, "weave-net": Weave, "antrea": Antrea,
}

// files are the plugin configurations of nodes: the first by name is the one in
// use (https://github.com/containerd/go-cni).
func (d *detector) files() {
	for _, name := range slices.Sorted(maps.Keys(d.w.Nodes)) {
		c := inUse(d.w.Nodes[name])
		if c == nil {
			continue
		}
		i := slices.IndexFunc(c.Plugins, func(p string) bool { return plugins[p] != Unknown })
		if i >= 0 {
			d.add(plugins[c.Plugins[i]], model.NewRef("node", name), "%s on node %s", c.File, name)
			return
		}
	}
}

// inUse is the configuration that a node's container runtime takes, or nil.
func inUse(f *model.NodeFacts) *model.CNIConfig {
	if f == nil || len(f.CNI) == 0 {
		return nil
	}
	first := slices.MinFunc(f.CNI, func(a, b model.CNIConfig) int { return cmp.Compare(a.File, b.File) })
	return &first
}

// names of devices that plugins make.
var devices = map[string]Kind{
	"flannel.1": Flannel, "flannel-wg": Flannel, "flannel0": Flannel, "vxlan.calico": Calico, "wireguard.cali": Calico,
	"cilium_host": Cilium, "cilium_vxlan": Cilium, "cilium_geneve": Cilium, "weave": Weave, "antrea-gw0": Antrea,
}

func (d *detector) devices() {
	for _, name := range slices.Sorted(maps.Keys(d.w.Nodes)) {
		f := d.w.Nodes[name]
		if f == nil {
			continue
		}
		i := slices.IndexFunc(f.Links, func(l model.Link) bool { return devices[l.Name] != Unknown })
		if i >= 0 {
			d.add(devices[f.Links[i].Name], model.NewRef("node", name), "device %s of node %s", f.Links[i].Name, name)
			return
		}
	}
}
