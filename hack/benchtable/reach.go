package main

import (
	"fmt"
	"io"
	"slices"
)

// cluster is one generated cluster of the benchmark of all pairs, with what
// netpol-analyzer (`list -o json`) takes for one of the same shape, measured
// once on a machine of this kind: processor seconds and memory.
type cluster struct {
	pods, workloads, policies int
	peer                      string
}

var clusters = []cluster{
	{1000, 1000, 300, "100 s, 1.6 GB"},
	{5000, 5000, 1000, "out of memory at 14 GB after 1,151 s"},
	{10000, 10000, 2000, "–"},
	{200000, 20000, 4000, "–"},
}

func (c cluster) benchmark() string {
	return fmt.Sprintf("AllPairs/pods=%d/workloads=%d/policies=%d", c.pods, c.workloads, c.policies)
}

// process is the median run of podpath on a cluster's manifests.
func (m *measured) process(c cluster) ([3]float64, bool) {
	runs := slices.Clone(m.processes[fmt.Sprintf("reach-%d", c.pods)])
	if len(runs) == 0 {
		return [3]float64{}, false
	}
	slices.SortFunc(runs, func(a, b [3]float64) int {
		switch {
		case a[0] < b[0]:
			return -1
		case a[0] > b[0]:
			return 1
		}
		return 0
	})
	return runs[len(runs)/2], true
}

// allPairs are the promises about `podpath reach`.
func (m *measured) allPairs() []line {
	const (
		engine  = "`go test ./internal/reach -run '^$' -bench AllPairs`"
		process = "`podpath reach --dir`"
	)
	var out []line
	add := func(what, bar, shown, command string, value, limit float64) {
		out = append(out, line{what: what, bar: bar, shown: shown, command: command, value: value, limit: limit})
	}
	ten, large := clusters[2], clusters[3]
	if b := m.reach[ten.benchmark()]; b != nil {
		s, mib := b["ns/op"]*1e-9, b["MiB-kept"]
		add("all pairs of 10,000 pods, 2,000 policies: engine", "≤ 1 s", fmt.Sprintf("%.2f s", s), engine, s, 1)
		add("the same: memory that it holds", "≤ 300 MiB", fmt.Sprintf("%.0f MiB", mib), engine, mib, 300)
	}
	if p, ok := m.process(ten); ok {
		add("the same: whole process from YAML", "≤ 3 s", fmt.Sprintf("%.2f s, %.0f MiB", p[0], p[2]), process, p[0], 3)
	}
	if p, ok := m.process(large); ok {
		add("all pairs of 200,000 pods in 20,000 workloads: whole process from YAML", "≤ 10 s", fmt.Sprintf("%.2f s", p[0]), process, p[0], 10)
		add("the same: most memory of the process", "≤ 2 GiB", fmt.Sprintf("%.2f GiB", p[2]/1024), process, p[2]/1024, 2)
	}
	if b := m.reach["Intents"]; b != nil {
		s := b["ns/op"] * 1e-9
		add("10,000 intents over 10,000 pods", "seconds", fmt.Sprintf("%.2f s", s), "`go test ./internal/reach -run '^$' -bench Intents`", s, 5)
	}
	return out
}

// growth is how time and memory grow with the cluster.
func (m *measured) growth(w io.Writer) {
	if len(m.reach) == 0 {
		return
	}
	fmt.Fprint(w, "\n## All pairs, growth\n\nGenerated clusters (`internal/reach/reachtest`, seed 1). Engine: from objects in memory to the number of open pairs, wall time. Process: `podpath reach --dir -o json`,\n"+
		"reading YAML included, median of three, wall / processor seconds. netpol-analyzer: processor seconds and memory of its `list`, measured once on clusters of this shape.\n")
	fmt.Fprint(w, "\n| pods | workloads | policies | open pairs | engine | held | process | most memory | netpol-analyzer |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range clusters {
		b := m.reach[c.benchmark()]
		if b == nil {
			continue
		}
		took, peak := "–", "–"
		if p, ok := m.process(c); ok {
			took, peak = fmt.Sprintf("%.2f / %.2f s", p[0], p[1]), fmt.Sprintf("%.0f MiB", p[2])
		}
		fmt.Fprintf(w, "| %d | %d | %d | %.0f | %.3f s | %.0f MiB | %s | %s | %s |\n", c.pods, c.workloads, c.policies, b["open-pairs"], b["ns/op"]*1e-9, b["MiB-kept"], took, peak, c.peer)
	}
}
