package examine

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
)

func TestChoosePort(t *testing.T) {
	for _, test := range []struct {
		name  string
		ports []model.ServicePort
		want  uint16
		err   string
	}{
		{"its only one", []model.ServicePort{{Port: 5432, Protocol: "TCP"}, {Port: 53, Protocol: "UDP"}}, 5432, ""},
		{"several", []model.ServicePort{{Port: 80}, {Port: 443}}, 0, "svc/web:80, svc/web:443"},
		{"none", nil, 0, "svc/web:PORT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &model.Case{Question: model.Question{Protocol: "tcp", To: model.Endpoint{Raw: "svc/web", Kind: "service", Namespace: "shop", Name: "web"}}}
			c.World.Kube.Services = map[model.Ref]*model.Service{"service/shop/web": {Namespace: "shop", Name: "web", Ports: test.ports}}
			note, err := choosePort(c, kube.From{})
			if test.err == "" && (err != nil || c.Question.To.Port != test.want || !strings.Contains(note, "names no port")) {
				t.Errorf("port %d, %q, %v", c.Question.To.Port, note, err)
			}
			if test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestEndpointsOfAName: a Service is found by the name that an application writes.
func TestEndpointsOfAName(t *testing.T) {
	addr := netip.MustParseAddr("10.244.1.9")
	for host, want := range map[string]int{"web": 1, "web.shop": 1, "Web.shop.svc.cluster.local.": 1, "web.other.svc": 0, "web.shop.example": 0} {
		c := &model.Case{Question: model.Question{Protocol: "tcp", From: model.Endpoint{Namespace: "shop"}, To: model.Endpoint{Kind: "host", Host: host, Port: 80}}}
		k := &c.World.Kube
		k.Services = map[model.Ref]*model.Service{"service/shop/web": {Namespace: "shop", Name: "web", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}, Ports: []model.ServicePort{{Port: 80, Protocol: "TCP"}}}}
		k.Pods = map[model.Ref]*model.Pod{"pod/shop/web-1": {Namespace: "shop", Name: "web-1", IPs: []netip.Addr{addr}, Phase: "Running"}}
		k.EndpointSlices = map[model.Ref]*model.EndpointSlice{"endpointslice/shop/web-x": {
			Namespace: "shop", Name: "web-x", Service: "web", AddressType: "IPv4", Ports: []model.EndpointPort{{Port: 8080, Protocol: "TCP"}},
			Endpoints: []model.SliceEndpoint{{Addresses: []string{addr.String()}, Ready: true}},
		}}
		got := endpoints(c)
		if len(got) != want || want == 1 && (got[0].Pod != "pod/shop/web-1" || got[0].Addr.Port() != 8080) {
			t.Errorf("%s: %+v", host, got)
		}
	}
}
