package report

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

func TestNameShowsPredictionAndAnswers(t *testing.T) {
	server := netip.MustParseAddrPort("10.0.0.10:53")
	c := &model.Case{
		Lookup: &model.Lookup{
			Host: "cart", Resolver: model.Resolver{Servers: []netip.Addr{server.Addr()}, Search: []string{"shop.svc.cluster.local"}, Ndots: 5, From: "/etc/resolv.conf"},
			Tries: []model.LookupTry{{
				Name: "cart.shop.svc.cluster.local.", Result: model.NXDomain,
				Steps: []model.Step{{Title: "Corefile", Verdict: model.Pass, Reason: "coredns-custom, old.override line 1: template ANY ANY cart\x1b[2J"}},
			}},
			Notes: []string{"musl differs"},
		},
		Observations: []model.Observation{{
			Vantage: model.VantagePod, Failed: "dns", Result: model.NXDomain,
			Queries: []model.DNSQuery{
				{Name: "cart.shop.svc.cluster.local.", Type: "A", Server: server, Transport: "udp", Result: model.NXDomain, Duration: 2 * time.Millisecond},
				{Name: "cart.", Type: "AAAA", Server: server, Transport: "tcp", Result: model.OK, Answers: []string{"2001:db8::1"}, Duration: time.Millisecond},
			},
		}},
	}
	var b strings.Builder
	if err := Text(&b, New(c, diagnose.Result{Works: "false"}), Options{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"The name cart", "asks 10.0.0.10; search shop.svc.cluster.local; ndots 5", "predicted: nxdomain", "old.override line 1",
		"A    cart.shop.svc.cluster.local. 10.0.0.10/udp: nxdomain, 2 ms", "AAAA cart. 10.0.0.10/tcp: 2001:db8::1, 1 ms", "musl differs",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "\x1b[2J") {
		t.Error("a control sequence from the Corefile reaches the terminal")
	}
	c.Observations[0].Failed, c.Observations[0].Result = "", model.OK
	b.Reset()
	if err := Text(&b, New(c, diagnose.Result{Works: "true"}), Options{}); err != nil || strings.Contains(b.String(), "The name cart") {
		t.Errorf("a name that resolves needs one line: %v\n%s", err, b.String())
	}
}
