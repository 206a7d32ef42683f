package watch

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// of is a series of a second's pace; F fails, anything else works.
func of(pattern string) []model.Try {
	var out []model.Try
	for i, c := range pattern {
		t := model.Try{At: start.Add(time.Duration(i) * time.Second), Vantage: model.VantagePod, Node: "n1", Target: "t", Result: model.OK, Took: 3 * time.Millisecond}
		t.Phases = []model.Phase{{Name: "tcp", Result: model.OK, Duration: 2 * time.Millisecond}}
		if c == 'F' {
			t.Result, t.Failed = model.TimedOut, "tcp"
			t.Phases[0].Result = model.TimedOut
		}
		out = append(out, t)
	}
	return out
}

// with changes every try.
func with(tries []model.Try, f func(*model.Try)) []model.Try {
	for i := range tries {
		f(&tries[i])
	}
	return tries
}

func TestClassify(t *testing.T) {
	o, f := strings.Repeat(".", 20), strings.Repeat("F", 20)
	for pattern, want := range map[string]Class{
		"": Undecided, "....": Undecided, "FFFF": Undecided,
		o: Never, f: Persistent, f + o: Recovered, o + f: Persistent,
		"F" + o:                      Undecided, // one failure, at the very beginning: one in 21 falls there
		o + "F":                      Undecided,
		strings.Repeat(".F", 20):     Intermittent,
		o + "F" + o:                  Intermittent,
		strings.Repeat("FFF...", 10): Intermittent,
		strings.Repeat(".F", 20) + o: Recovered,
		f + o + f + o + f + o:        Intermittent, // the last gap is no longer than those before
	} {
		if v := Classify(outcomes(of(pattern))); v.Class != want {
			t.Errorf("%s is %q, not %q", pattern, v.Class, want)
		}
	}
	if v := Classify(outcomes(of(f + o))); v.Since != 20 || math.Abs(v.Blind-blind(20, 0.01)) > 1e-12 {
		t.Errorf("the recovery is told as %+v", v)
	}
}

// Values of Wilson's interval from Brown, Cai, DasGupta 2001, and of Fisher's own tea.
func TestStatistics(t *testing.T) {
	near := func(got, want float64) bool { return math.Abs(got-want) < 5e-4 }
	if r := wilson(0, 10, 0.95); r.Low != 0 || !near(r.High, 0.2775) {
		t.Errorf("0 of 10: %+v", r)
	}
	if r := wilson(5, 10, 0.95); !near(r.Low, 0.2366) || !near(r.High, 0.7634) {
		t.Errorf("5 of 10: %+v", r)
	}
	if r := wilson(0, 0, 0.95); r.Low != 0 || r.High != 1 || r.Share() != 0 {
		t.Errorf("nothing of nothing: %+v", r)
	}
	if p := fisher(4, 4, 4, 8); !near(p, 1.0/70) {
		t.Errorf("four of four cups by chance: %g", p)
	}
	if p := fisher(3, 4, 4, 8); !near(p, 17.0/70) {
		t.Errorf("three of four cups by chance: %g", p)
	}
	if p := blind(60, 0.05); !near(p, 0.0487) {
		t.Errorf("the rule of three at 60: %g", p)
	}
}

// Wilson's interval holds the truth about as often as it says.
func TestWilsonCovers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const draws = 4000
	for _, p := range []float64{0.02, 0.1, 0.5, 0.9} {
		held := 0
		for range draws {
			k := 0
			for range 60 {
				if r.Float64() < p {
					k++
				}
			}
			if i := wilson(k, 60, 0.95); i.Low <= p && p <= i.High {
				held++
			}
		}
		if s := float64(held) / draws; s < 0.92 {
			t.Errorf("a rate of %g lies in the interval in %.3f of all series", p, s)
		}
	}
}

func TestChanges(t *testing.T) {
	series := strings.Repeat(".", 30) + strings.Repeat("F", 10) + strings.Repeat(".", 30)
	if got := changes(outcomes(of(series))); !slices.Equal(got, []int{30, 40}) {
		t.Errorf("changes at %v", got)
	}
	if got := changes(outcomes(of(strings.Repeat("..F", 30)))); got != nil {
		t.Errorf("a constant rate changes at %v", got)
	}
	s := Summarise(of(series), nil, model.VantagePod, []model.Event{
		{Last: start.Add(28 * time.Second), Reason: "Killing", Message: "stopped", About: "pod/a/b"}, {Last: start.Add(5 * time.Second), Reason: "TooEarly"}, {Last: start.Add(45 * time.Second), Reason: "Afterwards"},
	})
	if len(s.Changes) != 2 || s.Changes[0].Before != 0 || s.Changes[0].After != 1 || s.Changes[1].After != 0 {
		t.Errorf("changes: %+v", s.Changes)
	}
	if len(s.Moves) != 1 || s.Moves[0].What != "Killing: stopped" || s.Moves[0].After != 2*time.Second {
		t.Errorf("coincidences: %+v", s.Moves)
	}
}

func TestPeriod(t *testing.T) {
	s := Summarise(of(strings.Repeat("FF........", 30)), nil, model.VantagePod, nil)
	if d := s.Period - 10*time.Second; d.Abs() > 300*time.Millisecond {
		t.Errorf("every ten seconds is seen as every %s", s.Period)
	}
	if s := Summarise(of(strings.Repeat("..F", 40)), nil, model.VantagePod, nil); s.Period != 0 {
		t.Errorf("every third connection is told as every %s", s.Period)
	}
}

func endpoint(pattern, addr string) []model.Try {
	return with(of(pattern), func(t *model.Try) { t.Purpose, t.Address = "control:endpoint", netip.MustParseAddrPort(addr) })
}

func TestWhere(t *testing.T) {
	o, f, x := strings.Repeat(".", 20), strings.Repeat("F", 20), strings.Repeat(".F.", 7)
	from := func(pattern string, v model.Vantage, node string) []model.Try {
		return with(of(pattern), func(t *model.Try) { t.Vantage, t.Node = v, node })
	}
	// One endpoint of three, and the Service before them fails for a third.
	tries := slices.Concat(with(of(x), func(t *model.Try) { t.Address = netip.MustParseAddrPort("10.0.0.9:80") }),
		endpoint(o, "10.1.0.1:80"), endpoint(f, "10.1.0.2:80"), endpoint(o, "10.1.0.3:80"))
	s := Summarise(tries, nil, model.VantagePod, nil)
	if w := s.Where; w.Kind != "endpoint" || w.Name != "10.1.0.2:80" || !w.Clean || w.Rate.Count != 20 {
		t.Errorf("one dead endpoint is told as %+v", w)
	}
	if s.Class != Intermittent || s.Rate.Count != 7 {
		t.Errorf("the Service is %q, %+v", s.Class, s.Rate)
	}
	// One node of two.
	s = Summarise(slices.Concat(of(x), from(x, model.VantagePeer, "n1"), from(o+o, model.VantageOtherNode, "n2")), nil, model.VantagePod, nil)
	if w := s.Where; w.Kind != "node" || w.Name != "n1" {
		t.Errorf("one node is told as %+v", w)
	}
	// The node's own connections work, and its pods ask another resolver: neither takes anything from that.
	ask := func(tries []model.Try, server string) []model.Try {
		return with(tries, func(t *model.Try) { t.Resolver = netip.MustParseAddrPort(server) })
	}
	s = Summarise(slices.Concat(ask(of(x), "10.0.0.10:53"), ask(from(x, model.VantagePeer, "n1"), "10.0.0.10:53"), ask(from(o+o, model.VantageOtherNode, "n2"), "10.0.0.10:53"),
		ask(from(o+o+o, model.VantageNode, "n1"), "168.63.129.16:53")), nil, model.VantagePod, nil)
	if w := s.Where; w.Kind != "node" || w.Name != "n1" || w.Rate.Of != 42 {
		t.Errorf("pods of one node are told as %+v", w)
	}
	for _, l := range s.Slices {
		if l.Kind == "resolver" && l.Rate.Count > 0 {
			t.Errorf("a resolver is blamed for what came after it: %+v", l)
		}
	}
	// Another pod of the node fails more often by chance: the question's own place is no less one.
	s = Summarise(slices.Concat(of("F"+o+o+"F"), from(x+x, model.VantagePeer, "n1"), from(o+o, model.VantageOtherNode, "n2")), nil, model.VantagePod, nil)
	if w := s.Where; w.Kind == "from" {
		t.Errorf("a pod beside the one that fails is told as where it lives: %+v", w)
	}
	// All places of the cluster fail, some a little more often as they wait less long; this machine goes another way.
	most, more := strings.Repeat("FFFF.", 10), strings.Repeat("FF.", 16)
	s = Summarise(slices.Concat(of(most), from(more, model.VantagePeer, "n1"), from(more, model.VantageNode, "n1"), from(more, model.VantageOtherNode, "n2"), from(o+o, model.VantageHere, "")), nil, model.VantagePod, nil)
	if w := s.Where; w.Kind != "everywhere" {
		t.Errorf("everywhere but from outside is told as %+v", w)
	}
	// Only this machine, which goes another way, fails: nothing of the question lives there.
	s = Summarise(slices.Concat(of(o+o), from(o+o, model.VantagePeer, "n1"), from(o+o, model.VantageOtherNode, "n2"), from(x+x, model.VantageHere, "")), nil, model.VantagePod, nil)
	if w := s.Where; w.Kind != "" {
		t.Errorf("only from outside is told as %+v", w)
	}
	// One place of the cluster, as another pod, is one.
	s = Summarise(slices.Concat(of(o+o), from(x+x, model.VantagePeer, "n1"), from(o+o, model.VantageOtherNode, "n2"), from(o+o, model.VantageNode, "n1")), nil, model.VantagePod, nil)
	if w := s.Where; !strings.HasPrefix(w.String(), "it lives at the asking place peer-pod alone: ") {
		t.Errorf("only from another pod is told as %+v: %s", w, w.String())
	}
	// Everywhere, and too little to tell.
	s = Summarise(slices.Concat(of(x), from(x, model.VantagePeer, "n1"), from(x, model.VantageOtherNode, "n2")), nil, model.VantagePod, nil)
	if w := s.Where; w.Kind != "everywhere" {
		t.Errorf("everywhere is told as %+v", w)
	}
	if w := Summarise(slices.Concat(of(x), from("...", model.VantageOtherNode, "n2")), nil, model.VantagePod, nil).Where; w.Kind != "" {
		t.Errorf("three tries elsewhere are told as %+v", w)
	}
}

// A node does not know the cluster's names: that is no place where the failure lives.
func TestAnotherResolverIsNoPlace(t *testing.T) {
	o := strings.Repeat(".", 20)
	lost := with(of(o), func(t *model.Try) {
		t.Vantage, t.Result, t.Failed = model.VantageNode, model.NXDomain, "dns"
	})
	s := Summarise(slices.Concat(of(o), lost), nil, model.VantagePod, nil)
	if s.Class != Never || s.Where.Kind != "" {
		t.Errorf("%q, %+v", s.Class, s.Where)
	}
	for _, l := range s.Slices {
		if l.Kind == "node" && l.Rate.Count > 0 {
			t.Errorf("the node is said to fail: %+v", l)
		}
	}
}

// A sender that was late says nothing about the network.
func TestLateSendersAreLeftOut(t *testing.T) {
	tries := slices.Concat(of(strings.Repeat(".", 20)), with(of("FFFF"), func(t *model.Try) { t.Lag = time.Second }))
	s := Summarise(tries, nil, model.VantagePod, nil)
	if s.Class != Never || s.Late != 4 || s.Rate.Of != 20 {
		t.Errorf("%q of %+v, %d late", s.Class, s.Rate, s.Late)
	}
	// All places fail, and of the question's own all but one try were late: that is neither a class nor a place.
	late := with(of(strings.Repeat("F", 30)), func(t *model.Try) { t.Lag = time.Second })
	late[7].Lag = 0
	for _, v := range []model.Vantage{model.VantagePeer, model.VantageOtherNode} {
		late = append(late, with(of(strings.Repeat("F", 30)), func(t *model.Try) { t.Vantage = v })...)
	}
	if s := Summarise(late, nil, model.VantagePod, nil); s.Class != Undecided || s.Where.Kind != "" || s.OwnLate != 29 || s.Late != 29 || !s.Starved() || s.Rate.Enough() {
		t.Errorf("one try of thirty is told as %q at %+v, %d late", s.Class, s.Where, s.OwnLate)
	}
	// Places of which a try or two count are not the three that everywhere takes.
	few := slices.Concat(of(strings.Repeat("F", 30)), with(of("F"), func(t *model.Try) { t.Vantage = model.VantagePeer }), with(of("FF"), func(t *model.Try) { t.Vantage = model.VantageOtherNode }))
	if s := Summarise(few, nil, model.VantagePod, nil); s.Where.Kind != "" || s.Starved() {
		t.Errorf("a try here and there is told as %+v", s.Where)
	}
	if s := Summarise(tries[20:], nil, model.VantagePod, nil); s.Class != Undecided || s.Rate.High != 1 || s.Slices == nil {
		t.Errorf("nothing that counts is told as %+v", s)
	}
}

func TestDelays(t *testing.T) {
	tries := with(of(strings.Repeat(".", 40)), func(t *model.Try) {
		t.Phases = append(t.Phases, model.Phase{Name: "dns", Result: model.OK, Duration: 4 * time.Millisecond})
	})
	for _, i := range []int{5, 17, 30} {
		tries[i].Phases[1].Duration = 5004 * time.Millisecond
	}
	tries[8].Phases[1].Duration = 3 * time.Second // slow, and no step
	s := Summarise(tries, nil, model.VantagePod, nil)
	if s.Lookups == nil || s.Lookups.Rate.Count != 3 || s.Lookups.Class != Intermittent || s.SYNs != nil {
		t.Errorf("lookups that waited: %+v, SYNs: %+v", s.Lookups, s.SYNs)
	}
}

func TestIdle(t *testing.T) {
	idle := func(gap time.Duration, result model.Reason) model.Try {
		return model.Try{At: start, Vantage: model.VantagePod, Idle: gap, Result: result, Failed: "http"}
	}
	tries := []model.Try{idle(30*time.Second, model.OK), idle(240*time.Second, model.TimedOut), idle(120*time.Second, model.OK), idle(270*time.Second, model.Reset)}
	i := Summarise(tries, nil, model.VantagePod, nil).Idle
	if i == nil || i.Holds != 2*time.Minute || i.Ends != 4*time.Minute || i.Mixed || i.Count != 4 {
		t.Errorf("the gap is told as %+v", i)
	}
	if i := Summarise(append(tries, idle(300*time.Second, model.OK)), nil, model.VantagePod, nil).Idle; !i.Mixed {
		t.Error("a longer gap that held is passed over")
	}
	// A connection that ends while new ones fail was not forgotten; one that ends while they work was.
	for pattern, want := range map[string]time.Duration{"....................": 10 * time.Second, ".........FFF........": 0, "............F.......": 0, "....FF..............": 10 * time.Second} {
		cut := idle(10*time.Second, model.Reset)
		cut.At, cut.Took, cut.Target = start.Add(500*time.Millisecond), 11*time.Second, "t"
		held := cut
		held.Idle, held.Result = 5*time.Second, model.OK
		if i := Summarise(append(of(pattern), cut, held), nil, model.VantagePod, nil).Idle; i == nil || i.Ends != want || i.Holds != 5*time.Second {
			t.Errorf("%s: %+v", pattern, i)
		}
	}
}

func TestSpark(t *testing.T) {
	tries := of("....F.....FFFFFFFFFF")
	if got := Spark(tries, start, start.Add(20*time.Second), 4); got != "2099" {
		t.Errorf("drawn as %q", got)
	}
	if got := Spark(tries[:2], start, start.Add(20*time.Second), 4); got != "0---" {
		t.Errorf("drawn as %q", got)
	}
	if got := Spark(tries, start, start, 2); got == "" {
		t.Error("no span, no drawing")
	}
}
