package examine

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

func TestBehindAProxy(t *testing.T) {
	for text, want := range map[string][]probe.Behind{
		"proxy://:8080?to=orders.shop:80":                      {{Service: "service/shop/orders", Port: 80}},
		"--upstream=http://orders.shop.svc.cluster.local:80/x": {{Service: "service/shop/orders", Port: 80}},
		"http://orders.shop:81":                                nil, // no port of it
		"http://nobody.shop:80":                                nil,
		"http://front.shop:80":                                 nil, // itself
		"orders.shop":                                          nil, // no connection
		"orders.shop:99999":                                    nil,
	} {
		c := &model.Case{}
		c.Question.Protocol = "tcp"
		c.Question.To = model.Endpoint{Kind: "service", Namespace: "shop", Name: "front", Port: 80}
		c.World.Kube.Services = map[model.Ref]*model.Service{
			"service/shop/front":  {Namespace: "shop", Name: "front", Ports: []model.ServicePort{{Port: 80, TargetPort: "80", Protocol: "TCP"}}, Selector: model.Labels{"a": "b"}, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}},
			"service/shop/orders": {Namespace: "shop", Name: "orders", Ports: []model.ServicePort{{Port: 80}}},
		}
		c.World.Kube.EndpointSlices = map[model.Ref]*model.EndpointSlice{"endpointslice/shop/front": {
			Namespace: "shop", Name: "front", Service: "front", AddressType: "IPv4", Ports: []model.EndpointPort{{Port: 80, Protocol: "TCP"}},
			Endpoints: []model.SliceEndpoint{{Addresses: []string{"10.1.0.1"}, Ready: true, Serving: true}},
		}}
		c.World.Kube.Pods = map[model.Ref]*model.Pod{"pod/shop/front-1": {Namespace: "shop", Name: "front-1", Phase: "Running", IPs: []netip.Addr{netip.MustParseAddr("10.1.0.1")}, Containers: []model.Container{{Name: "front", Command: []string{text}}}}}
		if got := behind(c); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestWhatLiesBehindIsKeptApart(t *testing.T) {
	c := &model.Case{Tries: []model.Try{{Purpose: "question"}, {Purpose: probe.PurposeBehind}, {Purpose: probe.PurposeEndpoint}}}
	if apart(c); len(c.Tries) != 2 || len(c.Behind) != 1 {
		t.Errorf("%d tries, %d behind", len(c.Tries), len(c.Behind))
	}
}
