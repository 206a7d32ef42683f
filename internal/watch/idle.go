package watch

import (
	"cmp"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Idle is how long a kept connection may be silent on this way.
type Idle struct {
	Holds  time.Duration `json:"holds"`            // the longest gap that every connection survived
	Ends   time.Duration `json:"ends,omitempty"`   // the shortest gap that one did not, without a word of the far side; 0: none was met
	As     []Reason      `json:"as,omitempty"`     // how those ended: while nothing was sent (idle), or when they were used again (reuse)
	Closed time.Duration `json:"closed,omitempty"` // the shortest gap within which the far side itself ended one, politely; 0: it ended none
	Mixed  bool          `json:"mixed,omitempty"`  // a longer gap held than one that did not: it is no time-out
	Count  int           `json:"count"`            // connections
}

// IdleOf reads the tries over kept connections, of the question's own place where
// it kept some; nil: there were none.
func IdleOf(tries []model.Try, origin model.Vantage) *Idle {
	kept := pick(tries, func(t *model.Try) bool { return t.Idle > 0 && t.Result != model.ProbeFailed && t.Lag <= Lateness })
	if own := pick(kept, func(t *model.Try) bool { return t.Vantage == origin }); len(own) > 0 {
		kept = own
	}
	if len(kept) == 0 {
		return nil
	}
	slices.SortStableFunc(kept, func(a, b model.Try) int { return cmp.Compare(a.Idle, b.Idle) })
	out := &Idle{Count: len(kept)}
	var ended []model.Try
	for i := range kept {
		t := &kept[i]
		switch {
		case t.Result == model.Closed:
			out.Closed = cmp.Or(out.Closed, t.Idle)
		case Failed(t):
			out.Ends = cmp.Or(out.Ends, t.Idle)
			ended = append(ended, *t)
		case out.Ends == 0 && out.Closed == 0:
			out.Holds = t.Idle
		case out.Ends > 0:
			out.Mixed = true
		}
	}
	out.As = reasonsOf(ended)
	return out
}
