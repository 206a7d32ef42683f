package fabric

import (
	"testing"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// TestBytes: what the router received from a node is what its machine sent; the
// first reading counts for nothing, nor does one after the link was made anew.
func TestBytes(t *testing.T) {
	m := newMeter()
	now := time.Date(2026, 1, 15, 10, 0, 0, 0, time.UTC)
	nodes := []plan.Node{{Index: 0, Name: "aks-np1-vmss000000", VMSS: "aks-np1-vmss"}, {Index: 1, Name: "aks-np1-vmss000001", VMSS: "aks-np1-vmss", Instance: 1}}
	for i, n := range []uint64{9000, 10000, 10500, 20} {
		m.bytes(now.Add(time.Duration(i)*5*time.Second), nodes, map[string][2]uint64{nodeLink(0): {n, 2 * n}})
	}
	f := &Fabric{meter: m}
	set := plan.ID(plan.NodeGroup, "Microsoft.Compute/virtualMachineScaleSets", "aks-np1-vmss")
	m.last = time.Now() // nothing is sampled
	for metric, want := range map[string]float64{"Network Out Total": 1500, "Network In Total": 3000} {
		got := f.Metric(set, metric, "Total", now, now.Add(time.Minute))
		if len(got) != 1 || len(got[0].Points) != 1 || got[0].Points[0].Value != want || got[0].Dimensions["VMName"] != "aks-np1-vmss_0" {
			t.Errorf("%s: %+v", metric, got)
		}
	}
}
