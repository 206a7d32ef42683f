package vantage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// Bounds of what one place may tell of its series, and by how much its verb may
// outlast it: the tries that are under way then.
const (
	maxLine     = 1 << 20
	maxTries    = 100_000
	seriesGrace = 45 * time.Second
)

// repeat runs the request's series from a place whose container is up, or the one
// of a question that turned out to vary. What comes before ctx ends is kept.
func (s *session) repeat(ctx context.Context, c container, pl place, plan probe.Plan) {
	switch {
	case s.req.Series != nil:
		plan = s.seriesPlan(plan, pl.vantage)
		plan.Series = reading(plan.Series, pl)
	case s.vary():
		plan = s.morePlan(pl.vantage)
	default:
		return
	}
	s.runSeries(ctx, c, pl, plan)
}

// seriesPlan is a place's plan with the series: only the question's own place tries
// the other destinations.
func (s *session) seriesPlan(plan probe.Plan, at model.Vantage) probe.Plan {
	own := at == s.origin()
	series := *s.req.Series.From(own)
	series.Seed += uint64(slices.Index(AllVantages, at)) // places that keep pace with each other would meet a turn of the network always at the same place
	plan.Series = &series
	if own {
		plan.Beside = s.req.Beside
	}
	return plan
}

// origin is the place that stands for the question's FROM.
func (s *session) origin() model.Vantage {
	switch {
	case s.req.Pod != nil:
		return model.VantagePod
	case s.req.Node != "":
		return model.VantageNode
	}
	return model.VantageHere
}

// runSeries is one run of the probe's own loop.
func (s *session) runSeries(ctx context.Context, c container, pl place, plan probe.Plan) {
	in, err := json.Marshal(plan)
	if err != nil {
		return
	}
	limit, cancel := context.WithTimeout(ctx, seriesLength(plan.Series)+seriesGrace)
	defer cancel()
	out, stderr := &lines{each: func(l probe.Line) { s.line(pl, l) }}, &limited{max: maxStderr}
	err = s.exec(limit, execCall{c.namespace, c.pod, c.name, []string{probeBinary, "watch"}, in, out, stderr, true})
	if err != nil && ctx.Err() == nil {
		s.gap(model.Gap{What: "the rest of the series from " + string(pl.from), Ref: pl.from, Reason: oneLine(execError(err, stderr.String()).Error())})
	}
	if n := out.bad(); n > 0 {
		s.gap(model.Gap{What: "a part of the series from " + string(pl.from), Ref: pl.from, Reason: fmt.Sprintf("%d lines are no outcomes; is %s the probe image of this podpath?", n, s.req.Image)})
	}
}

// seriesLength is how long a series takes at most.
func seriesLength(spec *probe.Series) time.Duration {
	idle := 2 * spec.Search // two rounds
	longest := time.Duration(0)
	for _, gap := range spec.Gaps() {
		longest = max(longest, gap)
	}
	return max(spec.For, idle+longest)
}

// repeatHere runs the series from this machine.
func (s *session) repeatHere(ctx context.Context, plan probe.Plan) {
	if s.req.Series == nil {
		return
	}
	plan = s.seriesPlan(plan, model.VantageHere)
	pl := place{vantage: model.VantageHere, via: "local"}
	_ = probe.RunSeries(ctx, plan, func(l probe.Line) error { s.line(pl, l); return nil }) // nothing to repeat from here is no fault
}

// line keeps one piece of what a place tells.
func (s *session) line(pl place, l probe.Line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := l.Try; t != nil && s.triesFrom(pl)+1 <= maxTries {
		t.Vantage, t.From, t.Node = pl.vantage, pl.from, pl.node
		if t.Purpose == probe.PurposeBeside {
			s.result.Beside = append(s.result.Beside, *t)
		} else {
			s.result.Tries = append(s.result.Tries, *t)
		}
	}
	if n := l.Noise; n != nil {
		n.Vantage, n.From, n.Node = pl.vantage, pl.from, pl.node
		s.noise(n)
	}
	if r := l.Reading; r != nil {
		s.reading(pl, r)
	}
	if o := l.Sample; o != nil {
		o.Vantage, o.From, o.Node, o.Via, o.Sample = pl.vantage, pl.from, pl.node, pl.via, true
		s.sample(o)
	}
	if s.req.OnLine != nil {
		s.req.OnLine(pl.vantage, l)
	}
}

// noise keeps what a place told last of its prober, which is of all its series.
func (s *session) noise(n *model.Noise) {
	for i := range s.result.Noise {
		if k := &s.result.Noise[i]; k.Vantage == n.Vantage && k.From == n.From && k.Node == n.Node {
			*k = *n
			return
		}
	}
	s.result.Noise = append(s.result.Noise, *n)
}

func (s *session) triesFrom(pl place) int {
	if s.tries == nil {
		s.tries = map[model.Vantage]int{}
	}
	s.tries[pl.vantage]++
	return s.tries[pl.vantage] - 1
}

// sample keeps what was seen at a failure, or a wait, unless the first probe saw the same.
func (s *session) sample(o *model.Observation) {
	for i := range s.result.Observations {
		k := &s.result.Observations[i]
		if o.Result != model.OK && k.Vantage == o.Vantage && k.Target == o.Target && k.Purpose == o.Purpose && k.Address == o.Address && k.Failed == o.Failed && k.Result == o.Result {
			return
		}
	}
	s.result.Observations = append(s.result.Observations, *o)
}

// lines takes a stream apart into outcomes.
type lines struct {
	mu     sync.Mutex // a cancelled exec may still write
	buf    []byte
	each   func(probe.Line)
	broken int
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 {
			break
		}
		var line probe.Line
		if err := json.Unmarshal(l.buf[:i], &line); err != nil {
			l.broken++
		} else {
			l.each(line)
		}
		l.buf = l.buf[i+1:]
	}
	if len(l.buf) > maxLine {
		l.buf, l.broken = nil, l.broken+1
	}
	return len(p), nil
}

func (l *lines) bad() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}
