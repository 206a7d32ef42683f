package trace_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

// The World of the bars: 5,000 nodes, 150,000 pods, 5,000 policies.
func large() *model.World { return tracetest.Large(1, 5000, 150000, 5000) }

func BenchmarkBuild(b *testing.B) {
	w := large()
	b.ReportAllocs()
	for b.Loop() {
		trace.Build(w)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-sys")
}

func BenchmarkRun(b *testing.B) {
	w := large()
	x := trace.Build(w)
	flows := []model.Flow{
		{From: "pod/ns0001/none", Src: addr("100.64.0.4"), Dst: addr("52.0.0.1"), DstPort: 443, Host: "api.shop.test", Scheme: "https"},
		{Src: addr("100.64.0.4"), Dst: addr("52.0.0.1"), DstPort: 443, Host: "api.shop.test", Scheme: "https"},
		{Src: addr("100.64.0.4"), Dst: addr("100.64.9.4"), DstPort: 80},
		{From: "node/n00001", DstPort: 443, Host: "mcr.microsoft.com", Scheme: "https"},
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		x.Run(flows[i%len(flows)])
	}
}

// BenchmarkPolicy is one decision of NetworkPolicy, with the rule that made it.
func BenchmarkPolicy(b *testing.B) {
	w := tracetest.Large(1, 500, 15000, 5000)
	x := trace.Build(w).Policies()
	var pods []*model.Pod
	for _, p := range w.Kube.Pods {
		if !p.HostNetwork {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, c *model.Pod) int { return strings.Compare(a.Name, c.Name) })
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		from, to := pods[i%len(pods)], pods[(i*7919)%len(pods)]
		f := model.Flow{Protocol: "tcp", Src: from.IPs[0], Dst: to.IPs[0], DstPort: 80}
		if i%2 == 0 {
			x.Egress(from, f)
		} else {
			x.Ingress(to, f)
		}
	}
}
