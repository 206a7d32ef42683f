package diagnose

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/watch"
)

// told adds to the first cause what a series says of its failures beside how often
// they are met: at which of the watched destinations, and at what period.
func (r *Result) told() {
	if r.Watched == nil || len(r.Causes) == 0 || !r.Causes[0].Explains {
		return
	}
	f, w := &r.Causes[0], &r.Watched.Where
	if w.Kind == "destination" || w.Alike > 0 {
		f.Evidence = append(f.Evidence, Evidence{Text: w.String(), Source: "probe"})
	}
	if p := Period(r.Watched); p != "" {
		f.Evidence = append(f.Evidence, Evidence{Text: p, Source: "probe"})
	}
}

// Period says at what interval failures begin; "": none is seen.
func Period(s *watch.Summary) string {
	if s.Period == 0 {
		return ""
	}
	return fmt.Sprintf("failures begin every %.1f s", s.Period.Round(100*time.Millisecond).Seconds())
}
