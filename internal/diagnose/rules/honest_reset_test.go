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
