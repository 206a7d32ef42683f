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
// it kept some; nil: there were none. What ended while new connections failed as
// well ended by that, and says nothing of silence.
func IdleOf(tries []model.Try, origin model.Vantage) *Idle {
	kept := pick(tries, func(t *model.Try) bool { return t.Idle > 0 && t.Result != model.ProbeFailed && t.Lag <= Lateness })
	if own := pick(kept, func(t *model.Try) bool { return t.Vantage == origin }); len(own) > 0 {
		kept = own
	}
	kept = slices.DeleteFunc(kept, func(t model.Try) bool { return Failed(&t) && amid(tries, &t) })
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

// amid says that a kept connection ended while new ones of its place failed: the one
// that was tried last before it was used again, or the first one after its end.
func amid(tries []model.Try, kept *model.Try) bool {
	asked, over := kept.At.Add(kept.Idle), kept.At.Add(max(kept.Took, kept.Idle))
	var before, after *model.Try
	for i := range tries {
		t := &tries[i]
		switch {
		case t.Vantage != kept.Vantage || t.Target != kept.Target || !Counts(t):
		case !t.At.After(asked) && (before == nil || t.At.After(before.At)):
			before = t
		case !t.At.Before(over) && (after == nil || t.At.Before(after.At)):
			after = t
		case t.At.After(asked) && t.At.Before(over) && Failed(t):
			return true
		}
	}
	return before != nil && Failed(before) || after != nil && Failed(after)
}
