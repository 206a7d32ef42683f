// Command benchtable turns what hack/bench measured into the page docs/bench.md:
// a line for each promise with its bar, then a line for each scenario.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// row is one scenario as `podpath-lab bench -o json` tells it.
type row struct {
	Name, Topology string
	Verb           string
	Persistence    string
	Injected, Pass bool
	Expected, Got  verdict
	Rank, Tries    int
	Seconds        float64
	OwnSeconds     float64
	Reasons        []string
}

type verdict struct {
	Works, Cause, Subject, Hop string
	Persistence                string
	Subjects, Hops             []string
}

func (v verdict) String() string {
	subject, hop := strings.Join(v.Subjects, " + "), strings.Join(v.Hops, " + ")
	if v.Subject != "" {
		subject = v.Subject
	}
	if v.Hop != "" {
		hop = v.Hop
	}
	switch {
	case subject == "" && hop == "" && v.Works == "true":
		return "works"
	case subject == "" && hop == "":
		return "—"
	case hop == "":
		return subject
	}
	return subject + " @" + hop
}

type results struct {
	Scenarios []row
	Summary   struct {
		Total, NotInjected, Passed, Faults, Healthy, FalseAlarms int
		Top1, Top3                                               float64
		MedianSeconds, P95Seconds, OwnMedianSeconds              float64
		OwnP95Seconds                                            float64
	}
}

// measured is everything that hack/bench left in its folder.
type measured struct {
	labs      int // at once
	scenarios results
	seconds   map[string][]float64          // up, down, demo
	trace     map[string]map[string]float64 // benchmark → unit → value
	reach     map[string]map[string]float64 // the same of all pairs
	processes map[string][][3]float64       // reach-PODS → seconds, processor seconds, MiB of each run
}

func main() {
	only := flag.String("only", "", "the subset of scenarios that ran")
	labs := flag.Int("labs", 1, "how many labs ran at once")
	flag.Parse()
	m, err := read(flag.Arg(0))
	if err == nil {
		m.labs = *labs
		w := bufio.NewWriter(os.Stdout)
		write(w, m, machine(), *only)
		err = w.Flush()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

func read(dir string) (*measured, error) {
	m := &measured{seconds: map[string][]float64{}, trace: map[string]map[string]float64{}, reach: map[string]map[string]float64{}, processes: map[string][][3]float64{}}
	data, err := os.ReadFile(filepath.Join(dir, "scenarios.json"))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &m.scenarios); err != nil {
		return nil, fmt.Errorf("scenarios.json: %w", err)
	}
	err = lines(filepath.Join(dir, "seconds"), func(f []string) error {
		from, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return err
		}
		to, err := strconv.ParseFloat(f[2], 64)
		m.seconds[f[0]] = append(m.seconds[f[0]], to-from)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := lines(filepath.Join(dir, "trace.txt"), benchmark(m.trace)); err != nil {
		return nil, err
	}
	if err := lines(filepath.Join(dir, "reach.txt"), benchmark(m.reach)); err != nil {
		return nil, err
	}
	return m, lines(filepath.Join(dir, "reach-process"), func(f []string) error {
		var run [3]float64
		if len(f) != 4 {
			return fmt.Errorf("not a name and three numbers")
		}
		for i := range run {
			v, err := strconv.ParseFloat(f[i+1], 64)
			if err != nil {
				return err
			}
			run[i] = v
		}
		m.processes[f[0]] = append(m.processes[f[0]], run)
		return nil
	})
}

// benchmark reads a line of `go test -bench`.
func benchmark(to map[string]map[string]float64) func([]string) error {
	return func(f []string) error {
		name, ok := strings.CutPrefix(f[0], "Benchmark")
		if !ok {
			return nil
		}
		name, _, _ = strings.Cut(name, "-")
		to[name] = map[string]float64{}
		for i := 2; i+1 < len(f); i += 2 { // name, runs, then pairs of value and unit
			v, err := strconv.ParseFloat(f[i], 64)
			if err != nil {
				return err
			}
			to[name][f[i+1]] = v
		}
		return nil
	}
}

// lines gives each line of three fields or more; a file that is not there has none.
func lines(file string, each func([]string) error) error {
	data, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 3 {
			if err := each(f); err != nil {
				return fmt.Errorf("%s: %q: %w", file, strings.TrimSpace(line), err)
			}
		}
	}
	return nil
}

// line is one promise. A limit below zero is none.
type line struct {
	what, bar string
	value     float64
	limit     float64
	shown     string
	command   string
}

func (l line) met() string {
	switch {
	case l.limit < 0:
		return ""
	case l.value <= l.limit:
		return "yes"
	}
	return "**no**"
}

// promises are the lines of what was measured; what was not has none.
func (m *measured) promises() []line {
	const large = "`go test ./internal/trace -run '^$' -bench . -benchmem`"
	scenarios := "`bin/podpath-lab bench scenarios`"
	if m.labs > 1 {
		scenarios = fmt.Sprintf("`bin/podpath-lab bench scenarios --labs %d`", m.labs)
	}
	var out []line
	s := m.scenarios.Summary
	count := func(what, bar string, bad int, shown string) {
		out = append(out, line{what, bar, float64(bad), 0, shown, scenarios})
	}
	if s.Faults > 0 {
		right := int(s.Top1*float64(s.Faults) + 0.5)
		count("the true cause is named first", "every scenario", s.Faults-right, fmt.Sprintf("%d of %d faults (%.0f %%)", right, s.Faults, 100*s.Top1))
	}
	if s.Healthy > 0 {
		count("findings of *likely* or above where all is well", "none", s.FalseAlarms, fmt.Sprintf("%d on %d healthy labs", s.FalseAlarms, s.Healthy))
	}
	count("scenarios right in every point (persistence, evidence, exit code too)", "", 0, fmt.Sprintf("%d of %d, %d not injected", s.Passed, s.Total, s.NotInjected))
	out[len(out)-1].limit = -1
	if right, all, names := m.watched(); all > 0 {
		count("class of persistence, where it is watched", "every run", all-right, fmt.Sprintf("%d of %d runs of %d scenarios", right, all, names))
	}
	if s.MedianSeconds > 0 {
		for _, q := range []line{
			{what: "`podpath why`, median", bar: "≤ 3 s", value: s.MedianSeconds, limit: 3},
			{what: "`podpath why`, 95th percentile", bar: "≤ 10 s", value: s.P95Seconds, limit: 10},
			{what: "of which podpath's own computing, median", bar: "≤ 0.2 s", value: s.OwnMedianSeconds, limit: 0.2},
			{what: "of which podpath's own computing, 95th percentile", bar: "≤ 0.2 s", value: s.OwnP95Seconds, limit: 0.2},
		} {
			q.shown, q.command = fmt.Sprintf("%.3g s", q.value), scenarios
			out = append(out, q)
		}
	}
	for _, l := range []struct {
		name string
		line
	}{
		{"up", line{what: "`podpath-lab up`", bar: "≤ 60 s", limit: 60, command: "`bin/podpath-lab up`"}},
		{"down", line{what: "`podpath-lab down`", limit: -1, command: "`bin/podpath-lab down`"}},
		{"demo", line{what: "`make demo`, warm", bar: "≤ 90 s", limit: 90, command: "`make demo`"}},
	} {
		if all := m.seconds[l.name]; len(all) > 0 {
			slices.Sort(all)
			l.value = all[len(all)/2]
			l.shown = fmt.Sprintf("%.1f s", l.value)
			if len(all) > 1 {
				l.shown += fmt.Sprintf(" (median of %d, %.1f to %.1f s)", len(all), all[0], all[len(all)-1])
			}
			out = append(out, l.line)
		}
	}
	for _, l := range []struct {
		name, unit, format string
		scale              float64
		line
	}{
		{"Build", "ns/op", "%.2f s", 1e-9, line{what: "index of 5,000 nodes, 150,000 pods, 5,000 policies", bar: "≤ 5 s", limit: 5}},
		{"Build", "MiB-sys", "%.2f GiB", 1. / 1024, line{what: "memory of the process that built it", bar: "≤ 4 GiB", limit: 4}},
		{"Run", "ns/op", "%.4f ms", 1e-6, line{what: "one flow on that index", bar: "≤ 1 ms", limit: 1}},
		{"Policy", "ns/op", "%.2f µs", 1e-3, line{what: "one decision of NetworkPolicy with its rule", bar: "≤ 10 µs", limit: 10}},
	} {
		if v, ok := m.trace[l.name][l.unit]; ok {
			l.value = v * l.scale
			l.shown, l.command = fmt.Sprintf(l.format, l.value), large
			out = append(out, l.line)
		}
	}
	return slices.Concat(out, m.check(), m.classes(), m.allPairs())
}

// watched counts the runs of scenarios that ask for a while, and those whose class is right.
func (m *measured) watched() (right, all, names int) {
	seen := map[string]bool{}
	for _, r := range m.scenarios.Scenarios {
		if r.Verb != "watch" || !r.Injected || r.Expected.Persistence == "" {
			continue
		}
		all++
		seen[r.Name] = true
		if r.Persistence == r.Expected.Persistence {
			right++
		}
	}
	return right, all, len(seen)
}

// classes are the promises about how lasting a failure is said to be, measured on
// series whose truth is known (internal/watch).
func (m *measured) classes() []line {
	var out []line
	for _, l := range []struct {
		unit string
		line
	}{
		{"%worst", line{what: "wrong classes of series with a known truth, in the worst of the truths", bar: "≤ 1 %", limit: 1}},
		{"%wrong", line{what: "the same over all", bar: "≤ 1 %", limit: 1}},
		{"%named", line{what: "the same: called by their own class; the rest is not decided, not shown to have ended, or of a rate that so few tries do not show, which is said with it", limit: -1}},
		{"%split", line{what: "changes seen in series of constant rate", bar: "≤ 1 %", limit: 1}},
	} {
		if v, ok := m.trace["Classify"][l.unit]; ok {
			l.value, l.shown, l.command = v, fmt.Sprintf("%.2f %%", v), "`go test ./internal/watch -run '^$' -bench Classify`"
			out = append(out, l.line)
		}
	}
	return out
}

// check is the promise about `podpath check`.
func (m *measured) check() []line {
	b := m.trace["Check"]
	if b == nil {
		return nil
	}
	l := line{what: "`podpath check`, own computing, 1,000 nodes, 30,000 pods", bar: "seconds", command: "`go test ./internal/check -run '^$' -bench Check`", value: b["ns/op"] * 1e-9, limit: 5}
	l.shown = fmt.Sprintf("%.2f s", l.value)
	return []line{l}
}

func write(w io.Writer, m *measured, on, only string) {
	fmt.Fprint(w, "# What is measured\n\nWritten by `make bench`; do not edit. "+on+"\n")
	if only != "" {
		fmt.Fprintf(w, "\n**Only a part of the scenarios was run: %s.**\n", cell(only))
	}
	fmt.Fprint(w, "\n| what | bar | measured | met | command |\n|---|---|---|---|---|\n")
	for _, l := range m.promises() {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", l.what, l.bar, l.shown, l.met(), l.command)
	}
	fmt.Fprint(w, "\nA bar that is not met is a bug. `make demo` on a fresh machine (bar: 12 minutes on 2 cores) is measured on one, by hand.\n")
	m.growth(w)
	fmt.Fprint(w, "\n## Scenarios\n\nThe truth is the scenario's; what was named is podpath's first cause. Topologies read CNI/outbound/policy engine/proxy mode/nodes.\n")
	fmt.Fprint(w, "\n| scenario | topology | truth | named first | rank | seconds | own | |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range m.scenarios.Scenarios {
		rank, outcome := "", "pass"
		if r.Rank > 0 {
			rank = strconv.Itoa(r.Rank)
		}
		switch {
		case !r.Injected:
			outcome = "**not injected**: " + strings.Join(r.Reasons, "; ")
		case !r.Pass:
			outcome = "**FAIL**: " + strings.Join(r.Reasons, "; ")
		case r.Tries > 1:
			outcome += fmt.Sprintf(" (try %d)", r.Tries)
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %.1f | %.3f | %s |\n", r.Name, r.Topology, cell(r.Expected.String()), cell(r.Got.String()), rank, r.Seconds, r.OwnSeconds, cell(outcome))
	}
}

// cell keeps a text in its cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}

// machine says where it was measured.
func machine() string {
	version := "an unknown commit"
	if out, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		version = strings.TrimSpace(string(out))
	}
	s := fmt.Sprintf("Measured at %s with %s on %d cores", version, runtime.Version(), runtime.NumCPU())
	for _, look := range []struct{ file, key, format string }{
		{"/proc/cpuinfo", "model name", " of %s"}, {"/proc/meminfo", "MemTotal", ", %s of memory"},
	} {
		data, err := os.ReadFile(look.file)
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(data)) {
			if key, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(key) == look.key {
				s += fmt.Sprintf(look.format, size(strings.TrimSpace(value)))
				break
			}
		}
	}
	return s + "."
}

// size turns /proc/meminfo's kB into GiB.
func size(s string) string {
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(s, " kB"), 64); err == nil {
		return fmt.Sprintf("%.0f GiB", kb/(1<<20))
	}
	return s
}
