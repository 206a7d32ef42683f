package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
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

func TestBesideWords(t *testing.T) {
	ask := func(words ...string) (model.Question, error) {
		q := model.Question{To: model.Endpoint{Raw: "https://a.example"}}
		w := watching{length: time.Minute, rate: 1, beside: words}
		if _, err := w.series(); err != nil {
			return q, err
		}
		return q, w.others(&q)
	}
	q, err := ask("https://b.example", "svc/cart", "db.example:5432", "10.0.0.9:443")
	if err != nil || len(q.Beside) != 4 || q.Beside[1].Kind != "service" {
		t.Errorf("%+v, %v", q.Beside, err)
	}
	for want, words := range map[string][]string{
		"give up to 4":                               {"a:1", "b:1", "c:1", "d:1", "e:1"},
		"it is watched already":                      {"b:1", "b:1"},
		`"https://a.example": it is watched already`: {"https://a.example"},
		"--beside internet: name one host":           {"internet"},
		"--beside: \"http://\"":                      {"http://"},
	} {
		if _, err := ask(words...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, not %q", words, err, want)
		}
	}
	// Each other destination is one more try at a time.
	w := watching{length: time.Hour, rate: 2, beside: []string{"b:1"}}
	if _, err := w.series(); err == nil || !strings.Contains(err.Error(), "more than 6685 tries from each place with 1 destinations beside") {
		t.Errorf("an hour at two a second: %v", err)
	}
	if w.count = 7000; w.count > 0 {
		if _, err := w.series(); err == nil {
			t.Error("--count does not count what stands beside")
		}
	}
}
