package trace_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

const corefileText = `.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      fallthrough in-addr.arpa ip6.arpa
    }
    forward . /etc/resolv.conf
    import custom/*.override
}
import custom/*.server
`

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		out = append(out, addr(s))
	}
	return out
}

// named is a world with a cluster DNS, a Service and private zones.
func named(custom map[string]string) *model.World {
	w := tracetest.Cluster("azure-overlay", "loadBalancer")
	k := &w.Kube
	w.Read["service"], w.Read["endpointslice"], w.Read["privatezone"] = true, true, true
	if k.Services == nil {
		k.Services = map[model.Ref]*model.Service{}
	}
	if k.EndpointSlices == nil {
		k.EndpointSlices = map[model.Ref]*model.EndpointSlice{}
	}
	k.Services["service/kube-system/kube-dns"] = &model.Service{Namespace: "kube-system", Name: "kube-dns", ClusterIPs: addrs("10.2.0.10")}
	k.Services["service/shop/cart"] = &model.Service{Namespace: "shop", Name: "cart", ClusterIPs: addrs("10.0.0.77")}
	k.Services["service/shop/far"] = &model.Service{Namespace: "shop", Name: "far", ExternalName: "ledger.corp.internal"}
	k.EndpointSlices["endpointslice/kube-system/kube-dns"] = &model.EndpointSlice{
		Namespace: "kube-system", Name: "kube-dns", Service: "kube-dns", Endpoints: []model.SliceEndpoint{{Addresses: []string{"10.244.0.9"}, Ready: true}},
	}
	k.ConfigMaps = map[model.Ref]map[string]string{"configmap/kube-system/coredns": {"Corefile": corefileText}, "configmap/kube-system/coredns-custom": custom}
	k.Pods["pod/shop/asker"] = &model.Pod{Namespace: "shop", Name: "asker", Phase: "Running", DNSPolicy: "ClusterFirst"}
	var vnet string
	for id := range w.Azure.VNets {
		vnet = max(vnet, id)
	}
	w.Azure.PrivateZones = map[string]*model.PrivateZone{
		"a": {ID: "a", Name: "corp.internal", Links: []string{vnet}, Records: map[string][]string{"ledger A": {"10.1.9.9"}, "*.dev A": {"10.1.9.8"}, "alias CNAME": {"ledger.corp.internal"}}},
		"b": {ID: "b", Name: "hidden.internal", Records: map[string][]string{"db A": {"10.1.9.7"}}},
	}
	return w
}

func TestLookup(t *testing.T) {
	for _, c := range []struct{ name, host, custom, want string }{
		{"a Service by its short name", "cart", "", "cart.shop.svc.cluster.local.=ok[10.0.0.77]"},
		{"a Service that is missing", "card.shop.svc.cluster.local.", "", "card.shop.svc.cluster.local.=nxdomain[]"},
		{"ndots 5 tries the search list first", "ledger.corp.internal", "", "ledger.corp.internal.shop.svc.cluster.local.=nxdomain[] ledger.corp.internal.svc.cluster.local.=nxdomain[] ledger.corp.internal.cluster.local.=nxdomain[] ledger.corp.internal.=ok[10.1.9.9]"},
		{"ExternalName is looked up again", "far.shop.svc.cluster.local.", "", "far.shop.svc.cluster.local.=ok[10.1.9.9]"},
		{"a wildcard of a zone", "x.dev.corp.internal.", "", "x.dev.corp.internal.=ok[10.1.9.8]"},
		{"an alias within a zone", "alias.corp.internal.", "", "alias.corp.internal.=ok[10.1.9.9]"},
		{"a linked zone hides what it lacks", "gone.corp.internal.", "", "gone.corp.internal.=nxdomain[]"},
		{"a zone without a link is not looked into", "db.hidden.internal.", "", "db.hidden.internal.=[]"},
		{"public names only asking tells", "api.example.", "", "api.example.=[]"},
		{"a template", "cart.shop.svc.cluster.local.", "template ANY ANY cart.shop.svc.cluster.local {\n rcode NXDOMAIN\n}", "cart.shop.svc.cluster.local.=nxdomain[]"},
		{"hosts", "api.example.", "hosts {\n 10.1.2.3 api.example\n fallthrough\n}", "api.example.=ok[10.1.2.3]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := trace.Build(named(map[string]string{"x.override": c.custom})).Lookup("pod/shop/asker", c.host, nil)
			var got []string
			for _, try := range l.Tries {
				got = append(got, fmt.Sprintf("%s=%s%v", try.Name, try.Result, try.Answers))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got  %s\nwant %s\n%+v", s, c.want, l.Tries)
			}
		})
	}
}

// TestLookupUnknown: what was not read is never an answer.
func TestLookupUnknown(t *testing.T) {
	for name, take := range map[string]func(*model.World){
		"Corefile":      func(w *model.World) { w.Kube.ConfigMaps = nil },
		"private zones": func(w *model.World) { w.Azure.PrivateZones, w.Read["privatezone"] = nil, false },
		"VNet":          func(w *model.World) { w.Azure.VNets = nil },
		"endpoints":     func(w *model.World) { w.Kube.EndpointSlices, w.Read["endpointslice"] = nil, false },
	} {
		t.Run(name, func(t *testing.T) {
			w := named(nil)
			take(w)
			l := trace.Build(w).Lookup("pod/shop/asker", "other.example.", nil)
			gaps := 0
			for _, s := range l.Tries[0].Steps {
				if s.Verdict == model.Unknown && len(s.Gaps) > 0 {
					gaps++
				}
			}
			if l.Tries[0].Result != "" || gaps == 0 {
				t.Errorf("%+v", l.Tries[0])
			}
		})
	}
}

func TestLookupEnds(t *testing.T) {
	w := named(map[string]string{"x.server": "example:53 {\n forward . 10.2.0.10\n}"})
	if l := trace.Build(w).Lookup("pod/shop/asker", "api.example.", nil); l.Tries[0].Result != model.ServFail {
		t.Errorf("a circle: %+v", l.Tries[0])
	}
	for _, slice := range w.Kube.EndpointSlices {
		slice.Endpoints = nil
	}
	if l := trace.Build(w).Lookup("pod/shop/asker", "api.example.", nil); l.Tries[0].Result != model.Refused {
		t.Errorf("no endpoint: %+v", l.Tries[0])
	}
	if l := trace.Build(w).Lookup("pod/shop/asker", "10.1.2.3", nil); len(l.Tries) != 0 {
		t.Errorf("an address is no name: %+v", l)
	}
}

// TestResolverOf: https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
func TestResolverOf(t *testing.T) {
	for _, c := range []struct {
		name, want string
		pod        model.Pod
	}{
		{"ClusterFirst", "[10.2.0.10] [shop.svc.cluster.local svc.cluster.local cluster.local] 5", model.Pod{}},
		{"None", "[10.9.9.9] [corp] 2", model.Pod{DNSPolicy: "None", DNSConfig: &model.DNSConfig{Nameservers: []string{"10.9.9.9"}, Searches: []string{"corp"}, Options: map[string]string{"ndots": "2"}}}},
		{"Default", "[10.1.0.53] [lan] 1", model.Pod{DNSPolicy: "Default"}},
		{"host network", "[10.1.0.53] [lan] 1", model.Pod{DNSPolicy: "ClusterFirst", HostNetwork: true}},
		{"with host net", "[10.2.0.10] [shop.svc.cluster.local svc.cluster.local cluster.local] 5", model.Pod{DNSPolicy: "ClusterFirstWithHostNet", HostNetwork: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := named(nil)
			w.Azure.Cluster = nil
			c.pod.Namespace, c.pod.Name, c.pod.Node = "shop", "asker", "n1"
			w.Kube.Pods["pod/shop/asker"] = &c.pod
			w.Nodes = map[string]*model.NodeFacts{"n1": {Node: "n1", Resolv: "nameserver 10.1.0.53\nsearch lan\noptions edns0\n"}}
			r := trace.Build(w).Lookup("pod/shop/asker", "api", nil).Resolver
			if got := fmt.Sprint(r.Servers, " ", r.Search, " ", r.Ndots); got != c.want || r.From == "" {
				t.Errorf("got %s, want %s (%s)", got, c.want, r.From)
			}
		})
	}
	if got := trace.SearchNames(model.Resolver{Search: []string{"a.b", "c"}, Ndots: 1}, "x.y"); !slices.Equal(got, []string{"x.y.", "x.y.a.b.", "x.y.c."}) {
		t.Errorf("a name with ndots dots is tried as it is first: %v", got)
	}
}

func FuzzReadResolver(f *testing.F) {
	f.Add("nameserver 10.0.0.1\nsearch a b\noptions ndots:99 edns0\n")
	f.Fuzz(func(t *testing.T, text string) {
		if r := trace.ReadResolver(text); r.Ndots < 0 || r.Ndots > 15 {
			t.Errorf("ndots %d", r.Ndots)
		}
	})
}
