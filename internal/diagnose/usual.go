package diagnose

import (
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// A failure of another kind stands for the question where a series met it at least
// this often, and this many times as often as the first one's kind.
const (
	oftenEnough = 8
	moreOften   = 10
)

// kind is how a probe failed.
type kind struct {
	phase  string
	result model.Reason
}

// usual is the failure that a series met from a place by far the most, where the
// first was of another kind: what happened once, as a name that was still known by
// its old address or a connection that was cut while it was used, is not what the
// question is about.
func (p *Pass) usual(v model.Vantage, first *model.Observation) *model.Observation {
	if first == nil || !Fails(first) || !p.failsTwice(v) {
		return first
	}
	met, most := map[kind]int{}, kind{}
	for i := range p.Case.Tries {
		t := &p.Case.Tries[i]
		if t.Vantage != v || !watch.Counts(t) || !watch.Failed(t) {
			continue
		}
		k := kind{t.Failed, t.Result}
		if met[k]++; met[k] > met[most] {
			most = k
		}
	}
	if met[most] < oftenEnough || met[most] < moreOften*met[kind{first.Failed, first.Result}] {
		return first
	}
	for _, o := range p.Asked(v) {
		if o.Failed == most.phase && o.Result == most.result {
			return o
		}
	}
	return first
}

// failsTwice says that more than one failure was kept of a place's probes.
func (p *Pass) failsTwice(v model.Vantage) bool {
	n := 0
	for _, o := range p.Asked(v) {
		if Fails(o) {
			n++
		}
	}
	return n > 1
}
