package examine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

func TestWhenAPodWasToldToEnd(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 3, 2, 9, 30, s, 0, time.UTC) }
	ref := model.NewRef("pod", "shop", "web-1")
	for name, c := range map[string]struct {
		event model.Event
		want  bool
	}{
		"the kubelet says so":            {model.Event{About: ref, Reason: "Killing", Message: "Stopping container web", Last: at(3)}, true},
		"its controller says so":         {model.Event{About: model.NewRef("replicaset", "shop", "web-abc"), Reason: "SuccessfulDelete", Message: "Deleted pod: web-1", Last: at(3)}, true},
		"it failed its liveness probe":   {model.Event{About: ref, Reason: "Killing", Message: "Container web failed liveness probe, will be restarted", Last: at(3)}, false},
		"another pod ends":               {model.Event{About: model.NewRef("pod", "shop", "web-11"), Reason: "Killing", Message: "Stopping container web", Last: at(3)}, false},
		"one of another namespace ends":  {model.Event{About: model.NewRef("replicaset", "ops", "web-abc"), Reason: "SuccessfulDelete", Message: "Deleted pod: web-1", Last: at(3)}, false},
		"one whose name ends in its own": {model.Event{About: model.NewRef("replicaset", "shop", "x"), Reason: "SuccessfulDelete", Message: "Deleted pod: a-web-1", Last: at(3)}, false},
	} {
		got := killed([]model.Event{c.event}, ref)
		if (got != nil) != c.want || got != nil && !got.Told.Equal(at(3)) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestSinceWhenAPodTakesNoConnection(t *testing.T) {
	pod := &model.Pod{IPs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}}
	start := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)
	for of, want := range map[string]int{"....FFF": 4, "..F..FF": 5, ".......": -1, "FFFFFFF": -1, "": -1} {
		var tries []model.Try
		for i, r := range of {
			one := model.Try{At: start.Add(time.Duration(i) * time.Second), Purpose: probe.PurposeEndpoint, Address: netip.MustParseAddrPort("10.0.0.9:80"), Result: model.OK}
			if r == 'F' {
				one.Result, one.Failed = model.Refused, "tcp"
			}
			tries = append(tries, one)
		}
		expected := time.Time{}
		if want >= 0 {
			expected = start.Add(time.Duration(want) * time.Second)
		}
		if got := shut(tries, pod); !got.Equal(expected) {
			t.Errorf("%q: %s, want %s", of, got, expected)
		}
	}
}
