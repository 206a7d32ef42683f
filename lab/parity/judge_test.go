package parity

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func single(verdict, hop string) way {
	return way{Verdict: verdict, Steps: []step{{Hop: "pod", Verdict: "pass"}, {Hop: hop, Verdict: verdict}}}
}

// by is a way through a Service to a pod.
func by(verdict, pod string) way {
	w := single(verdict, "policy")
	s := step{Hop: "service", Verdict: "pass"}
	s.Out.To = "pod/" + pod
	w.Steps = append([]step{s}, w.Steps...)
	return w
}

func TestAgrees(t *testing.T) {
	open, closed := &flow{}, &flow{closed: true}
	for _, test := range []struct {
		name string
		flow *flow
		ways []way
		got  fate
		want bool
	}{
		{"pass, answered", open, []way{single("pass", "")}, fate{Result: "ok"}, true},
		{"pass, silence", open, []way{single("pass", "")}, fate{Result: "timeout"}, false},
		{"pass, refused", open, []way{single("pass", "")}, fate{Result: "refused"}, false},
		{"pass to a closed port", closed, []way{single("pass", "")}, fate{Result: "refused"}, true},
		{"pass to a closed port, silence", closed, []way{single("pass", "")}, fate{Result: "timeout"}, false},
		{"drop, silence", open, []way{single("drop", "nsg")}, fate{Result: "timeout"}, true},
		{"drop, answered", open, []way{single("drop", "nsg")}, fate{Result: "ok"}, false},
		{"drop, refused", closed, []way{single("drop", "nsg")}, fate{Result: "refused"}, false},
		{"reject, refused", open, []way{single("reject", "service")}, fate{Result: "refused"}, true},
		{"reject, unreachable", open, []way{single("reject", "node-kernel")}, fate{Result: "unreachable"}, true},
		{"reject, silence", open, []way{single("reject", "service")}, fate{Result: "timeout"}, false},
		{"a node's own datagram", open, []way{single("drop", "service")}, fate{Result: prohibited}, true},
		{"the firewall resets", open, []way{single("reject", "appliance")}, fate{Result: "reset"}, true},
		{"the firewall answers", open, []way{single("reject", "appliance")}, fate{Result: "http-470"}, true},
		{"the firewall is silent", open, []way{single("reject", "appliance")}, fate{Result: "timeout"}, false},
		{"the right pod", open, []way{by("pass", "par-a/p1")}, fate{Result: "ok", Who: "par-a/p1"}, true},
		{"another pod", open, []way{by("pass", "par-a/p1")}, fate{Result: "ok", Who: "par-a/p2"}, false},
		{"one of two", open, []way{by("drop", "par-a/p1"), by("pass", "par-a/p2")}, fate{Result: "ok", Who: "par-a/p2"}, true},
		{"the one that is dropped", open, []way{by("drop", "par-a/p1"), by("pass", "par-a/p2")}, fate{Result: "ok", Who: "par-a/p1"}, false},
		{"the other of two", open, []way{by("drop", "par-a/p1"), by("pass", "par-a/p2")}, fate{Result: "timeout"}, true},
	} {
		if got := agrees(test.flow, &prediction{Paths: test.ways}, test.got); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestSummary(t *testing.T) {
	var sum summary
	o := Options{Unknown: 0.4, Out: io.Discard, Lab: "x", Seed: 3}
	f := &flow{from: place{name: "par-a/p1"}, protocol: "tcp", what: "pod par-b/p2"}
	sum.compare(f, &prediction{Verdict: "pass", Paths: []way{single("pass", "")}}, fate{Result: "ok"})
	sum.compare(f, &prediction{Verdict: "drop", Paths: []way{single("drop", "nsg")}}, fate{Result: "timeout"})
	sum.compare(f, &prediction{Verdict: "unknown", Paths: []way{single("unknown", "route")}}, fate{Result: "ok"})
	if err := sum.judge(o); err != nil {
		t.Errorf("%v: %s", err, sum.line())
	}
	sum.compare(f, &prediction{Verdict: "unknown", Paths: []way{single("unknown", "route")}}, fate{Result: "ok"})
	if err := sum.judge(o); err == nil || !strings.Contains(err.Error(), "does not know 2 of 4") {
		t.Errorf("half unknown: %v", err)
	}
	sum.compare(f, &prediction{Verdict: "pass", Paths: []way{single("pass", "")}}, fate{Result: "timeout"})
	if err := sum.judge(o); !errors.Is(err, ErrDisagree) {
		t.Errorf("a disagreement: %v", err)
	}
	for i := range 3 {
		if news := sum.news(&sum.disagreements[0]); news != (i < maxShown) {
			t.Errorf("the %d. of a kind is told: %v", i+1, news)
		}
	}
	told := sum.disagreements[0].tell(o, 4)
	for _, want := range []string{"par-a/p1", "packets: timeout", "podpath: pass", "--name x --seed 3 --round 4"} {
		if !strings.Contains(told, want) {
			t.Errorf("no %q in\n%s", want, told)
		}
	}
}
