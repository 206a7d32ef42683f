package rules

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/diagnose/rules/ruletest"
)

// TestHandshakeBehindFirewall: a firewall that decides by name opens the far side's
// connection itself, so that the time of a handshake behind it is no proof of who computes.
func TestHandshakeBehindFirewall(t *testing.T) {
	slow, lossy, well := "..h..h.h..h.h...h.h.h..h", "..s..s.s..F.s...s.s.F..s", "........................"
	for _, c := range []struct {
		name, base, here, says string
		sure                   string
	}{
		{"the far side loses new connections", "overlay/userDefinedRouting", lossy, "lose packets, behind a firewall that opens them", "likely"},
		{"it computes for everybody", "overlay/userDefinedRouting", slow, "some of its TLS handshakes", "likely"},
		{"nobody knows what happens behind it", "overlay/userDefinedRouting", well, "some of its TLS handshakes", "possible"},
		{"no firewall on the way", "overlay/loadBalancer", slow, "some of its TLS handshakes", "likely"},
	} {
		got := run(build(t, &ruletest.Spec{
			Base: c.base, Observe: []map[string]any{{"vantage": "pod"}, {"vantage": "here"}},
			Tries: []ruletest.Tries{{Of: slow}, {Vantage: "peer-pod", Of: slow}, {Vantage: "here", Of: c.here}},
		}))
		if len(got.Causes) == 0 || got.Causes[0].Rule != "tls-slow" || !strings.Contains(got.Causes[0].Title, c.says) || got.Causes[0].Confidence.String() != c.sure {
			t.Errorf("%s: %+v", c.name, got.Causes)
		}
	}
}
