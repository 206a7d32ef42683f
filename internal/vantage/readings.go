package vantage

import (
	"math"
	"slices"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// told are the levels that a place may tell, by what it reads: the question's pod
// where its own namespace was entered, and its node. Other places are podpath's own.
var told = map[string][]string{
	"pod":  {model.LevelSockets, model.LevelHeld, model.LevelFiles},
	"node": {model.LevelConntrack, model.LevelNeighbours, model.LevelMemory},
}

// Bounds of what one place may tell: of one reading, and of a number.
const (
	maxLevels = 32
	maxLevel  = 1 << 53
)

// readsOf says what a place reads again and again; "": nothing.
func readsOf(pl place) string {
	switch {
	case pl.vantage == model.VantagePod && pl.via == ViaEphemeral:
		return "pod"
	case pl.vantage == model.VantageNode:
		return "node"
	}
	return ""
}

// reading is a series that reads the levels of a place as well.
func reading(spec *probe.Series, pl place) *probe.Series {
	of := readsOf(pl)
	if of == "" {
		return spec
	}
	more := *spec
	more.Levels = of
	return &more
}

// reading keeps what a place read, as far as it can be so. s.mu is held.
func (s *session) reading(pl place, r *model.Reading) {
	read := 0
	for i := range s.result.Readings {
		if s.result.Readings[i].Vantage == pl.vantage {
			read++
		}
	}
	kinds := told[readsOf(pl)]
	r.Levels = slices.DeleteFunc(r.Levels[:min(len(r.Levels), maxLevels)], func(l model.Level) bool {
		return !slices.Contains(kinds, l.Kind) || !(l.Value >= 0 && l.Value < maxLevel) || math.IsNaN(l.Value) || l.PID < 0
	})
	if len(r.Levels) == 0 || read >= probe.MaxReadings || s.req.Series == nil {
		return
	}
	r.Vantage, r.From, r.Node = pl.vantage, pl.from, pl.node
	s.result.Readings = append(s.result.Readings, *r)
}
