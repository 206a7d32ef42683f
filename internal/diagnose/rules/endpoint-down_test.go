package rules

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/diagnose/rules/ruletest"
	"github.com/podpath/podpath/internal/model"
)

// TestWhichAddressByTurns: where a name is answered with one address after another
// and one of them is dead, it is the one that is named.
func TestWhichAddressByTurns(t *testing.T) {
	for says, tries := range map[string][]ruletest.Tries{
		"198.51.100.10, one of the 2 addresses that api.partner.test had by turns,": {{Of: "FFFFFF......"}, {Of: "......", Address: "198.51.100.11:443"}},
		"api.partner.test does not answer":                                          {{Of: "FFFFFF......"}},
	} {
		if of := "FFFFFFFFFFFF"; len(tries) == 2 {
			tries[0].Of = of
		}
		c := build(t, &ruletest.Spec{Observe: []map[string]any{{"vantage": "pod", "failed": "tcp", "result": "timeout"}, {"vantage": "here", "failed": "tcp", "result": "timeout"}}, Tries: tries})
		res := run(c)
		f := findings(&res)
		if i := slices.IndexFunc(f, func(f diagnose.Finding) bool { return f.Rule == "endpoint-down" }); i < 0 || !strings.Contains(f[i].Title, says) {
			t.Errorf("not %q: %+v", says, f)
		}
	}
}

// TestAnswersAtTimes: a far side that answers most connections is not down.
func TestAnswersAtTimes(t *testing.T) {
	for of, says := range map[string]string{"....F....F....F.": "It answers at other times", "FFFFFFFFFFFFFFFF": "allow-list"} {
		c := build(t, &ruletest.Spec{
			Observe: []map[string]any{{"vantage": "pod", "failed": "tcp", "result": "timeout"}, {"vantage": "here", "failed": "tcp", "result": "timeout"}},
			Tries:   []ruletest.Tries{{Of: of}, {Vantage: "here", Of: of}},
		})
		res := run(c)
		f := findings(&res)
		if i := slices.IndexFunc(f, func(f diagnose.Finding) bool { return f.Rule == "endpoint-down" }); i < 0 || !strings.Contains(f[i].Summary, says) {
			t.Errorf("%s: not %q: %+v", of, says, f)
		}
	}
}

// TestWhichHost: where one address of several is dead, it is the one that is named.
func TestWhichHost(t *testing.T) {
	at := func(a string, result model.Reason) model.Observation {
		o := model.Observation{Vantage: model.VantagePod, Address: netip.MustParseAddrPort(a + ":80"), Result: result}
		if result != model.OK {
			o.Failed = "tcp"
		}
		return o
	}
	for _, test := range []struct {
		want string
		host string
		obs  []model.Observation
	}{
		{"multi.test", "multi.test", []model.Observation{at("192.0.2.1", model.TimedOut)}},
		{"multi.test", "multi.test", []model.Observation{at("192.0.2.1", model.TimedOut), at("192.0.2.2", model.Refused)}},
		{"192.0.2.1, one of the 2 addresses of multi.test,", "multi.test", []model.Observation{at("192.0.2.1", model.TimedOut), at("192.0.2.2", model.OK)}},
		{"192.0.2.1, one of the 3 addresses of multi.test,", "multi.test", []model.Observation{at("192.0.2.2", model.OK), at("192.0.2.1", model.TimedOut), at("192.0.2.3", model.Refused)}},
		{"192.0.2.1", "192.0.2.1", []model.Observation{at("192.0.2.1", model.TimedOut), at("192.0.2.1", model.OK)}},
	} {
		c := &model.Case{Observations: test.obs, Question: model.Question{To: model.Endpoint{Kind: "host", Host: test.host, Raw: test.host}}}
		c.Question.From = model.Endpoint{Kind: "pod", Namespace: "shop", Name: "web-0"}
		got := ""
		look := diagnose.Rule{ID: "x", Hop: model.HopEndpoint, Run: func(p *diagnose.Pass) { got = whichHost(p, p.Seen()) }}
		diagnose.RunWith(c, []diagnose.Rule{look}, func(model.Flow) model.Path { return model.Path{} })
		if got != test.want {
			t.Errorf("%v: %q, not %q", test.obs, got, test.want)
		}
	}
}
