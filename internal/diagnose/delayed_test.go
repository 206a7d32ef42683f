package diagnose

import (
	"net/netip"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// series is a case of tries of which every tenth waited for a lost SYN, n of them.
func series(n int, last model.Reason) *model.Case {
	ok := seen(model.VantagePod, "", model.OK)
	ok.Phases = []model.Phase{{Name: "tcp", Result: model.OK, Duration: 1004 * time.Millisecond}}
	ok.Sample = true
	c := caseOf(ok)
	for i := range 60 {
		t := model.Try{At: time.Unix(int64(i), 0), Vantage: model.VantagePod, Result: model.OK, Phases: []model.Phase{{Name: "tcp", Result: model.OK, Duration: time.Millisecond}}}
		if i%10 == 5 && i/10 < n {
			t.Phases[0].Duration = 1004 * time.Millisecond
		}
		if i == 59 && last != model.OK {
			t.Result, t.Failed = last, "tcp"
		}
		c.Tries = append(c.Tries, t)
	}
	return c
}

func TestLostFirstPacketsAreJudgedAsLost(t *testing.T) {
	finding := Finding{Subject: "node/a", Hop: model.HopNodeKernel}
	sees := func(r *Rule) { r.Sees = Unanswered }
	res := RunWith(series(6, model.OK), []Rule{rule("drops", finding, sees)}, nil)
	if res.Works != "slow" || res.Persistence != "intermittent" || ids(res.Causes) != "drops proven" {
		t.Errorf("works %s, %s, causes %s", res.Works, res.Persistence, ids(res.Causes))
	}
	res = RunWith(series(2, model.OK), []Rule{rule("drops", finding, sees)}, nil)
	if res.Works != "true" || len(res.Causes) > 0 {
		t.Errorf("two packets that were lost are told as a fault: works %s, causes %s", res.Works, ids(res.Causes))
	}
}

// A server that is dead before one that answers makes every lookup wait, and loses no packet.
func TestADeadFirstServerLosesNoPacket(t *testing.T) {
	first, second := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53")
	for _, tc := range []struct {
		name   string
		answer netip.AddrPort
		want   string
	}{
		{"the next server answers", second, ""},
		{"the same server answers when it is asked again", first, "drops proven"},
	} {
		c := series(0, model.OK)
		wait := model.Phase{Name: "dns", Result: model.OK, Duration: 2003 * time.Millisecond}
		c.Observations[0].Phases = []model.Phase{wait}
		c.Observations[0].Queries = []model.DNSQuery{{Server: first, Result: model.TimedOut}, {Server: tc.answer, Result: model.OK}}
		for i := range c.Tries {
			if i%6 == 0 {
				c.Tries[i].Phases = []model.Phase{wait}
			}
		}
		drops := rule("drops", Finding{Subject: "node/a", Hop: model.HopNodeKernel}, func(r *Rule) { r.Sees = Unanswered })
		if got := RunWith(c, []Rule{drops}, nil); ids(got.Causes) != tc.want || got.Works != "slow" {
			t.Errorf("%s: works %s, causes %q, not %q", tc.name, got.Works, ids(got.Causes), tc.want)
		}
	}
}
