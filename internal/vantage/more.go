package vantage

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
	"github.com/podpath/podpath/internal/watch"
)

// more asks the question again from the pod, a few times side by side: one answer
// says nothing of how lasting it is. It begins as soon as the first answer is there, or
// is waited for, so that a time-out is waited for only once.
type more struct {
	s    *session
	once sync.Once
	run  func()
	done chan struct{} // closed when it is over, or will not be
}

func (s *session) more(ctx context.Context, c container, pl place) *more {
	m := &more{s: s, done: make(chan struct{})}
	plan := s.morePlan(pl.vantage)
	if s.req.More == nil || len(plan.Targets) == 0 {
		m.skip()
	}
	m.run = func() { s.runSeries(ctx, c, pl, plan) }
	return m
}

func (m *more) begin() {
	m.once.Do(func() {
		m.s.repeats.Go(func() {
			defer close(m.done)
			m.run()
		})
	})
}

// skip is for a place from which nothing could be asked.
func (m *more) skip() { m.once.Do(func() { close(m.done) }) }

// after the first answer: where it is good, the others are wanted if one of these
// is not; where it is not, what it saw stands for all that fail in the same phase.
func (m *more) after(first []model.Observation) {
	m.begin()
	s := m.s
	if !questionOK(first) {
		s.repeats.Go(func() {
			<-m.done
			s.mu.Lock()
			defer s.mu.Unlock()
			s.result.Observations = slices.DeleteFunc(s.result.Observations, func(o model.Observation) bool {
				return o.Sample && o.Vantage == model.VantagePod && slices.ContainsFunc(first, func(f model.Observation) bool {
					return f.Purpose == probe.PurposeQuestion && f.Failed == o.Failed
				})
			})
		})
		return
	}
	<-m.done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ownHaste()
	for i := range s.result.Tries {
		t := &s.result.Tries[i]
		s.varies = s.varies || t.Result != model.OK && t.Result != model.ProbeFailed && t.Lag <= watch.Lateness
	}
}

// morePlan is the question alone.
func (s *session) morePlan(from model.Vantage) probe.Plan {
	plan := s.req.Plan.For(from, s.req.Facts)
	plan.Series = s.req.More
	plan.Targets = slices.DeleteFunc(slices.Clone(plan.Targets), func(t probe.Target) bool {
		return t.Purpose != probe.PurposeQuestion || t.When != probe.Always || t.Protocol == "udp"
	})
	return plan
}

// vary says whether the question was answered well at first and failed then.
func (s *session) vary() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.varies
}

// ownHaste takes out answers that say that requests come too fast (429): it is
// podpath that sends them so fast here. s.mu is held.
func (s *session) ownHaste() {
	hasty := func(o *model.Observation) bool {
		return o.Sample && o.HTTP != nil && o.HTTP.Status == http.StatusTooManyRequests
	}
	only := slices.ContainsFunc(s.result.Observations, func(o model.Observation) bool { return hasty(&o) }) &&
		!slices.ContainsFunc(s.result.Observations, func(o model.Observation) bool { return o.Sample && !hasty(&o) })
	if !only {
		return
	}
	all := len(s.result.Tries)
	s.result.Observations = slices.DeleteFunc(s.result.Observations, func(o model.Observation) bool { return hasty(&o) })
	s.result.Tries = slices.DeleteFunc(s.result.Tries, func(t model.Try) bool { return t.Result == model.HTTPStatus })
	s.result.Notes = append(s.result.Notes, fmt.Sprintf("%d of %d requests that podpath sent %d a second were answered 429 (too many requests): the destination limits their rate; slower ones were answered well",
		all-len(s.result.Tries), all, int(time.Second/s.req.More.Every)))
}
