package probe

import (
	"context"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// How often levels are read while a series runs: each second, of a long series no
// more than MaxReadings times; and never so often that reading takes more than a
// twentieth of the time, as where a pod has very many sockets.
const (
	MaxReadings = 60
	readEvery   = time.Second
	readShare   = 20
)

// readings tells levels until ctx ends.
func (s *series) readings(ctx context.Context) {
	if s.look == nil {
		return
	}
	every := max(readEvery, s.spec.length()/(MaxReadings-1))
	cost := time.Hour // of the fastest look: a slower one waited for a CPU as well
	for range MaxReadings {
		begin := time.Now()
		levels := s.look()
		if len(levels) > 0 {
			s.tell(Line{Reading: &model.Reading{At: begin.UTC().Round(0), Levels: levels}})
		}
		took := time.Since(begin)
		cost = min(cost, took)
		if !sleep(ctx, max(every-took, readShare*cost)) {
			return
		}
	}
}

// length is how long the series takes, about: until it is over, or its count is full.
func (s *Series) length() time.Duration {
	out := s.For
	if s.Count > 0 {
		out = min(out, time.Duration(s.Count)*s.Every)
	}
	for _, gap := range s.Gaps() {
		out = max(out, gap)
	}
	return max(out, 2*s.Search)
}
