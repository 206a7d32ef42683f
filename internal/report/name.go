package report

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// name shows the way of a name: every name that the resolver asks for, who is
// predicted to answer and what, and what each query really got. Where the name
// resolves, the way's first line says enough.
func (p *printer) name(r *Report) {
	l := r.Lookup
	if l == nil || len(l.Tries) == 0 || !p.o.Wide && !nameFailed(r) {
		return
	}
	p.title("The name " + model.Printable(l.Host))
	p.resolver(&l.Resolver)
	seen := asked(r)
	for i := range l.Tries {
		p.try(&l.Tries[i], seen)
	}
	for _, q := range seen {
		if !predicted(l, q.Name) {
			p.query(q)
		}
	}
	for _, note := range l.Notes {
		p.line("    ", p.paint("dim", model.Printable(note)))
	}
}

func nameFailed(r *Report) bool {
	for i := range r.Observations {
		o := &r.Observations[i]
		if question(r, o) && o.Failed == "dns" {
			return true
		}
	}
	return false
}

// question says that an observation is the question's own, from where it is asked.
func question(r *Report, o *model.Observation) bool {
	return o.Vantage == diagnose.OriginOf(&r.Question) && (o.Purpose == "" || o.Purpose == "question")
}

// asked are the queries of the first of the question's own probes.
func asked(r *Report) []model.DNSQuery {
	for i := range r.Observations {
		if o := &r.Observations[i]; question(r, o) && len(o.Queries) > 0 {
			return o.Queries
		}
	}
	return nil
}

func predicted(l *model.Lookup, name string) bool {
	for i := range l.Tries {
		if strings.EqualFold(l.Tries[i].Name, name) {
			return true
		}
	}
	return false
}

func (p *printer) resolver(r *model.Resolver) {
	servers := make([]string, len(r.Servers))
	for i, a := range r.Servers {
		servers[i] = a.String()
	}
	text := fmt.Sprintf("asks %s; search %s; ndots %d", orNone(servers), orNone(r.Search), r.Ndots)
	if r.From != "" {
		text += " (" + r.From + ")"
	}
	p.line("    ", p.paint("dim", model.Printable(text)))
}

func orNone(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, " ")
}

// try is one query name: prediction first, then each query with its answer.
func (p *printer) try(t *model.LookupTry, seen []model.DNSQuery) {
	p.line("  ", p.paint("bold", model.Printable(t.Name))+p.dimmed("predicted: "+expected(t)))
	for i := range t.Steps {
		s := &t.Steps[i]
		if s.Verdict != model.Pass || i == len(t.Steps)-1 || p.o.Wide || s.Title == "Corefile" {
			p.line("      ", model.Printable(s.Title)+p.paint("dim", p.glyph(" — ", " - ")+model.Printable(s.Reason)))
		}
	}
	for _, q := range seen {
		if strings.EqualFold(q.Name, t.Name) {
			p.query(q)
		}
	}
}

func expected(t *model.LookupTry) string {
	switch {
	case t.Result == "":
		return "not known from configuration"
	case len(t.Answers) > 0:
		return clip(strings.Join(t.Answers, " "), 80)
	}
	return string(t.Result)
}

func (p *printer) query(q model.DNSQuery) {
	style, mark := "drop", p.glyph("✗", "XX")
	if q.Result == model.OK {
		style, mark = "pass", p.glyph("✓", "ok")
	}
	got := string(q.Result)
	if len(q.Answers) > 0 {
		got = clip(model.Printable(strings.Join(q.Answers, " ")), 80)
	}
	p.line(fmt.Sprintf("    %s ", p.paint(style, mark)), fmt.Sprintf("%-4s %s %s/%s: %s, %s", q.Type, model.Printable(q.Name), q.Server.Addr(), q.Transport, got, dur(q.Duration)))
}
