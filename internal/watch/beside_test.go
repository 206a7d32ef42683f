package watch

import (
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// to is a series to another destination of the same place.
func to(pattern, target string) []model.Try {
	return with(of(pattern), func(t *model.Try) { t.Purpose, t.Target = "beside", target })
}

func TestOneDestination(t *testing.T) {
	o, x := strings.Repeat(".", 30), strings.Repeat(".F.", 10)
	peer := func(pattern string) []model.Try {
		return with(of(pattern), func(t *model.Try) { t.Vantage, t.Node = model.VantagePeer, "n1" })
	}
	s := Summarise(slices.Concat(of(x), peer(x), to(o, "u"), to(o, "v")), nil, model.VantagePod, nil)
	if w := s.Where; w.Kind != "destination" || w.Name != "t" || !w.Clean || w.Rate.Of != 30 || w.Rest.Of != 60 || w.Alike != 0 {
		t.Errorf("one of three destinations is told as %+v", w)
	}
	if got := s.Where.String(); got != "it lives at destination t alone: 10 of 30 failed there, none of 60 elsewhere" {
		t.Error(got)
	}
	if s.Class != Intermittent || s.Rate.Of != 30 {
		t.Errorf("other destinations count for the question: %q, %+v", s.Class, s.Rate)
	}
	var names []string
	for _, l := range s.Slices {
		if l.Kind == "destination" {
			names = append(names, l.Name)
			if l.Own != (l.Name == "t") {
				t.Errorf("%s is said to be the question's own: %t", l.Name, l.Own)
			}
		} else if l.Rate.Of > 60 {
			t.Errorf("other destinations stand in %s %s: %+v", l.Kind, l.Name, l.Rate)
		}
	}
	if !slices.Equal(names, []string{"t", "u", "v"}) {
		t.Errorf("destinations: %v", names)
	}
	// Another one fails, and the question does not: it is named, and the class stays.
	if s := Summarise(slices.Concat(of(o), to(x, "u")), nil, model.VantagePod, nil); s.Class != Never || s.Where.Name != "u" {
		t.Errorf("%q, %+v", s.Class, s.Where)
	}
	// Both fail, the other one more: that is not where the question's failures live.
	if w := Summarise(slices.Concat(of(x), to(strings.Repeat("F", 30), "u")), nil, model.VantagePod, nil).Where; w.Kind != "" || w.Alike != 0 {
		t.Errorf("a worse destination beside it: %+v", w)
	}
	// One destination says nothing of destinations.
	if s := Summarise(of(x), nil, model.VantagePod, nil); s.Where.Kind != "" || slices.ContainsFunc(s.Slices, func(l Slice) bool { return l.Kind == "destination" }) {
		t.Errorf("a single destination: %+v", s)
	}
}

func TestAllDestinationsAlike(t *testing.T) {
	x := strings.Repeat(".F.", 10)
	w := Summarise(slices.Concat(of(x), to(x, "u"), to("F"+x, "v")), nil, model.VantagePod, nil).Where
	if w.Kind != "" || w.Alike != 3 || !strings.Contains(w.String(), "all 3 destinations fail alike from here: it is on this side") {
		t.Errorf("three alike: %+v: %s", w, w.String())
	}
	// In another phase it is another fault; too few are no sign of it; one without any is another case.
	named := with(to(x, "u"), func(t *model.Try) {
		if Failed(t) {
			t.Failed = "dns"
		}
	})
	for what, other := range map[string][]model.Try{"another phase": named, "too few": to("FF........", "u"), "none": to(strings.Repeat(".", 30), "u")} {
		if w := Summarise(slices.Concat(of(x), other), nil, model.VantagePod, nil).Where; w.Alike != 0 {
			t.Errorf("%s: %+v", what, w)
		}
	}
	// Every place fails, and every destination: that is everywhere. A destination that works is not.
	places := slices.Concat(of(x), with(of(x), func(t *model.Try) { t.Vantage = model.VantagePeer }), with(of(x), func(t *model.Try) { t.Vantage = model.VantageOtherNode }))
	if w := Summarise(slices.Concat(places, to(x, "u")), nil, model.VantagePod, nil).Where; w.Kind != "everywhere" || !strings.Contains(w.String(), "at all 2 destinations alike") {
		t.Errorf("%+v", w)
	}
	if w := Summarise(slices.Concat(places, to("....", "u")), nil, model.VantagePod, nil).Where; w.Kind != "" {
		t.Errorf("a destination that works is one of everywhere: %+v", w)
	}
	// This pod alone, whatever it asks for.
	clean := with(of(x+x), func(t *model.Try) { t.Vantage, t.Result, t.Failed = model.VantagePeer, model.OK, "" })
	if w := Summarise(slices.Concat(of(x+x), clean, to(x, "u")), nil, model.VantagePod, nil).Where; w.Kind != "from" || !strings.Contains(w.String(), "; all 2 destinations fail alike from here") {
		t.Errorf("%+v: %s", w, w.String())
	}
}
