package vantage

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// series answers three tries, the second of which fails, in pieces that are no lines.
func (c *cluster) series(call execCall) error {
	var plan probe.Plan
	if err := json.Unmarshal(call.stdin, &plan); err != nil {
		return err
	}
	if !call.pulse {
		return errors.New("it would go on after its caller is gone")
	}
	var b strings.Builder
	out := json.NewEncoder(&b)
	for i := range plan.Series.Count {
		t := model.Try{Target: plan.Targets[0].Label, Purpose: probe.PurposeQuestion, Result: model.OK, Vantage: "forged", From: "pod/for/ged"}
		if i == 1 {
			t.Result, t.Failed = model.Refused, "tcp"
			_ = out.Encode(probe.Line{Sample: &model.Observation{Target: t.Target, Purpose: t.Purpose, Result: t.Result, Failed: "tcp"}})
		}
		_ = out.Encode(probe.Line{Try: &t})
	}
	for _, t := range plan.Beside {
		_ = out.Encode(probe.Line{Try: &model.Try{Target: t.Label, Purpose: probe.PurposeBeside, Result: model.OK}})
	}
	b.WriteString("no line\n")
	_ = out.Encode(probe.Line{Noise: &model.Noise{Sent: 1}})
	_ = out.Encode(probe.Line{Noise: &model.Noise{Sent: plan.Series.Count}})
	for text := b.String(); text != ""; {
		n := min(len(text), 37)
		if _, err := call.stdout.Write([]byte(text[:n])); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

func TestSeriesFromEveryPlace(t *testing.T) {
	c := newCluster(livePod())
	req := request()
	req.Escalate = true // a series is sent from everywhere all the same
	req.Series = &probe.Series{Every: time.Second, For: 10 * time.Second, Count: 3}
	req.Beside = []probe.Target{{Label: "b", Host: "b.example", Port: 443}}
	var mu sync.Mutex
	told := map[model.Vantage]int{}
	req.OnLine = func(v model.Vantage, _ probe.Line) {
		mu.Lock()
		defer mu.Unlock()
		told[v]++
	}
	s := newSession(Clients{Kube: c.Clientset}, req)
	s.exec = c.run
	r := s.run(t.Context())
	tries := map[model.Vantage]int{}
	for _, try := range r.Tries {
		tries[try.Vantage]++
		if try.From == "pod/for/ged" {
			t.Error("a probe says where it is")
		}
	}
	samples := 0
	for _, o := range r.Observations {
		if o.Sample {
			samples++
		}
	}
	for _, v := range req.Vantages {
		lines := 6
		if v == model.VantagePod { // only the question's own place tries what stands beside it
			lines = 7
		}
		if tries[v] != 3 || told[v] != lines {
			t.Errorf("%s: %d tries, told %d times", v, tries[v], told[v])
		}
	}
	if len(r.Noise) != 4 || samples != 4 || len(tries) != 4 {
		t.Errorf("%d noise, %d samples, places %v", len(r.Noise), samples, tries)
	}
	for _, n := range r.Noise {
		if n.Sent != 3 {
			t.Errorf("what %s told last of its prober is not what is kept: %+v", n.Vantage, n)
		}
	}
	if len(r.Beside) != 1 || r.Beside[0].Vantage != model.VantagePod {
		t.Errorf("beside the question: %+v", r.Beside)
	}
	broken := 0
	for _, g := range r.Gaps {
		if strings.HasPrefix(g.What, "a part of the series") {
			broken++
		}
	}
	if broken != 4 {
		t.Errorf("lines that are none are told %d times: %v", broken, r.Gaps)
	}
	if s.req.TTL < DefaultTTL+10*time.Second {
		t.Errorf("what is created lives for %s", s.req.TTL)
	}
}

// Ctrl-C: what was seen until then is kept, and what was created is removed.
func TestSeriesIsCutShort(t *testing.T) {
	c := newCluster(livePod())
	req := request()
	req.Series = &probe.Series{Every: time.Second, For: time.Hour}
	ctx, cancel := context.WithCancel(t.Context())
	s := newSession(Clients{Kube: c.Clientset}, req)
	s.exec = func(ctx context.Context, call execCall) error {
		if call.command[1] != "watch" {
			return c.run(ctx, call)
		}
		_ = json.NewEncoder(call.stdout).Encode(probe.Line{Try: &model.Try{Result: model.OK}})
		cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	r := s.run(ctx)
	if len(r.Tries) == 0 {
		t.Error("nothing is kept")
	}
	if n := len(c.left(t)); n != 0 {
		t.Errorf("%d pods are left", n)
	}
}

// The input goes on until its context ends.
func TestPulsing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := pulsing(ctx, []byte("plan"))
	buf := make([]byte, 8)
	if n, err := r.Read(buf); err != nil || string(buf[:n]) != "plan\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	cancel()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 1 {
		t.Errorf("%q, %v", rest, err)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"try":{"at":"2026-01-02T03:04:05Z","result":"ok"}}` + "\n"))
	f.Add([]byte("{\n\n{}\nnull\n[]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		l := &lines{each: func(probe.Line) { n++ }}
		if k, err := l.Write(data); k != len(data) || err != nil {
			t.Fatalf("%d of %d, %v", k, len(data), err)
		}
		if ends := strings.Count(string(data), "\n"); n+l.bad() < ends {
			t.Fatalf("%d lines, %d outcomes, %d broken", ends, n, l.bad())
		}
	})
}

// A question that is answered well is asked a few times more. As long as all goes
// well, no other place is troubled; where one of them fails, each asks as often.
func TestMoreTries(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fails  model.Reason
		status int
		places int
		noted  bool
	}{
		{"all is well", model.OK, 0, 1, false},
		{"one fails", model.Refused, 0, 4, false},
		{"the rate is limited, which is podpath's own haste", model.HTTPStatus, http.StatusTooManyRequests, 1, true},
		{"another status is a failure", model.HTTPStatus, http.StatusBadGateway, 4, false},
	} {
		c := newCluster(livePod())
		req := request()
		req.Vantages = []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageNode, model.VantageOtherNode}
		req.Escalate = true
		req.More = &probe.Series{Every: 50 * time.Millisecond, For: 3 * time.Second, Count: 3}
		s := newSession(Clients{Kube: c.Clientset}, req)
		s.exec = func(ctx context.Context, call execCall) error {
			if call.command[1] != "watch" {
				return c.run(ctx, call)
			}
			out := json.NewEncoder(call.stdout)
			for i := range 3 {
				try := model.Try{Purpose: probe.PurposeQuestion, Result: model.OK}
				if i == 1 && tc.fails != model.OK {
					try.Result = tc.fails
					o := model.Observation{Purpose: probe.PurposeQuestion, Result: tc.fails, Failed: "http"}
					if tc.status > 0 {
						o.HTTP = &model.HTTPAnswer{Status: tc.status}
					}
					_ = out.Encode(probe.Line{Sample: &o})
				}
				_ = out.Encode(probe.Line{Try: &try})
			}
			return nil
		}
		r := s.run(t.Context())
		places, noted := map[model.Vantage]int{}, false
		for _, try := range r.Tries {
			places[try.Vantage]++
		}
		for _, n := range r.Notes {
			noted = noted || strings.Contains(n, "429")
		}
		if len(places) != tc.places || noted != tc.noted {
			t.Errorf("%s: tries by place %v, noted %v; want %d places, noted %v", tc.name, places, noted, tc.places, tc.noted)
		}
	}
}
