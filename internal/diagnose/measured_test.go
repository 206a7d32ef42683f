package diagnose

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
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

// A connection that was cut once while it was used does not stand for a place whose
// connections are mostly lost.
func TestUsualOfAPlace(t *testing.T) {
	rare, often := seen(model.VantageOtherNode, "http", model.Reset), seen(model.VantageOtherNode, "tcp", model.TimedOut)
	c := caseOf(seen(model.VantagePod, "tcp", model.TimedOut), rare, often)
	tries := func(failures int) []model.Try {
		out := seriesOf(strings.Repeat("F", failures)+"F.....", "question", "t")
		for i := range out {
			out[i].Vantage = model.VantageOtherNode
		}
		out[failures].Failed, out[failures].Result = "http", model.Reset
		return out
	}
	for failures, want := range map[int]string{12: "tcp", 4: "http"} {
		c.Tries = tries(failures)
		farther := false
		look := rule("a", Finding{}, func(r *Rule) {
			r.Run = func(p *Pass) {
				if got := p.At(model.VantageOtherNode); got.Failed != want {
					t.Errorf("%d were lost and one was cut: %s", failures, got.Failed)
				}
				farther = p.Farther(model.VantageOtherNode)
			}
		})
		if RunWith(c, []Rule{look}, nil); farther != (want == "http") {
			t.Errorf("%d were lost and one was cut: it got farther: %t", failures, farther)
		}
	}
}

// What is left where the sender was late decides nothing, and a watch of which
// nothing could be sent is one that says so.
func TestTooFewCount(t *testing.T) {
	c := caseOf(seen(model.VantagePod, "tcp", model.TimedOut), seen(model.VantagePod, "", model.OK))
	c.Watched = true
	c.Tries = seriesOf(strings.Repeat("F.", 20), "question", "t")
	for i := range c.Tries[1:] {
		c.Tries[1+i].Lag = time.Second
	}
	if r := RunWith(c, nil, nil); r.Watched.Class != watch.Undecided || r.Persistence != "unknown" {
		t.Errorf("one try of forty: %q, %s", r.Watched.Class, r.Persistence)
	}
	c.Tries = nil
	if r := RunWith(c, nil, nil); r.Watched == nil || r.Watched.Rate.Of != 0 {
		t.Errorf("nothing was sent, and the watch is passed over: %+v", r.Watched)
	}
	if c.Watched = false; RunWith(c, nil, nil).Watched != nil {
		t.Error("nobody watched")
	}
	p := &Pass{Case: caseOf(seen(model.VantagePod, "", model.OK)), view: &view{}}
	p.Case.Tries = seriesOf("F", "question", "t")
	if p.Case.Tries[0].Lag = time.Second; p.FailedOnce() {
		t.Error("a failure of a sender that was late is one of the network")
	}
}

// One good answer shows nothing of what comes and goes: the same watch does, when it
// is long enough.
func TestVerifyByWatch(t *testing.T) {
	fix := Finding{Subject: "host/t", Confidence: Likely, Fix: []Command{{Text: "mend", Verify: "podpath why shop/web https://a.test"}, {Text: "or", Verify: "kubectl get pods"}}}
	for name, c := range map[string]struct {
		tries  []model.Try
		beside []model.Endpoint
		more   bool
		want   string
	}{
		"intermittent":             {seriesOf(strings.Repeat("F...", 10), "question", "t"), nil, false, "podpath watch shop/web https://a.test --for 40s --every 1s"},
		"seldom":                   {seriesOf("....................F.......................F........", "question", "t"), nil, false, "podpath watch shop/web https://a.test --for 7m30s --every 1s"},
		"with others":              {seriesOf(strings.Repeat("F...", 10), "question", "t"), []model.Endpoint{{Raw: "svc/x y"}}, false, "podpath watch shop/web https://a.test --beside 'svc/x y' --for 40s --every 1s"},
		"beside a single question": {seriesOf(strings.Repeat("F...", 6), "question", "t"), nil, true, "podpath watch shop/web https://a.test --for 1m"},
		"persistent":               {seriesOf(strings.Repeat("F", 40), "question", "t"), nil, false, "podpath why shop/web https://a.test"},
	} {
		one := caseOf(seen(model.VantagePod, "tcp", model.TimedOut))
		one.Question.From.Raw, one.Question.To.Raw, one.Question.Beside = "shop/web", "https://a.test", c.beside
		one.Tries, one.More = c.tries, c.more
		f := fix
		f.Fix = slices.Clone(fix.Fix)
		got := RunWith(one, []Rule{rule("a", f)}, nil).Causes[0].Fix
		if got[0].Verify != c.want || got[1].Verify != "kubectl get pods" {
			t.Errorf("%s: %q, %q", name, got[0].Verify, got[1].Verify)
		}
	}
}

// A watch that shows that silence is survived is longer than that silence.
func TestVerifyIdle(t *testing.T) {
	s := watch.Summarise(append(seriesOf(strings.Repeat(".", 20), "question", "t"), model.Try{Vantage: model.VantagePod, Target: "t", Idle: 4 * time.Minute, Result: model.TimedOut, Failed: "idle"}), nil, model.VantagePod, nil)
	if got := watchLine("a b", nil, s, false); got != "podpath watch a b --for 4m10s --every 1s" {
		t.Error(got)
	}
}
