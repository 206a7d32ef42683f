package vantage

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// TestSharersAreReadWhereConnectionsAreLost: who shares the way out is read after a
// series that lost connections, and no pod is started there for one that did not.
func TestSharersAreReadWhereConnectionsAreLost(t *testing.T) {
	try := func(v model.Vantage, r model.Reason) model.Try {
		return model.Try{Vantage: v, Failed: "tcp", Result: r}
	}
	lost, other, refused := try(model.VantagePod, model.TimedOut), try(model.VantageHere, model.TimedOut), try(model.VantagePod, model.Refused)
	for _, c := range []struct {
		tries []model.Try
		read  int
	}{
		{[]model.Try{lost, lost, refused, lost}, 1},
		{[]model.Try{lost, lost, refused, refused}, 0},
		{[]model.Try{other, other, other}, 0},
	} {
		fake := newCluster(livePod())
		req := request()
		req.Series, req.Sharers = &probe.Series{Every: time.Second, For: time.Second}, []string{"n2"}
		s := newSession(Clients{Kube: fake}, req)
		s.exec = fake.run
		s.result.Tries = c.tries
		s.lateNodes(t.Context())
		if len(s.result.NodeFacts) != c.read || c.read == 1 && s.result.NodeFacts["n2"] == nil {
			t.Errorf("%+v: read %v, gaps %v", c.tries, s.result.NodeFacts, s.result.Gaps)
		}
	}
}

// TestNodeOfASilentResolver: it is read, once, whether the question is asked once or many times.
func TestNodeOfASilentResolver(t *testing.T) {
	silent := netip.MustParseAddr("10.0.9.9")
	for result, read := range map[model.Reason]int{model.TimedOut: 1, model.OK: 0} {
		fake := newCluster(livePod())
		req := request()
		req.Resolvers = map[netip.Addr]string{silent: "n2"}
		s := newSession(Clients{Kube: fake}, req)
		s.exec = fake.run
		s.result.Observations = []model.Observation{{
			Vantage: model.VantagePeer, Purpose: probe.PurposeDNSServer, Result: result, Queries: []model.DNSQuery{{Server: netip.AddrPortFrom(silent, 53), Result: result}, {Server: netip.AddrPortFrom(silent, 53), Result: result}},
		}}
		s.lateNodes(t.Context())
		if len(s.result.NodeFacts) != read {
			t.Errorf("%s: read %v, gaps %v", result, s.result.NodeFacts, s.result.Gaps)
		}
	}
}
