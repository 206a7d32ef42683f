package cli

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/podpath/podpath/internal/report"
)

// terminal says what the stream can show: colours only on a terminal that did
// not refuse them (NO_COLOR, TERM=dumb), characters beyond ASCII only in a
// UTF-8 locale or where nothing says otherwise.
func terminal(w io.Writer, getenv func(string) string, color string) (report.Options, error) {
	o := report.Options{}
	f, isFile := w.(*os.File)
	tty := isFile && term.IsTerminal(int(f.Fd()))
	if tty {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			o.Width = width
		}
	}
	if cols, err := strconv.Atoi(getenv("COLUMNS")); err == nil && cols > 0 {
		o.Width = cols
	}
	switch color {
	case "auto", "":
		o.Color = tty && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	case "always":
		o.Color = true
	case "never":
	default:
		return o, fmt.Errorf("--color %q is none of auto, always, never", color)
	}
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ToUpper(v)
			o.ASCII = !strings.Contains(v, "UTF-8") && !strings.Contains(v, "UTF8")
			break
		}
	}
	return o, nil
}

// progress tells a waiting person on a terminal what is being done, once a
// second has passed, on one line that is wiped at the end.
type progress struct {
	w     io.Writer
	mu    sync.Mutex
	what  string
	shown bool
	done  chan struct{}
	wg    sync.WaitGroup
}

func newProgress(w io.Writer, quiet bool) *progress {
	p := &progress{w: w, done: make(chan struct{})}
	f, ok := w.(*os.File)
	if quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return p
	}
	p.wg.Go(p.loop)
	return p
}

func (p *progress) loop() {
	start := time.Now()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case <-tick.C:
		}
		if time.Since(start) < time.Second {
			continue
		}
		p.mu.Lock()
		fmt.Fprintf(p.w, "\r\x1b[K%s … %.0fs", p.what, time.Since(start).Seconds())
		p.shown = true
		p.mu.Unlock()
	}
}

// Say changes what is being done.
func (p *progress) Say(what string) {
	p.mu.Lock()
	p.what = what
	p.mu.Unlock()
}

// Stop wipes the line.
func (p *progress) Stop() {
	close(p.done)
	p.wg.Wait()
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
