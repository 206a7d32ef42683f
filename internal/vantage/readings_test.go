package vantage

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// The asking pod and its node read their levels while a series runs; places that
// podpath made do not, and what they tell all the same is not kept.
func TestReadingsFromTheirPlaces(t *testing.T) {
	c := newCluster(livePod())
	req := request()
	req.Series = &probe.Series{Every: time.Second, For: 10 * time.Second, Count: 3}
	s := newSession(Clients{Kube: c.Clientset}, req)
	s.exec = func(ctx context.Context, call execCall) error {
		if call.command[1] != "watch" {
			return c.run(ctx, call)
		}
		var plan probe.Plan
		if err := json.Unmarshal(call.stdin, &plan); err != nil {
			return err
		}
		out := json.NewEncoder(call.stdout)
		for i := range 2 * probe.MaxReadings {
			r := model.Reading{At: time.Unix(int64(i), 0), From: "pod/for/ged", Vantage: "forged"}
			for _, kind := range []string{model.LevelHeld, model.LevelConntrack, plan.Series.Levels} {
				r.Levels = append(r.Levels, model.Level{Kind: kind, Value: 1})
			}
			if err := out.Encode(probe.Line{Reading: &r}); err != nil {
				return err
			}
		}
		return nil
	}
	got := map[string]int{}
	for _, r := range s.run(t.Context()).Readings {
		for _, l := range r.Levels {
			got[fmt.Sprint(r.Vantage, " ", r.From, " ", l.Kind)]++
		}
	}
	pod, node := "pod "+string(req.Pod.Ref())+" held", "node node/"+req.Pod.Node+" conntrack"
	if len(got) != 2 || got[pod] != probe.MaxReadings || got[node] != probe.MaxReadings {
		t.Errorf("%v", got)
	}
}

// Beside a single question nothing is read again and again.
func TestNoReadingsOfAQuestion(t *testing.T) {
	s := newSession(Clients{}, Request{})
	s.reading(place{vantage: model.VantageNode}, &model.Reading{Levels: []model.Level{{Kind: model.LevelConntrack, Value: 1}}})
	if len(s.result.Readings) != 0 {
		t.Errorf("%+v", s.result.Readings)
	}
	for pl, want := range map[place]string{
		{vantage: model.VantagePod, via: ViaEphemeral}: "pod", {vantage: model.VantagePod, via: ViaTwin}: "", {vantage: model.VantageNode}: "node",
		{vantage: model.VantagePeer}: "", {vantage: model.VantageOtherNode}: "", {vantage: model.VantageHere}: "",
	} {
		if got := reading(&probe.Series{}, pl).Levels; got != want {
			t.Errorf("%+v reads of %q, not %q", pl, got, want)
		}
	}
}

// FuzzReading: whatever a probe tells, what is kept is bounded and a number.
func FuzzReading(f *testing.F) {
	f.Add([]byte(`{"reading":{"at":"2026-01-02T03:04:05Z","levels":[{"kind":"sockets","to":"192.0.2.1:443","value":12},{"kind":"files","pid":7,"value":-1}]}}`))
	f.Add([]byte(`{"reading":{"levels":[{"kind":"held","value":1e308},{"kind":"\u001b[2J","value":1},null]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSession(Clients{}, Request{Series: &probe.Series{}})
		pl := place{vantage: model.VantagePod, via: ViaEphemeral, from: "pod/a/b"}
		l := &lines{each: func(l probe.Line) { s.line(pl, l) }}
		for range 3 {
			_, _ = l.Write(append(data, '\n'))
		}
		for _, r := range s.result.Readings {
			if r.From != "pod/a/b" || len(r.Levels) == 0 || len(r.Levels) > maxLevels {
				t.Fatalf("%+v", r)
			}
			for _, v := range r.Levels {
				if v.Value < 0 || v.Value >= maxLevel || math.IsNaN(v.Value) || v.PID < 0 || readsOf(pl) != "pod" {
					t.Fatalf("%+v", v)
				}
			}
		}
	})
}
