package watch

import (
	"slices"

	"github.com/podpath/podpath/internal/model"
)

// besideOther says of a try that it went to another destination, to be compared
// with the question's. It enters nothing but that.
func besideOther(t *model.Try) bool { return t.Purpose == "beside" }

// destinations are the question's own destination, as its own place tries it, and
// those that are tried beside it; none where there is no other.
func destinations(own, beside []model.Try) []group {
	if len(own) == 0 || len(beside) == 0 {
		return nil
	}
	out := []group{{kind: "destination", name: own[0].Target, tries: own}}
	for i := range beside {
		name := beside[i].Target
		at := slices.IndexFunc(out[1:], func(g group) bool { return g.name == name }) + 1
		if at == 0 {
			at, out = len(out), append(out, group{kind: "destination", name: name})
		}
		out[at].tries = append(out[at].tries, beside[i])
	}
	return out
}

// alikeAll is how many destinations were compared where all of them fail about as
// often, and in the same phase: then it is not one of them. 0: that is not so.
func alikeAll(list []group) int {
	for i := range list {
		a, b := rateOf(list[0].tries), rateOf(list[i].tries)
		uneven := MoreOften(a, b) || MoreOften(b, a) || a.Share() > twice*b.Share() || b.Share() > twice*a.Share()
		if b.Count < leastAlike || uneven || usualPhase(list[i].tries) != usualPhase(list[0].tries) {
			return 0
		}
	}
	return len(list)
}

// Destinations are alike when each has a few failures, and none more than twice as
// often as the question's own.
const (
	leastAlike = 3
	twice      = 2
)

// usualPhase is where most of the failures are met.
func usualPhase(tries []model.Try) string {
	by := map[string]int{}
	for _, r := range reasonsOf(tries) {
		by[r.Phase] += r.Count
	}
	most := ""
	for phase, n := range by {
		if n > by[most] || n == by[most] && phase < most {
			most = phase
		}
	}
	return most
}
