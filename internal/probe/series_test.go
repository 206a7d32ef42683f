package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// fakeSeries tries what the test says, in a bubble of its own time.
func fakeSeries(spec Series, try func(Target) model.Observation) (*series, *[]Line) {
	var lines []Line
	return &series{
		spec: spec, members: []Target{{Label: "q"}}, lag: newLag(), samples: map[string]bool{},
		try:  func(_ context.Context, t Target) []model.Observation { return []model.Observation{try(t)} },
		emit: func(l Line) error { lines = append(lines, l); return nil },
	}, &lines
}

func tries(lines []Line) (out []model.Try) {
	for _, l := range lines {
		if l.Try != nil {
			out = append(out, *l.Try)
		}
	}
	return out
}

func TestSeriesKeepsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, lines := fakeSeries(Series{Every: time.Second, For: 10 * time.Second, Jitter: 0.5, Seed: 7}, func(t Target) model.Observation {
			time.Sleep(3300 * time.Millisecond) // longer than the pace: tries overlap
			return model.Observation{Target: t.Label, Result: model.TimedOut, Failed: "tcp"}
		})
		begin := time.Now()
		if err := s.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := tries(*lines)
		if len(got) != 10 {
			t.Fatalf("%d tries in ten seconds at one a second", len(got))
		}
		slices.SortFunc(got, func(a, b model.Try) int { return a.At.Compare(b.At) })
		for i, try := range got {
			if d := try.At.Sub(begin) - time.Duration(i)*time.Second; d < 0 || d > 510*time.Millisecond {
				t.Errorf("try %d begins %s after its time", i, d)
			}
			if try.Lag != 0 {
				t.Errorf("the sender is said to have been late by %s", try.Lag)
			}
		}
		samples, noise := 0, 0
		for _, l := range *lines {
			if l.Sample != nil {
				samples++
			}
			if l.Noise != nil {
				noise++
			}
		}
		if samples != 1 || noise != 7 || (*lines)[len(*lines)-1].Noise.Sent != 10 {
			t.Errorf("%d samples of one kind of failure, %d noise", samples, noise)
		}
	})
}

func TestSeriesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ok := func(t Target) model.Observation { return model.Observation{Target: t.Label, Result: model.OK} }
		s, lines := fakeSeries(Series{Every: time.Second, For: time.Hour, Count: 3}, ok)
		if err := s.run(t.Context()); err != nil || len(tries(*lines)) != 3 {
			t.Errorf("a count of three: %d, %v", len(tries(*lines)), err)
		}
		// With its context, and what was seen until then is kept.
		ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer cancel()
		s, lines = fakeSeries(Series{Every: time.Second, For: time.Hour}, ok)
		if err := s.run(ctx); err != nil || len(tries(*lines)) != 5 {
			t.Errorf("cut short: %d, %v", len(tries(*lines)), err)
		}
		// Whoever ends it hears nothing of its end: how late the prober was is told before.
		var sent []int
		for _, l := range *lines {
			if l.Noise != nil {
				sent = append(sent, l.Noise.Sent)
			}
		}
		if len(sent) != 3 || sent[0] < 2 || sent[1] <= sent[0] || sent[2] != 5 {
			t.Errorf("noise is told after %v tries", sent)
		}
		// When nobody reads any more.
		s, _ = fakeSeries(Series{Every: time.Second, For: time.Hour}, ok)
		gone := errors.New("broken pipe")
		s.emit = func(Line) error { return gone }
		begin := time.Now()
		if err := s.run(t.Context()); !errors.Is(err, gone) || time.Since(begin) > 5*time.Second {
			t.Errorf("nobody reads: %v after %s", err, time.Since(begin))
		}
		// Too many under way: counted, not piled up.
		s, lines = fakeSeries(Series{Every: 100 * time.Millisecond, For: 10 * time.Second}, func(t Target) model.Observation {
			time.Sleep(time.Minute)
			return model.Observation{Target: t.Label, Result: model.TimedOut}
		})
		if err := s.run(t.Context()); err != nil || len(tries(*lines)) != maxInFlight || s.left != 100-maxInFlight {
			t.Errorf("%d tries, %d left out, %v", len(tries(*lines)), s.left, err)
		}
	})
}

// A series ends with its caller: at the end of its input, and when no pulse comes.
func TestWhileListened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		defer r.Close()
		ctx := WhileListened(t.Context(), r)
		for range 20 {
			time.Sleep(PulseEvery)
			if _, err := w.Write([]byte("\n")); err != nil || ctx.Err() != nil {
				t.Fatal("it ends although somebody listens", err)
			}
		}
		time.Sleep(PulseLimit - time.Second)
		if ctx.Err() != nil {
			t.Error("it ends too soon")
		}
		time.Sleep(2 * time.Second)
		if ctx.Err() == nil {
			t.Error("nobody listens, and it goes on")
		}
		ctx = WhileListened(t.Context(), strings.NewReader("\n"))
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("the input is over, and it goes on")
		}
	})
}

// A try during which the prober got no CPU says so.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLag()
		at := time.Now()
		l.note(at, at.Add(2*time.Millisecond))
		time.Sleep(time.Second)
		l.note(at.Add(time.Second), at.Add(1800*time.Millisecond)) // 800 ms late
		time.Sleep(time.Second)
		l.note(at.Add(2*time.Second), at.Add(2*time.Second))
		if d := l.between(at.Add(1500*time.Millisecond), at.Add(1600*time.Millisecond)); d != 800*time.Millisecond {
			t.Errorf("within the delay: %s", d)
		}
		if d := l.between(at, at.Add(900*time.Millisecond)); d != 0 {
			t.Errorf("before it: %s", d)
		}
		if d := l.between(at.Add(2*time.Second), at.Add(3*time.Second)); d < 900*time.Millisecond {
			t.Errorf("no beat for a second: %s", d)
		}
		if n := l.noise(); n.LagMax != 800*time.Millisecond || n.LagP50 != 2*time.Millisecond || n.CPUs == 0 || n.Held != 800*time.Millisecond || n.Over != 2*time.Second {
			t.Errorf("noise: %+v", n)
		}
	})
}

// A search finds the time after which connections end, by which none of them is told.
func TestSearch(t *testing.T) {
	for _, limit := range []time.Duration{4 * time.Minute, 37 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s, lines := fakeSeries(Series{Every: time.Second, For: time.Second, Count: 1, Search: 5 * time.Minute}, func(t Target) model.Observation {
				return model.Observation{Target: t.Label, Result: model.OK}
			})
			s.keep = func(ctx context.Context, gap time.Duration) model.Observation {
				sleep(ctx, gap)
				if gap >= limit {
					return model.Observation{Result: model.TimedOut, Failed: "idle"}
				}
				return model.Observation{Result: model.OK}
			}
			begin := time.Now()
			if err := s.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			var holds, ends time.Duration
			said := 0
			for _, l := range *lines {
				if l.Progress != "" {
					said++
				}
				if l.Try == nil || l.Try.Idle == 0 {
					continue
				}
				if l.Try.Result == model.OK {
					holds = max(holds, l.Try.Idle)
				} else if ends == 0 || l.Try.Idle < ends {
					ends = l.Try.Idle
				}
			}
			if limit == time.Hour {
				if holds != 5*time.Minute || ends != 0 {
					t.Errorf("no limit: holds %s, ends %s", holds, ends)
				}
				return
			}
			if holds >= limit || ends < limit || ends-holds > 5*time.Second || time.Since(begin) > 10*time.Minute || said < 16 {
				t.Errorf("%s: holds %s, ends %s, after %s, said %d", limit, holds, ends, time.Since(begin), said)
			}
		})
	}
}

// Over loopback: a far side that ends a connection itself, and one that keeps it.
func TestKept(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := netip.MustParseAddrPort(l.Addr().String())
	var mu sync.Mutex
	var conns []net.Conn
	next := make(chan struct{}, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case <-next: // this one is ended at once
				c.Close()
			default:
				mu.Lock()
				conns = append(conns, c)
				mu.Unlock()
			}
		}
	}()
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	}()
	r := newRunner(Plan{})
	target := Target{Label: "q", Host: at.Addr().String(), Port: at.Port()}.filled(&r.plan)
	next <- struct{}{}
	if o := r.kept(t.Context(), target, time.Hour); o.Result != model.Closed || o.Failed != "idle" || !strings.Contains(o.Detail, "of silence") {
		t.Errorf("ended by the far side: %s at %s, %s", o.Result, o.Failed, o.Detail)
	}
	l.Close()
	if o := r.kept(t.Context(), target, time.Millisecond); o.Result != model.ProbeFailed {
		t.Errorf("nobody to connect to: %s", o.Result)
	}
}

// A series over loopback, from a plan as it travels.
func TestRunSeries(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := netip.MustParseAddrPort(l.Addr().String())
	plan := `{"targets":[{"label":"q","purpose":"question","host":"127.0.0.1","port":` + at.String()[10:] + `},{"label":"later","purpose":"control:other-port","when":"tcp","host":"127.0.0.1","port":1},
		{"label":"e","purpose":"control:endpoint","host":"127.0.0.1","port":1}],"beside":[{"label":"b","host":"127.0.0.1","port":1}],"series":{"every":20000000,"for":60000000000,"count":5}}`
	p, err := ReadPlan(strings.NewReader(plan))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	if err := RunSeries(t.Context(), p, func(l Line) error {
		if l.Try != nil && (l.Try.Purpose == PurposeBeside) != (l.Try.Target == "b") || l.Sample != nil && l.Sample.Target == "b" {
			t.Errorf("what stands beside the question: %+v %+v", l.Try, l.Sample)
		}
		if l.Try != nil {
			seen[l.Try.Target+" "+string(l.Try.Result)]++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if seen["q ok"] != 5 || seen["e refused"] != 5 || seen["b refused"] != 5 || len(seen) != 3 {
		t.Errorf("tries: %v", seen)
	}
	for _, bad := range []string{`{"every":1,"for":1}`, `{"every":1000000000,"for":0}`, `{"every":1000000000,"for":1000000000,"jitter":2}`, `{"every":1000000000,"for":1000000000,"idle":[-1]}`} {
		if _, err := ReadPlan(strings.NewReader(`{"targets":[],"series":` + bad + `}`)); err == nil || !strings.Contains(err.Error(), "series") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestBesideIsBounded(t *testing.T) {
	one := `{"label":"b","host":"b.example","port":1}`
	for text, want := range map[string]string{
		strings.Repeat(one+",", MaxBeside) + one: "5 destinations beside the question",
		`{"label":"b","host":"b.example"}`:       "beside[0]: no port",
	} {
		if _, err := ReadPlan(strings.NewReader(`{"targets":[],"beside":[` + text + `]}`)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	p, err := ReadPlan(strings.NewReader(`{"targets":[],"beside":[` + one + `]}`))
	if err != nil || p.members() != nil {
		t.Errorf("without a question there is nothing to stand beside: %v, %v", p.members(), err)
	}
}

// A connection that never stood was not silent for any time.
func TestOutcomeOfAGap(t *testing.T) {
	if got := outcomeOf(56*time.Second, model.ProbeFailed); got != "no connection could be kept that was to be silent for 56s" {
		t.Error(got)
	}
	if got := outcomeOf(4*time.Minute, model.Reset); got != "a connection that was silent for 4m0s: reset" {
		t.Error(got)
	}
}
