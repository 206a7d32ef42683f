package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// shareShows says of a rule on a way that drops a share of the packets whether the
// tries of the question show it: in the phase that goes this way some of them
// waited in vain, or for a packet to be sent again, and others did not. "": they do
// not. refuted: all of them failed, which a share does not make.
func shareShows(p *diagnose.Pass, w diagnose.Way, s *model.Step) (shown string, refuted bool) {
	if s.Filter == nil || s.Filter.Share <= 0 || s.Filter.Share >= 1 {
		return "", false
	}
	phase := "tcp"
	if w.Kind != "question" {
		phase = "dns"
	}
	lost, all := lostIn(p, phase)
	switch {
	case lost >= 2 && all-lost >= 2:
		how := fmt.Sprintf("drops %.0f %%", 100*s.Filter.Share)
		if counted.MatchString(s.Filter.Text) {
			how = "drops what comes while it is full"
		}
		return fmt.Sprintf("%d of %d tries lost a packet in their %s phase (it was sent again, or nothing came), the others did not: that is how a rule shows which %s", lost, all, phase, how), false
	case all >= 8 && lost == all && s.Filter.Share <= 0.5:
		return "", true
	}
	return "", false
}

// lostIn counts the question's own tries that lost a packet in a phase, and all that reached it.
func lostIn(p *diagnose.Pass, phase string) (lost, all int) {
	for i := range p.Case.Tries {
		t := &p.Case.Tries[i]
		if t.Vantage != p.Origin() || !watch.Counts(t) {
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
	return lost, all
}
