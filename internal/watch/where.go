package watch

import (
	"math"
	"slices"

	"github.com/podpath/podpath/internal/model"
)

// Where is what the failures have in common.
type Where struct {
	Kind  string    `json:"kind"`            // from, node, endpoint, resolver, destination; "everywhere"; "": it cannot be told
	Name  string    `json:"name,omitempty"`  //
	Ref   model.Ref `json:"ref,omitempty"`   //
	Rate  Rate      `json:"rate,omitzero"`   // of failures there
	Rest  Rate      `json:"rest,omitzero"`   // and of what is alike but for this
	P     float64   `json:"p,omitempty"`     // how likely so uneven a spread is by chance, all comparisons paid for
	Clean bool      `json:"clean,omitempty"` // nothing failed elsewhere
}

// where finds the one place that fails more than the rest of its kind. Of several
// the least likely by chance is told; a kind with one value only tells nothing.
func where(tries []model.Try, origin model.Vantage) Where {
	all := groups(tries)
	best := Where{P: 1}
	looked := 0
	for i := range all {
		rest := others(all, i)
		if len(rest) == 0 || besideIt(&all[i], all, origin) {
			continue
		}
		looked++
		there, elsewhere := rateOf(all[i].tries), rateOf(rest)
		if there.Share() <= elsewhere.Share()*apart[all[i].kind] {
			continue
		}
		if p := fisher(there.Count, there.Of, there.Count+elsewhere.Count, there.Of+elsewhere.Of); p < best.P {
			best = Where{Kind: all[i].kind, Name: all[i].name, Ref: all[i].ref, Rate: there, Rest: elsewhere, P: p, Clean: elsewhere.Count == 0}
		}
	}
	best.P = math.Min(1, best.P*float64(looked))
	if best.Kind != "" && best.P <= alpha {
		return best
	}
	return everywhere(all, origin)
}

// apart is how many times as often a place has to fail as the others do: places
// wait for different times until they give up, and meet the same loss unequally.
var apart = map[string]float64{"from": 2, "node": 2, "endpoint": 1, "resolver": 1, "destination": 1}

// besideIt says of another place that it is not where the failures live: the
// question's own place has them as well, and is compared by itself.
func besideIt(g *group, all []group, origin model.Vantage) bool {
	return g.kind == "from" && g.name != string(origin) && slices.ContainsFunc(all, func(own group) bool {
		return own.kind == "from" && own.name == string(origin) && count(outcomes(own.tries)) > 0
	})
}

// others are the tries that a group is compared with. An endpoint is compared
// with other endpoints that were tried by themselves, or with other addresses of
// the name, never with a Service's own address, behind which all of them are.
func others(all []group, i int) []model.Try {
	var out []model.Try
	for j := range all {
		if j != i && all[j].kind == all[i].kind && !outside(&all[j]) && question(&all[j].tries[0]) == question(&all[i].tries[0]) {
			out = append(out, all[j].tries...)
		}
	}
	return out
}

// outside is the machine that podpath runs on: it goes another way, and that it
// fares better makes no place of the cluster stand out among the others.
func outside(g *group) bool { return g.kind == "from" && g.name == string(model.VantageHere) }

// everywhere says that every place that was tried from, and every endpoint, has failures.
func everywhere(all []group, origin model.Vantage) Where {
	places := 0
	for _, g := range all {
		if g.kind != "from" && g.kind != "endpoint" || g.name == string(model.VantageHere) && origin != model.VantageHere {
			continue
		}
		if count(outcomes(g.tries)) == 0 {
			return Where{}
		}
		places++
	}
	if places < 3 { // one place and one endpoint have nothing to be compared with
		return Where{}
	}
	return Where{Kind: "everywhere"}
}
