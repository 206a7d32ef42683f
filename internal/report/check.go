package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"sigs.k8s.io/yaml"

	"github.com/podpath/podpath/internal/check"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// CheckFormats are the values of --output of 'podpath check'.
var CheckFormats = []string{"text", "wide", "json", "yaml"}

// WriteCheck renders what a check found in the named format.
func WriteCheck(w io.Writer, format string, r *check.Report, o Options) error {
	switch format {
	case "", "text", "wide":
		o.Wide = o.Wide || format == "wide"
		return checkText(w, r, o)
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
	}
	return CheckCheckFormat(format)
}

// CheckCheckFormat refuses a format that WriteCheck does not know.
func CheckCheckFormat(format string) error {
	if format == "" || slices.Contains(CheckFormats, format) {
		return nil
	}
	return fmt.Errorf("unknown output format %q: use one of %v", format, CheckFormats)
}

// checkText shows one line a finding, in groups, the group with the worst first.
func checkText(w io.Writer, r *check.Report, o Options) error {
	p := newPrinter(o)
	p.checkHead(r)
	all := slices.Concat(r.Causes, r.AlsoNoticed)
	for len(all) > 0 {
		group := all[0].Group
		p.title(string(group))
		p.group(slices.DeleteFunc(slices.Clone(all), func(f check.Finding) bool { return f.Group != group }))
		all = slices.DeleteFunc(all, func(f check.Finding) bool { return f.Group == group })
	}
	p.unchecked(r)
	p.list("Notes", r.Notes)
	if ids := rules(r); !o.Wide && len(ids) > 0 {
		p.b.WriteString("\n")
		p.line("", p.paint("dim", "evidence and remedies: -o wide; the page on one: podpath explain "+strings.Join(ids, " | ")))
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// rules are the ids that a hint names: the first few that were found.
func rules(r *check.Report) []string {
	const most = 4
	var ids []string
	for _, f := range slices.Concat(r.Causes, r.AlsoNoticed) {
		if !slices.Contains(ids, f.Rule) && len(ids) < most {
			ids = append(ids, f.Rule)
		}
	}
	return ids
}

// checkHead is the cluster in a line, and the answer in another.
func (p *printer) checkHead(r *check.Report) {
	c := &r.Cluster
	words := []string{}
	for _, s := range []string{c.Name, c.Location, c.Version, c.Network} {
		if s != "" {
			words = append(words, model.Printable(s))
		}
	}
	size := fmt.Sprintf("%d nodes, %d pods, %d Services, %d policies", c.Nodes, c.Pods, c.Services, c.Policies)
	if c.Entered > 0 {
		size += fmt.Sprintf("; nodes entered: %d", c.Entered)
	}
	dot := p.glyph(" · ", " | ")
	p.line("", p.paint("bold", strings.Join(words, dot))+p.paint("dim", dot+size))
	risks := 0
	for i := range r.AlsoNoticed {
		if r.AlsoNoticed[i].Severity > check.Notice {
			risks++
		}
	}
	text, style := "nothing is wrong", "pass"
	switch r.Works {
	case "false":
		text, style = counted(len(r.Causes), "thing is likely wrong", "things are likely wrong"), "drop"
	case "unknown":
		text, style = "nothing was found, but not everything could be checked", "unknown"
	}
	if risks > 0 {
		text += ", " + fmt.Sprintf("%d worth a look", risks)
	}
	if n := len(r.AlsoNoticed) - risks; n > 0 {
		text += ", " + counted(n, "notice", "notices")
	}
	p.line(p.glyph("⇒ ", "=> "), p.paint(style, text))
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// perRule is how many findings of one kind are shown where not all are asked for.
const perRule = 5

func (p *printer) group(list []check.Finding) {
	shown := map[string]int{}
	rest := map[string]int{}
	for i := range list {
		f := &list[i]
		if shown[f.Rule]++; shown[f.Rule] > perRule && !p.o.Wide {
			rest[f.Rule]++
			continue
		}
		p.finding(f)
	}
	for _, rule := range sortedKeys(rest) {
		p.line("    ", p.paint("dim", fmt.Sprintf("and %d more of %s: -o wide", rest[rule], rule)))
	}
}

// finding is one line; what it rests on and the remedies follow where all is asked for.
func (p *printer) finding(f *check.Finding) {
	mark, style := p.mark(f)
	lead := fmt.Sprintf("  %s %s ", p.paint(style, mark), p.paint(style, pad(word(f), 7)))
	text := model.Printable(f.Title)
	if !names(text, f.Subject) {
		text += p.paint("dim", p.glyph("  → ", "  -> ")+model.Printable(string(f.Subject)))
	}
	p.line(lead, text)
	if p.o.Wide {
		p.details(f)
	}
}

// names says that a sentence names an object already.
func names(text string, ref model.Ref) bool {
	for _, part := range ref.Parts() {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(model.Printable(part))) {
			return false
		}
	}
	return len(ref.Parts()) > 0
}

func (p *printer) mark(f *check.Finding) (string, string) {
	switch {
	case f.Confidence >= diagnose.Likely && f.Severity >= check.Broken:
		return p.glyph("✗", "XX"), "drop"
	case f.Severity >= check.Risk:
		return p.glyph("!", "! "), "unknown"
	}
	return p.glyph("·", "- "), "dim"
}

// word is how bad it is, if it is so.
func word(f *check.Finding) string {
	if f.Confidence < diagnose.Likely && f.Severity > check.Notice {
		return "look"
	}
	return f.Severity.String()
}

func pad(s string, n int) string { return s + strings.Repeat(" ", max(0, n-ansi.StringWidth(s))) }

func (p *printer) details(f *check.Finding) {
	const in = "            "
	p.line(in, p.paint("dim", fmt.Sprintf("%s, %s; change %s", f.Rule, f.Confidence, model.Printable(string(f.Subject)))))
	if f.Summary != "" {
		p.line(in, model.Printable(f.Summary))
	}
	for _, e := range f.Evidence {
		p.line(in+p.glyph("• ", "* "), model.Printable(e.Text)+p.paint("dim", " ["+e.Source+"]"))
	}
	p.commands(f.Fix)
	for _, g := range f.Gaps {
		p.line(in+"? ", "surer with: "+gapText(g))
	}
	if f.Docs != "" {
		p.line(in, p.paint("dim", "see "+model.Printable(f.Docs)))
	}
}

// unchecked lists what could not be read; what the user chose to leave out is dim.
func (p *printer) unchecked(r *check.Report) {
	titled := false
	for _, g := range fold(r.NotChecked) {
		if !titled {
			p.title("Could not be checked")
			titled = true
		}
		p.line("  ? ", gapText(g))
	}
}
