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

func lookupDelays(tries []model.Try) *Delays { return delays(tries, "dns") }
func synDelays(tries []model.Try) *Delays    { return delays(tries, "tcp") }

func delays(tries []model.Try, phase string) *Delays {
	var late []bool
	after := time.Duration(0)
	for i := range tries {
		for _, p := range tries[i].Phases {
			if p.Name != phase || p.Result != model.OK {
				continue
			}
			wait := p.Waited()
			late, after = append(late, wait > 0), max(after, wait)
		}
	}
	n := count(late)
	if n == 0 {
		return nil
	}
	return &Delays{Rate: wilson(n, len(late), 0.95), After: after, Class: Classify(late).Class}
}
