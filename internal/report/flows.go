package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/internal/model"
)

// Flows is what podpath answers to "why -f": what configuration says about many
// connections. Fields are only ever added within one apiVersion.
type Flows struct {
	APIVersion string      `json:"apiVersion"` // "podpath/v1"
	Kind       string      `json:"kind"`       // "Flows"
	Flows      []Flow      `json:"flows"`      // in the order of the file
	NotChecked []model.Gap `json:"notChecked"` // reads that failed, with what would allow them
	ExitCode   int         `json:"exitCode"`
}

// Flow is one connection, and what is predicted of it.
type Flow struct {
	From     string       `json:"from"`
	To       string       `json:"to"`
	Protocol string       `json:"protocol"`
	Address  string       `json:"address,omitempty"` // where it was pinned
	Verdict  string       `json:"verdict"`           // pass, drop, reject, unknown; mixed: it depends on which address or endpoint it comes to
	Hop      model.Hop    `json:"hop,omitempty"`     // where the first way that does not pass ends, or is not known
	Decided  model.Ref    `json:"decided,omitempty"` // the line of configuration that decides there
	Reason   string       `json:"reason,omitempty"`
	Error    string       `json:"error,omitempty"` // why nothing is predicted: it names something that is not there
	Paths    []model.Path `json:"paths"`           // one for each address, and each endpoint of a Service
}

// Mixed is the verdict of a connection that depends on which way it takes.
const Mixed = "mixed"

// NewFlow sums the ways of one connection up.
func NewFlow(q model.Question, paths []model.Path, err error) Flow {
	f := Flow{From: q.From.Raw, To: q.To.Raw, Protocol: q.Protocol, Verdict: model.Unknown.String(), Paths: orEmpty(paths)}
	if q.Address.IsValid() {
		f.Address = q.Address.String()
	}
	if err != nil {
		f.Error = err.Error()
		return f
	}
	for i := range paths {
		v := paths[i].Verdict.String()
		switch {
		case i == 0:
			f.Verdict = v
		case f.Verdict != v:
			f.Verdict = Mixed
		}
		if s := deciding(&paths[i]); s != nil && f.Reason == "" {
			f.Hop, f.Decided, f.Reason = s.Hop, s.Decided, s.Reason
		}
	}
	return f
}

// deciding is the step that a path does not get past, or that leaves it unknown.
func deciding(p *model.Path) *model.Step {
	if s := p.Broken(); s != nil || p.Verdict != model.Unknown {
		return s
	}
	for _, steps := range [][]model.Step{p.Steps, p.Return} {
		for i := range steps {
			if steps[i].Verdict == model.Unknown {
				return &steps[i]
			}
		}
	}
	return nil
}

// NewFlows puts the answers together. The exit code is 0 where all connections
// pass, 1 where one does not, 2 where of one it is not known.
func NewFlows(list []Flow, gaps []model.Gap) *Flows {
	out := &Flows{APIVersion: "podpath/v1", Kind: "Flows", Flows: orEmpty(list), NotChecked: orEmpty(gaps)}
	for _, f := range list {
		switch f.Verdict {
		case model.Pass.String():
		case model.Unknown.String():
			if out.ExitCode == ExitWorks {
				out.ExitCode = ExitNoCause
			}
		default:
			out.ExitCode = ExitCause
		}
	}
	return out
}

// FlowFormats are the output formats of many connections.
var FlowFormats = []string{"text", "json", "yaml"}

// WriteFlows writes them in a format.
func WriteFlows(w io.Writer, format string, f *Flows) error {
	switch format {
	case "", "text":
		return flowsText(w, f)
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(f)
	case "yaml":
		b, err := yaml.Marshal(f)
		if err == nil {
			_, err = w.Write(b)
		}
		return err
	}
	return fmt.Errorf("output format %q is not one for many connections: use one of %s", format, strings.Join(FlowFormats, ", "))
}

func flowsText(w io.Writer, f *Flows) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "FROM\tTO\tPROTOCOL\tVERDICT\tHOP\tBY")
	for i := range f.Flows {
		l := &f.Flows[i]
		why := l.Reason
		if l.Error != "" {
			why = l.Error
		}
		if l.Decided != "" {
			why = string(l.Decided) + ": " + why
		}
		row := []string{l.From, l.To, l.Protocol, l.Verdict, string(l.Hop), why}
		for k := range row {
			row[k] = model.Printable(row[k])
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	err := t.Flush()
	if len(f.NotChecked) > 0 {
		_, more := fmt.Fprintln(w, "\nNot checked")
		err = errors.Join(err, more)
	}
	for _, g := range f.NotChecked {
		line := g.What + ": " + g.Reason
		if g.Permission != "" {
			line += "; it takes " + g.Permission
		}
		_, more := fmt.Fprintln(w, "  - "+model.Printable(line))
		err = errors.Join(err, more)
	}
	return err
}
