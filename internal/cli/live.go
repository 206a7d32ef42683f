package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
	"github.com/podpath/podpath/internal/report"
	"github.com/podpath/podpath/internal/watch"
)

// liveView shows a series as it goes: on a terminal a line for each slice, drawn anew
// in place; elsewhere a line of text now and then; as JSON, one line an outcome.
type liveView struct {
	w     io.Writer // standard error on a terminal and as text; standard output for JSON lines
	json  *json.Encoder
	tty   bool
	quiet bool
	plain bool
	width int
	now   func() time.Time

	mu     sync.Mutex
	what   string
	lines  []slice
	drawn  int // lines on the terminal
	last   time.Time
	opened time.Time
	begun  time.Time // the series
}

// slice is what the live view keeps of one place and address.
type slice struct {
	place model.Vantage
	name  string
	tries []model.Try
}

// The pace of drawing, and of plain lines.
const (
	redraw = 200 * time.Millisecond
	retell = 10 * time.Second
	strip  = 30 // stretches of a drawing, where the terminal is wide enough
)

// wipe goes back over so many lines and clears them. Ctrl-C has left its own mark in the line.
const wipe = "\r\x1b[%dA\x1b[J"

func newLiveView(s Streams, output string, look report.Options, quiet bool) *liveView {
	l := &liveView{w: s.Err, quiet: quiet, plain: look.ASCII, width: look.Width, now: time.Now}
	if output == "jsonl" {
		l.json = json.NewEncoder(s.Out)
		return l
	}
	if f, ok := s.Err.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		l.tty = true
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			l.width = width
		}
	}
	return l
}

// line takes one piece of a series.
func (l *liveView) line(place model.Vantage, piece probe.Line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun.IsZero() {
		l.what = "" // reading is over
	}
	if l.json != nil {
		_ = l.json.Encode(struct {
			Vantage model.Vantage `json:"vantage"`
			probe.Line
		}{place, piece})
		return
	}
	if piece.Progress != "" && !l.quiet {
		l.what = piece.Progress
		if !l.tty {
			fmt.Fprintf(l.w, "%s: %s\n", place, model.Printable(piece.Progress))
		}
	}
	if piece.Try != nil && piece.Try.Idle == 0 {
		l.add(place, piece.Try)
	}
	l.show()
}

func (l *liveView) add(place model.Vantage, t *model.Try) {
	name := t.Target
	if t.Address.IsValid() && t.Purpose != probe.PurposeBeside {
		name = t.Address.String()
	}
	i := slices.IndexFunc(l.lines, func(s slice) bool { return s.place == place && s.name == name })
	if i < 0 {
		i, l.lines = len(l.lines), append(l.lines, slice{place: place, name: name})
	}
	l.lines[i].tries = append(l.lines[i].tries, *t)
}

// say is what is being done before and after the series.
func (l *liveView) say(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.what = what
}

// show draws what there is, if it is time.
func (l *liveView) show() {
	now := l.now()
	pace := retell
	if l.tty {
		pace = redraw
	}
	if l.begun.IsZero() {
		l.begun, l.last = now, now
		return
	}
	if l.quiet || now.Sub(l.last) < pace {
		return
	}
	l.draw(now)
}

func (l *liveView) draw(now time.Time) {
	l.last = now
	text := l.text(now)
	if l.tty && l.drawn > 0 {
		fmt.Fprintf(l.w, wipe, l.drawn)
	}
	l.drawn = len(text)
	for _, t := range text {
		fmt.Fprintln(l.w, t)
	}
}

// text is a line for each slice, none longer than the terminal is wide.
func (l *liveView) text(now time.Time) []string {
	since := l.begun
	if since.IsZero() {
		since = l.opened
	}
	out := []string{fmt.Sprintf("%s … %.0fs", model.Printable(cmp.Or(l.what, "watching")), now.Sub(since).Seconds())}
	slices.SortStableFunc(l.lines, func(a, b slice) int {
		if c := strings.Compare(string(a.place), string(b.place)); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	counts, wide := make([]string, len(l.lines)), strip
	for i, s := range l.lines {
		counts[i] = s.count()
		if l.tty && l.width > 0 {
			const before = 2 + 10 + 1 + 21 + 2 // place, name and blanks
			wide = min(wide, l.width-before-len(counts[i])-1)
		}
	}
	for i, s := range l.lines {
		spark := ""
		if wide >= 8 {
			spark = report.Bars(watch.Spark(s.tries, l.begun, now, wide), l.plain) + " "
		}
		out = append(out, fmt.Sprintf("  %-10s %-21s %s%s", s.place, ansi.Truncate(model.Printable(s.name), 21, "…"), spark, counts[i]))
	}
	if l.tty && l.width > 0 {
		for i := range out {
			out[i] = ansi.Truncate(out[i], l.width-1, "")
		}
	}
	return out
}

// count says how many failed, and how the last of them did.
func (s *slice) count() string {
	failed, why := 0, ""
	for i := range s.tries {
		if t := &s.tries[i]; watch.Failed(t) {
			failed, why = failed+1, ": "+watch.ReasonOf(t).String()
		}
	}
	return fmt.Sprintf("%d of %d failed%s", failed, len(s.tries), why)
}

// run draws on until its end, which it gives: time is seen to pass while nothing
// comes, before the series and while kept connections are silent.
func (l *liveView) run() (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(redraw)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				l.pass()
			}
		}
	}()
	return func() { close(done); <-ended; l.stop() }
}

// pass is a moment without news.
func (l *liveView) pass() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch now := l.now(); {
	case l.json != nil:
	case !l.begun.IsZero():
		l.show()
	case l.opened.IsZero():
		l.opened = now
	case l.tty && !l.quiet && now.Sub(l.opened) >= time.Second:
		l.draw(now)
	}
}

// stop wipes what was drawn: the report says it better.
func (l *liveView) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tty && l.drawn > 0 {
		fmt.Fprintf(l.w, wipe, l.drawn)
	}
	l.drawn, l.quiet = 0, true
}
