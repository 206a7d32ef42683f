package watch

import (
	"slices"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Slowness is how often tries worked and took long, in one phase.
type Slowness struct {
	Phase string        `json:"phase"` // in which most of the time went
	Rate  Rate          `json:"rate"`
	Took  time.Duration `json:"took"` // the median of those that took long
	Class Class         `json:"class"`

	Held time.Duration `json:"held,omitempty"` // of a sender: how long it did not run, of Over
	Over time.Duration `json:"over,omitempty"`
}

// A try is slow when one phase took a second or more, and three times as long as
// all others together: a sender without CPU is slow in all of them. A few of many
// are chance; this many are not.
const (
	slowPhase  = time.Second
	leastSlow  = 3
	shareSlow  = 0.15
	persistent = 0.9
)

// slowPhaseOf is the phase that took too long, nil: none did.
func slowPhaseOf(phases []model.Phase) *model.Phase {
	total := time.Duration(0)
	for _, p := range phases {
		total += p.Duration
	}
	for i := range phases {
		if p := &phases[i]; p.Duration >= slowPhase && p.Duration >= 3*(total-p.Duration) {
			return p
		}
	}
	return nil
}

// slowness tells of tries that worked; nil: they are not slow.
func slowness(own []model.Try) *Slowness {
	by, took, worked := map[string]int{}, []time.Duration{}, 0
	for i := range own {
		if Failed(&own[i]) {
			continue
		}
		worked++
		if p := slowPhaseOf(own[i].Phases); p != nil {
			by[p.Name]++
			took = append(took, p.Duration)
		}
	}
	if len(took) < leastSlow || float64(len(took)) < shareSlow*float64(worked) {
		return nil
	}
	slices.Sort(took)
	s := &Slowness{Rate: wilson(len(took), worked, 0.95), Took: took[len(took)/2], Class: Intermittent}
	for name, n := range by {
		if n > by[s.Phase] || n == by[s.Phase] && name < s.Phase {
			s.Phase = name
		}
	}
	if float64(len(took)) >= persistent*float64(worked) {
		s.Class = Persistent
	}
	return s
}

// Sender is the phase of tries whose sender itself did not get to run: they say
// nothing of the network, and that they are so many says something of the place.
const Sender = "sender"

// starved tells of a place at which a third of the tries were held up by the
// sender's own lack of CPU, or the sender itself for much of the time: then tries
// begin late, and are quick in the moments in which it runs. nil: neither.
func starved(tries []model.Try, noise []model.Noise, origin model.Vantage) *Slowness {
	var lags []time.Duration
	all := 0
	for i := range tries {
		if t := &tries[i]; t.Vantage == origin && question(t) && t.Idle == 0 && t.Result != model.ProbeFailed {
			all++
			if t.Lag > Lateness {
				lags = append(lags, t.Lag)
			}
		}
	}
	s := &Slowness{Phase: Sender, Rate: wilson(len(lags), all, 0.95), Class: Intermittent}
	for i := range noise {
		if n := &noise[i]; n.Vantage == origin && Held(n) {
			s.Held, s.Over, s.Took = n.Held, n.Over, n.LagMax
		}
	}
	if s.Over == 0 && (len(lags) < leastSlow || 3*len(lags) < all) {
		return nil
	}
	if len(lags) > 0 {
		slices.Sort(lags)
		s.Took = lags[len(lags)/2]
	}
	if all > 0 && float64(len(lags)) >= persistent*float64(all) {
		s.Class = Persistent
	}
	return s
}

// heldFor is how long a prober has to look for its own delays to say something of
// its place.
const heldFor = 5 * time.Second

// Held says that a prober did not run for two fifths of the time, though it wanted to.
func Held(n *model.Noise) bool {
	return n.Over >= heldFor && n.HeldShare() >= 0.4 && n.LagMax > Lateness
}
