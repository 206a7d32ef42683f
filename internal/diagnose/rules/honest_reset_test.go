package rules

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/diagnose/rules/ruletest"
)

// TestResetBehindFirewall: a reset behind a firewall that ends connections itself
// has two possible authors, and neither is proven.
func TestResetBehindFirewall(t *testing.T) {
	c := build(t, &ruletest.Spec{Base: "overlay/userDefinedRouting", Observe: []map[string]any{
		{"vantage": "pod", "failed": "tls", "result": "reset"}, {"vantage": "node", "failed": "tls", "result": "reset"}, {"vantage": "here"},
	}})
	res := run(c)
	want := map[string]bool{"firewall-resets-sni": true, "egress-address-refused": true}
	for _, f := range res.Causes {
		if !want[f.Rule] || f.Confidence == diagnose.Proven {
			t.Errorf("%s (%s) is no cause of this\n%s", f.Rule, f.Confidence, dump(c, &res))
		}
		if !strings.Contains(text(&f), "not told apart") {
			t.Errorf("%s does not say that the two are not told apart:\n%s", f.Rule, text(&f))
		}
		delete(want, f.Rule)
	}
	if len(want) > 0 {
		t.Errorf("%v is not offered\n%s", want, dump(c, &res))
	}
}

// TestSilentFirewallWayBack: a firewall is not proven to be silent while its
// answers go a way that nobody knows.
func TestSilentFirewallWayBack(t *testing.T) {
	patch := map[string]any{"azure": map[string]any{
		"routeTables": map[string]any{"@routeTables/rt-fw": map[string]any{"id": "@routeTables/rt-fw", "name": "rt-fw", "routes": []any{
			map[string]any{"name": "back", "prefix": "10.20.0.0/16", "nextHopType": "VirtualAppliance", "nextHop": "10.20.40.9"},
		}}},
		"subnets": map[string]any{"AzureFirewallSubnet": map[string]any{"routeTableID": "@routeTables/rt-fw"}},
	}}
	silent := func(vantage, purpose string) map[string]any {
		o := map[string]any{"vantage": vantage, "failed": "tcp", "result": "timeout"}
		if purpose != "" {
			o["purpose"], o["target"], o["address"] = purpose, "mcr.test:443", "198.51.100.77:443"
		}
		return o
	}
	observe := []map[string]any{silent("pod", ""), silent("node", ""), silent("pod", "control:other-host"), {"vantage": "here"}}
	for _, s := range []struct {
		patch map[string]any
		want  diagnose.Confidence
	}{{nil, diagnose.Proven}, {patch, diagnose.Likely}} {
		c := build(t, &ruletest.Spec{Base: "overlay/userDefinedRouting", Patch: s.patch, Observe: observe})
		res := run(c)
		if len(res.Causes) == 0 || res.Causes[0].Rule != "appliance-down" || res.Causes[0].Confidence != s.want {
			t.Errorf("want appliance-down, %s\n%s", s.want, dump(c, &res))
		}
	}
}
