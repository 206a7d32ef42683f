package diagnose

import (
	"fmt"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// fewestDelays is how many waits of a series are taken for a fault: a single
// packet may get lost anywhere.
const fewestDelays = 3

// lostFirst judges a series in which nothing fails and some tries waited as long
// as a lost packet makes them: what lost it is looked for as if nobody had sent
// it again. The answer stays "slow".
func (p *Pass) lostFirst() {
	s, seen := p.view.watched, p.view.seen
	if s == nil || s.Rate.Count > 0 || seen == nil || Fails(seen) {
		return
	}
	for phase, d := range map[string]*watch.Delays{"dns": s.Lookups, "tcp": s.SYNs} {
		if d == nil || d.Rate.Count < fewestDelays || phase == "tcp" && s.Lookups != nil && s.Lookups.Rate.Count >= fewestDelays {
			continue
		}
		if o := p.waited(phase); o != nil {
			p.view.seen, p.view.delays = o, d
		}
	}
}

// waited is a try that waited in a phase, as if it had not been sent again.
func (p *Pass) waited(phase string) *model.Observation {
	for _, o := range p.Asked(p.Origin()) {
		ph := o.PhaseOf(phase)
		if ph == nil || ph.Waited() == 0 || phase == "dns" && answeredElsewhere(o) {
			continue
		}
		late := *o
		late.Failed, late.Result = phase, model.TimedOut
		late.Detail = fmt.Sprintf("it got through when it was sent again after %s", ph.Waited())
		return &late
	}
	return nil
}

// answeredElsewhere says that a lookup waited for one server and was answered by
// another: that one is silent, and no packet got lost.
func answeredElsewhere(o *model.Observation) bool {
	for _, silent := range o.Queries {
		if silent.Result != model.TimedOut {
			continue
		}
		for _, q := range o.Queries {
			if q.Server == silent.Server && q.Result != model.TimedOut {
				return false
			}
		}
		return true
	}
	return false
}
