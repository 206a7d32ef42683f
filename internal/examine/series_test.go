package examine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

func tries(v model.Vantage, n, failed int) []model.Try {
	var out []model.Try
	for i := range n {
		t := model.Try{At: time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC), Vantage: v, Purpose: "question", Result: model.OK}
		if i < failed {
			t.Result, t.Failed = model.TimedOut, "tcp"
		}
		out = append(out, t)
	}
	return out
}

// One failure of a hundred does not make another place one that fails as well.
func TestTypical(t *testing.T) {
	c := &model.Case{Question: model.Question{From: model.Endpoint{Kind: "pod"}}}
	c.Tries = slices.Concat(tries(model.VantagePod, 50, 50), tries(model.VantagePeer, 50, 49), tries(model.VantageOtherNode, 50, 1))
	for _, v := range []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageOtherNode} {
		c.Observations = append(c.Observations, model.Observation{Vantage: v, Purpose: "question", Result: model.TimedOut, Sample: true})
	}
	c.Observations = append(c.Observations, model.Observation{Vantage: model.VantageOtherNode, Purpose: "question", Result: model.OK})
	typical(c)
	if len(c.Observations) != 3 || c.Observations[2].Result != model.OK {
		t.Errorf("kept: %+v", c.Observations)
	}
}

// The first probes are the beginning of the series; the samples of the series are not.
func TestFirstTries(t *testing.T) {
	c := &model.Case{Question: model.Question{From: model.Endpoint{Kind: "pod"}}}
	c.Observations = []model.Observation{
		{Vantage: model.VantagePod, Purpose: "question", Result: model.TimedOut, Failed: "tcp", Took: time.Second},
		{Vantage: model.VantagePod, Purpose: "question", Result: model.Refused, Failed: "tcp", Sample: true},
		{Vantage: model.VantagePod, Purpose: "control:other-port", Result: model.OK},
		{Vantage: model.VantagePod, Purpose: "question", Result: model.ProbeFailed},
		{Vantage: model.VantagePeer, Purpose: "question", Result: model.OK},
	}
	list := tries(model.VantagePod, 3, 0)
	got := firstTries(c, list)
	if len(got) != 1 || got[0].Result != model.TimedOut || !got[0].At.Before(list[0].At) {
		t.Errorf("%+v", got)
	}
	if firstTries(c, nil) != nil {
		t.Error("no series, and it has a beginning")
	}
}

// A Service with more endpoints than a series takes by themselves says so.
func TestUnaskedEndpoints(t *testing.T) {
	slice := &model.EndpointSlice{Namespace: "shop", Name: "web-x", Service: "web", AddressType: "IPv4", Ports: []model.EndpointPort{{Port: 80, Protocol: "TCP"}}}
	c := &model.Case{Question: model.Question{Protocol: "tcp", To: model.Endpoint{Kind: "service", Namespace: "shop", Name: "web", Port: 80}}}
	c.World.Kube.EndpointSlices = map[model.Ref]*model.EndpointSlice{"endpointslice/shop/web-x": slice}
	c.World.Kube.Services = map[model.Ref]*model.Service{"service/shop/web": {
		Namespace: "shop", Name: "web", Ports: []model.ServicePort{{Port: 80, TargetPort: "80", Protocol: "TCP"}}, Selector: model.Labels{"a": "b"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	}}
	for _, ip := range []string{"10.1.0.1", "10.1.0.2", "10.1.0.3"} {
		slice.Endpoints = append(slice.Endpoints, model.SliceEndpoint{Addresses: []string{ip}, Ready: true, Serving: true})
	}
	for asked, want := range map[int]int{0: 0, 2: 1, 3: 0} {
		c.Tries, c.Notes = []model.Try{{Purpose: "question", Result: model.OK}}, nil
		for i := range asked {
			at := netip.AddrPortFrom(netip.MustParseAddr(slice.Endpoints[i].Addresses[0]), 80)
			c.Tries = append(c.Tries, model.Try{Purpose: probe.PurposeEndpoint, Address: at, Result: model.OK}, model.Try{Purpose: probe.PurposeEndpoint, Address: at, Result: model.OK})
		}
		unasked(c)
		if len(c.Notes) != want || want > 0 && !strings.HasPrefix(c.Notes[0], "2 of 3 endpoints") {
			t.Errorf("%d asked: %q", asked, c.Notes)
		}
	}
}
