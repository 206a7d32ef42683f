package watch

import (
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Delays are phases that succeeded and took as long as a lost first packet makes them.
type Delays struct {
	Rate  Rate          `json:"rate"`
	After time.Duration `json:"after"` // the wait of the sender before it sends again
	Class Class         `json:"class"`
}

// A resolver's own wait before it asks again, and Linux's before it sends a SYN
// again (resolv.conf(5) timeout, tcp_syn_retries in ip-sysctl). A phase that took
// one wait and at most half a wait more had its first packet lost.
const (
	lookupWait = 5 * time.Second
	synWait    = time.Second
)

func lookupDelays(tries []model.Try) *Delays { return delays(tries, "dns", lookupWait) }
func synDelays(tries []model.Try) *Delays    { return delays(tries, "tcp", synWait) }

func delays(tries []model.Try, phase string, wait time.Duration) *Delays {
	var late []bool
	for i := range tries {
		for _, p := range tries[i].Phases {
			if p.Name == phase && p.Result == model.OK {
				late = append(late, p.Duration >= wait*98/100 && p.Duration < wait*3/2)
			}
		}
	}
	n := count(late)
	if n == 0 {
		return nil
	}
	return &Delays{Rate: wilson(n, len(late), 0.95), After: wait, Class: Classify(late).Class}
}
