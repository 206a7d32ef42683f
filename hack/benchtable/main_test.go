package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"scenarios.json": `{"scenarios": [
			{"name": "nsg", "topology": "kubenet/loadBalancer", "injected": true, "pass": true, "rank": 1, "seconds": 2.04, "ownSeconds": 0.012,
			 "expected": {"works": "false", "subject": "nsg/a/b", "hop": "nsg"}, "got": {"works": "false", "cause": "nsg-denies", "subject": "nsg/a/b", "hop": "nsg"}},
			{"name": "broken", "topology": "x", "injected": true, "pass": false, "expected": {"subjects": ["a/1", "a/2"], "hops": ["tls"]}, "got": {"works": "true"}, "reasons": ["a|b", "c"]},
			{"name": "flaps", "topology": "x", "verb": "watch", "injected": true, "pass": true, "persistence": "intermittent", "expected": {"persistence": "intermittent"}},
			{"name": "flaps", "topology": "x", "verb": "watch", "injected": true, "pass": false, "persistence": "persistent", "expected": {"persistence": "intermittent"}}
			], "summary": {"total": 2, "passed": 1, "failed": 1, "faults": 2, "healthy": 1, "falseAlarms": 0, "top1": 0.5, "medianSeconds": 2.04, "p95Seconds": 11, "ownMedianSeconds": 0.012, "ownP95Seconds": 0.03}}`,
		"seconds": "up 100.0 140.0\ndown 140 142\nup 200 250\ndown 250 253\nup 300 390\ndown 390 391\n",
		"trace.txt": "goos: linux\nBenchmarkBuild-2   \t 1\t2500000000 ns/op\t 2048 MiB-sys\t 5 B/op\t 1 allocs/op\n" +
			"BenchmarkRun-2 \t 1000 \t 20000 ns/op\nBenchmarkPolicy-2 \t 100000 \t 12000 ns/op\nBenchmarkCheck-2 \t 2 \t 520000000 ns/op\nPASS\nok  \tx\t3.1s\n",
		"reach.txt":     "BenchmarkAllPairs/pods=10000/workloads=10000/policies=2000-2 \t 3\t 169000000 ns/op\t 20.5 MiB-kept\t 22158 open-pairs\nBenchmarkIntents-2 \t 3\t 850000000 ns/op\n",
		"reach-process": "reach-10000 1.9 2.5 230\nreach-10000 1.2 2.0 238\nreach-10000 1.5 2.1 231\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	write(&b, m, "Measured here.", "nsg,b*")
	for _, want := range []string{
		"| the true cause is named first | every scenario | 1 of 2 faults (50 %) | **no** |",
		"| findings of *likely* or above where all is well | none | 0 on 1 healthy labs | yes |",
		"| class of persistence, where it is watched | every run | 1 of 2 runs of 1 scenarios | **no** |",
		"| `podpath why`, median | ≤ 3 s | 2.04 s | yes |",
		"| `podpath why`, 95th percentile | ≤ 10 s | 11 s | **no** |",
		"own computing, median | ≤ 0.2 s | 0.012 s | yes |",
		"| `podpath-lab up` | ≤ 60 s | 50.0 s (median of 3, 40.0 to 90.0 s) | yes |",
		"| `podpath-lab down` |  | 2.0 s (median of 3, 1.0 to 3.0 s) |  |",
		"| index of 5,000 nodes, 150,000 pods, 5,000 policies | ≤ 5 s | 2.50 s | yes |",
		"| ≤ 4 GiB | 2.00 GiB | yes |",
		"| one flow on that index | ≤ 1 ms | 0.0200 ms | yes |",
		"| ≤ 10 µs | 12.00 µs | **no** |",
		"| all pairs of 10,000 pods, 2,000 policies: engine | ≤ 1 s | 0.17 s | yes |",
		"| the same: whole process from YAML | ≤ 3 s | 1.50 s, 231 MiB | yes |",
		"| `podpath check`, own computing, 1,000 nodes, 30,000 pods | seconds | 0.52 s | yes |",
		"| 10,000 intents over 10,000 pods | seconds | 0.85 s | yes |",
		"| 10000 | 10000 | 2000 | 22158 | 0.169 s | 20 MiB | 1.50 / 2.10 s | 231 MiB |",
		"Only a part of the scenarios was run: nsg,b*.",
		"| nsg | kubenet/loadBalancer | nsg/a/b @nsg | nsg/a/b @nsg | 1 | 2.0 | 0.012 | pass |",
		`| broken | x | a/1 + a/2 @tls | works |  | 0.0 | 0.000 | **FAIL**: a\|b; c |`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("not in the page: %s", want)
		}
	}
	if strings.Contains(b.String(), "make demo`, warm") {
		t.Error("the demo was not measured, and has a line")
	}
	if t.Failed() {
		t.Log(b.String())
	}
	if _, err := read(t.TempDir()); err == nil {
		t.Error("a folder without results is read")
	}
}
