package reach

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Source says what was looked at, and how.
type Source struct {
	Dialect     string   `json:"dialect"`
	DialectFrom string   `json:"dialectFrom,omitempty"` // what it was told from
	Pods        int      `json:"pods"`
	Policies    int      `json:"policies"`
	Notes       []string `json:"notes,omitempty"` // what was passed over or not read
}

// Source tells what the engine was made from.
func (e *Engine) Source() Source {
	s := Source{Dialect: e.x.Dialect().String(), DialectFrom: e.x.Rules().Engine}
	for i := range e.units {
		s.Pods += len(e.units[i].members)
	}
	for i := range e.x.Rules().Tiers {
		s.Policies += len(e.x.Rules().Tiers[i].Policies)
	}
	for _, i := range e.x.Rules().Ignored {
		s.Notes = append(s.Notes, fmt.Sprintf("%s counts for nothing: %s", i.Ref, i.Reason))
	}
	if len(e.unplaced) > 0 && len(e.looks.prefixes) > 0 && len(e.x.PodNets()) == 0 {
		s.Notes = append(s.Notes, "pods that have no address yet are taken to get a private one (RFC 1918); --pod-cidr tells better")
	}
	for _, g := range e.x.World().Gaps {
		note := "not read: " + g.What + " (" + g.Reason + ")"
		if g.Permission != "" {
			note += "; it takes " + g.Permission
		}
		s.Notes = append(s.Notes, note)
	}
	return s
}

func (s Source) head() string {
	text := plural(s.Pods, "pod", "pods") + ", " + plural(s.Policies, "policy", "policies") + ", read as " + s.Dialect
	if s.DialectFrom != "" {
		text += " (from " + s.DialectFrom + ")"
	}
	return model.Printable(text) + "\n"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (s Source) tail() string {
	if len(s.Notes) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("\nNotes\n")
	for _, n := range s.Notes {
		b.WriteString("  - " + model.Printable(n) + "\n")
	}
	return b.String()
}

// Verdicts are the answers to a file of intents.
type Verdicts struct {
	Source
	Summary Counts   `json:"summary"`
	Intents []Answer `json:"intents"`
}

// Counts sum intents up.
type Counts struct {
	Total   int `json:"total"`
	Hold    int `json:"hold"`
	Fail    int `json:"fail"`
	Unknown int `json:"unknown"`
	Asked   int `json:"asked"` // those that expect nothing
}

// AskAll judges intents. Names without a namespace are in the one given.
func (e *Engine) AskAll(list []Intent, namespace string) *Verdicts {
	v := &Verdicts{Source: e.Source(), Intents: make([]Answer, len(list))}
	for i := range list {
		a := e.Ask(list[i], namespace)
		v.Intents[i] = a
		v.Summary.Total++
		switch {
		case a.Expect == "":
			v.Summary.Asked++
		case a.Holds == nil:
			v.Summary.Unknown++
		case *a.Holds:
			v.Summary.Hold++
		default:
			v.Summary.Fail++
		}
	}
	return v
}

// ExitCode is 1 where an intent does not hold, 2 where it is not known of some, else 0.
func (v *Verdicts) ExitCode() int {
	switch {
	case v.Summary.Fail > 0:
		return 1
	case v.Summary.Unknown > 0:
		return 2
	}
	return 0
}

func (a *Answer) result() string {
	switch {
	case a.Expect == "":
		return "-"
	case a.Holds == nil:
		return "UNKNOWN"
	case *a.Holds:
		return "ok"
	}
	return "FAIL"
}

// Table is one row an intent.
func (v *Verdicts) Table() ([]string, [][]string) {
	rows := make([][]string, len(v.Intents))
	for i := range v.Intents {
		a := &v.Intents[i]
		port := a.ports()
		pair := ""
		if a.Pair != nil && a.Holds != nil && !*a.Holds {
			pair = a.Pair.From + " -> " + a.Pair.To + " " + a.Pair.Port
		}
		rows[i] = []string{a.result(), a.Name, a.From.String(), a.To.String(), port, a.Expect, a.Actual, a.By, pair}
	}
	return []string{"RESULT", "NAME", "FROM", "TO", "PORT", "EXPECT", "ACTUAL", "BY", "OFFENDING PAIR"}, rows
}

// Edges are the intents as arrows.
func (v *Verdicts) Edges() [][3]string {
	out := make([][3]string, len(v.Intents))
	for i := range v.Intents {
		a := &v.Intents[i]
		out[i] = [3]string{a.From.String(), a.To.String(), a.ports() + " " + a.Actual}
	}
	return out
}

// Text is the sum before, and the reasons of what does not hold after the table.
func (v *Verdicts) Text(color bool) (before, after string) {
	paint := func(code, s string) string {
		if color {
			return "\x1b[" + code + "m" + s + "\x1b[0m"
		}
		return s
	}
	before = v.head()
	var b strings.Builder
	for i := range v.Intents {
		a := &v.Intents[i]
		if a.Expect != "" && a.Holds != nil && *a.Holds {
			continue
		}
		if b.Len() == 0 {
			b.WriteString("\n")
		}
		head, code := a.result(), "33"
		if head == "FAIL" {
			code = "31;1"
		}
		if head == "-" {
			head, code = a.Actual, "0"
		}
		fmt.Fprintf(&b, "%s  %s -> %s: %s\n", paint(code, head), model.Printable(a.From.String()), model.Printable(a.To.String()), model.Printable(a.Reason))
	}
	c := v.Summary
	fmt.Fprintf(&b, "\n%d intents: %d hold, %d fail, %d not known", c.Total, c.Hold, c.Fail, c.Unknown)
	if c.Asked > 0 {
		fmt.Fprintf(&b, ", %d expect nothing", c.Asked)
	}
	return before, b.String() + "\n" + v.tail()
}
