package cli

import (
	"slices"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/probe"
)

// The gaps that nobody asked for are over with the series.
func TestFittingGaps(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		series probe.Series
		want   []time.Duration
	}{
		{probe.Series{For: 40 * s, Every: s}, []time.Duration{5 * s, 10 * s, 20 * s, 36 * s}},
		{probe.Series{For: 8 * s, Every: s}, []time.Duration{s, 2 * s, 4 * s}},
		{probe.Series{For: time.Hour, Every: s, Count: 40}, []time.Duration{5 * s, 10 * s, 20 * s, 36 * s}},
		{probe.Series{For: s, Every: s}, nil},
	} {
		if got := fitting(&c.series); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, not %v", c.series, got, c.want)
		}
	}
}

func TestIdleWords(t *testing.T) {
	series := func(words ...string) *probe.Series {
		w := watching{length: time.Minute, rate: 1, idle: words}
		got, err := w.series()
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := series(); len(got.Kept) != 4 || got.Idle != nil {
		t.Errorf("nothing said: %+v", got)
	}
	if got := series("none"); got.Kept != nil || got.Idle != nil {
		t.Errorf("none: %+v", got)
	}
	if got := series("5s", "1m"); got.Kept != nil || !slices.Equal(got.Idle, []time.Duration{5 * time.Second, time.Minute}) {
		t.Errorf("two gaps: %+v", got)
	}
	for _, bad := range []string{"0s", "2h", "none,5s", "soon"} {
		if _, err := gaps([]string{bad}); err == nil {
			t.Errorf("--idle %s is taken", bad)
		}
	}
}
