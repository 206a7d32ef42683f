package diagnose

import (
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// seriesOf is a series of a second's pace from the pod; F is lost.
func seriesOf(pattern, purpose, target string) []model.Try {
	var out []model.Try
	for i, c := range pattern {
		t := model.Try{At: time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC), Vantage: model.VantagePod, Purpose: purpose, Target: target, Result: model.OK}
		if c == 'F' {
			t.Result, t.Failed = model.TimedOut, "tcp"
		}
		out = append(out, t)
	}
	return out
}

// What a series measured stands with the first cause, and what was tried beside the
// question decides nothing.
func TestTold(t *testing.T) {
	c := caseOf(seen(model.VantagePod, "tcp", model.TimedOut))
	c.Question.From = model.Endpoint{Kind: "pod"}
	c.Tries = seriesOf(strings.Repeat("FF........", 12), "question", "t")
	c.Beside = seriesOf(strings.Repeat(".", 80), "beside", "u")
	r := RunWith(c, []Rule{rule("a", Finding{Subject: "host/t", Confidence: Likely})}, nil)
	text := ""
	for _, e := range r.Causes[0].Evidence {
		text += e.Text + "\n"
	}
	for _, want := range []string{"it lives at destination t alone: 24 of 120 failed there, none of 80 elsewhere", "failures begin every 10.0 s"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in %q", want, text)
		}
	}
	if r.Persistence != "intermittent" || r.Watched.Rate.Of != 120 {
		t.Errorf("%s, %+v", r.Persistence, r.Watched.Rate)
	}
	// Only another destination fails: the question works.
	c = caseOf(seen(model.VantagePod, "", model.OK))
	c.Question.From = model.Endpoint{Kind: "pod"}
	c.Tries, c.Beside = seriesOf(strings.Repeat(".", 80), "question", "t"), seriesOf(strings.Repeat("F", 80), "beside", "u")
	if r := RunWith(c, nil, nil); r.Works != "true" || r.Persistence != "none" {
		t.Errorf("%s, %s", r.Works, r.Persistence)
	}
}
