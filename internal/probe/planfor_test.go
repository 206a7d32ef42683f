package probe

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

func endpoint(t *testing.T, raw string) model.Question {
	t.Helper()
	e, err := model.ParseEndpoint(raw, false)
	if err != nil {
		t.Fatal(err)
	}
	return model.Question{To: e, Protocol: "tcp"}
}

// shape is a plan in one line: purpose:host:port/scheme@proxy.
func shape(p Plan) string {
	var out []string
	for _, t := range p.Targets {
		s := t.Purpose + " " + t.Host
		if t.Address.IsValid() {
			s += "@" + t.Address.String()
		}
		if t.Scheme != "" {
			s += " " + t.Scheme
		}
		if t.Proxy != "" {
			s += " via " + t.Proxy
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestPlanFor(t *testing.T) {
	proxy := map[string]string{"HTTPS_PROXY": "http://p:3128", "NO_PROXY": ".local", "SSL_CERT_FILE": "/own/ca.pem"}
	svc := endpoint(t, "shop/svc/cart:80")
	for name, c := range map[string]struct {
		q    model.Question
		f    Facts
		want string
	}{
		"url": {
			endpoint(t, "https://api.test/x?y"),
			Facts{Others: []string{"mcr.test:443"}},
			"question api.test https; control:other-port api.test; control:no-sni api.test tls; control:other-sni api.test tls; control:small-mss api.test https; " +
				"control:large-request api.test https; control:cluster-dns kubernetes.default.svc.cluster.local.; control:other-host mcr.test tls",
		},
		"proxied":       {endpoint(t, "https://api.test"), Facts{Env: proxy, NoClusterDNS: true}, "question api.test https via http://p:3128; control:direct api.test https"},
		"proxy missing": {endpoint(t, "https://192.0.2.1:8443"), Facts{Proxy: "http://p:1"}, "question 192.0.2.1 https; control:via-proxy 192.0.2.1 https via http://p:1; control:other-port 192.0.2.1; control:no-sni 192.0.2.1 tls; control:small-mss 192.0.2.1 https; control:large-request 192.0.2.1 https"},
		"service":       {svc, Facts{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Env: proxy}, "question cart.shop.svc.cluster.local.; control:other-port cart.shop.svc.cluster.local.; control:cluster-dns kubernetes.default.svc.cluster.local."},
		"pod":           {endpoint(t, "shop/web-1"), Facts{Addrs: []netip.Addr{netip.MustParseAddr("10.244.0.9")}, Port: 8080}, "question @10.244.0.9; control:other-port @10.244.0.9"},
		"internet":      {endpoint(t, "internet"), Facts{Others: []string{"mcr.test:443", "b.test:80", "c.test:1"}}, "question mcr.test tls; question b.test"},
		"host and port": {endpoint(t, "api.test:443"), Facts{NoClusterDNS: true, DNSServers: []netip.Addr{netip.MustParseAddr("10.0.0.10")}}, "question api.test https; control:other-port api.test; control:no-sni api.test tls; control:small-mss api.test https; control:large-request api.test https; dns-server api.test; control:dns-tcp 10.0.0.10"},
	} {
		p := PlanFor(c.q, c.f)
		if got := shape(p); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p := PlanFor(endpoint(t, "https://api.test"), Facts{Env: proxy}); len(p.CAFiles) != 1 {
		t.Errorf("CA files %v", p.CAFiles)
	}
}

func TestPlanForOtherPlaces(t *testing.T) {
	addrs := Facts{Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	inside, outside := PlanFor(endpoint(t, "shop/svc/cart:80"), addrs), PlanFor(endpoint(t, "https://api.test"), Facts{})
	if got := shape(inside.For(model.VantageNode, addrs)); !strings.HasPrefix(got, "question cart.shop.svc.cluster.local.@10.0.0.1") {
		t.Error(got)
	}
	if got := shape(inside.For(model.VantageHere, addrs)); got != "" {
		t.Errorf("this machine is asked about the inside: %s", got)
	}
	if got := shape(outside.For(model.VantageHere, Facts{})); got != "question api.test https" {
		t.Error(got)
	}
	if got := shape(outside.For(model.VantagePod, Facts{})); got != shape(outside) {
		t.Error(got)
	}
	for _, private := range []string{"10.1.2.3:443", "localhost:80", "db:5432"} {
		if got := shape(PlanFor(endpoint(t, private), Facts{}).For(model.VantageHere, Facts{})); got != "" {
			t.Errorf("%s: %s", private, got)
		}
	}
}

// TestPlanForNothing: a pod without an address is not stood for by hosts of the internet.
func TestPlanForNothing(t *testing.T) {
	f := Facts{Port: 8080, Others: []string{"api.test:443"}}
	if p := PlanFor(model.Question{To: model.Endpoint{Kind: "deployment", Namespace: "shop", Name: "web"}}, f); len(p.Targets) != 0 {
		t.Errorf("tried %+v", p.Targets)
	}
	if p := PlanFor(model.Question{To: model.Endpoint{Kind: "internet"}}, f); len(p.Targets) != 1 {
		t.Errorf("the internet is tried by %+v", p.Targets)
	}
}

// What lies behind a proxy is asked as the proxy is, from the pod alone, and in series that keep connections.
func TestPlanOfWhatLiesBehind(t *testing.T) {
	to, err := model.ParseEndpoint("http://front.shop/x", false)
	if err != nil {
		t.Fatal(err)
	}
	f := Facts{Behind: []Behind{{Service: "service/shop/orders", Port: 8080}}}
	p := PlanFor(model.Question{To: to, Protocol: "tcp"}, f)
	find := func(list []Target) *Target {
		for i := range list {
			if list[i].Purpose == PurposeBehind {
				return &list[i]
			}
		}
		return nil
	}
	got := find(p.Targets)
	if got == nil || got.Host != "orders.shop.svc.cluster.local." || got.Port != 8080 || got.Path != "/x" || got.Scheme != "http" || got.Address.IsValid() {
		t.Fatalf("%+v", got)
	}
	if find(p.For(model.VantageNode, f).Targets) != nil {
		t.Error("the node asks it as well")
	}
	p.Series = &Series{Every: time.Second, For: time.Minute}
	if find(p.members()) != nil {
		t.Error("a series that keeps no connections asks it again and again")
	}
	p.Series.Kept = []time.Duration{time.Second}
	if find(p.members()) == nil {
		t.Error("a series that keeps connections does not ask it")
	}
}
