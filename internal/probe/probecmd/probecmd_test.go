package probecmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

func call(t *testing.T, in string, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(context.Background(), args, Streams{strings.NewReader(in), &out, &errs})
	return code, out.String(), errs.String()
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{nil, {"nonsense"}, {"serve", "--ttl", "soon"}, {"serve", "--ttl=-1s"}, {"serve", "x"}} {
		if code, _, errs := call(t, "", args...); code != 2 || errs == "" {
			t.Errorf("%v: %d %q", args, code, errs)
		}
	}
	if code, out, _ := call(t, "", "help"); code != 0 || !strings.Contains(out, "serve") {
		t.Errorf("help: %d %q", code, out)
	}
}

func TestRun(t *testing.T) {
	code, out, errs := call(t, `{"targets":[{"label":"x","host":"127.0.0.1","port":1}]} rest of the stream`, "run")
	var obs []model.Observation
	if err := json.Unmarshal([]byte(out), &obs); err != nil || code != 0 || len(obs) != 1 || obs[0].Result != model.Refused || !strings.Contains(errs, "running") {
		t.Errorf("%d %v %s %s", code, err, out, errs)
	}
	if code, _, errs := call(t, `{"targets":[{"host":"a"}]}`, "run"); code != 1 || !strings.Contains(errs, "no port") {
		t.Errorf("%d %s", code, errs)
	}
}

// name is a socket of this test alone.
func name(t *testing.T) string {
	return fmt.Sprintf("@podpath-probe-test/%d/%s", os.Getpid(), t.Name())
}

func TestServe(t *testing.T) {
	start := func(ctx context.Context, ttl time.Duration) (chan error, *signalled) {
		done, out := make(chan error, 1), &signalled{ready: make(chan struct{})}
		go func() { done <- serve(ctx, name(t), ttl, out) }()
		<-out.ready
		return done, out
	}
	ended := func(done chan error, within time.Duration) bool {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return true
		case <-time.After(within):
			return false
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, _ := start(ctx, time.Hour)
	if err := serve(ctx, name(t), time.Hour, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "already serving") {
		t.Errorf("a second one: %v", err)
	}
	cancel()
	if !ended(done, 2*time.Second) {
		t.Fatal("a signal does not end it")
	}
	done, _ = start(context.Background(), time.Hour)
	if err := tell(name(t), "stop"); err != nil || !ended(done, 2*time.Second) {
		t.Fatalf("stop does not end it: %v", err)
	}
	begin := time.Now()
	done, _ = start(context.Background(), 400*time.Millisecond)
	time.Sleep(250 * time.Millisecond) // a renewal only shows if it comes before the end
	if err := tell(name(t), "renew"); err != nil {
		t.Fatal(err)
	}
	if !ended(done, 3*time.Second) || time.Since(begin) < 600*time.Millisecond {
		t.Errorf("ended after %v", time.Since(begin))
	}
	if err := tell(name(t), "stop"); err == nil {
		t.Error("nobody serves, and nobody said so")
	}
}

// signalled tells when the first byte was written.
type signalled struct {
	ready chan struct{}
	once  bool
}

func (s *signalled) Write(p []byte) (int, error) {
	if !s.once {
		s.once = true
		close(s.ready)
	}
	return len(p), nil
}

func TestNode(t *testing.T) {
	code, out, errs := call(t, "", "node")
	var facts model.NodeFacts
	if err := json.Unmarshal([]byte(out), &facts); err != nil || code != 0 || len(facts.Sysctls) == 0 {
		t.Errorf("%d %v %s", code, err, errs)
	}
	if code, _, _ := call(t, "", "node", "a", "b"); code != 1 {
		t.Errorf("%d", code)
	}
}
