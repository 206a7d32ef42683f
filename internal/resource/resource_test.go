package resource

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

func minutes(values ...float64) []model.Point {
	out := make([]model.Point, len(values))
	for i, v := range values {
		out[i] = model.Point{At: time.Unix(0, 0).Add(time.Duration(i) * time.Minute), Value: v}
	}
	return out
}

func TestPace(t *testing.T) {
	for _, tc := range []struct {
		name   string
		points []model.Point
		want   float64
		ok     bool
	}{
		{"a straight climb", minutes(10, 20, 30, 40), 10, true},
		{"too few points", minutes(10, 20, 30), 0, false},
		{"a level that does not move", minutes(7, 7, 7, 7, 7), 0, false},
		{"one that rose and stayed", minutes(30, 30, 30, 30, 85, 85, 85, 85), 0, false},
		{"one that only jitters", minutes(10, 90, 12, 88, 9, 91), 0, false},
	} {
		got, ok := Pace(tc.points)
		if ok != tc.ok || ok && (got < tc.want*0.99 || got > tc.want*1.01) {
			t.Errorf("%s: %g, %v; want %g, %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}

func TestSettle(t *testing.T) {
	for _, tc := range []struct {
		u    Use
		want State
		left time.Duration
	}{
		{Use{Used: 10, Limit: 100}, Room, 0},
		{Use{Used: 80, Limit: 100}, Near, 0},
		{Use{Used: 100, Limit: 100}, Out, 0},
		{Use{Used: 40, Limit: 100, Pace: 2}, Near, 30 * time.Minute},
		{Use{Used: 10, Limit: 100, Pace: 3}, Room, 0},
		{Use{Used: 40, Limit: 100, Pace: 0.1}, Room, 10 * time.Hour},
		{Use{Used: 10, Limit: 100, Pace: -5}, Room, 0},
		{Use{Used: 10, State: Unknown}, Unknown, 0},
	} {
		u := tc.u
		u.settle()
		if u.State != tc.want || u.Left != tc.left {
			t.Errorf("%+v: %s, %s left; want %s, %s", tc.u, u.State, u.Left, tc.want, tc.left)
		}
	}
}

func TestConntrack(t *testing.T) {
	pod := netip.MustParseAddr("10.1.0.9")
	c := &model.Case{World: model.World{
		Kube: model.Kube{
			Nodes: map[string]*model.Node{"a": {Name: "a"}},
			Pods:  map[model.Ref]*model.Pod{"pod/x/leaks": {Namespace: "x", Name: "leaks", Node: "a", IPs: []netip.Addr{pod}}},
		},
		Nodes: map[string]*model.NodeFacts{
			"a": {
				Node: "a", Sysctls: map[string]string{"net.netfilter.nf_conntrack_count": "985", "net.netfilter.nf_conntrack_max": "1000"},
				Held:   []model.HeldFlows{{From: pod, To: netip.MustParseAddrPort("192.0.2.1:443"), Count: 700}, {From: pod, To: netip.MustParseAddrPort("192.0.2.2:443"), Count: 200}, {From: pod, To: netip.MustParseAddrPort("192.0.2.3:443"), Silent: 5}},
				Kernel: []string{"nf_conntrack: nf_conntrack: table full, dropping packet"},
			},
			"b": {Node: "b"}, // whose sysctls were not read: nothing is said of it
		},
	}}
	got := All(c)
	if kind, other := Kind(c, Conntrack), Kind(c, NodeCPU); len(kind) != 1 || len(other) != 0 {
		t.Errorf("of its kind %+v, of another %+v", kind, other)
	}
	h := held(c, []string{"a"}, func(model.Holder) bool { return true })
	if len(h.who) != 2 || h.who[0].Toward != "192.0.2.1:443/tcp" || h.who[1].Count != 200 {
		t.Errorf("who holds nothing has a share: %+v", h.who)
	}
	if len(got) != 1 || got[0].State != Out || got[0].Of != "node/a" || len(got[0].Who) != 1 || got[0].Who[0].Ref != "pod/x/leaks" || got[0].Who[0].Count != 905 || len(got[0].Says) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestText(t *testing.T) {
	for want, u := range map[string]Use{
		"connection table of node/a: 12 of 65,536 entries (0 %)":                            {Name: "connection table", Of: "node/a", Unit: "entries", Used: 12, Limit: 65536},
		"source ports of natgateway/g towards 192.0.2.1:443/tcp: 131 of 1,024 ports (13 %)": {Name: "source ports", Of: "natgateway/g", Toward: "192.0.2.1:443/tcp", Unit: "ports", Used: 130.5, Limit: 1024},
		"memory of container app of pod/x/a: 1 of 256 MiB (0 %)":                            {Kind: Memory, Name: "memory", Of: "pod/x/a", Toward: "app", Unit: "MiB", Used: 1, Limit: 256},
		"CPU periods stopped of container app of pod/x/a: 30 % of its periods":              {Kind: CPU, Name: "CPU periods stopped", Of: "pod/x/a", Toward: "app", Unit: "% of its periods", Used: 30},
		"accept queue of pod/x/a at 10.1.0.2:80/tcp: 3 of 129 connections (2 %)":            {Kind: Backlog, Name: "accept queue", Of: "pod/x/a", Toward: "10.1.0.2:80/tcp", Unit: "connections", Used: 3, Limit: 129},
		"CPUs of node/a: 98 % of their time":                                                {Kind: NodeCPU, Name: "CPUs", Of: "node/a", Unit: "% of their time", Used: 98, Limit: 100},
		"OS disk of node/a: 40 %":                                                           {Name: "OS disk", Of: "node/a", Unit: "%", Used: 40, Limit: 100},
		"idle time-out of natgateway/g: 4 min":                                              {Name: "idle time-out", Of: "natgateway/g", Unit: "min", Used: 4},
	} {
		if got := u.Text(); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// Counters that grew are told; those that stand still, or were read once, are not.
func TestRefusedEntries(t *testing.T) {
	facts := &model.NodeFacts{Counters: map[string]int64{"ConntrackInsertFailed": 3, "ConntrackDrop": 5, "ConntrackEarlyDrop": 9}, After: map[string]int64{"ConntrackInsertFailed": 7, "ConntrackDrop": 5}}
	if got := refused(facts); len(got) != 1 || !strings.HasPrefix(got[0], "4 entries lost the race") {
		t.Errorf("%q", got)
	}
}
