package watch

import (
	"cmp"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Idle is how long a kept connection may be silent on this way.
type Idle struct {
	Holds time.Duration `json:"holds"`           // the longest gap that every connection survived
	Ends  time.Duration `json:"ends,omitempty"`  // the shortest gap that one did not; 0: none was met
	As    []Reason      `json:"as,omitempty"`    // how those ended
	Mixed bool          `json:"mixed,omitempty"` // a longer gap held than one that did not: it is no time-out
	Count int           `json:"count"`           // connections
}

// idleOf reads the tries over kept connections; nil: there were none.
func idleOf(tries []model.Try) *Idle {
	kept := pick(tries, func(t *model.Try) bool { return t.Idle > 0 && t.Result != model.ProbeFailed && t.Lag <= Lateness })
	if len(kept) == 0 {
		return nil
	}
	slices.SortStableFunc(kept, func(a, b model.Try) int { return cmp.Compare(a.Idle, b.Idle) })
	out := &Idle{Count: len(kept)}
	for i := range kept {
		t := &kept[i]
		switch {
		case Failed(t) && out.Ends == 0:
			out.Ends = t.Idle
		case !Failed(t) && out.Ends == 0:
			out.Holds = t.Idle
		case !Failed(t):
			out.Mixed = true
		}
	}
	out.As = reasonsOf(kept)
	return out
}
