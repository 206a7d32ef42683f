// Package report renders one diagnosis: as text for a terminal, as JSON or YAML
// for programs, as a Mermaid drawing of the path. It decides nothing.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
	"github.com/podpath/podpath/internal/watch"
)

// Report is what podpath answers to "why": published as docs/schema/report.json.
// Fields are only ever added within one apiVersion.
type Report struct {
	APIVersion    string              `json:"apiVersion"` // "podpath/v1"
	Kind          string              `json:"kind"`       // "Report"
	Question      model.Question      `json:"question"`
	Asked         time.Time           `json:"asked"`
	Works         string              `json:"works"`       // "true", "false", "slow", "unknown"
	Persistence   string              `json:"persistence"` // "persistent", "intermittent", "recovered", "none", "unknown"
	Causes        []diagnose.Finding  `json:"causes"`      // ranked, most likely first
	AlsoNoticed   []diagnose.Finding  `json:"alsoNoticed"` // wrong, but explains nothing here
	Disagreements []diagnose.Finding  `json:"disagreements,omitempty"`
	Narrowed      []string            `json:"narrowed,omitempty"` // where the answers of the vantage points part
	RuledOut      []string            `json:"ruledOut,omitempty"`
	Paths         []model.Path        `json:"paths"`
	Lookup        *model.Lookup       `json:"lookup,omitempty"` // the predicted way of the name
	Observations  []model.Observation `json:"observations"`
	NotChecked    []model.Gap         `json:"notChecked"` // reads that failed, with what would allow them
	Skipped       []diagnose.Skip     `json:"skipped,omitempty"`
	Notes         []string            `json:"notes,omitempty"`
	ExitCode      int                 `json:"exitCode"`
	Timing        *Timing             `json:"timing,omitempty"` // absent when replayed from a snapshot

	Watched   *watch.Summary  `json:"watched,omitempty"`   // what asking again and again told
	Resources []resource.Use  `json:"resources,omitempty"` // what can run out on the way: what a cause is about, then those nearest their end first
	Readings  []model.Reading `json:"readings,omitempty"`  // of what was in use, while it was watched
}

// Timing says where the time went, in milliseconds.
type Timing struct {
	TotalMillis   int64 `json:"totalMillis"`
	OwnMillis     int64 `json:"ownMillis"`     // podpath's own computing: trace, diagnosis
	CollectMillis int64 `json:"collectMillis"` // until the last read was in
	ProbeMillis   int64 `json:"probeMillis"`   // until the last probe was in
}

// The exit codes of `podpath why`.
const (
	ExitWorks   = 0 // the flow works
	ExitCause   = 1 // a cause was found
	ExitNoCause = 2 // it fails, and no cause could be proven
	ExitUnable  = 3 // podpath could not do its work
)

// New puts a case and its diagnosis together.
func New(c *model.Case, r diagnose.Result) *Report {
	out := &Report{
		APIVersion: "podpath/v1", Kind: "Report", Question: c.Question, Asked: c.Asked, Works: r.Works, Persistence: r.Persistence,
		Causes: r.Causes, AlsoNoticed: r.Also, Disagreements: r.Disagreements, Narrowed: r.Narrowed, RuledOut: r.RuledOut,
		Paths: c.Paths, Lookup: c.Lookup, Observations: c.Observations, NotChecked: gaps(c, r.Works == "true"), Skipped: r.Skipped, Notes: c.Notes,
		Watched: r.Watched, Resources: relevantFirst(resource.All(c), r.Causes), Readings: c.Readings,
	}
	out.ExitCode = exitCode(r)
	if out.ExitCode == ExitNoCause && r.Watched != nil && nothingSent(r.Watched) {
		out.ExitCode = ExitUnable // what was asked for could not be done
	}
	// Lists are lists also when they are empty: a program need not ask for null.
	out.Causes, out.AlsoNoticed = orEmpty(out.Causes), orEmpty(out.AlsoNoticed)
	out.Paths, out.Observations, out.NotChecked = orEmpty(out.Paths), orEmpty(out.Observations), orEmpty(out.NotChecked)
	return out
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func exitCode(r diagnose.Result) int {
	switch {
	case r.Works == "true":
		return ExitWorks
	case len(r.Causes) > 0 && r.Causes[0].Confidence >= diagnose.Likely:
		return ExitCause
	case r.Works == "slow":
		return ExitWorks
	default:
		return ExitNoCause
	}
}

// gaps merges the gaps of the world, of the nodes and, unless the flow works, of the paths' steps, each once.
func gaps(c *model.Case, works bool) []model.Gap {
	var out []model.Gap
	seen := map[model.Gap]bool{}
	add := func(list []model.Gap) {
		for _, g := range list {
			if !seen[g] && !(works && g.Skipped) {
				seen[g] = true
				out = append(out, g)
			}
		}
	}
	add(c.World.Gaps)
	for _, name := range sortedKeys(c.World.Nodes) {
		if n := c.World.Nodes[name]; n != nil {
			add(n.Gaps)
		}
	}
	if works {
		return out // the flow gets through: what a step could not read of its way decides nothing any more
	}
	for _, p := range c.Paths {
		for _, steps := range [][]model.Step{p.Steps, p.Return} {
			for _, s := range steps {
				add(s.Gaps)
			}
		}
	}
	return out
}

// Write renders r in the named format: "", "text", "wide", "json", "yaml", "mermaid".
func Write(w io.Writer, format string, r *Report, o Options) error {
	switch format {
	case "", "text", "wide":
		o.Wide = o.Wide || format == "wide"
		return Text(w, r, o)
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	case "yaml":
		b, err := yaml.Marshal(r)
		if err != nil {
			return err
		}
		_, err = w.Write(b)
		return err
	case "mermaid":
		return Mermaid(w, r)
	}
	return CheckFormat(format)
}

// Formats are the values of --output.
var Formats = []string{"text", "wide", "json", "yaml", "mermaid"}

// CheckFormat refuses a format that Write does not know, and that is none of what the caller writes itself.
func CheckFormat(format string, own ...string) error {
	known := slices.Concat(own, Formats)
	if format == "" || slices.Contains(known, format) {
		return nil
	}
	return fmt.Errorf("unknown output format %q: use one of %v", format, known)
}
