package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// shareShows says of a rule on a way that drops a share of the packets whether the
// tries of the question show it: in the phase that goes this way some of them
// waited in vain, or for a packet to be sent again, and others did not. "": they do not.
func shareShows(p *diagnose.Pass, w diagnose.Way, s *model.Step) string {
	if s.Filter == nil || s.Filter.Share <= 0 || s.Filter.Share >= 1 {
		return ""
	}
	phase := "tcp"
	if w.Kind != "question" {
		phase = "dns"
	}
	lost, all := 0, 0
	for i := range p.Case.Tries {
		t := &p.Case.Tries[i]
		if t.Vantage != p.Origin() || t.Purpose != "" && t.Purpose != "question" || t.Idle > 0 || t.Lag > watch.Lateness {
			continue
		}
		for _, ph := range t.Phases {
			if ph.Name == phase {
				all++
				if ph.Result == model.TimedOut || ph.Waited() > 0 {
					lost++
				}
			}
		}
	}
	if lost < 2 || all-lost < 2 {
		return ""
	}
	return fmt.Sprintf("%d of %d tries lost a packet in their %s phase (it was sent again, or nothing came), the others did not: that is how a rule shows which drops %.0f %%", lost, all, phase, 100*s.Filter.Share)
}
