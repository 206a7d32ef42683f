package cluster

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podpath/podpath/lab/plan"
)

func TestFlannelKnowsEveryOtherNode(t *testing.T) {
	p, err := plan.New("test", plan.Topology{CNI: plan.Flannel, Nodes: 3})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Node: p.Nodes[1], p: p}
	links, peers := n.vxlanLinks(), n.vxlanPeers()
	for _, want := range []string{
		"mtu 1450 type vxlan id 1 dev eth0 local 10.224.0.5 dstport 8472 nolearning",
		"route replace 10.244.0.0/24 via 10.244.0.0 dev flannel.1 onlink", "route replace 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
		"neighbour replace 10.244.2.0 lladdr 0a:f1:00:00:00:03 dev flannel.1 nud permanent",
	} {
		if !strings.Contains(links, want) {
			t.Errorf("no %q in\n%s", want, links)
		}
	}
	if strings.Contains(links, "route replace 10.244.1.0/24") || strings.Count(peers, "\n") != 2 || !strings.Contains(peers, "fdb replace 0a:f1:00:00:00:01 dev flannel.1 dst 10.224.0.4") {
		t.Errorf("%s\n%s", links, peers)
	}
	annotations := n.flannelAnnotations()
	if got := annotations["flannel.alpha.coreos.com/backend-data"]; got != `{"VNI":1,"VtepMAC":"0a:f1:00:00:00:02"}` {
		t.Errorf("%v", got)
	}
}

// The plugin hands the bridge plugin the node's subnet, and what the delegate
// says of MTU and hairpin mode.
func TestFlannelPluginDelegates(t *testing.T) {
	dir := t.TempDir()
	env := filepath.Join(dir, "subnet.env")
	script := strings.NewReplacer(subnetFile, env, cniDir+"/bridge", "cat").Replace(flannelPlugin)
	run := func(config string) string {
		cmd := exec.Command("sh", "-c", script)
		cmd.Stdin = strings.NewReader(config)
		out, _ := cmd.Output() // a plugin that fails says so on standard output
		return string(out)
	}
	first := func(list string) string {
		var l struct{ Plugins []json.RawMessage }
		if err := json.Unmarshal([]byte(list), &l); err != nil {
			t.Fatal(err)
		}
		return string(l.Plugins[0])
	}
	if out := run(first(flannelConfig)); !strings.Contains(out, `"code":11`) {
		t.Errorf("without the daemon's file: %s", out)
	}
	if err := os.WriteFile(env, []byte("FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.7.1/24\nFLANNEL_MTU=1450\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		config  string
		mtu     int
		hairpin bool
	}{
		{first(flannelConfig), 1450, true},
		{strings.Replace(first(flannelConfig), `"hairpinMode": true`, `"hairpinMode": false, "mtu": 1500`, 1), 1500, false},
	} {
		var got struct {
			Type, Bridge     string
			MTU              int
			HairpinMode      bool
			IsDefaultGateway bool
			IPAM             struct{ Ranges [][]struct{ Subnet string } }
		}
		out := run(c.config)
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if got.Type != "bridge" || got.Bridge != "cni0" || got.MTU != c.mtu || got.HairpinMode != c.hairpin || !got.IsDefaultGateway || got.IPAM.Ranges[0][0].Subnet != "10.244.7.0/24" {
			t.Errorf("%s", out)
		}
	}
}
