package diagnose

import (
	"slices"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// slowAfter is how long one phase of a single probe may take before the flow is
// called slow. A series is judged by package watch.
const slowAfter = 1500 * time.Millisecond

// Slow says that the flow works and takes long in one phase, and how often; nil:
// it fails, or is not slow. A series decides where there was one, else the
// question's own probe: one of its phases took long both by itself and beside all
// the others, since a busy machine is slow in all of them.
func (p *Pass) Slow() *watch.Slowness {
	w, first := p.view.watched, slowPhase(p.Seen())
	if w == nil || w.Rate.Count > 0 {
		return first
	}
	if w.Rate.Of >= seriesDecides || w.Slow != nil && w.Slow.Phase == watch.Sender {
		return w.Slow
	}
	return first
}

// slowPhase is the phase of one probe that took long; nil: it fails, or there is none.
func slowPhase(seen *model.Observation) *watch.Slowness {
	if seen == nil || Fails(seen) {
		return nil
	}
	total := time.Duration(0)
	for _, ph := range seen.Phases {
		total += ph.Duration
	}
	i := slices.IndexFunc(seen.Phases, func(ph model.Phase) bool {
		return ph.Duration >= slowAfter && ph.Duration >= 3*(total-ph.Duration)
	})
	if i < 0 {
		return nil
	}
	return &watch.Slowness{Phase: seen.Phases[i].Name, Took: seen.Phases[i].Duration, Rate: watch.Rate{Count: 1, Of: 1, High: 1}, Class: watch.Undecided}
}

// seriesDecides is how many tries say more than the first probe alone.
const seriesDecides = 8

// FailedOnce says that the question, or an endpoint behind it, failed from its own
// place, be it in one try of a series.
func (p *Pass) FailedOnce() bool {
	if seen := p.Seen(); seen != nil && Fails(seen) || p.endpointFails() {
		return true
	}
	return slices.ContainsFunc(p.Case.Tries, func(t model.Try) bool {
		return t.Vantage == p.Origin() && t.Idle == 0 && t.Lag <= watch.Lateness && t.Result != model.OK && t.Result != model.ProbeFailed
	})
}
