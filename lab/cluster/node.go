package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/lab/home"
	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/pki"
	"github.com/podpath/podpath/lab/plan"
)

// node is one node of the lab: containerd, kubelet and kube-proxy in a space of its own.
type node struct {
	plan.Node
	p       *plan.Plan
	home    home.Home
	bin     string
	creds   *credentials
	trust   *pki.CA
	network string
	space   *Space
}

// resolvConf is what a VNet's DHCP makes of a node's resolver.
func resolvConf(servers []netip.Addr) string {
	text := ""
	for _, s := range servers {
		text += "nameserver " + s.String() + "\n"
	}
	return text + "search " + plan.InternalDomain + "\n"
}

// etcDir is where a node's own configuration is, in the lab's folder.
func (n *node) etcDir() string { return n.home.Path("nodes", n.Name) }

// process names one of the node's processes, for logs and status.
func (n *node) process(what string) string { return n.Name + "-" + what }

// prepare makes the node's space, settings and files; no process yet.
func (n *node) prepare() error {
	n.network = netns.Name(n.p.Lab, "node-"+n.Name)
	name, content, err := cniConfig(n.p, n.Node)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.etcDir(), 0o755); err != nil {
		return err
	}
	files := nodeFiles{
		root: n.etcDir(), home: n.home.Path(), name: n.Name,
		resolv: resolvConf([]netip.Addr{plan.AzureDNS}), trust: n.trust.PEM(),
		cni: map[string]string{name: content},
	}
	if n.space, err = newSpace(n.network, unix.CLONE_NEWNS|unix.CLONE_NEWUTS, files.setup); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	if n.bridged() { // a Service's packets must not pass the bridge unseen
		const setting = "net.bridge.bridge-nf-call-iptables"
		if err := netns.Sysctl(n.network, map[string]string{setting: "1"}); err != nil {
			// The module may not be loaded, or be part of the kernel: only the setting tells.
			loading := exec.Command("modprobe", "br_netfilter").Run()
			if err := netns.Sysctl(n.network, map[string]string{setting: "1"}); err != nil {
				return fmt.Errorf("%w (modprobe br_netfilter: %v)", err, loading)
			}
		}
	}
	if n.p.Topology.CNI == plan.Flannel {
		if err := n.startFlannel(context.Background()); err != nil {
			return err
		}
	}
	if err := n.home.CreateNodeCgroup(n.Name); err != nil {
		return err
	}
	return n.configure()
}

// bridged says whether the node's pods hang on a bridge.
func (n *node) bridged() bool {
	return n.p.Topology.CNI == plan.Kubenet || n.p.Topology.CNI == plan.Flannel
}

// configure writes the configuration of the node's three processes.
func (n *node) configure() error {
	if err := n.creds.issue(n.creds.ca, n.Name, pki.Options{
		CommonName: "system:node:" + n.Name, Organization: []string{"system:nodes"},
		DNSNames: []string{n.Name}, IPs: []netip.Addr{n.Addr},
	}); err != nil {
		return err
	}
	if err := n.creds.kubeconfig(n.Name, inVNet(), "system:node:"+n.Name, "system:nodes"); err != nil {
		return err
	}
	if err := os.WriteFile(n.file("containerd.toml"), []byte(containerdConfig), 0o644); err != nil {
		return err
	}
	for name, config := range map[string]any{"kubelet.yaml": n.kubelet(), "kube-proxy.yaml": n.proxy()} {
		data, err := yaml.Marshal(config)
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.file(name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) file(name string) string { return filepath.Join(n.etcDir(), name) }

const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + PauseImage + `"
  restrict_oom_score_adj = true # without CAP_SYS_RESOURCE runc may not lower it
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "` + cniDir + `"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`

func (n *node) kubelet() map[string]any {
	return map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": map[string]any{
			"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true},
			"x509": map[string]any{"clientCAFile": n.creds.path("ca.crt")},
		},
		"authorization": map[string]any{"mode": "Webhook"},
		"tlsCertFile":   n.creds.path(n.Name + ".crt"), "tlsPrivateKeyFile": n.creds.path(n.Name + ".key"),
		"address": n.Addr.String(), "clusterDNS": []string{plan.DNSService.String()}, "clusterDomain": "cluster.local",
		"resolvConf": "/etc/resolv.conf", "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
		"cgroupDriver": "cgroupfs", "cgroupRoot": n.home.Cgroup(n.Name), "failCgroupV1": false, "failSwapOn": false,
		"enforceNodeAllocatable": []string{}, "providerID": plan.ProviderID(n.Node),
		"evictionHard":                  map[string]any{"memory.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
		"imageGCHighThresholdPercent":   100,
		"maxPods":                       maxPods(n.p.Topology.CNI),
		"syncFrequency":                 "1s",
		"nodeStatusUpdateFrequency":     "1s",
		"nodeStatusReportFrequency":     "1m",
		"volumeStatsAggPeriod":          "-1s",
		"kubeAPIQPS":                    300,
		"kubeAPIBurst":                  600,
		"eventRecordQPS":                0,
		"localStorageCapacityIsolation": false,
	}
}

func (n *node) proxy() map[string]any {
	return map[string]any{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode": n.p.Topology.KubeProxy, "clusterCIDR": localCIDR(n.p.Topology), "hostnameOverride": n.Name,
		"clientConnection":   map[string]any{"kubeconfig": n.creds.path("kube-proxy.kubeconfig"), "qps": 100, "burst": 200},
		"healthzBindAddress": "0.0.0.0:10256", "metricsBindAddress": "127.0.0.1:10249",
		// The table's size belongs to the machine, not to a namespace of it.
		"conntrack": map[string]any{"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
		"iptables":  map[string]any{"minSyncPeriod": "100ms"},
		"nftables":  map[string]any{"minSyncPeriod": "100ms"},
	}
}

// startRuntime starts containerd and waits until it answers.
func (n *node) startRuntime(ctx context.Context, s *Supervisor) error {
	if err := s.Start(n.space, n.process("containerd"), "containerd", "--config", n.file("containerd.toml"), "--log-level", "warn"); err != nil {
		return err
	}
	return await(ctx, 20*time.Second, func() error { return n.space.run(ctx, "ctr", "version") })
}

// importImages gives the lab's images to the node's containerd.
func (n *node) importImages(ctx context.Context, archive string) error {
	return n.space.run(ctx, "ctr", "--namespace=k8s.io", "images", "import", "--snapshotter=overlayfs", archive)
}

// startKubelet starts the kubelet and kube-proxy; the API server answers by now.
func (n *node) startKubelet(s *Supervisor) error {
	kube := filepath.Join(n.bin, "podpath-kube")
	if err := s.Start(n.space, n.process("kubelet"), kube, "kubelet", "--config="+n.file("kubelet.yaml"),
		"--kubeconfig="+n.creds.path(n.Name+".kubeconfig"), "--hostname-override="+n.Name, "--node-ip="+n.Addr.String(),
		"--housekeeping-interval=5s"); err != nil {
		return err
	}
	return s.Start(n.space, n.process("kube-proxy"), kube, "kube-proxy", "--config="+n.file("kube-proxy.yaml"))
}

// object is the Node as AKS's cloud provider would have made it. It is made
// before the kubelet registers, which then only reports into it.
func (n *node) object() map[string]any {
	t := n.p.Topology
	labels := map[string]any{
		"agentpool": n.Pool, "kubernetes.azure.com/agentpool": n.Pool, "kubernetes.azure.com/cluster": plan.NodeGroup,
		"kubernetes.azure.com/mode": "system", "kubernetes.azure.com/role": "agent", "kubernetes.azure.com/os-sku": "Ubuntu",
		"kubernetes.azure.com/node-image-version": "AKSUbuntu-2404gen2containerd-202608.12.0",
		"kubernetes.io/arch":                      "amd64", "kubernetes.io/os": "linux", "kubernetes.io/hostname": n.Name,
		"beta.kubernetes.io/arch": "amd64", "beta.kubernetes.io/os": "linux",
		"node.kubernetes.io/instance-type": plan.VMSize, "beta.kubernetes.io/instance-type": plan.VMSize,
		"topology.kubernetes.io/region": plan.Location, "topology.kubernetes.io/zone": "0",
		"failure-domain.beta.kubernetes.io/region": plan.Location, "failure-domain.beta.kubernetes.io/zone": "0",
	}
	spec := map[string]any{"providerID": plan.ProviderID(n.Node)}
	switch t.CNI {
	case plan.Overlay:
		labels["kubernetes.azure.com/podnetwork-type"], labels["kubernetes.azure.com/azure-cni-overlay"] = "overlay", "true"
	case plan.PodSubnet:
		labels["kubernetes.azure.com/podnetwork-type"] = "vnet"
		labels["kubernetes.azure.com/podnetwork-name"], labels["kubernetes.azure.com/podnetwork-subnet"] = plan.VNet, plan.PodsSubnet
	}
	if !t.PodsInVNet() {
		spec["podCIDR"], spec["podCIDRs"] = n.PodCIDR.String(), []any{n.PodCIDR.String()}
	}
	meta := map[string]any{"name": n.Name, "labels": labels}
	if t.CNI == plan.Flannel {
		meta["annotations"] = n.flannelAnnotations()
	}
	return map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec}
}
