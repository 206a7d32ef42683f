package model

import (
	"net/netip"
	"testing"
)

func TestWhoHoldsConnections(t *testing.T) {
	addr := netip.MustParseAddr
	w := &World{Nodes: map[string]*NodeFacts{"n1": {
		Links: []Link{{Name: "cbr0", Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}}},
		Held:  []HeldFlows{{From: addr("10.1.0.1"), Count: 1}, {From: addr("10.1.0.7"), Count: 2}, {From: addr("10.1.0.8"), Count: 3}, {From: addr("10.0.0.4"), Count: 4}},
	}}}
	w.Kube.Nodes = map[string]*Node{"n1": {Name: "n1", InternalIPs: []netip.Addr{addr("10.0.0.4")}}}
	done := &Pod{Namespace: "x", Name: "done", Phase: "Succeeded", IPs: []netip.Addr{addr("10.1.0.8")}}
	runs := &Pod{Namespace: "x", Name: "runs", Phase: "Running", IPs: []netip.Addr{addr("10.1.0.7")}}
	w.Kube.Pods = map[Ref]*Pod{done.Ref(): done, runs.Ref(): runs}
	want := []Ref{"node/n1", "pod/x/runs", "host/10.1.0.8", "node/n1"}
	for i, h := range w.Holders("n1") {
		if h.Ref != want[i] || h.Count != i+1 {
			t.Errorf("%s has an owner %s, not %s", h.From, h.Ref, want[i])
		}
	}
	if w.Holders("n2") != nil {
		t.Error("nobody read n2")
	}
}
