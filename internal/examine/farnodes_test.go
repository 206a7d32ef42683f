package examine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func TestOtherNodesAreReady(t *testing.T) {
	c := &model.Case{World: model.World{Kube: model.Kube{Nodes: map[string]*model.Node{"n3": {Ready: true}, "n1": {Ready: true}, "n2": {}, "n4": nil, "n0": {Ready: true}}}}}
	if got := otherNodes(c, "n1"); !slices.Equal(got, []string{"n0", "n3"}) {
		t.Error(got)
	}
}

func TestFarNodes(t *testing.T) {
	addr := netip.MustParseAddr("10.244.1.2")
	k := model.Kube{
		Pods: map[model.Ref]*model.Pod{
			"pod/shop/web-1": {Namespace: "shop", Name: "web-1", Node: "n2", IPs: []netip.Addr{addr}, Owner: "deployment/shop/web"},
			"pod/shop/web-0": {Namespace: "shop", Name: "web-0", Node: "n1", Owner: "deployment/shop/web"},
			"pod/shop/cart":  {Namespace: "shop", Name: "cart", Node: "n9"},
		},
		Services: map[model.Ref]*model.Service{"service/shop/web": {Namespace: "shop", Name: "web", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}}},
		EndpointSlices: map[model.Ref]*model.EndpointSlice{"endpointslice/shop/web-x": {
			Namespace: "shop", Service: "web", Endpoints: []model.SliceEndpoint{{Target: "pod/shop/web-1"}, {Target: "pod/shop/web-0"}},
		}},
	}
	for _, c := range []struct {
		to   model.Endpoint
		want []string
	}{
		{model.Endpoint{Kind: "url", Host: "web.shop"}, []string{"n1", "n2"}},
		{model.Endpoint{Kind: "url", Host: "web"}, []string{"n1", "n2"}},
		{model.Endpoint{Kind: "host", Host: "web.shop.svc.cluster.local."}, []string{"n1", "n2"}},
		{model.Endpoint{Kind: "url", Host: "web.shop.example.com"}, nil},
		{model.Endpoint{Kind: "service", Namespace: "shop", Name: "web"}, []string{"n1", "n2"}},
		{model.Endpoint{Kind: "deployment", Namespace: "shop", Name: "web"}, []string{"n1", "n2"}},
		{model.Endpoint{Kind: "pod", Namespace: "shop", Name: "web-1"}, []string{"n2"}},
		{model.Endpoint{Kind: "ip", Addr: addr}, []string{"n2"}},
		{model.Endpoint{Kind: "ip", Addr: netip.MustParseAddr("10.0.0.9")}, []string{"n1", "n2"}},
		{model.Endpoint{Kind: "url", Host: "api.partner.test"}, nil},
	} {
		q := &model.Case{Question: model.Question{From: model.Endpoint{Namespace: "shop"}, To: c.to}, World: model.World{Kube: k}}
		if got := farNodes(q); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.to, got, c.want)
		}
	}
}
