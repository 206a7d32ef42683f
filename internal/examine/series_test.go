package examine

import (
	"slices"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

func tries(v model.Vantage, n, failed int) []model.Try {
	var out []model.Try
	for i := range n {
		t := model.Try{At: time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC), Vantage: v, Purpose: "question", Result: model.OK}
		if i < failed {
			t.Result, t.Failed = model.TimedOut, "tcp"
		}
		out = append(out, t)
	}
	return out
}

// One failure of a hundred does not make another place one that fails as well.
func TestTypical(t *testing.T) {
	c := &model.Case{Question: model.Question{From: model.Endpoint{Kind: "pod"}}}
	c.Tries = slices.Concat(tries(model.VantagePod, 50, 50), tries(model.VantagePeer, 50, 49), tries(model.VantageOtherNode, 50, 1))
	for _, v := range []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageOtherNode} {
		c.Observations = append(c.Observations, model.Observation{Vantage: v, Purpose: "question", Result: model.TimedOut, Sample: true})
	}
	c.Observations = append(c.Observations, model.Observation{Vantage: model.VantageOtherNode, Purpose: "question", Result: model.OK})
	typical(c)
	if len(c.Observations) != 3 || c.Observations[2].Result != model.OK {
		t.Errorf("kept: %+v", c.Observations)
	}
}

// The first probes are the beginning of the series; the samples of the series are not.
func TestFirstTries(t *testing.T) {
	c := &model.Case{Question: model.Question{From: model.Endpoint{Kind: "pod"}}}
	c.Observations = []model.Observation{
		{Vantage: model.VantagePod, Purpose: "question", Result: model.TimedOut, Failed: "tcp", Took: time.Second},
		{Vantage: model.VantagePod, Purpose: "question", Result: model.Refused, Failed: "tcp", Sample: true},
		{Vantage: model.VantagePod, Purpose: "control:other-port", Result: model.OK},
		{Vantage: model.VantagePod, Purpose: "question", Result: model.ProbeFailed},
		{Vantage: model.VantagePeer, Purpose: "question", Result: model.OK},
	}
	list := tries(model.VantagePod, 3, 0)
	got := firstTries(c, list)
	if len(got) != 1 || got[0].Result != model.TimedOut || !got[0].At.Before(list[0].At) {
		t.Errorf("%+v", got)
	}
	if firstTries(c, nil) != nil {
		t.Error("no series, and it has a beginning")
	}
}
