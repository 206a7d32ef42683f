package report

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
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
			room = append(room, u.Text())
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
	text := u.Text()
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
		p.line("      ", model.Printable(u.Sharing(w)))
	}
	if u.State == resource.Room && !p.o.Wide || mended(r, u) {
		return
	}
	if u.State == resource.Room && len(u.Remedy) > 0 {
		p.line("      ", p.paint("dim", "there is room; what would help if it ran short:"))
	}
	for _, c := range u.Remedy {
		p.command(c)
	}
}

// relevantFirst puts what a cause is about, or speaks of, before what is only on the
// way, however little is left of that; each in the order that it had.
func relevantFirst(uses []resource.Use, causes []diagnose.Finding) []resource.Use {
	rank := func(u *resource.Use) int {
		for i := range causes {
			if causes[i].Subject == u.Of {
				return i
			}
		}
		for i := range causes {
			if slices.ContainsFunc(causes[i].Evidence, func(e diagnose.Evidence) bool { return e.Source != "probe" && slices.Contains(e.Refs, u.Of) }) {
				return len(causes) + i
			}
		}
		return 2 * len(causes)
	}
	slices.SortStableFunc(uses, func(a, b resource.Use) int { return cmp.Compare(rank(&a), rank(&b)) })
	return uses
}

// spokenOf are the rules whose commands mend that a kind of resource ran out. Another
// cause about the same node or load balancer mends something else.
var spokenOf = map[string]string{
	"snat-lb": "snat-ports", "snat-natgw": "natgw-ports", "snat-firewall": "firewall-ports", "idle-timeout": "idle-timeout",
	resource.Conntrack: "conntrack-full", resource.NodeCPU: "node-cpu",
}

// mended says that the cause which is that it ran out already says how to mend it, or
// that any other says the same.
func mended(r *Report, u resource.Use) bool {
	return slices.ContainsFunc(r.Causes, func(f diagnose.Finding) bool {
		told := func(c diagnose.Command) bool {
			return slices.ContainsFunc(f.Fix, func(o diagnose.Command) bool { return o.Text == c.Text && o.Line == c.Line })
		}
		return f.Subject == u.Of && len(f.Fix) > 0 && f.Rule == spokenOf[u.Kind] || !slices.ContainsFunc(u.Remedy, func(c diagnose.Command) bool { return !told(c) })
	})
}
