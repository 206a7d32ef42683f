package rules

import (
	"testing"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

func TestOutboundText(t *testing.T) {
	lb := &model.LoadBalancer{
		Name:      "kubernetes",
		Frontends: []model.Frontend{{ID: "/f/Egress", Name: "Egress", PublicIPID: "/p"}, {ID: "/f/inside", Name: "inside"}},
		Pools:     []model.BackendPool{{ID: "/b/Pool", Name: "Pool", IPConfigs: []string{"a", "b"}}},
		Outbound: []model.OutboundRule{
			{Name: "r1", PoolID: "/b/pool", Protocol: "Udp", FrontendIDs: []string{"/f/egress"}},
			{Name: "r2", PoolID: "/b/pool", Protocol: "All", FrontendIDs: []string{"/f/inside", "/f/gone"}},
			{Name: "r3", PoolID: "/b/other", Protocol: "Tcp"},
		},
	}
	want := "load balancer kubernetes: outbound rules r1 for UDP alone of pool Pool (2 members) by frontend Egress; " +
		"r2 for all protocols of pool Pool (2 members) by frontend inside without a public address, gone, which is not there; " +
		"r3 for TCP alone of pool other (0 members) by no frontend"
	if got := outboundText(lb); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestRuleThere: a rule that exists is not said to be missing.
func TestRuleThere(t *testing.T) {
	for _, test := range []struct{ decided, reason, title, subject string }{
		{"loadbalancer/lb", "nothing gives x: load balancer lb has no outbound rule for pool p", "before", "loadbalancer/lb"},
		{"loadbalancer/lb/r", "nothing gives x: outbound rule r of load balancer lb is for UDP alone, and this is TCP", "Outbound rule r of load balancer lb is for UDP alone, and this is TCP", "loadbalancer/lb/r"},
		{"loadbalancer/lb/r", "outbound rule r of load balancer lb leads to frontend f, which has no public address", "Outbound rule r of load balancer lb leads to frontend f, which has no public address", "loadbalancer/lb/r"},
	} {
		f := diagnose.Finding{Title: "before", Subject: "loadbalancer/lb"}
		ruleThere(&f, &model.Step{Decided: model.Ref(test.decided), Reason: test.reason})
		if f.Title != test.title || string(f.Subject) != test.subject {
			t.Errorf("%s: %q, %s", test.reason, f.Title, f.Subject)
		}
	}
}
