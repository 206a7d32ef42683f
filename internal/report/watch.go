package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// classes say each class in a few words.
var classes = map[watch.Class]string{
	watch.Undecided: "not decided", watch.Never: "no failure seen", watch.Intermittent: "intermittent", watch.Persistent: "persistent", watch.Recovered: "recovered",
}

// watched is what asking again and again told: how often, where, since when, and
// what so many tries cannot tell.
func (p *printer) watched(r *Report) {
	s := r.Watched
	if s == nil {
		return
	}
	p.title("Over time")
	if nothingSent(s) {
		p.unsent(r)
		return
	}
	if brief(s) && !p.o.Wide {
		p.inBrief(s)
		return
	}
	style := map[watch.Class]string{watch.Never: "pass", watch.Recovered: "pass", watch.Undecided: "unknown"}[s.Class]
	if style == "" {
		style = "drop"
	}
	what := ""
	if s.Idle != nil && s.Idle.Ends > 0 {
		what = "over new connections: "
	}
	p.line("  ", what+p.paint(style, classes[s.Class])+": "+Share(s.Rate)+" failed"+p.paint("dim", p.glyph(" · ", " | ")+span(s)))
	for i := range s.Slices {
		p.slice(s, &s.Slices[i])
	}
	for _, f := range Facts(s) {
		p.line("  "+p.paint("dim", p.glyph("▸ ", "> ")), model.Printable(f))
	}
}

// nothingSent says that a series was asked for, and that no place sent a single try.
func nothingSent(s *watch.Summary) bool {
	return len(s.Slices) == 0 && s.Late == 0 && s.Idle == nil && s.Rate.Of == 0
}

// unsent says so, and what would allow it: what follows it in the report is not what
// was asked for.
func (p *printer) unsent(r *Report) {
	p.line("  "+p.paint("unknown", "? "), "not decided: nothing was sent, for no prober could start. What follows is judged by configuration and single probes alone, and says nothing of how lasting a failure is")
	for _, g := range fold(r.NotChecked) {
		if strings.HasPrefix(g.What, "probe ") {
			p.line("    "+p.paint("dim", p.glyph("▸ ", "> ")), gapText(g))
		}
	}
}

// brief says that there is nothing to tell but how little was asked: the few more
// tries of a question that all went as the first one did.
func brief(s *watch.Summary) bool {
	places := 0
	for i := range s.Slices {
		if s.Slices[i].Kind == "from" {
			places++
		}
	}
	return (s.Class == watch.Never || s.Class == watch.Persistent) && places == 1 && s.Rate.Of <= 25 && s.To.Sub(s.From) < 5*time.Second &&
		s.Late == 0 && s.Lookups == nil && s.SYNs == nil && s.Idle == nil
}

func (p *printer) inBrief(s *watch.Summary) {
	within := dur(s.To.Sub(s.From))
	if s.Class == watch.Never {
		p.line("  "+p.paint("pass", p.glyph("✓ ", "+ ")), fmt.Sprintf("asked %d times within %s: none failed; so few tell no rate under %s ('podpath watch' asks longer)", s.Rate.Of, within, percent(s.Blind)))
		return
	}
	p.line("  "+p.paint("drop", p.glyph("✗ ", "x ")), fmt.Sprintf("asked %d times within %s: all failed", s.Rate.Of, within))
}

// kind is what a slice is of, as short as its column is.
func kind(l *watch.Slice) string {
	switch {
	case l.Kind != "destination":
		return l.Kind
	case l.Own:
		return "to"
	}
	return "beside"
}

// shortName is a destination without what all of them begin with.
func shortName(l *watch.Slice) string {
	if _, rest, ok := strings.Cut(l.Name, "://"); ok && l.Kind == "destination" {
		return rest
	}
	return l.Name
}

// slice is one line of those that are worth comparing: a kind with one value says nothing that another line does not.
func (p *printer) slice(s *watch.Summary, l *watch.Slice) {
	alike := 0
	for i := range s.Slices {
		if s.Slices[i].Kind == l.Kind {
			alike++
		}
	}
	if !p.o.Wide && !(l.Kind == "from" || alike > 1) {
		return
	}
	name := fmt.Sprintf("%-8s %-18s ", kind(l), clip(model.Printable(shortName(l)), 18))
	text := p.spark(l.Spark) + "  " + Share(l.Rate)
	if l.Took.Max > 0 && (p.o.Wide || l.Rate.Count == 0) {
		text += p.paint("dim", p.glyph(" · ", " | ")) + fmt.Sprintf("p50 %s, p99 %s", dur(l.Took.P50), dur(l.Took.P99))
	}
	for i, w := range l.Reasons {
		if i < 2 {
			text += p.paint("dim", p.glyph(" · ", " | ")) + fmt.Sprintf("%s %s%d", w, p.glyph("×", "x"), w.Count)
		}
	}
	p.line("    "+name, text)
	if p.o.Wide && l.Kind == "from" {
		p.phases(l)
	}
}

// phases are how each phase of a place's tries fared: of those that reached it, and
// how long those took that got through it.
func (p *printer) phases(l *watch.Slice) {
	for _, f := range l.Phases {
		text := Share(f.Rate) + " failed"
		if t := f.Took; t.Max > 0 {
			text += p.paint("dim", p.glyph(" · ", " | ")) + fmt.Sprintf("p50 %s, p90 %s, p99 %s, at most %s", dur(t.P50), dur(t.P90), dur(t.P99), dur(t.Max))
		}
		p.line(fmt.Sprintf("        %-6s ", f.Name), text)
	}
}

// bars draw a stretch of a series by its share of failures.
var bars = []string{"▁", "▂", "▃", "▄", "▄", "▅", "▆", "▇", "▇", "█"}

// Bars draws a spark of package watch; plain keeps to ASCII.
func Bars(spark string, plain bool) string {
	if plain {
		return strings.NewReplacer("0", ".", "-", " ").Replace(spark)
	}
	var b strings.Builder
	for _, c := range spark {
		if c < '0' || c > '9' {
			b.WriteByte(' ')
			continue
		}
		b.WriteString(bars[c-'0'])
	}
	return b.String()
}

func (p *printer) spark(spark string) string { return Bars(spark, p.o.ASCII) }

// Share is a rate in words, with its interval at 95 %: "3 of 60 (5 %, 1.7–14 %)".
func Share(r watch.Rate) string {
	if r.Of == 0 {
		return "0 of 0"
	}
	return fmt.Sprintf("%d of %d (%s, %s–%s)", r.Count, r.Of, percent(r.Share()), strings.TrimSuffix(percent(r.Low), " %"), percent(r.High))
}

func percent(v float64) string {
	if v == 0 || v >= 0.0995 {
		return fmt.Sprintf("%.0f %%", 100*v)
	}
	return fmt.Sprintf("%.2g %%", 100*v)
}

func span(s *watch.Summary) string {
	if s.From.IsZero() {
		return "nothing that counts was sent"
	}
	return fmt.Sprintf("%s to %s UTC, %s", s.From.UTC().Format("15:04:05"), s.To.UTC().Format("15:04:05"), dur(s.To.Sub(s.From)))
}

// Facts are the sentences about a series, those that hold.
func Facts(s *watch.Summary) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch w := s.Where.String(); {
	case w != "":
		out = append(out, w)
	case s.Rate.Count > 0 && !s.Starved():
		add("where it lives cannot be told: too few failures, or nothing to compare with")
	}
	if places := nameless(s); places != "" {
		add("%s: the resolver there does not know the name, so that what fails there counts for nothing", places)
	}
	for _, c := range s.Changes {
		line := fmt.Sprintf("at %s UTC the share of failures went from %s to %s", c.At.UTC().Format("15:04:05"), percent(c.Before), percent(c.After))
		for _, m := range s.Moves {
			if m.Change.Equal(c.At) {
				line += fmt.Sprintf("; %s after %s (%s)", dur(m.After), clip(m.What, 120), m.Ref)
			}
		}
		add("%s", line)
	}
	if p := diagnose.Period(s); p != "" {
		out = append(out, p)
	}
	out = append(out, limits(s)...)
	return append(out, senders(s)...)
}

// nameless are the places that never find a name which the question's own place does
// find, as package watch leaves them out: a node's resolver, and this machine's, need
// not know the cluster's names.
func nameless(s *watch.Summary) string {
	var places []string
	for i := range s.Slices {
		l := &s.Slices[i]
		never := l.Rate.Count > 0 && l.Rate.Count == l.Rate.Of && !slices.ContainsFunc(l.Reasons, func(r watch.Reason) bool {
			return r.Phase != "dns" || r.Result != model.NXDomain && r.Result != model.NoData
		})
		switch {
		case l.Kind != "from" || !never:
		case l.Own:
			return ""
		default:
			places = append(places, l.Name)
		}
	}
	return strings.Join(places, ", ")
}

// limits are what so many tries cannot tell.
func limits(s *watch.Summary) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	tries := s.Rate.Of - s.Since
	switch s.Class {
	case watch.Never:
		add("%d tries are too few to tell rates under %s; to tell 1 %% takes 459", tries, percent(s.Blind))
	case watch.Persistent:
		add("%d failures in a row do not exclude that up to %s get through", tries, percent(s.Blind))
	case watch.Recovered:
		add("%d tries worked since; a rate under %s would not have shown", tries, percent(s.Blind))
	case watch.Undecided:
		out = append(out, undecided(s, tries))
	}
	if d := s.Lookups; d != nil {
		library := ""
		if d.After == model.LookupWait {
			library = "; the C library's resolver waits 5 s before it does"
		}
		add("%s lookups waited %s: a query or its answer was lost, and asked again%s", Share(d.Rate), dur(d.After), library)
	}
	if d := s.SYNs; d != nil {
		add("%s connections waited %s: a SYN or its answer was lost, and sent again", Share(d.Rate), dur(d.After))
	}
	if s.SYNs != nil && impatient(s) {
		add("the other places wait for two SYNs, the question's own for three: by the same loss they fail more often")
	}
	if i := s.Idle; i != nil {
		out = append(out, idle(i))
	}
	return out
}

// undecided says why it is: with no try of its own a longer series would not tell either.
func undecided(s *watch.Summary, since int) string {
	switch {
	case s.Starved():
		return fmt.Sprintf("of %d tries of the question's own place %d count, which tell neither how lasting it is nor where it lives: of the others the sender itself was late. Its pod or node is short of CPU: mend that, watch at a lower --rate, or from other places (--vantage)", s.Rate.Of+s.OwnLate, s.Rate.Of)
	case s.Rate.Of == 0:
		return "no try of the question's own place counts: what is told is of the others alone"
	case s.Since == 0:
		return fmt.Sprintf("so few tries (%d) do not tell which it is: watch longer (--for, --rate)", s.Rate.Of)
	}
	return fmt.Sprintf("%d tries, %d since the last change, do not tell which it is: watch longer (--for, --rate)", s.Rate.Of, since)
}

// impatient says that another place gave up connections while packets were lost.
func impatient(s *watch.Summary) bool {
	return slices.ContainsFunc(s.Slices, func(l watch.Slice) bool {
		return l.Kind == "from" && !l.Own && slices.ContainsFunc(l.Reasons, func(r watch.Reason) bool { return r.Phase == "tcp" && r.Result == model.TimedOut })
	})
}

func idle(i *watch.Idle) string {
	switch {
	case i.Ends == 0 && i.Closed > 0:
		return fmt.Sprintf("the far side itself closes a kept connection within %s of silence, as it may: a client has to notice that before it uses one again", gap(i.Closed))
	case i.Ends == 0:
		return fmt.Sprintf("kept connections survived up to %s of silence", gap(i.Holds))
	case i.Mixed:
		return fmt.Sprintf("of kept connections some ended after %s of silence and others survived longer: that is no time-out", gap(i.Ends))
	}
	how := ""
	if len(i.As) > 0 {
		how = " (" + string(i.As[0].Result) + ")"
	}
	return fmt.Sprintf("a kept connection survives %s of silence and not %s%s: something on the way forgets it in between; keep it alive more often than that", gap(i.Holds), gap(i.Ends), how)
}

// gap is a time of silence, as --idle takes it.
func gap(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// senders is what the probers say of themselves, where it matters.
func senders(s *watch.Summary) []string {
	var out []string
	if s.Late > 0 {
		out = append(out, fmt.Sprintf("%d tries are left out: their sender itself was late by more than %s", s.Late, dur(watch.Lateness)))
	}
	var worst, busiest model.Noise
	for _, n := range s.Noise {
		if n.LagMax >= worst.LagMax {
			worst = n
		}
		if n.Load >= busiest.Load {
			busiest = n
		}
		if n.Left > 0 {
			out = append(out, fmt.Sprintf("prober %s: %d tries were not sent: too many were still under way", n.Vantage, n.Left))
		}
	}
	if len(s.Noise) == 0 {
		return out
	}
	line := fmt.Sprintf("the probers' own timers were late by %s at most (%s)", dur(worst.LagMax), worst.Vantage)
	if busiest.Load > 0 {
		line += fmt.Sprintf("; load of their nodes up to %.1f", busiest.Load)
	}
	if busiest.Pressure > 0 {
		line += fmt.Sprintf(", where %.0f %% of the time something waited for a CPU", busiest.Pressure)
	}
	return append(out, line)
}
