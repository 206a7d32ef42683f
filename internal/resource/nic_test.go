package resource

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// minute is what n megabits a second are in bytes a minute.
func minute(n float64) float64 { return n * 1e6 / 8 * 60 }

// busyNIC is a machine that sends, in megabits a second, on the metric and on the node.
func busyNIC(metric, node float64, size string) *model.Case {
	c := cloud("loadbalancer/kubernetes/out")
	c.World.Azure.VMSSs[set].Size = size
	zero := map[string]string{"vmname": "np_0"}
	if metric > 0 {
		c.World.Azure.Metrics = []model.Series{
			series(set, "Network Out Total", "Total", zero, minute(1), minute(2), minute(metric), minute(metric/3)),
			series(set, "Network In Total", "Total", zero, minute(40)),
		}
	}
	facts := c.World.Nodes["n0"]
	facts.Levels = map[string]float64{"uptime": 100, "nic.tx.bytes": 1000, "nic.rx.bytes": 1000, "nic.tx.drops": 5, "nic.rx.errors": 2, "nic.rx.drops": 0}
	facts.LevelsAfter = maps.Clone(facts.Levels)
	if node > 0 {
		facts.LevelsAfter["uptime"] = 110
		facts.LevelsAfter["nic.tx.bytes"] += node * 1e6 / 8 * 10
		facts.LevelsAfter["nic.tx.drops"], facts.LevelsAfter["nic.rx.errors"] = 8, 3
	}
	c.World.Kube.Pods["pod/x/host"] = &model.Pod{Namespace: "x", Name: "host", Node: "n0", HostNetwork: true}
	c.World.NodeUsage = map[string]model.NodeUsage{"n0": {Sent: map[model.Ref]model.Written{
		"pod/x/leaks": {Before: 10 << 20, After: 310 << 20}, "pod/x/host": {Before: 1, After: 900 << 20},
	}}}
	return c
}

// TestNIC: what leaves the machine is held against what its size may send; what
// comes in is told and has no limit.
func TestNIC(t *testing.T) {
	for _, tc := range []struct {
		name         string
		metric, node float64
		size         string
		used         float64
		state        State
		source       string
		want, no     []string
	}{
		{"out", 1960, 0, "Standard_D4s_v3", 1960, Out, "metric", []string{"its machine sent 1,960 Mbit/s and received 40", "a Standard_D4s_v3 sends at most 2,000 Mbit/s", "pod/x/leaks sent 300 MiB while the probes ran", "--node-vm-size Standard_D8s_v3", "up to 4,000 Mbit/s"}, []string{"pod/x/host"}},
		{"near", 1650, 0, "Standard_D4s_v3", 1650, Near, "metric", nil, nil},
		{"room", 900, 20, "standard_d4s_v5", 900, Room, "metric", []string{"sent 20 Mbit/s and received 0 while the probes ran", "dropped 0 packets that came in and 3 that were to leave", "had 1 packets with errors", "--node-vm-size standard_d32s_v5"}, nil},
		{"a burst within the minute", 300, 1990, "Standard_D4s_v3", 1990, Out, "node", nil, nil},
		{"the node alone", 0, 700, "Standard_D2s_v3", 700, Room, "node", nil, []string{"Network Out Total"}},
		{"a size that is not known", 90000, 0, "Standard_HB120rs_v3", 90000, Room, "metric", []string{"what Standard_HB120rs_v3 may send is not known here"}, []string{"--node-vm-size"}},
	} {
		got := Kind(busyNIC(tc.metric, tc.node, tc.size), NIC)
		if len(got) != 1 || got[0].Used != tc.used || got[0].State != tc.state || got[0].Source != tc.source {
			t.Errorf("%s: %+v", tc.name, got)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(told(got[0]), want) {
				t.Errorf("%s: %q is missing in\n%s", tc.name, want, told(got[0]))
			}
		}
		if slices.ContainsFunc(tc.no, func(no string) bool { return strings.Contains(told(got[0]), no) }) {
			t.Errorf("%s: none of %q is wanted in\n%s", tc.name, tc.no, told(got[0]))
		}
	}
}

// TestNICUnread: neither the metric nor two readings of the node.
func TestNICUnread(t *testing.T) {
	if got := Kind(busyNIC(0, 0, "Standard_D4s_v3"), NIC); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	c := busyNIC(0, 500, "Standard_D4s_v3")
	delete(c.World.Nodes["n0"].Levels, "nic.tx.bytes")
	if got := Kind(c, NIC); len(got) != 0 {
		t.Errorf("the first reading lacks the interface: %+v", got)
	}
}

func TestSends(t *testing.T) {
	for size, want := range map[string]string{
		"Standard_DS2_v2": "1,500 Standard_DS3_v2", "Standard_D2s_v5": "12,500 Standard_D32s_v5", "Standard_E20ds_v5": "12,500 Standard_E32ds_v5", "STANDARD_D64s_v3": "30,000 ", "Standard_B4ls_v2": "6,250 ",
		"Standard_D4s": "0 ", "Standard_E4-2s_v5": "0 ", "D4s_v5": "0 ", "": "0 ", "Standard_D3s_v5": "0 ", "Standard_D99999s_v5": "0 ",
	} {
		if mbps, next := sends(size); number(mbps)+" "+next != want {
			t.Errorf("%s: %v %q, want %q", size, mbps, next, want)
		}
	}
}
