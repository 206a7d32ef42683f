package arm

import (
	"fmt"
	"testing"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// TestToldMetrics: what a document tells stands in place of what is measured, the
// last value in the last whole minute.
func TestToldMetrics(t *testing.T) {
	now := time.Date(2026, 1, 15, 10, 5, 30, 0, time.UTC)
	s := newSite(t, func(o *Options) { o.Now = func() time.Time { return now } })
	s.token = s.sign("x")
	set := plan.ID(plan.NodeGroup, "Microsoft.Compute/virtualMachineScaleSets", "aks-np1-vmss")
	told := plan.ID(plan.NodeGroup, "Podpath.Lab/metrics", "disk")
	for id, doc := range map[string]Doc{
		set:  {"location": "westeurope"},
		told: {"properties": Doc{"resource": set, "metric": "os disk queue depth", "dimensions": Doc{"LUN": "0", "VMName": "aks-np1-vmss_0"}, "values": []any{2.0, 9.0, 31.0}}},
	} {
		if r, d := s.do("PUT", id+"?api-version=2024-07-01", doc); r.StatusCode >= 300 {
			t.Fatal(id, r.StatusCode, d)
		}
	}
	ask := func() string {
		_, d := s.do("GET", set+"/providers/Microsoft.Insights/metrics?api-version=2023-10-01&timespan=2026-01-15T10:00:00Z/2026-01-15T10:06:00Z&aggregation=Average&metricnames=OS%20Disk%20Queue%20Depth&$filter=VMName%20eq%20%27*%27", nil)
		out := ""
		for _, ts := range Items(Items(d, "value")[0], "timeseries") {
			for _, p := range Items(ts, "data") {
				out += fmt.Sprint(p["average"], " ")
			}
		}
		return out
	}
	if got, want := ask(), "2 2 2 9 31 <nil> "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if r, _ := s.do("DELETE", told+"?api-version=2024-07-01", nil); r.StatusCode >= 300 || ask() != "" {
		t.Errorf("after it was deleted: %d, %q", r.StatusCode, ask())
	}
}
