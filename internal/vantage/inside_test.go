package vantage

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

func TestStraining(t *testing.T) {
	slow := []model.Phase{{Name: "tcp", Duration: 3 * time.Second}}
	for name, tc := range map[string]struct {
		o    model.Observation
		want bool
	}{
		"silent":    {model.Observation{Failed: "tcp", Result: model.TimedOut}, true},
		"hangs":     {model.Observation{Failed: "tls", Result: model.TimedOut}, true},
		"late":      {model.Observation{Result: model.OK, Phases: slow}, true},
		"well":      {model.Observation{Result: model.OK}, false},
		"an error":  {model.Observation{Failed: "http", Result: model.HTTPStatus}, false},
		"refused":   {model.Observation{Failed: "tcp", Result: model.Refused, Phases: slow}, false},
		"no name":   {model.Observation{Failed: "dns", Result: model.TimedOut}, false},
		"slow name": {model.Observation{Result: model.OK, Phases: []model.Phase{{Name: "dns", Duration: 5 * time.Second}}}, false},
	} {
		if got := straining(&tc.o); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestStrained(t *testing.T) {
	at := func(n string) netip.AddrPort { return netip.MustParseAddrPort(n) }
	s := newSession(Clients{}, Request{
		Pod:      &model.Pod{Namespace: "shop", Name: "web-1"},
		Backends: []Backend{{at("10.0.0.1:80"), "pod/shop/a"}, {at("10.0.0.2:80"), "pod/shop/b"}, {at("10.0.0.3:80"), "pod/shop/c"}, {at("10.0.0.4:80"), "pod/shop/web-1"}},
	})
	hung := model.Observation{Purpose: probe.PurposeEndpoint, Address: at("10.0.0.2:80"), Failed: "tcp", Result: model.TimedOut}
	if got := s.strained([]model.Observation{hung}); !slices.Equal(got, []model.Ref{"pod/shop/b"}) {
		t.Errorf("the one that showed it: %v", got)
	}
	hung.Purpose, hung.Address = probe.PurposeQuestion, at("10.9.0.1:80")
	if got := s.strained([]model.Observation{hung}); !slices.Equal(got, []model.Ref{"pod/shop/a", "pod/shop/b"}) {
		t.Errorf("the question itself: %v", got)
	}
	hung.Result, hung.Failed = model.OK, ""
	if got := s.strained([]model.Observation{hung}); len(got) != 0 {
		t.Errorf("all is well: %v", got)
	}
}

// TestInsides: the asking pod is read where it was entered, and again after a
// series, whose movement is kept beside the fuller of the two readings.
func TestInsides(t *testing.T) {
	c := newCluster(livePod())
	req := request()
	req.Vantages = []model.Vantage{model.VantagePod}
	req.Series = &probe.Series{Every: 20 * time.Millisecond, For: 100 * time.Millisecond}
	r := c.probe(t, t.Context(), req)
	in := r.Inside["pod/shop/web-1"]
	if in == nil || in.Grew("TcpExtListenDrops") == 0 || len(in.Sockets) != 1 || int64(in.Sockets[0].Count) != in.After["TcpExtListenDrops"] {
		t.Errorf("%+v; gaps %s", r.Inside, gapsOf(r))
	}
}
