package probe

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podpath/podpath/internal/model"
)

func readingsOf(lines []Line) (out []model.Reading) {
	for _, l := range lines {
		if l.Reading != nil {
			out = append(out, *l.Reading)
		}
	}
	return out
}

// What is in use is read each second, of a long series less often, where reading
// takes long less often too; and not at all where nothing asks for it.
func TestReadings(t *testing.T) {
	for _, tc := range []struct {
		name string
		spec Series
		took time.Duration // of one look
		want int
		gap  time.Duration
	}{
		{"short", Series{Every: 500 * time.Millisecond, For: 10 * time.Second}, 0, 10, time.Second},
		{"long", Series{Every: time.Second, For: 30 * time.Minute}, 0, 59, 30 * time.Minute / 59},
		{"by count", Series{Every: time.Second, For: time.Hour, Count: 12}, 0, 12, time.Second},
		{"with a gap", Series{Every: time.Second, For: 10 * time.Second, Idle: []time.Duration{20 * time.Second}}, 0, 20, time.Second},
		{"a costly look", Series{Every: time.Second, For: 60 * time.Second}, 500 * time.Millisecond, 6, 10500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, lines := fakeSeries(tc.spec, func(t Target) model.Observation { return model.Observation{Target: t.Label, Result: model.OK} })
			s.keep = func(ctx context.Context, gap time.Duration) model.Observation {
				sleep(ctx, gap)
				return model.Observation{Result: model.OK}
			}
			s.look = func() []model.Level {
				time.Sleep(tc.took)
				return []model.Level{{Kind: model.LevelHeld, Value: 3}}
			}
			if err := s.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := readingsOf(*lines)
			if len(got) < tc.want-1 || len(got) > tc.want+1 { // a series ends by its last try, which is moved at random
				t.Fatalf("%s: %d readings, not %d", tc.name, len(got), tc.want)
			}
			if gap := got[1].At.Sub(got[0].At); gap != tc.gap {
				t.Errorf("%s: %s apart, not %s", tc.name, gap, tc.gap)
			}
			if (*lines)[len(*lines)-1].Noise == nil {
				t.Errorf("%s: something is told after the end", tc.name)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // a look that was slow once is no costly one
		s, lines := fakeSeries(Series{Every: time.Second, For: 10 * time.Second}, func(t Target) model.Observation { return model.Observation{Result: model.OK} })
		looks := 0
		s.look = func() []model.Level {
			if looks++; looks == 3 {
				time.Sleep(400 * time.Millisecond)
			}
			return []model.Level{{Kind: model.LevelHeld}}
		}
		if err := s.run(t.Context()); err != nil || len(readingsOf(*lines)) < 9 {
			t.Errorf("%d readings, %v", len(readingsOf(*lines)), err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s, lines := fakeSeries(Series{Every: time.Second, For: 10 * time.Second}, func(t Target) model.Observation { return model.Observation{Result: model.OK} })
		if err := s.run(t.Context()); err != nil || len(readingsOf(*lines)) != 0 {
			t.Errorf("nobody asked for them: %d, %v", len(readingsOf(*lines)), err)
		}
	})
}
