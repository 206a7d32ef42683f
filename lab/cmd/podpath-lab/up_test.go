package main

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/lab/plan"
)

func TestTopologyOfFileAndFlags(t *testing.T) {
	for _, c := range []struct {
		name, file string
		flags      plan.Topology
		key, err   string
	}{
		{name: "defaults", key: "azure-overlay/loadBalancer/none/nftables/2"},
		{name: "flags", flags: plan.Topology{CNI: "kubenet", Nodes: 1}, key: "kubenet/loadBalancer/none/nftables/1"},
		{name: "a scenario's topology", file: "name: x\ntopology: {cni: kubenet}\nask: {from: a, to: b}\n", key: "kubenet/loadBalancer/none/nftables/2"},
		{name: "flag over file", file: "topology: {cni: kubenet, nodes: 3}", flags: plan.Topology{CNI: "azure-pod-subnet"}, key: "azure-pod-subnet/loadBalancer/none/nftables/3"},
		{name: "unknown key", file: "topology: {cnx: kubenet}", err: "cnx"},
		{name: "unknown value", file: "topology: {cni: flannel}", err: "flannel"},
		{name: "no topology", file: "name: x", err: "no key topology"},
		{name: "zero nodes in a file", file: "topology: {nodes: 0}", err: "line 1: nodes: 0; a lab has 1 to 5"},
		{name: "zero nodes in a pool", file: "topology:\n  pools:\n  - name: a\n    nodes: 0", err: "line 4: nodes: 0; a lab has 1 to 5"},
		{name: "nodes and pools", file: "topology: {pools: [{name: a}]}", flags: plan.Topology{Nodes: 2}, err: "pools"},
	} {
		file := ""
		if c.file != "" {
			file = "-"
		}
		got, err := topology(strings.NewReader(c.file), file, c.flags)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil || got.Key() != c.key {
			t.Errorf("%s: %s %v", c.name, got.Key(), err)
		}
	}
}

// TestNodesFlag: what is written is refused or taken, never taken for the default.
func TestNodesFlag(t *testing.T) {
	for _, n := range []string{"0", "-1", "6"} {
		cmd := upCommand()
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs([]string{"--nodes", n, "-f", "no-such-file"}) // nothing must come up, whatever is answered
		var exit exitError
		if err := cmd.ExecuteContext(t.Context()); !errors.As(err, &exit) || exit.code != 2 || !strings.Contains(err.Error(), "1 to 5") {
			t.Errorf("--nodes %s: %v", n, err)
		}
	}
}

// TestDepsInstallsWhatIsNeeded: what `up` asks for is what `make` installs.
func TestDepsInstallsWhatIsNeeded(t *testing.T) {
	script, err := os.ReadFile("../../../hack/deps")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)packages=\(([^)]*)\)`).FindSubmatch(script)
	if m == nil {
		t.Fatal("hack/deps names no packages")
	}
	installed := strings.Fields(string(m[1]))
	for _, n := range needed {
		if !slices.Contains(installed, n.pkg) {
			t.Errorf("hack/deps does not install %s, which has %s", n.pkg, n.program)
		}
	}
}
