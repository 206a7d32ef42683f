package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func TestPersisted(t *testing.T) {
	host := machine(t, map[string]string{
		"etc/sysctl.d/50-a.conf":          "net.ipv4.ip_forward = 1\n# net.core.somaxconn=1\n-net/ipv4/conf/eth0.100/rp_filter = 2\n",
		"usr/lib/sysctl.d/50-a.conf":      "net.ipv4.ip_forward = 0\n",                 // hidden by the file of the same name in /etc
		"usr/lib/sysctl.d/99-harden.conf": "net.ipv4.ip_forward=0\nkernel.panic = 1\n", // later in order
		"etc/sysctl.d/README":             "net.core.somaxconn = 5\n",
	})
	r := &reader{root: "/", facts: &model.NodeFacts{}}
	r.persisted(host)
	if got := r.facts.Persisted["net.ipv4.ip_forward"]; got != (model.SysctlFile{Value: "0", File: "/usr/lib/sysctl.d/99-harden.conf"}) {
		t.Errorf("%+v", got)
	}
	if got := r.facts.Persisted["net.ipv4.conf.eth0.100.rp_filter"]; got.Value != "2" {
		t.Errorf("%+v", r.facts.Persisted)
	}
	if len(r.facts.Persisted) != 2 || len(r.facts.Gaps) > 0 {
		t.Errorf("%+v", r.facts)
	}
	none := &reader{root: "/", facts: &model.NodeFacts{}}
	if none.persisted(t.TempDir()); none.facts.Persisted != nil || len(none.facts.Gaps) != 1 {
		t.Errorf("no files were seen, and that is not said: %+v", none.facts)
	}
}

func TestConfigurationReadsNoSecret(t *testing.T) {
	host := machine(t, map[string]string{
		"etc/default/kubelet":             "KUBELET_FLAGS=--cluster-dns=10.0.0.10 --max-pods=30 --bootstrap-kubeconfig=/secret --resolv-conf=/run/x\n",
		"etc/cni/net.d/10-x.conflist":     `{"name":"x","plugins":[{"type":"bridge","bridge":"cbr0","mtu":1400,"hairpinMode":true,"ipam":{"type":"host-local"}},{"type":"portmap"}]}`,
		"etc/cni/net.d/calico-kubeconfig": "token: s3cret",
	})
	r := &reader{root: "/", facts: &model.NodeFacts{}}
	r.configuration(host)
	if k := r.facts.Kubelet; len(k) != 3 || k["cluster-dns"] != "10.0.0.10" || k["max-pods"] != "30" {
		t.Errorf("%v", k)
	}
	if len(r.facts.CNI) != 1 || !slices.Equal(r.facts.CNI[0].Plugins, []string{"bridge", "portmap"}) || r.facts.CNI[0].MTU != 1400 || !r.facts.CNI[0].Hairpin {
		t.Errorf("%+v", r.facts.CNI)
	}
}

func TestKernelMessages(t *testing.T) {
	text := "<4>[1.0] nf_conntrack: nf_conntrack: table full, dropping packet\n<6>[2.0] usb 1-1: new device\n<3>[3.0] neighbour: arp_cache: neighbor table overflow!\n" +
		strings.Repeat("<4>[4.0] IPv4: martian source "+strings.Repeat("x", 500)+"\n", 100)
	got := tellingLines(text)
	if len(got) != maxMessages || len(got[0]) > maxMessage {
		t.Errorf("%d messages, the first of %d bytes", len(got), len(got[0]))
	}
	if got = tellingLines(text[:200]); len(got) < 1 || got[0] != "[1.0] nf_conntrack: nf_conntrack: table full, dropping packet" {
		t.Errorf("%q", got)
	}
}

func TestPressure(t *testing.T) {
	got := parsePressure("some avg10=12.50 avg60=1.00 avg300=0.00 total=1\nfull avg10=x avg60=0\n")
	if len(got) != 1 || got["some"] != 12.5 {
		t.Errorf("%v", got)
	}
}

// The node's links lead to where its files are seen, also those that start at its root.
func TestHostPaths(t *testing.T) {
	host := machine(t, map[string]string{"usr/lib/x/ld.so.2": "loader"})
	if err := os.MkdirAll(filepath.Join(host, "usr/lib64"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"usr/lib64/ld.so.2": "/lib/x/ld.so.2", "usr/lib/loop": "/usr/lib/loop", "usr/lib/up": "../../../../../../etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(host, link)); err != nil {
			t.Fatal(err)
		}
	}
	h := hostFS{host}
	if got, err := h.resolve("/lib64/ld.so.2"); err != nil || got != filepath.Join(host, "usr/lib/x/ld.so.2") {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := h.resolve("/usr/lib/loop"); err == nil {
		t.Error("a loop of links ends")
	}
	if got, err := h.resolve("/usr/lib/up"); err == nil {
		t.Errorf("a link leads out to %s", got)
	}
}

func TestMissingToolIsAGap(t *testing.T) {
	if _, err := (hostFS{t.TempDir()}).tool(context.Background(), "nft"); !errors.Is(err, errNoTool) {
		t.Error(err)
	}
	r := &reader{root: t.TempDir(), facts: &model.NodeFacts{}}
	r.filters(context.Background(), t.TempDir())
	if r.facts.Filters != nil || len(r.facts.Gaps) == 0 {
		t.Errorf("%+v", r.facts)
	}
}

func FuzzHostFiles(f *testing.F) {
	f.Add("-net/ipv4/ip_forward = 1\n", `{"plugins":[{"type":"bridge"}]}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		for key := range parseSysctlConf(a) {
			if !strings.HasPrefix(key, "net.") {
				t.Errorf("%q is kept", key)
			}
		}
		parseKubelet(a)
		parseCNI("x", b)
		tellingLines(a)
		parsePressure(a)
	})
}
