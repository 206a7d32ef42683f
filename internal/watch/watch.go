// Package watch makes statements of a series of tries: how often it fails, how
// sure that number is, whether the failure lasts, comes and goes, or has gone,
// where it lives, and what too few tries cannot tell. It sends nothing and has no
// clock: the same tries give the same summary.
//
// A try whose sender was itself late says nothing about the network and is left
// out; how many were is part of the summary.
package watch

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Summary is what a series tells.
type Summary struct {
	Verdict
	Rate    Rate          `json:"rate"` // of failures, of the question from its own place
	From    time.Time     `json:"from"`
	To      time.Time     `json:"to"`
	Slices  []Slice       `json:"slices"`
	Where   Where         `json:"where"`
	Changes []Change      `json:"changes,omitempty"`
	Period  time.Duration `json:"period,omitempty"` // at which failures begin; 0: none is seen
	Lookups *Delays       `json:"lookups,omitempty"`
	SYNs    *Delays       `json:"syns,omitempty"`
	Slow    *Slowness     `json:"slow,omitempty"` // what works takes long
	Noise   []model.Noise `json:"noise,omitempty"`
	Late    int           `json:"late,omitempty"`    // tries left out because their sender was late
	OwnLate int           `json:"ownLate,omitempty"` // of them the question's own
	Moves   []Coincidence `json:"moves,omitempty"`
	Idle    *Idle         `json:"idle,omitempty"`
}

// Slice is the tries that have one thing in common.
type Slice struct {
	Kind    string    `json:"kind"` // from, node, endpoint, resolver, destination
	Name    string    `json:"name"`
	Ref     model.Ref `json:"ref,omitempty"`
	Own     bool      `json:"own,omitempty"` // the question's own place, or destination
	Class   Class     `json:"class"`
	Blind   float64   `json:"blind,omitempty"`
	Rate    Rate      `json:"rate"`
	Phases  []Phase   `json:"phases,omitempty"`
	Reasons []Reason  `json:"reasons,omitempty"`
	Took    Latency   `json:"took"`
	Spark   string    `json:"spark,omitempty"` // outcomes over time, one character a stretch: 0 none failed … 9 all failed, - nothing sent
}

// Phase is how one phase fared: of the tries that reached it.
type Phase struct {
	Name string  `json:"name"`
	Rate Rate    `json:"rate"`
	Took Latency `json:"took"`
}

// Reason is one way of failing and how often it was met.
type Reason struct {
	Phase  string       `json:"phase,omitempty"`
	Result model.Reason `json:"result"`
	Status int          `json:"status,omitempty"` // of the HTTP answers that were met
	Count  int          `json:"count"`
}

// ReasonOf is how a try failed.
func ReasonOf(t *model.Try) Reason {
	return Reason{Phase: t.Failed, Result: t.Result, Status: t.Status, Count: 1}
}

// String is "tcp timeout", or "HTTP 503".
func (r Reason) String() string {
	if r.Status > 0 {
		return fmt.Sprintf("HTTP %d", r.Status)
	}
	return strings.TrimSpace(r.Phase + " " + string(r.Result))
}

// Latency is how long the tries that succeeded took.
type Latency struct {
	P50 time.Duration `json:"p50"`
	P90 time.Duration `json:"p90"`
	P99 time.Duration `json:"p99"`
	Max time.Duration `json:"max"`
}

// Change is a moment at which the rate changed.
type Change struct {
	At     time.Time `json:"at"`
	Before float64   `json:"before"` // share of failures
	After  float64   `json:"after"`
}

// Coincidence is a change that came right after an event.
type Coincidence struct {
	Change time.Time     `json:"change"`
	After  time.Duration `json:"after"`
	What   string        `json:"what"`
	Ref    model.Ref     `json:"ref,omitempty"`
}

// near is how soon after an event a change is said to have come with it: an
// endpoint is out of every node's rules within seconds.
const near = 10 * time.Second

// sparks is how many stretches a series is drawn in.
const sparks = 20

// Lateness is how late a sender may be without its try being left out: a timer
// of a machine that is not overloaded is late by a few milliseconds.
const Lateness = 250 * time.Millisecond

// Summarise says what a series tells. origin is the question's own place.
func Summarise(tries []model.Try, noise []model.Noise, origin model.Vantage, events []model.Event) *Summary {
	s := &Summary{Noise: noise}
	kept := slices.DeleteFunc(slices.Clone(tries), func(t model.Try) bool { return t.Idle > 0 || t.Result == model.ProbeFailed })
	slices.SortStableFunc(kept, func(a, b model.Try) int { return a.At.Compare(b.At) })
	all := len(kept)
	kept = slices.DeleteFunc(kept, func(t model.Try) bool { return t.Lag > Lateness })
	s.Late = all - len(kept)
	s.OwnLate = count(lateOf(tries, origin))
	beside := pick(kept, besideOther)
	kept = slices.DeleteFunc(kept, func(t model.Try) bool { return besideOther(&t) })
	s.Idle = IdleOf(tries, origin)
	s.Slow = starved(tries, noise, origin)
	if len(kept) == 0 {
		s.Verdict, s.Rate = Classify(nil), wilson(0, 0, 0.95)
		s.Slices = []Slice{}
		return s
	}
	s.From, s.To = kept[0].At, kept[len(kept)-1].At
	own := pick(kept, func(t *model.Try) bool { return t.Vantage == origin && question(t) })
	failed := outcomes(own)
	s.Verdict = Classify(failed)
	s.Rate = rateOf(own)
	alike := comparable(kept, origin)
	ends := destinations(own, beside)
	s.Slices = slicesOf(kept, alike, ends, origin, s.From, s.To)
	if !s.Starved() {
		s.Where = where(append(groups(alike), ends...), origin)
		s.Where.Alike = alikeAll(ends)
	}
	s.time(own, failed, events)
	s.Lookups, s.SYNs = lookupDelays(own), synDelays(own)
	if s.Slow == nil {
		s.Slow = slowness(own)
	}
	return s
}

// lateOf says of each of the question's tries from its own place whether its sender was late.
func lateOf(tries []model.Try, origin model.Vantage) []bool {
	var out []bool
	for i := range tries {
		if t := &tries[i]; t.Vantage == origin && question(t) && t.Idle == 0 && t.Result != model.ProbeFailed {
			out = append(out, t.Lag > Lateness)
		}
	}
	return out
}

// Starved says that so many tries of the question's own place are left out, because
// their sender was late, that the rest is too few to judge by: neither how lasting a
// failure is, nor where it lives.
func (s *Summary) Starved() bool { return s.OwnLate > 0 && !s.Rate.Enough() }

// time says when it changed, how often it begins, and with what.
func (s *Summary) time(own []model.Try, failed []bool, events []model.Event) {
	cuts := changes(failed)
	edges := slices.Concat([]int{0}, cuts, []int{len(failed)})
	for i, at := range cuts {
		c := Change{At: own[at].At, Before: share(failed[edges[i]:at]), After: share(failed[at:edges[i+2]])}
		s.Changes = append(s.Changes, c)
		s.Moves = append(s.Moves, coincident(c.At, own[at-1].At, events, s.Moves)...)
	}
	at := make([]time.Duration, len(own))
	for i := range own {
		at[i] = own[i].At.Sub(s.From)
	}
	if s.Class == Intermittent {
		s.Period = period(failed, at)
	}
}

// coincident are the events that came soonest before a change, which lies
// somewhere between two tries; each event belongs to the first change after it.
func coincident(change, before time.Time, events []model.Event, known []Coincidence) []Coincidence {
	var out []Coincidence
	for i := len(events) - 1; i >= 0 && len(out) < mostMoves; i-- {
		e := events[i]
		c := Coincidence{Change: change, After: max(change.Sub(e.Last), 0), What: e.Reason + ": " + e.Message, Ref: e.About}
		same := func(k Coincidence) bool { return k.What == c.What && k.Ref == c.Ref }
		// Kubernetes writes the time of an event in whole seconds, and the sender's clock is another one.
		if change.Sub(e.Last) > -time.Second && before.Sub(e.Last) <= near && !slices.ContainsFunc(known, same) && !slices.ContainsFunc(out, same) {
			out = append(out, c)
		}
	}
	return out
}

// mostMoves is how many events are told of one change: one that is caused is followed by others.
const mostMoves = 3

func question(t *model.Try) bool { return t.Purpose == "" || t.Purpose == "question" }

// Counts says that a try says something of the question over a new connection: it
// is no control and no kept connection, it was sent, and its prober was not late.
func Counts(t *model.Try) bool {
	return question(t) && t.Idle == 0 && t.Result != model.ProbeFailed && t.Lag <= Lateness
}

// Failed says that a try failed, as a single probe is said to.
func Failed(t *model.Try) bool { return t.Result != model.OK }

func pick(tries []model.Try, keep func(*model.Try) bool) []model.Try {
	var out []model.Try
	for i := range tries {
		if keep(&tries[i]) {
			out = append(out, tries[i])
		}
	}
	return out
}

func outcomes(tries []model.Try) []bool {
	out := make([]bool, len(tries))
	for i := range tries {
		out[i] = Failed(&tries[i])
	}
	return out
}

// Failures is how often tries of the question fail from each place.
func Failures(tries []model.Try) map[model.Vantage]Rate {
	by := map[model.Vantage][]model.Try{}
	for i := range tries {
		if t := &tries[i]; Counts(t) {
			by[t.Vantage] = append(by[t.Vantage], *t)
		}
	}
	out := map[model.Vantage]Rate{}
	for v, list := range by {
		out[v] = rateOf(list)
	}
	return out
}

// MoreOften says that something is met more often than elsewhere, and by more
// than chance makes it (Fisher's exact test at 1 %).
func MoreOften(here, elsewhere Rate) bool {
	return elsewhere.Of > 0 && here.Share() > elsewhere.Share() &&
		fisher(here.Count, here.Of, here.Count+elsewhere.Count, here.Of+elsewhere.Of) <= alpha
}

// Together is the rate of what two rates are of.
func Together(a, b Rate) Rate { return wilson(a.Count+b.Count, a.Of+b.Of, 0.95) }

// LookupsLost is how often, from each place, the question's lookup lost a query:
// it waited for it to be sent again, or got no answer at all.
func LookupsLost(tries []model.Try) map[model.Vantage]Rate {
	return lookups(tries, func(p *model.Phase) bool { return p.Waited() > 0 || p.Result == model.TimedOut })
}

func lookups(tries []model.Try, hit func(*model.Phase) bool) map[model.Vantage]Rate {
	hits := map[model.Vantage][]bool{}
	for i := range tries {
		t := &tries[i]
		if !Counts(t) {
			continue
		}
		for k := range t.Phases {
			if p := &t.Phases[k]; p.Name == "dns" {
				hits[t.Vantage] = append(hits[t.Vantage], hit(p))
			}
		}
	}
	out := map[model.Vantage]Rate{}
	for v, list := range hits {
		out[v] = wilson(count(list), len(list), 0.95)
	}
	return out
}

// SlowLookups is how often, from each place, the question's lookup took longer
// than a limit, or ended without an answer that settles it.
func SlowLookups(tries []model.Try, limit time.Duration) map[model.Vantage]Rate {
	return lookups(tries, func(p *model.Phase) bool {
		return p.Duration > limit || p.Result == model.TimedOut || p.Result == model.ServFail
	})
}

// SlowAnswers is how often each endpoint, asked by itself, takes long to answer.
func SlowAnswers(tries []model.Try) map[netip.AddrPort]Rate {
	out := map[netip.AddrPort]Rate{}
	for a, list := range byEndpoint(tries) {
		slow := 0
		for i := range list {
			if p := slowPhaseOf(list[i].Phases); p != nil && p.Name == "http" {
				slow++
			}
		}
		out[a] = wilson(slow, len(list), 0.95)
	}
	return out
}

// AtEndpoints is how often tries of each endpoint by itself fail.
func AtEndpoints(tries []model.Try) map[netip.AddrPort]Rate {
	out := map[netip.AddrPort]Rate{}
	for a, list := range byEndpoint(tries) {
		out[a] = rateOf(list)
	}
	return out
}

func byEndpoint(tries []model.Try) map[netip.AddrPort][]model.Try {
	by := map[netip.AddrPort][]model.Try{}
	for i := range tries {
		if t := &tries[i]; t.Purpose == "control:endpoint" && t.Idle == 0 && t.Result != model.ProbeFailed && t.Lag <= Lateness {
			by[t.Address] = append(by[t.Address], *t)
		}
	}
	return by
}

func rateOf(tries []model.Try) Rate {
	return wilson(count(outcomes(tries)), len(tries), 0.95)
}

func count(failed []bool) int {
	n := 0
	for _, f := range failed {
		if f {
			n++
		}
	}
	return n
}

func share(failed []bool) float64 { return float64(count(failed)) / float64(max(len(failed), 1)) }

// dimensions are what tries may have in common, with how a try's value is named.
var dimensions = []struct {
	kind string
	of   func(*model.Try) (string, model.Ref)
}{
	{"from", func(t *model.Try) (string, model.Ref) {
		if !question(t) {
			return "", ""
		}
		return string(t.Vantage), t.From
	}},
	{"node", func(t *model.Try) (string, model.Ref) {
		// Of the pods of a node: the node's own connections go another way through it.
		if t.Node == "" || !question(t) || t.Vantage == model.VantageNode {
			return "", ""
		}
		return t.Node, model.NewRef("node", t.Node)
	}},
	{"endpoint", func(t *model.Try) (string, model.Ref) {
		if !t.Address.IsValid() {
			return "", ""
		}
		return t.Address.String(), model.NewRef("host", t.Address.Addr().String())
	}},
	{"resolver", func(t *model.Try) (string, model.Ref) {
		if !t.Resolver.IsValid() || !question(t) {
			return "", ""
		}
		return t.Resolver.String(), model.NewRef("host", t.Resolver.Addr().String())
	}},
}

// group is the tries of one value of a dimension.
type group struct {
	kind, name string
	ref        model.Ref
	tries      []model.Try
}

// groups are the values of every dimension, in a fixed order.
func groups(tries []model.Try) []group {
	var out []group
	for _, d := range dimensions {
		first := len(out)
		for i := range tries {
			name, ref := d.of(&tries[i])
			if name == "" {
				continue
			}
			at := slices.IndexFunc(out[first:], func(g group) bool { return g.name == name })
			if at < 0 {
				at = len(out) - first
				out = append(out, group{kind: d.kind, name: name, ref: ref})
			}
			t := tries[i]
			if d.kind == "resolver" {
				t = lookupOf(t)
			}
			out[first+at].tries = append(out[first+at].tries, t)
		}
		slices.SortFunc(out[first:], func(a, b group) int { return cmp.Compare(a.name, b.name) })
	}
	return out
}

// comparable leaves out the places that never find a name which the question's own
// place does find: a node's resolver knows no names of the cluster, and what it says
// of them is another question.
func comparable(tries []model.Try, origin model.Vantage) []model.Try {
	met, lost := map[model.Vantage]bool{}, map[model.Vantage]bool{}
	for i := range tries {
		t := &tries[i]
		switch {
		case t.Failed != "dns":
			met[t.Vantage] = true
		case t.Result != model.NXDomain && t.Result != model.NoData:
			lost[t.Vantage] = true // that is no word about the name
		}
	}
	if !met[origin] {
		return tries
	}
	return pick(tries, func(t *model.Try) bool { return met[t.Vantage] || lost[t.Vantage] })
}

// lookupOf is a try as far as its resolver has to do with it.
func lookupOf(t model.Try) model.Try {
	if t.Failed != "dns" {
		t.Result, t.Failed = model.OK, ""
	}
	t.Phases = slices.DeleteFunc(slices.Clone(t.Phases), func(p model.Phase) bool { return p.Name != "dns" })
	t.Took = 0
	for _, p := range t.Phases {
		t.Took += p.Duration
	}
	return t
}

// slicesOf tells of every place, and of what else the comparable tries have in common.
func slicesOf(all, alike []model.Try, ends []group, origin model.Vantage, from, to time.Time) []Slice {
	out := []Slice{}
	list := slices.DeleteFunc(groups(all), func(g group) bool { return g.kind != "from" })
	list = append(list, slices.DeleteFunc(groups(alike), func(g group) bool { return g.kind == "from" })...)
	list = append(list, ends...)
	for _, g := range list {
		v := Classify(outcomes(g.tries))
		out = append(out, Slice{
			Kind: g.kind, Name: g.name, Ref: g.ref, Own: g.own(origin), Class: v.Class, Blind: v.Blind,
			Rate: rateOf(g.tries), Phases: phasesOf(g.tries), Reasons: reasonsOf(g.tries), Took: tookOf(g.tries), Spark: Spark(g.tries, from, to, sparks),
		})
	}
	return out
}

func phasesOf(tries []model.Try) []Phase {
	var out []Phase
	for _, name := range []string{"dns", "tcp", "proxy", "tls", "http", "udp"} {
		of, bad, took := 0, 0, []float64{}
		for i := range tries {
			for _, p := range tries[i].Phases {
				if p.Name != name {
					continue
				}
				of++
				if p.Result == model.OK {
					took = append(took, float64(p.Duration))
				} else {
					bad++
				}
			}
		}
		if of > 0 {
			out = append(out, Phase{Name: name, Rate: wilson(bad, of, 0.95), Took: latency(took)})
		}
	}
	return out
}

func reasonsOf(tries []model.Try) []Reason {
	var out []Reason
	for i := range tries {
		if !Failed(&tries[i]) {
			continue
		}
		met := ReasonOf(&tries[i])
		at := slices.IndexFunc(out, func(r Reason) bool { return r.Phase == met.Phase && r.Result == met.Result && r.Status == met.Status })
		if at < 0 {
			out = append(out, met)
			continue
		}
		out[at].Count++
	}
	slices.SortStableFunc(out, func(a, b Reason) int { return mostFirst(a.Count, b.Count) })
	return out
}

func tookOf(tries []model.Try) Latency {
	var took []float64
	for i := range tries {
		if !Failed(&tries[i]) {
			took = append(took, float64(tries[i].Took))
		}
	}
	return latency(took)
}

func latency(took []float64) Latency {
	v := sortedCopy(took)
	q := func(p float64) time.Duration { return time.Duration(quantile(p, v)) }
	return Latency{P50: q(0.5), P90: q(0.9), P99: q(0.99), Max: q(1)}
}

// Spark draws tries between two moments: a digit for each stretch, from 0 (none
// failed) to 9 (all did), and - where nothing was sent.
func Spark(tries []model.Try, from, to time.Time, width int) string {
	sent, bad := make([]int, width), make([]int, width)
	span := max(to.Sub(from), 1)
	for i := range tries {
		at := min(max(int(int64(width)*int64(tries[i].At.Sub(from))/int64(span)), 0), width-1)
		sent[at]++
		if Failed(&tries[i]) {
			bad[at]++
		}
	}
	out := make([]byte, width)
	for i := range out {
		switch {
		case sent[i] == 0:
			out[i] = '-'
		case bad[i] == 0:
			out[i] = '0'
		default: // a single failure is never drawn as none
			out[i] = byte('1' + 8*bad[i]/sent[i])
		}
	}
	return string(out)
}
