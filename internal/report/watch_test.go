package report

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

func series(pattern string, change func(*model.Try)) []model.Try {
	var out []model.Try
	for i, c := range pattern {
		t := model.Try{At: time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC), Vantage: model.VantagePod, Target: "t", Result: model.OK, Took: 3 * time.Millisecond}
		if c == 'F' {
			t.Result, t.Failed = model.TimedOut, "tcp"
		}
		change(&t)
		out = append(out, t)
	}
	return out
}

func endpoint(addr string) func(*model.Try) {
	return func(t *model.Try) { t.Purpose, t.Address = "control:endpoint", netip.MustParseAddrPort(addr) }
}

func TestWatchedText(t *testing.T) {
	ok, bad := strings.Repeat(".", 20), strings.Repeat("F", 20)
	same := func(*model.Try) {}
	idle := func(gap time.Duration, result model.Reason) model.Try {
		return model.Try{Vantage: model.VantagePod, Idle: gap, Result: result, Failed: "idle"}
	}
	event := []model.Event{{Last: time.Date(2026, 1, 2, 3, 4, 18, 0, time.UTC), Reason: "Killing", Message: "\x1b[31mstop", About: "pod/a/b"}}
	for name, c := range map[string]struct {
		tries []model.Try
		want  []string
		not   []string
	}{
		"none":         {series(ok+ok, same), []string{"no failure seen: 0 of 40 (0 %, 0–8.8 %) failed", "40 tries are too few to tell rates under 11 %"}, []string{"where it lives"}},
		"one endpoint": {slices.Concat(series("..F..F..F..F..F..F..", same), series(ok, endpoint("10.1.0.1:80")), series(bad, endpoint("10.1.0.2:80"))), []string{"intermittent: 6 of 20", "it lives at endpoint 10.1.0.2:80 alone: 20 of 20 failed there, none of 20 elsewhere"}, nil},
		"nameless": {slices.Concat(series(ok, same), series(bad, func(t *model.Try) {
			t.Vantage, t.Failed, t.Result = model.VantageNode, "dns", model.NXDomain
		})), []string{"no failure seen", "node: the resolver there does not know the name, so that what fails there counts for nothing"}, nil},
		"no name at all": {slices.Concat(series(bad, func(t *model.Try) { t.Failed, t.Result = "dns", model.NXDomain }), series(bad, func(t *model.Try) {
			t.Vantage, t.Failed, t.Result = model.VantageNode, "dns", model.NXDomain
		})), []string{"persistent"}, []string{"the resolver there does not know"}},
		"since": {series(ok+bad, same), []string{"persistent", "from 0 % to 100 %; 2.0 s after Killing:", "(pod/a/b)", "20 failures in a row do not exclude that up to 21 % get through"}, []string{"\x1b[31m"}},
		"over":  {series(bad+ok, same), []string{"recovered", "20 tries worked since; a rate under 21 % would not have shown"}, nil},
		"statuses": {slices.Concat(series("F.FF", func(t *model.Try) {
			if t.Result != model.OK {
				t.Result, t.Failed, t.Status = model.HTTPStatus, "http", 503
			}
		}), series("F.......", func(t *model.Try) {
			if t.Result != model.OK {
				t.Result, t.Failed, t.Status = model.HTTPStatus, "http", 429
			}
		})), []string{"HTTP 503 ×3 · HTTP 429 ×1"}, []string{"http-status"}},
		"too few":     {series(".F..", same), []string{"not decided", "so few tries (4) do not tell which it is: watch longer"}, []string{"no failure seen"}},
		"late":        {series(ok, func(t *model.Try) { t.Lag = time.Second }), []string{"nothing that counts was sent", "20 tries are left out", "of 20 tries of the question's own place 0 count, which tell neither"}, []string{"no failure seen", "watch longer"}},
		"idle":        {append(series(ok, same), idle(2*time.Minute, model.OK), idle(4*time.Minute, model.TimedOut)), []string{"over new connections: no failure seen", "survives 2m0s of silence and not 4m0s (timeout)"}, nil},
		"closes":      {append(series(ok, same), model.Try{Vantage: model.VantagePod, Idle: time.Minute, Result: model.Closed, Failed: "idle"}), []string{"the far side itself closes a kept connection within 1m0s of silence"}, []string{"forgets"}},
		"no time-out": {append(series(ok, same), idle(time.Minute, model.Reset), idle(4*time.Minute, model.OK)), []string{"that is no time-out"}, nil},
	} {
		p := newPrinter(Options{Width: 400})
		p.watched(&Report{Watched: watch.Summarise(c.tries, []model.Noise{{Vantage: model.VantagePod, LagMax: 5 * time.Millisecond, Load: 2.5, Left: 3}}, model.VantagePod, event)})
		got := p.b.String()
		for _, w := range append(c.want, "were late by 5 ms at most (pod); load of their nodes up to 2.5", "3 tries were not sent") {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q is missing in\n%s", name, w, got)
			}
		}
		for _, n := range c.not {
			if strings.Contains(got, n) {
				t.Errorf("%s: %q stands in\n%s", name, n, got)
			}
		}
	}
	p := newPrinter(Options{})
	beside := func(tr *model.Try) { tr.Purpose, tr.Target = "beside", "https://b.example" }
	two := newPrinter(Options{Width: 400})
	two.watched(&Report{Watched: watch.Summarise(slices.Concat(series("..F..F..F..F..F..F..F..F", same), series(ok+ok, beside)), nil, model.VantagePod, nil)})
	for _, w := range []string{"\n    to       t  ", "\n    beside   b.example  ", "it lives at destination t alone: 8 of 24 failed there, none of 40 elsewhere"} {
		if got := two.b.String(); !strings.Contains(got, w) {
			t.Errorf("beside: %q is missing in\n%s", w, got)
		}
	}
	phased := func(tr *model.Try) {
		tr.Phases = []model.Phase{{Name: "dns", Result: model.OK, Duration: 2 * time.Millisecond}, {Name: "tcp", Result: tr.Result, Duration: 7 * time.Millisecond}}
	}
	wide := newPrinter(Options{Width: 400, Wide: true})
	wide.watched(&Report{Watched: watch.Summarise(series(".F..F....F", phased), nil, model.VantagePod, nil)})
	for _, w := range []string{"dns    0 of 10 (0 %, 0–28 %) failed · p50 2 ms, p90 2 ms, p99 2 ms, at most 2 ms", "tcp    3 of 10 (30 %, 11–60 %) failed · p50 7 ms"} {
		if got := wide.b.String(); !strings.Contains(got, w) {
			t.Errorf("wide: %q is missing in\n%s", w, got)
		}
	}
	if p.watched(&Report{}); p.b.Len() != 0 {
		t.Error("nothing was watched, and something is told")
	}
}

func TestBars(t *testing.T) {
	if got := Bars("09-5x", false); got != "▁█ ▅ " && got != "▁█ ▆ " {
		t.Errorf("%q", got)
	}
	if got := Bars("09-5", true); got != ".9 5" {
		t.Errorf("%q", got)
	}
}

// Places give up at different times, so that one loss shows as several rates.
func TestImpatientPlaces(t *testing.T) {
	syn := func(tr *model.Try) {
		tr.Phases = []model.Phase{{Name: "tcp", Result: tr.Result, Duration: 1020 * time.Millisecond}}
	}
	other := func(tr *model.Try) { tr.Vantage = model.VantagePeer }
	own := series("..........", syn)
	for name, c := range map[string]struct {
		peer string
		want bool
	}{"both lose packets": {"F..F......", true}, "the other place has no failure": {"..........", false}} {
		facts := strings.Join(Facts(watch.Summarise(slices.Concat(own, series(c.peer, other)), nil, model.VantagePod, nil)), "\n")
		if strings.Contains(facts, "wait for two SYNs") != c.want {
			t.Errorf("%s: %s", name, facts)
		}
	}
}

// A good answer in the headline of what fails says what it is of.
func TestHeadOfWhatFailsElsewhere(t *testing.T) {
	for want, r := range map[string]*Report{
		"FAILS  a new connection: answered in 3 ms":      {Works: "false", Watched: &watch.Summary{Idle: &watch.Idle{Ends: time.Minute}}},
		"FAILS  this time answered in 3 ms":              {Works: "false"},
		"works  answered in 3 ms":                        {Works: "true"},
		"works again  before: refused at tcp after 3 ms": {Works: "true", Persistence: "recovered"},
	} {
		r.Observations = []model.Observation{{Vantage: model.VantagePod, Result: model.OK, Took: 3 * time.Millisecond}}
		p := newPrinter(Options{})
		if r.Persistence == "recovered" {
			r.Observations[0].Result, r.Observations[0].Failed = model.Refused, "tcp"
		}
		if p.head(r); !strings.Contains(p.b.String(), want) {
			t.Errorf("%q is not in %q", want, p.b.String())
		}
	}
}

// A watch of which nothing could be sent says so, and what would allow it.
func TestNothingSent(t *testing.T) {
	c := &model.Case{Watched: true, Question: model.Question{From: model.Endpoint{Kind: "pod"}}}
	c.World.Gaps = []model.Gap{
		{What: "probe from pod/shop/a by ephemeral", Reason: "forbidden", Permission: "patch pods/ephemeralcontainers in namespace shop"},
		{What: "Azure", Reason: "not read: --no-azure"},
	}
	r := New(c, diagnose.RunWith(c, nil, nil))
	p := newPrinter(Options{Width: 400})
	p.watched(r)
	for _, w := range []string{"not decided: nothing was sent, for no prober could start", "probe from pod/shop/a by ephemeral: forbidden — needs patch pods/ephemeralcontainers in namespace shop"} {
		if got := p.b.String(); !strings.Contains(got, w) {
			t.Errorf("%q is missing in\n%s", w, got)
		}
	}
	if strings.Contains(p.b.String(), "no-azure") || r.ExitCode != ExitUnable {
		t.Errorf("exit code %d:\n%s", r.ExitCode, p.b.String())
	}
}
