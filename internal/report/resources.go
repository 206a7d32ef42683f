package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
)

// resources are the things on the way that can run out. Those with room are told
// where a series was asked for, or everything is: in short.
func (p *printer) resources(r *Report) {
	all := p.o.Wide
	var shown []resource.Use
	var room []string
	for _, u := range r.Resources {
		switch {
		case all || u.State != resource.Room:
			shown = append(shown, u)
		case r.Watched != nil && !brief(r.Watched):
			room = append(room, amount(u))
		}
	}
	if len(shown) == 0 && len(room) == 0 {
		return
	}
	p.title("What can run out")
	for _, u := range shown {
		p.resource(r, u)
	}
	if len(room) > 0 {
		p.line("  "+p.paint("pass", p.glyph("✓ ", "+ ")), "room: "+model.Printable(some(room)))
	}
}

// resource is one of them: its numbers, what was read beside them, who uses it, what helps.
func (p *printer) resource(r *Report, u resource.Use) {
	style, mark := "pass", p.glyph("✓ ", "+ ")
	switch u.State {
	case resource.Out:
		style, mark = "drop", p.glyph("✗ ", "x ")
	case resource.Near:
		style, mark = "unknown", "! "
	case resource.Unknown:
		style, mark = "unknown", "? "
	}
	text := amount(u)
	if u.Pace != 0 {
		text += fmt.Sprintf(", %+.3g a minute", u.Pace)
	}
	if u.Left > 0 {
		text += ": gone in " + gap(u.Left)
	}
	p.line("  "+p.paint(style, mark), model.Printable(text))
	for _, s := range u.Says {
		p.line("      ", model.Printable(s))
	}
	for _, w := range u.Who {
		p.line("      ", model.Printable(sharing(u, w)))
	}
	if u.State == resource.Room && !p.o.Wide || mended(r, u) {
		return
	}
	for _, c := range u.Remedy {
		p.command(c)
	}
}

// mended says that a cause about the same thing already says how to mend it.
func mended(r *Report, u resource.Use) bool {
	for i := range r.Causes {
		if r.Causes[i].Subject == u.Of && len(r.Causes[i].Fix) > 0 {
			return true
		}
	}
	return false
}

// amount is a resource with its numbers: "connection table of node/a: 12 of 65,536 entries (0 %)".
func amount(u resource.Use) string {
	text := u.Name + " of " + string(u.Of)
	if u.Toward != "" {
		text += " towards " + u.Toward
	}
	switch {
	case u.Unit == "%":
		return text + ": " + number(u.Used) + " %"
	case u.Limit > 0:
		return text + fmt.Sprintf(": %s of %s %s (%.0f %%)", number(u.Used), number(u.Limit), u.Unit, 100*u.Used/u.Limit)
	}
	return text + ": " + strings.TrimSpace(number(u.Used)+" "+u.Unit)
}

// sharing is one user's line.
func sharing(u resource.Use, w resource.Share) string {
	text := string(w.Ref) + ": " + number(w.Count)
	if u.Unit != "" {
		text += " " + u.Unit
	}
	if w.Toward != "" {
		text += " towards " + w.Toward
	}
	return text
}

// number writes a count with commas, a fraction with one digit.
func number(v float64) string {
	if v != float64(int64(v)) {
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	s := strconv.FormatInt(int64(v), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
