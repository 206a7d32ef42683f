package reach_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/podpath/podpath/internal/policy"
	"github.com/podpath/podpath/internal/reach"
	"github.com/podpath/podpath/internal/reach/reachtest"
)

// BenchmarkAllPairs is everything from a World to the number of open pairs:
// rules, units, profiles, pairs.
func BenchmarkAllPairs(b *testing.B) {
	for _, s := range []reachtest.Size{{Pods: 1000, Replicas: 1, Policies: 300}, {Pods: 5000, Replicas: 1, Policies: 1000}, {Pods: 10000, Replicas: 1, Policies: 2000}, {Pods: 200000, Replicas: 10, Policies: 4000}} {
		b.Run(fmt.Sprintf("pods=%d/workloads=%d/policies=%d", s.Pods, s.Pods/s.Replicas, s.Policies), func(b *testing.B) {
			w := reachtest.Cluster(1, s)
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b.ReportAllocs()
			var e *reach.Engine
			var p reach.Pairs
			for b.Loop() {
				e = reach.New(policy.BuildAs(w, policy.Upstream), nil)
				p = e.Pairs()
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB-kept")
			b.ReportMetric(float64(p.Open), "open-pairs")
			runtime.KeepAlive(e)
		})
	}
}

// BenchmarkIntents is ten thousand intents over 10,000 pods and 2,000 policies.
func BenchmarkIntents(b *testing.B) {
	w := reachtest.Cluster(1, reachtest.Size{Pods: 10000, Replicas: 1, Policies: 2000})
	e := reach.New(policy.BuildAs(w, policy.Upstream), nil)
	var list []reach.Intent
	for i := range 10000 {
		ns, other := i%200, (i*7)%200
		from := reach.Side{Text: fmt.Sprintf("ns-%04d/app-%03d-00000", ns, i%50)}
		to := reach.Side{Text: fmt.Sprintf("ns-%04d/svc/app-%03d", other, (i*3)%50)}
		if i%10 == 0 {
			from = reach.Side{Text: fmt.Sprintf("ns-%04d/tier=web", ns)}
		}
		list = append(list, reach.Intent{From: from, To: to, Port: "80", Protocol: "tcp", Expect: "deny"})
	}
	b.ReportAllocs()
	for b.Loop() {
		e.AskAll(list, "")
	}
}
