package diagnose

import (
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
