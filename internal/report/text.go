package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"github.com/muesli/termenv"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// Options say what the terminal can do.
type Options struct {
	Width int  // columns; 0 means 100
	Color bool // ANSI colours
	ASCII bool // no characters beyond ASCII in the drawing
	Wide  bool // also steps' trails, all queries, skipped rules
}

type printer struct {
	b     strings.Builder
	o     Options
	width int
	style map[string]lipgloss.Style
}

// Text draws the path, one line a hop with its verdict and the line that
// decided; then the causes; then what the probes saw and what could not be checked.
func Text(w io.Writer, r *Report, o Options) error {
	p := newPrinter(o)
	p.head(r)
	p.answer(r)
	p.watched(r)
	for i := range r.Paths {
		p.path(r, i)
	}
	p.name(r)
	p.causes(r)
	p.resources(r)
	p.findings("Also noticed (explains nothing here)", r.AlsoNoticed, false)
	p.findings("Prediction and observation disagree", r.Disagreements, false)
	p.observations(r)
	p.list("What the answers say", r.Narrowed)
	if len(r.Causes) == 0 && r.Works != "true" {
		p.list("Ruled out", r.RuledOut)
	}
	p.notChecked(r)
	if o.Wide {
		p.skipped(r)
	}
	p.list("Notes", r.Notes)
	_, err := io.WriteString(w, p.b.String())
	return err
}

func newPrinter(o Options) *printer {
	p := &printer{o: o, width: o.Width}
	if p.width == 0 {
		p.width = 100
	}
	p.width = max(p.width, 40)
	re := lipgloss.NewRenderer(io.Discard)
	re.SetColorProfile(termenv.Ascii)
	if o.Color {
		re.SetColorProfile(termenv.ANSI)
	}
	color := func(c string) lipgloss.Style { return re.NewStyle().Foreground(lipgloss.Color(c)) }
	p.style = map[string]lipgloss.Style{
		"pass": color("2"), "drop": color("1").Bold(o.Color), "reject": color("1").Bold(o.Color), "unknown": color("3"),
		"dim": color("8"), "bold": re.NewStyle().Bold(o.Color), "cmd": color("6"),
	}
	return p
}

func (p *printer) paint(style, text string) string { return p.style[style].Render(text) }

// glyph picks the drawing's characters: UTF-8 or plain.
func (p *printer) glyph(utf, plain string) string {
	if p.o.ASCII {
		return plain
	}
	return utf
}

// line writes text wrapped to the terminal, continuation lines under the text's own start.
func (p *printer) line(lead, text string) {
	indent := ansi.StringWidth(lead)
	room := max(p.width-indent, 20)
	if p.o.ASCII {
		text = asciiOnly(text)
	}
	for i, l := range strings.Split(ansi.Wrap(text, room, " "), "\n") {
		if i > 0 {
			lead = strings.Repeat(" ", indent)
		}
		p.b.WriteString(strings.TrimRight(lead+l, " ") + "\n")
	}
}

func (p *printer) title(text string) { p.b.WriteString("\n" + p.paint("bold", text) + "\n") }

func (p *printer) head(r *Report) {
	verdict, style := map[string]string{"true": "works", "false": "FAILS", "slow": "SLOW", "unknown": "unknown"}[r.Works], "unknown"
	switch r.Works {
	case "true":
		style = "pass"
		if r.Persistence == "recovered" {
			verdict = "works again"
		}
	case "false":
		style = "drop"
		if r.Persistence == "intermittent" {
			verdict += " now and then"
		}
	}
	to := model.Printable(r.Question.To.Raw)
	if r.Question.Protocol == "udp" {
		to += " (udp)"
	}
	p.line("", p.paint("bold", model.Printable(r.Question.From.Raw)+p.glyph(" → ", " -> ")+to)+"  "+p.paint(style, verdict)+p.dimmed(symptom(r)))
}

// answer is the cause in one line, for those who read no further.
func (p *printer) answer(r *Report) {
	if len(r.Causes) == 0 || r.Causes[0].Confidence < diagnose.Likely {
		return
	}
	f := r.Causes[0]
	p.line("  "+p.glyph("⇒ ", "=> "), model.Printable(f.Title)+"  "+p.confidence(f.Confidence)+p.paint("dim", p.glyph(" · ", " | ")+"change ")+model.Printable(string(f.Subject)))
}

func (p *printer) dimmed(s string) string {
	if s == "" {
		return ""
	}
	return p.paint("dim", "  "+s)
}

// askedFrom are the question's own probes from a place: one for each address of the destination.
func askedFrom(r *Report, v model.Vantage) []*model.Observation {
	var out []*model.Observation
	for i := range r.Observations {
		if o := &r.Observations[i]; o.Vantage == v && (o.Purpose == "" || o.Purpose == "question") {
			out = append(out, o)
		}
	}
	return out
}

// symptom is what the question's own probe saw, in a few words: the one that
// failed, where one of several addresses does.
func symptom(r *Report) string {
	var list []*model.Observation
	for i := range r.Observations {
		if o := &r.Observations[i]; question(r, o) {
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		return ""
	}
	telling := slices.IndexFunc(list, func(o *model.Observation) bool { return (o.Result == model.OK) == (r.Works == "true") })
	o := list[max(telling, 0)]
	if o.Result == model.OK {
		return whichOne(r) + fmt.Sprintf("%s in %s", answer(o), dur(o.Took))
	}
	s := string(o.Result)
	if o.Failed != "" {
		s += " at " + o.Failed
	}
	if o.HTTP != nil && o.Result == model.HTTPStatus {
		s = answer(o)
	}
	if r.Works == "true" && r.Persistence == "recovered" {
		s = "before: " + s
	}
	if o.Address.IsValid() {
		s += " with " + o.Address.String()
	}
	return s + " after " + dur(o.Took)
}

// whichOne says of a good answer, where the question fails, what it is of.
func whichOne(r *Report) string {
	switch s := r.Watched; {
	case r.Works != "false":
		return ""
	case s != nil && s.Idle != nil && s.Idle.Ends > 0:
		return "a new connection: "
	}
	return "this time "
}

func answer(o *model.Observation) string {
	if o.HTTP != nil {
		return fmt.Sprintf("HTTP %d", o.HTTP.Status)
	}
	return "answered"
}

func (p *printer) path(r *Report, i int) {
	path := &r.Paths[i]
	head := "The way"
	if i > 0 {
		head = "The way, to " + path.Flow.Dst.String()
	}
	if path.Verdict == model.Unknown && r.Works != "true" {
		head += " (parts could not be read)"
	}
	p.title(head)
	if i == 0 {
		p.lookup(r)
	}
	p.steps(path.Steps)
	if broken := path.Broken(); broken == nil && len(path.Return) > 0 || p.o.Wide {
		p.b.WriteString(p.paint("dim", "  and back") + "\n")
		p.steps(path.Return)
	} else if broken != nil {
		p.returnBroken(path)
	}
}

// lookup is the first line of the way: what became of the name, as the question's own probe saw it.
func (p *printer) lookup(r *Report) {
	for i := range r.Observations {
		o := &r.Observations[i]
		if !question(r, o) {
			continue
		}
		ph := o.PhaseOf("dns")
		if ph == nil || len(o.Queries) == 0 {
			continue
		}
		last := o.Queries[len(o.Queries)-1]
		name := strings.TrimSuffix(model.Printable(last.Name), ".")
		if ph.Result != model.OK {
			p.hop("drop", p.glyph("✗", "XX"), "dns", p.paint("bold", name)+p.paint("dim", p.glyph(" — ", " - "))+string(ph.Result)+" from "+last.Server.String()+" after "+dur(ph.Duration))
			return
		}
		var addrs []string
		for _, q := range o.Queries {
			if q.Result == model.OK {
				addrs = append(addrs, q.Answers...)
				name = strings.TrimSuffix(model.Printable(q.Name), ".")
			}
		}
		p.hop("pass", p.glyph("✓", "ok"), "dns", name+p.paint("dim", p.glyph(" — ", " - ")+clip(model.Printable(strings.Join(addrs, " ")), 120)+", "+dur(ph.Duration)+" by "+last.Server.Addr().String()))
		return
	}
}

func (p *printer) hop(style, mark, hop, text string) {
	p.line(fmt.Sprintf("  %s %s %-11s ", p.paint("dim", p.glyph("│", "|")), p.paint(style, mark), hop), text)
}

// returnBroken shows the way back only where it is where the packet dies.
func (p *printer) returnBroken(path *model.Path) {
	for _, s := range path.Return {
		if s.Verdict == model.Drop || s.Verdict == model.Reject {
			p.b.WriteString(p.paint("dim", "  and back") + "\n")
			p.steps(path.Return)
			return
		}
	}
}

func (p *printer) steps(steps []model.Step) {
	mark := map[model.Verdict][2]string{
		model.Pass: {"✓", "ok"}, model.Drop: {"✗", "XX"}, model.Reject: {"✗", "XX"}, model.Unknown: {"?", "??"},
	}
	dead := false
	for _, s := range steps {
		style := s.Verdict.String()
		m := p.glyph(mark[s.Verdict][0], mark[s.Verdict][1])
		bar := p.glyph("│", "|")
		if dead {
			style, bar = "dim", p.glyph("┊", ":")
		}
		lead := fmt.Sprintf("  %s %s %-11s ", p.paint("dim", bar), p.paint(style, m), s.Hop)
		text := model.Printable(s.Title)
		if s.Verdict == model.Drop || s.Verdict == model.Reject {
			text = p.paint("bold", text)
		}
		if s.Reason != "" {
			text += p.paint("dim", p.glyph(" — ", " - ")) + model.Printable(s.Reason)
		}
		p.line(lead, text)
		if s.Decided != "" && (s.Verdict != model.Pass || p.o.Wide) {
			p.line(strings.Repeat(" ", ansi.StringWidth(lead)), p.paint(style, p.glyph("▸ ", "> ")+model.Printable(string(s.Decided))))
		}
		if p.o.Wide {
			for _, t := range s.Trail {
				p.line(strings.Repeat(" ", ansi.StringWidth(lead)), p.paint("dim", model.Printable(t)))
			}
		}
		dead = dead || s.Verdict == model.Drop || s.Verdict == model.Reject
	}
}

func (p *printer) observations(r *Report) {
	if len(r.Observations) == 0 {
		return
	}
	p.title("What probes saw")
	hidden := 0
	for i := range r.Observations {
		o := &r.Observations[i]
		if !p.o.Wide && !tells(r, o) {
			hidden++
			continue
		}
		style, m := "drop", p.glyph("✗", "XX")
		switch o.Result {
		case model.OK:
			style, m = "pass", p.glyph("✓", "ok")
		case model.ProbeFailed, "":
			style, m = "unknown", p.glyph("?", "??")
		}
		from := string(o.Vantage)
		if o.From != "" {
			from += " " + strings.TrimPrefix(model.Printable(string(o.From)), "pod/")
		}
		switch {
		case o.Vantage == model.VantagePod && o.Via == "twin": // podpath's own pod, which stands for the one that was asked about
			from = "twin of " + from
		case o.Via != "" && p.o.Wide:
			from += " (" + o.Via + ")"
		}
		what := ""
		switch {
		case (o.Purpose == "" || o.Purpose == "question") && o.Address.IsValid() && len(askedFrom(r, o.Vantage)) > 1:
			what = o.Address.Addr().String() + ": "
		case o.Purpose != "" && o.Purpose != "question":
			what = model.Printable(o.Purpose) + " " + model.Printable(o.Target) + ": "
		}
		p.line(fmt.Sprintf("    %s ", p.paint(style, m)), from+p.paint("dim", p.glyph(" · ", "  "))+what+phases(o))
		if p.o.Wide {
			for _, q := range o.Queries {
				p.line("        ", p.paint("dim", fmt.Sprintf("%s %s @%s/%s: %s %s %s", model.Printable(q.Name), q.Type, q.Server, q.Transport, q.Result,
					model.Printable(strings.Join(q.Answers, " ")), dur(q.Duration))))
			}
		}
	}
	if hidden > 0 {
		p.line("    ", p.paint("dim", fmt.Sprintf("and %d more, to compare with: -o wide", hidden)))
	}
}

// tells says whether a line is worth reading: the question's own probes are, and
// a control from where it is asked that ended otherwise than the question did.
func tells(r *Report, o *model.Observation) bool {
	all := r.Observations
	if o.Purpose == "" || o.Purpose == "question" {
		return true
	}
	if o.Vantage != diagnose.OriginOf(&r.Question) || o.Result == model.ProbeFailed || strings.HasPrefix(o.Purpose, "recheck:") || o.Purpose == "control:dns-pod" && o.Result == model.OK {
		return false
	}
	for i := range all {
		q := &all[i]
		if (q.Purpose == "" || q.Purpose == "question") && q.Vantage == o.Vantage && q.Result == o.Result && q.Failed == o.Failed {
			return false
		}
	}
	return true
}

func phases(o *model.Observation) string {
	var parts []string
	for _, ph := range o.Phases {
		s := ph.Name + " "
		if ph.Result == model.OK {
			s += dur(ph.Duration)
		} else {
			s += strings.ToUpper(string(ph.Result)) + " " + dur(ph.Duration)
		}
		if ph.Name == "http" && o.HTTP != nil {
			s = fmt.Sprintf("http %d %s", o.HTTP.Status, dur(ph.Duration))
			if o.HTTP.Answered == "proxy" || o.HTTP.Answered == "firewall" {
				s += " from the " + model.Printable(o.HTTP.Answered)
			}
			if to := o.HTTP.Header["Location"]; to != "" && o.HTTP.Status/100 == 3 {
				s += " that sends to " + clip(model.Printable(model.PublicURL(to)), 120) + " (not followed)"
			}
		}
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		parts = []string{string(o.Result)}
	}
	s := strings.Join(parts, ", ")
	if o.Detail != "" && o.Result != model.OK {
		s += " (" + clip(model.Printable(o.Detail), 160) + ")"
	}
	return s
}

func (p *printer) causes(r *Report) {
	if len(r.Causes) == 0 {
		switch r.Works {
		case "true":
		case "unknown":
			p.title("No answer: the question could not be probed from its own side, and configuration alone shows no cause")
		case "slow":
			p.title("It is slow, and no cause could be proven")
		default:
			p.title("It fails, and no cause could be proven")
		}
		return
	}
	head := "Cause"
	if len(r.Causes) > 1 {
		head = "Causes, most likely first"
	}
	p.findings(head, r.Causes, true)
}

func (p *printer) findings(head string, list []diagnose.Finding, full bool) {
	if len(list) == 0 {
		return
	}
	p.title(head)
	for i, f := range list {
		lead := fmt.Sprintf("  %d. ", i+1)
		p.line(lead, p.paint("bold", model.Printable(f.Title))+"  "+p.confidence(f.Confidence))
		p.line("     ", p.paint("dim", fmt.Sprintf("change %s · hop %s · podpath explain %s", model.Printable(string(f.Subject)), f.Hop, f.Rule)))
		if !full && !p.o.Wide {
			continue
		}
		if f.Summary != "" {
			p.line("     ", model.Printable(f.Summary))
		}
		for _, e := range f.Evidence {
			source := ""
			if e.Source != "" {
				source = p.paint("dim", " ["+e.Source+"]")
			}
			p.line("     "+p.glyph("• ", "* "), model.Printable(e.Text)+source)
		}
		p.commands(f.Fix)
		for _, g := range f.Gaps {
			p.line("     ? ", "surer with: "+gapText(g))
		}
	}
}

// commands are what mends something: what verifies it stands once, under the last of
// those that it is the proof of, and so after all where it is the only one.
func (p *printer) commands(fix []diagnose.Command) {
	proofs := map[string]bool{}
	only := ""
	for _, c := range fix {
		if c.Verify != "" {
			proofs[c.Verify], only = true, c.Verify
		}
	}
	for i, c := range fix {
		switch {
		case len(proofs) == 1 && i+1 < len(fix), i+1 < len(fix) && fix[i+1].Verify == c.Verify:
			c.Verify = ""
		case len(proofs) == 1:
			c.Verify = only
		}
		p.command(c)
	}
}

func (p *printer) command(c diagnose.Command) {
	p.line("     "+p.glyph("→ ", "> "), model.Printable(c.Text))
	// Commands are not wrapped: they are there to be pasted.
	for _, l := range []struct{ lead, text string }{{"         $ ", c.Line}, {"  verify $ ", c.Verify}} {
		if l.text != "" {
			p.b.WriteString(p.paint("dim", l.lead) + p.paint("cmd", model.Printable(l.text)) + "\n")
		}
	}
}

func (p *printer) confidence(c diagnose.Confidence) string {
	switch c {
	case diagnose.Proven:
		return p.paint("drop", "proven")
	case diagnose.Likely:
		return p.paint("unknown", "likely")
	}
	return p.paint("dim", c.String())
}

func (p *printer) list(head string, items []string) {
	if len(items) == 0 {
		return
	}
	p.title(head)
	for _, s := range items {
		p.line("    "+p.glyph("• ", "* "), model.Printable(s))
	}
}

// byDesign is what podpath asks nobody for: its pods run without capabilities.
// Beside a proven cause there is no use in naming it.
const byDesign = "NET_ADMIN capability"

func (p *printer) notChecked(r *Report) {
	proven := len(r.Causes) > 0 && r.Causes[0].Confidence == diagnose.Proven
	titled := false
	for _, g := range fold(r.NotChecked) {
		if g.Permission == byDesign && proven && !p.o.Wide {
			continue
		}
		if !titled {
			p.title("Could not be checked")
			titled = true
		}
		p.line("    ? ", gapText(g))
	}
	for _, s := range r.Skipped {
		if strings.HasPrefix(s.Why, diagnose.Broke) {
			p.line("    ? ", fmt.Sprintf("rule %s: %s; please report it", s.Rule, model.Printable(s.Why)))
		}
	}
}

func gapText(g model.Gap) string {
	s := model.Printable(g.What)
	if g.Reason != "" {
		s += ": " + clip(model.Printable(g.Reason), 200)
	}
	if g.Permission != "" {
		s += " — needs " + model.Printable(g.Permission)
	}
	return s
}

func (p *printer) skipped(r *Report) {
	if len(r.Skipped) == 0 {
		return
	}
	p.title("Rules that could not speak")
	for _, s := range r.Skipped {
		p.line("    ? ", s.Rule+": "+model.Printable(s.Why))
	}
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func asciiOnly(s string) string {
	r := strings.NewReplacer("µ", "u", "→", "->", "—", "-", "–", "-", "…", "...", "·", "|", "≤", "<=", "≥", ">=", "×", "x", "’", "'", "“", `"`, "”", `"`, "«", `"`, "»", `"`)
	return strings.Map(func(c rune) rune {
		if c > 0x7e {
			return '?'
		}
		return c
	}, r.Replace(s))
}

// dur prints a duration as people say it: two digits and a unit.
func dur(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
