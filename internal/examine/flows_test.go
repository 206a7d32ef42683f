package examine

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func endpoint(t *testing.T, raw string) model.Endpoint {
	t.Helper()
	e, err := model.ParseEndpoint(raw, false)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// world has a pod that asks, a workload of two pods, a Service and a node.
func world() model.World {
	pods := map[model.Ref]*model.Pod{}
	for _, p := range []*model.Pod{
		{Namespace: "shop", Name: "web-0", IPs: []netip.Addr{ip("10.244.0.9")}, Node: "n1", Phase: "Running"},
		{Namespace: "shop", Name: "db-0", IPs: []netip.Addr{ip("10.244.1.8")}, Phase: "Running", Owner: "deployment/shop/db", Containers: []model.Container{{Name: "db", Ports: []model.ContainerPort{{Port: 5432}}}}},
		{Namespace: "shop", Name: "db-1", IPs: []netip.Addr{ip("10.244.1.7"), ip("fd00::7")}, Phase: "Running", Owner: "deployment/shop/db"},
		{Namespace: "shop", Name: "db-2", IPs: []netip.Addr{ip("10.244.1.6")}, Phase: "Succeeded", Owner: "deployment/shop/db"},
	} {
		pods[p.Ref()] = p
	}
	return model.World{Kube: model.Kube{
		Pods:     pods,
		Services: map[model.Ref]*model.Service{"service/shop/db": {Namespace: "shop", Name: "db", ClusterIPs: []netip.Addr{ip("10.0.0.50")}, Ports: []model.ServicePort{{Port: 5433}}}},
		Nodes:    map[string]*model.Node{"n1": {Name: "n1", InternalIPs: []netip.Addr{ip("10.224.0.4")}}},
	}}
}

func question(t *testing.T, to string) *model.Case {
	c := &model.Case{World: world(), Question: model.Question{From: model.Endpoint{Kind: "pod", Namespace: "shop", Name: "web-0"}, To: endpoint(t, to), Protocol: "tcp"}}
	if c.Question.To.Namespace == "" && c.Question.To.Kind != "node" {
		c.Question.To.Namespace = "shop"
	}
	return c
}

func seen(vantage model.Vantage, addr string, result model.Reason) model.Observation {
	o := model.Observation{Vantage: vantage, Purpose: probe.PurposeQuestion, Result: result}
	if addr != "" {
		o.Address = netip.MustParseAddrPort(addr)
	}
	return o
}

func TestDestinations(t *testing.T) {
	resolved := seen(model.VantagePod, "", model.TimedOut)
	resolved.Queries = []model.DNSQuery{{Name: "api.test.", Answers: []string{"edge.test.", "198.51.100.2", "2001:db8::2"}}}
	control := seen(model.VantagePod, "198.51.100.99:443", model.TimedOut)
	control.Purpose = probe.PurposeOtherHost
	for _, test := range []struct {
		name, to string
		ask      func(*model.Question)
		saw      []model.Observation
		want     []string
	}{
		{name: "nothing known", to: "https://api.test"},
		{name: "an address", to: "198.51.100.7:443", want: []string{"198.51.100.7:0"}},
		{
			name: "a pinned address outweighs all", to: "https://api.test", ask: func(q *model.Question) { q.Address = ip("198.51.100.8") },
			saw: []model.Observation{seen(model.VantagePod, "198.51.100.1:443", model.OK)}, want: []string{"198.51.100.8:0"},
		},
		{name: "a Service", to: "svc/db", want: []string{"10.0.0.50:0"}},
		{name: "a node", to: "node/n1", want: []string{"10.224.0.4:0"}},
		{name: "a pod", to: "shop/pod/db-1", want: []string{"10.244.1.7:0", "[fd00::7]:0"}},
		{name: "a workload's running pods, IPv4 first", to: "shop/deploy/db", want: []string{"10.244.1.7:0", "10.244.1.8:0", "[fd00::7]:0"}},
		{name: "a workload without pods", to: "shop/deploy/none"},
		{name: "broken before fine, once each", to: "https://api.test", saw: []model.Observation{
			seen(model.VantagePod, "198.51.100.1:443", model.OK), seen(model.VantagePod, "198.51.100.2:443", model.TimedOut), seen(model.VantagePod, "198.51.100.1:443", model.OK),
		}, want: []string{"198.51.100.2:443", "198.51.100.1:443"}},
		{name: "other places do not count", to: "https://api.test", saw: []model.Observation{
			seen(model.VantageHere, "203.0.113.9:443", model.OK), seen(model.VantageNode, "203.0.113.8:443", model.OK),
		}},
		{name: "a node asks", to: "https://api.test", ask: func(q *model.Question) { q.From = model.Endpoint{Kind: "node", Name: "n1"} }, saw: []model.Observation{
			seen(model.VantagePod, "203.0.113.9:443", model.OK), seen(model.VantageNode, "203.0.113.8:443", model.OK),
		}, want: []string{"203.0.113.8:443"}},
		{name: "controls do not count", to: "https://api.test", saw: []model.Observation{control}},
		{name: "what DNS answered", to: "https://api.test", saw: []model.Observation{resolved}, want: []string{"198.51.100.2:0", "[2001:db8::2]:0"}},
		{name: "no more than four", to: "https://api.test", saw: []model.Observation{
			seen(model.VantagePod, "198.51.100.1:443", model.OK), seen(model.VantagePod, "198.51.100.2:443", model.OK), seen(model.VantagePod, "198.51.100.3:443", model.OK),
			seen(model.VantagePod, "198.51.100.4:443", model.OK), seen(model.VantagePod, "198.51.100.5:443", model.TimedOut),
		}, want: []string{"198.51.100.5:443", "198.51.100.1:443", "198.51.100.2:443", "198.51.100.3:443"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := question(t, test.to)
			c.Observations = test.saw
			if test.ask != nil {
				test.ask(&c.Question)
			}
			var got []string
			for _, a := range destinations(c) {
				got = append(got, a.String())
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestFlows(t *testing.T) {
	c := question(t, "https://api.test")
	from := kube.From{Pod: c.World.Kube.Pods["pod/shop/web-0"], Addr: ip("10.244.0.9")}
	base := model.Flow{Protocol: "tcp", Src: ip("10.244.0.9"), DstPort: 443, Scheme: "https", From: "pod/shop/web-0", Host: "api.test"}
	if got := flows(c, from); !reflect.DeepEqual(got, []model.Flow{base}) {
		t.Errorf("without an address: %+v", got)
	}

	c.Question.Host = "other.test"
	c.Observations = []model.Observation{seen(model.VantagePod, "198.51.100.1:8443", model.TimedOut)} // a proxy's port is where the packets go
	want := base
	c.Observations[0].Purpose, c.Observations[0].Proxy = probe.PurposeQuestion, "http://proxy.test:8443"
	want.Host, want.Dst, want.DstPort, want.HostPort = "other.test", ip("198.51.100.1"), 8443, 443
	if got := flows(c, from); !reflect.DeepEqual(got, []model.Flow{want}) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestPort(t *testing.T) {
	for to, want := range map[string]uint16{
		"https://api.test:8443": 8443, "http://api.test": 80, "api.test:5432": 5432, "api.test": 443, "internet": 443,
		"svc/db": 5433, "svc/db:80": 80, "svc/none": 443, "shop/pod/db-0": 5432, "shop/pod/db-1": 443, "shop/pod/none": 443,
	} {
		c := question(t, to)
		if got := port(c, c.Question.To); got != want {
			t.Errorf("%s: port %d, not %d", to, got, want)
		}
	}
}

func TestFacts(t *testing.T) {
	c := question(t, "svc/db")
	web := c.World.Kube.Pods["pod/shop/web-0"]
	web.Containers = []model.Container{
		{Name: "setup", Kind: "init", Env: map[string]string{"A": "init"}},
		{Name: "web", Env: map[string]string{"A": "app"}},
		{Name: "sidecar", Env: map[string]string{"A": "sidecar"}},
	}
	for _, p := range []*model.Pod{
		{Namespace: "kube-system", Name: "coredns-b", Labels: model.Labels{"k8s-app": "kube-dns"}, IPs: []netip.Addr{ip("10.244.1.3")}, Phase: "Running"},
		{Namespace: "kube-system", Name: "coredns-a", Labels: model.Labels{"k8s-app": "kube-dns"}, IPs: []netip.Addr{ip("10.244.0.3")}, Phase: "Running"},
		{Namespace: "kube-system", Name: "coredns-c", Labels: model.Labels{"k8s-app": "kube-dns"}, IPs: []netip.Addr{ip("10.244.0.4")}, Phase: "Failed"},
		{Namespace: "kube-system", Name: "coredns-d", Labels: model.Labels{"k8s-app": "kube-dns"}, Phase: "Running"},
	} {
		c.World.Kube.Pods[p.Ref()] = p
	}
	f := facts(c, web)
	if f.Port != 5433 || !slices.Equal(f.Addrs, []netip.Addr{ip("10.0.0.50")}) || f.Env["A"] != "app" || f.NoClusterDNS || f.Proxy != "" ||
		!slices.Equal(f.DNSServers, []netip.Addr{ip("10.244.0.3"), ip("10.244.1.3")}) {
		t.Errorf("got %+v", f)
	}

	c.Question.Container = "sidecar"
	if got := facts(c, web).Env["A"]; got != "sidecar" {
		t.Errorf("another container was asked for: %q", got)
	}
	c.Question.Container, web.Default = "", "sidecar"
	if got := facts(c, web).Env["A"]; got != "sidecar" {
		t.Errorf("kubectl would take another container: %q", got)
	}
	web.Default = "gone"
	if got := facts(c, web).Env["A"]; got != "app" {
		t.Errorf("the annotation names none that is there: %q", got)
	}

	for _, test := range []struct {
		policy string
		host   bool
		want   bool
	}{{"ClusterFirst", false, false}, {"Default", false, true}, {"None", false, true}, {"ClusterFirst", true, true}, {"ClusterFirstWithHostNet", true, false}} {
		web.DNSPolicy, web.HostNetwork = test.policy, test.host
		if got := facts(c, web).NoClusterDNS; got != test.want {
			t.Errorf("dnsPolicy %s, host network %v: NoClusterDNS %v", test.policy, test.host, got)
		}
	}
	if got := facts(c, nil); got.Env != nil || got.NoClusterDNS {
		t.Errorf("a node asks: %+v", got)
	}
}

// TestControlHosts: on Azure the hosts that every AKS cluster needs are the controls of what should be reachable.
func TestControlHosts(t *testing.T) {
	c := question(t, "https://api.test")
	if got := facts(c, nil).Others; got != nil {
		t.Errorf("not on Azure: %v", got)
	}
	c.World.Kube.Nodes["n1"].ProviderID = "azure:///subscriptions/s/…"
	if got := facts(c, nil).Others; !slices.Contains(got, "mcr.microsoft.com:443") || slices.ContainsFunc(got, func(s string) bool { return strings.ContainsAny(s, "*") }) {
		t.Errorf("got %v", got)
	}
}

func TestProxyOfOthers(t *testing.T) {
	c := question(t, "https://api.test")
	web := c.World.Kube.Pods["pod/shop/web-0"]
	if got := proxyOfOthers(c, web); got != "" {
		t.Errorf("nobody has one: %q", got)
	}
	set := func(ref model.Ref, name, value string) {
		c.World.Kube.Pods[ref].Containers = []model.Container{{Name: "c", Env: map[string]string{name: value}}}
	}
	set("pod/shop/web-0", "HTTPS_PROXY", "http://own.test:3128")
	if got := proxyOfOthers(c, web); got != "" {
		t.Errorf("its own is not others': %q", got)
	}
	set("pod/shop/db-1", "https_proxy", "http://second.test:3128")
	set("pod/shop/db-0", "http_proxy", "http://first.test:3128")
	for range 20 { // whatever the order of the map
		if got := proxyOfOthers(c, web); got != "http://first.test:3128" {
			t.Fatalf("got %q", got)
		}
	}
}

// TestInternetHasAHost: the host that stands for the internet is judged by name, as a firewall does.
func TestInternetHasAHost(t *testing.T) {
	c := question(t, "internet")
	c.Observations = []model.Observation{{Vantage: model.VantagePod, Target: "stands.test:443", Address: netip.MustParseAddrPort("192.0.2.1:443"), Result: model.OK}}
	got := flows(c, kube.From{})
	if len(got) != 1 || got[0].Host != "stands.test" || got[0].Scheme != "https" {
		t.Errorf("got %+v", got)
	}
}
