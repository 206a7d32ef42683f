package cluster

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/lab/pki"
	"github.com/podpath/podpath/lab/plan"
)

var cnis = []string{plan.Kubenet, plan.NodeSubnet, plan.PodSubnet, plan.Overlay, plan.Flannel}

func newPlan(t *testing.T, cni string) *plan.Plan {
	t.Helper()
	p, err := plan.New("test", plan.Topology{CNI: cni})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestEveryCNIHandsOutThePlansAddresses(t *testing.T) {
	for cni, want := range map[string]struct{ file, kind, first, last, gateway string }{
		plan.Kubenet:    {"10-containerd-net.conflist", "bridge", "", "", ""},
		plan.NodeSubnet: {"10-azure.conflist", "ptp", "10.224.2.1", "10.224.2.30", "10.224.2.254"},
		plan.PodSubnet:  {"10-azure.conflist", "ptp", "10.225.1.4", "", ""},
		plan.Overlay:    {"15-azure-swift-overlay.conflist", "ptp", "", "", ""},
	} { // Flannel's has none: its daemon tells the plugin on the node
		p := newPlan(t, cni)
		file, content, err := cniConfig(p, p.Nodes[1])
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			Plugins []struct {
				Type string
				IPAM struct {
					Ranges [][]struct{ Subnet, RangeStart, RangeEnd, Gateway string }
				}
			}
		}
		if err := json.Unmarshal([]byte(content), &list); err != nil {
			t.Fatal(err)
		}
		link := list.Plugins[0]
		r := link.IPAM.Ranges[0][0]
		if file != want.file || link.Type != want.kind || r.Subnet != p.Nodes[1].PodCIDR.String() ||
			r.RangeStart != want.first || r.RangeEnd != want.last || r.Gateway != want.gateway {
			t.Errorf("%s: %s %s %+v", cni, file, link.Type, r)
		}
	}
}

func configMap(name, key, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{key: text}}
}

func TestMasqueradeConfigsAreMergedAsTheAgentDoes(t *testing.T) {
	own := configMap("azure-ip-masq-agent-config-reconciled", "ip-masq-agent-reconciled", "nonMasqueradeCIDRs: [10.244.0.0/16]\nmasqLinkLocal: true")
	for _, c := range []struct {
		name   string
		maps   []*corev1.ConfigMap
		want   []string
		local  bool
		failed bool
	}{
		{"none: the agent's defaults", nil, []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}, false, false},
		{"AKS's own", []*corev1.ConfigMap{own}, []string{"10.244.0.0/16"}, true, false},
		{
			"with the customer's",
			[]*corev1.ConfigMap{own, configMap("azure-ip-masq-agent-config", "ip-masq-agent", "nonMasqueradeCIDRs: [10.1.0.0/16, 10.244.0.0/16]")},
			[]string{"10.1.0.0/16", "10.244.0.0/16"},
			true, false,
		},
		{
			"another ConfigMap does not count",
			[]*corev1.ConfigMap{own, configMap("coredns", "ip-masq-agent", "nonMasqueradeCIDRs: [10.1.0.0/16]")},
			[]string{"10.244.0.0/16"},
			true, false,
		},
		{
			"nor does another key",
			[]*corev1.ConfigMap{own, configMap("azure-ip-masq-agent-config", "config", "nonMasqueradeCIDRs: [10.1.0.0/16]")},
			[]string{"10.244.0.0/16"},
			true, false,
		},
		{"no address range", []*corev1.ConfigMap{configMap("azure-ip-masq-agent-config", "ip-masq-agent", "nonMasqueradeCIDRs: [nonsense]")}, nil, false, true},
		{"unknown word", []*corev1.ConfigMap{configMap("azure-ip-masq-agent-config", "ip-masq-agent", "nonMasquerade: []")}, nil, false, true},
	} {
		got, err := mergeMasquerade(c.maps)
		if (err != nil) != c.failed {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil && (!slices.Equal(got.NonMasqueradeCIDRs, c.want) || got.MasqLinkLocal != c.local) {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestMasqueradeRules(t *testing.T) {
	got := masqueradeConfig{NonMasqueradeCIDRs: []string{"10.244.0.0/16", "fd00::/8"}}.rules()
	var lines []string
	for line := range strings.Lines(got) {
		line, _, _ = strings.Cut(line, " -m comment")
		lines = append(lines, strings.TrimSpace(line))
	}
	want := []string{"*nat", ":IP-MASQ-AGENT - [0:0]", "-A IP-MASQ-AGENT -d 169.254.0.0/16", "-A IP-MASQ-AGENT -d 10.244.0.0/16", "-A IP-MASQ-AGENT", "COMMIT"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q", lines)
	}
	if !strings.Contains(got, "-j MASQUERADE") {
		t.Error("nothing is masqueraded")
	}
}

func TestManifestsOfEveryTopology(t *testing.T) {
	for _, cni := range cnis {
		kinds := map[string]int{}
		p := newPlan(t, cni)
		for _, name := range append(manifestsOf(p), "metrics.yaml") {
			objects, err := render(name, values(p, "Q0E="))
			if err != nil {
				t.Fatal(cni, err)
			}
			for _, o := range objects {
				if o.GetName() == "" || o.GetAPIVersion() == "" {
					t.Errorf("%s: an object without name or version in %s", cni, name)
				}
				kinds[o.GetKind()]++
			}
		}
		if kinds["Deployment"] != 1+len(workloads) || kinds["Service"] != 5 || kinds["APIService"] != 1 || kinds["DaemonSet"] != 1 {
			t.Errorf("%s: %v", cni, kinds)
		}
	}
}

func TestNodesAreLabelledAsAKSDoes(t *testing.T) {
	for cni, want := range map[string]struct {
		network any
		podCIDR any
	}{
		plan.Kubenet: {nil, "10.244.0.0/24"}, plan.Overlay: {"overlay", "10.244.0.0/24"},
		plan.NodeSubnet: {nil, nil}, plan.PodSubnet: {"vnet", nil}, plan.Flannel: {nil, "10.244.0.0/24"},
	} {
		p := newPlan(t, cni)
		o := (&node{Node: p.Nodes[0], p: p}).object()
		labels := o["metadata"].(map[string]any)["labels"].(map[string]any)
		spec := o["spec"].(map[string]any)
		if labels["kubernetes.azure.com/podnetwork-type"] != want.network || spec["podCIDR"] != want.podCIDR {
			t.Errorf("%s: %v %v", cni, labels, spec)
		}
		if spec["providerID"] != "azure:///subscriptions/"+plan.Subscription+"/resourceGroups/mc_rg-lab_aks-lab_westeurope/providers/Microsoft.Compute/virtualMachineScaleSets/aks-np1-vmss/virtualMachines/0" {
			t.Errorf("%s: %v", cni, spec["providerID"])
		}
	}
}

func TestTheArchiveHoldsEveryImage(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"app", "coredns", "podpath-probe"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ca, err := pki.LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	list, err := images(bin, ca)
	if err != nil {
		t.Fatal(err)
	}
	path, err := writeImages(filepath.Join(t.TempDir(), "images"), list)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range manifest {
		names = append(names, m.RepoTags...)
		if files[m.Config] == nil || files[m.Layers[0]] == nil {
			t.Errorf("%s lacks its parts", m.RepoTags)
		}
	}
	if want := []string{AppImage, PauseImage, DNSImage, ProbeImage}; !slices.Equal(names, want) {
		t.Errorf("images %v, want %v", names, want)
	}
}
