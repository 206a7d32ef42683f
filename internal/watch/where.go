package watch

import (
	"fmt"
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
	Alike int       `json:"alike,omitempty"` // so many destinations were tried, and fail alike: it is on this side of them
}

// String says where in a sentence; "": it cannot be told.
func (w *Where) String() string {
	switch {
	case w.Kind == "everywhere" && w.Alike > 0:
		return fmt.Sprintf("it lives everywhere: from each place and at each endpoint that was tried some fail, and at all %d destinations alike: it is on this side of them", w.Alike)
	case w.Kind == "everywhere":
		return "it lives everywhere: from each place and at each endpoint that was tried some fail"
	case w.Kind != "" && w.Clean:
		return fmt.Sprintf("it lives at %s %s alone: %d of %d failed there, none of %d elsewhere%s", w.kind(), w.Name, w.Rate.Count, w.Rate.Of, w.Rest.Of, w.alike("; "))
	case w.Kind != "":
		return fmt.Sprintf("it lives mostly at %s %s: %d of %d failed there, %d of %d elsewhere; so uneven by chance: %.2g%s", w.kind(), w.Name, w.Rate.Count, w.Rate.Of, w.Rest.Count, w.Rest.Of, w.P, w.alike("; "))
	}
	return w.alike("")
}

// kind is what stands before the name.
func (w *Where) kind() string {
	if w.Kind == "from" {
		return "the asking place"
	}
	return w.Kind
}

// alike says that it is none of the destinations.
func (w *Where) alike(lead string) string {
	if w.Alike == 0 {
		return ""
	}
	return fmt.Sprintf("%sall %d destinations fail alike from here: it is on this side of them, at none of them alone", lead, w.Alike)
}

// where finds the one place that fails more than the rest of its kind. Of several
// the least likely by chance is told; a kind with one value only tells nothing.
func where(all []group, origin model.Vantage) Where {
	best := Where{P: 1}
	looked := 0
	for i := range all {
		rest := others(all, i)
		if len(rest) == 0 || besideIt(&all[i], all, origin) || outside(&all[i]) && origin != model.VantageHere {
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

// besideIt says of another place, or another destination, that it is not where the
// failures live: the question's own has them as well, and is compared by itself.
func besideIt(g *group, all []group, origin model.Vantage) bool {
	if g.kind != "from" && g.kind != "destination" || g.own(origin) {
		return false
	}
	return slices.ContainsFunc(all, func(o group) bool { return o.kind == g.kind && o.own(origin) && count(outcomes(o.tries)) > 0 })
}

// own says of a place or a destination that it is the question's.
func (g *group) own(origin model.Vantage) bool {
	return g.kind == "from" && g.name == string(origin) || g.kind == "destination" && question(&g.tries[0])
}

// comparable says of two groups of a kind that one may be held against the other: a
// destination against every other one, else what was tried for the same purpose.
func (g *group) comparable(o *group) bool {
	return g.kind == "destination" || question(&g.tries[0]) == question(&o.tries[0])
}

// others are the tries that a group is compared with. An endpoint is compared
// with other endpoints that were tried by themselves, or with other addresses of
// the name, never with a Service's own address, behind which all of them are.
func others(all []group, i int) []model.Try {
	var out []model.Try
	for j := range all {
		if j != i && all[j].kind == all[i].kind && !outside(&all[j]) && all[i].comparable(&all[j]) {
			out = append(out, all[j].tries...)
		}
	}
	return out
}

// outside is the machine that podpath runs on: it goes another way. That it fares
// better makes no place of the cluster stand out among the others, and that it fares
// worse is nothing that the question met.
func outside(g *group) bool { return g.kind == "from" && g.name == string(model.VantageHere) }

// everywhere says that every place that was tried from, and every endpoint, has failures.
func everywhere(all []group, origin model.Vantage) Where {
	places := 0
	for _, g := range all {
		if g.kind == "destination" && count(outcomes(g.tries)) == 0 {
			return Where{}
		}
		if g.kind != "from" && g.kind != "endpoint" || g.name == string(model.VantageHere) && origin != model.VantageHere {
			continue
		}
		if count(outcomes(g.tries)) == 0 {
			return Where{}
		}
		if len(g.tries) >= fewest {
			places++
		}
	}
	if places < 3 { // one place and one endpoint have nothing to be compared with
		return Where{}
	}
	return Where{Kind: "everywhere"}
}
