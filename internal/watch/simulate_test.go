package watch

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// truth is one way in which a connection may fail, of which series are drawn.
type truth struct {
	name  string
	class Class
	// draw fills a series and gives the rate that it was drawn with, on average.
	// wrong says whether a verdict about it says what is not so.
	draw  func(r *rand.Rand, out []bool) float64
	wrong func(v Verdict, n int, rate float64) bool
}

func steady(p float64) func(*rand.Rand, []bool) float64 {
	return func(r *rand.Rand, out []bool) float64 {
		for i := range out {
			out[i] = r.Float64() < p
		}
		return p
	}
}

// bursts switches between working and failing; both last exponentially long, in tries.
func bursts(works, fails float64) func(*rand.Rand, []bool) float64 {
	return func(r *rand.Rand, out []bool) float64 {
		bad := r.Float64() < fails/(works+fails)
		for i := range out {
			out[i] = bad
			mean := works
			if bad {
				mean = fails
			}
			if r.Float64() < 1-math.Exp(-1/mean) {
				bad = !bad
			}
		}
		return fails / (works + fails)
	}
}

// endsAt fails with rate p until some place in the middle, and with rate q from there on.
func endsAt(p, q float64) func(*rand.Rand, []bool) float64 {
	return func(r *rand.Rand, out []bool) float64 {
		at := int(float64(len(out)) * (0.2 + 0.6*r.Float64()))
		for i := range out {
			rate := p
			if i >= at {
				rate = q
			}
			out[i] = r.Float64() < rate
		}
		before := float64(at) / float64(len(out))
		return p*before + q*(1-before)
	}
}

// truths are what series are drawn of. A verdict is wrong when it says what is not
// so: that nothing fails, although the rate lies above what it says it could not
// have seen; that it lasts or is over, although it comes and goes; that it comes and
// goes, although nothing or everything fails. "Not decided" is never wrong, and
// counted apart; a failure that has ended and is called intermittent "not shown to
// have ended" is counted there too.
func truths() []truth {
	out := []truth{
		{"nothing fails", Never, steady(0), func(v Verdict, _ int, _ float64) bool { return v.Class != Never && v.Class != Undecided }},
		{"everything fails", Persistent, steady(1), func(v Verdict, _ int, _ float64) bool { return v.Class != Persistent && v.Class != Undecided }},
	}
	for _, p := range []float64{0.01, 0.03, 0.1, 0.3, 0.5, 0.8, 0.97} {
		out = append(out, truth{fmt.Sprintf("%g of all fail", p), Intermittent, steady(p), func(v Verdict, _ int, rate float64) bool {
			switch v.Class {
			case Never, Recovered:
				return rate > v.Blind
			case Persistent:
				return 1-rate > v.Blind
			}
			return false
		}})
	}
	for _, b := range [][2]float64{{5, 5}, {10, 3}, {20, 5}, {4, 12}, {30, 10}} {
		// A run of n tries of one kind shows that such runs end on average no sooner than after n/ln(1/alpha).
		out = append(out, truth{fmt.Sprintf("works for %g, fails for %g", b[0], b[1]), Intermittent, bursts(b[0], b[1]), func(v Verdict, n int, _ float64) bool {
			bound := float64(n-v.Since) / -math.Log(alpha)
			switch v.Class {
			case Never, Recovered:
				return b[0] < bound
			case Persistent:
				return b[1] < bound
			}
			return false
		}})
	}
	for _, p := range []float64{1, 0.5, 0.2} {
		out = append(out,
			truth{fmt.Sprintf("%g failed, none since", p), Recovered, endsAt(p, 0), func(v Verdict, _ int, rate float64) bool {
				return v.Class == Persistent || v.Class == Never && rate > v.Blind
			}},
			truth{fmt.Sprintf("%g failed, all since", 1-p), Persistent, endsAt(1-p, 1), func(v Verdict, _ int, _ float64) bool { return v.Class == Never || v.Class == Recovered }},
		)
	}
	return out
}

var lengths = []int{10, 20, 60, 120, 600}

// simulate is how many verdicts of n about a truth are wrong, and how many name its class.
func simulate(tr truth, length, n int, seed uint64) (wrong, right int) {
	r := rand.New(rand.NewPCG(seed, uint64(length)))
	series := make([]bool, length)
	for range n {
		rate := tr.draw(r, series)
		v := Classify(series)
		if tr.wrong(v, length, rate) {
			wrong++
		}
		if v.Class == tr.class {
			right++
		}
	}
	return wrong, right
}

// TestClassifyIsSeldomWrong draws from every truth and length. The bar of one in a
// hundred is met but for what so few draws leave open (three standard errors).
func TestClassifyIsSeldomWrong(t *testing.T) {
	const draws = 2000
	limit := int(draws*alpha + 3*math.Sqrt(draws*alpha))
	for _, tr := range truths() {
		for _, n := range lengths {
			if wrong, right := simulate(tr, n, draws, 1); wrong > limit {
				t.Errorf("%s, %d tries: %d of %d verdicts are wrong, %d are right", tr.name, n, wrong, draws, right)
			}
		}
	}
}

func TestClassifyDecides(t *testing.T) {
	for _, tr := range truths() {
		if tr.name == "0.01 of all fail" || tr.name == "0.97 of all fail" || tr.name == "0.03 of all fail" {
			continue // seldom seen in so few tries
		}
		if _, right := simulate(tr, 600, 500, 2); right < 400 {
			t.Errorf("%s: only %d of 500 series of 600 tries are called by their name", tr.name, right)
		}
	}
}

// BenchmarkClassify measures the classification against series whose truth is
// known: the share that is wrong in the worst truth and over all, the share that
// is called by its own name, and constant rates in which a change is seen.
func BenchmarkClassify(b *testing.B) {
	const draws = 20000
	var wrong, right, all, split int
	worst := 0.0
	for b.Loop() {
		wrong, right, all, worst = 0, 0, 0, 0
		for _, tr := range truths() {
			for _, n := range lengths {
				w, r := simulate(tr, n, draws, 3)
				wrong, right, all = wrong+w, right+r, all+draws
				worst = max(worst, float64(w)/draws)
			}
		}
		split = falseChanges(draws)
	}
	b.ReportMetric(float64(wrong)/float64(all)*100, "%wrong")
	b.ReportMetric(worst*100, "%worst")
	b.ReportMetric(float64(right)/float64(all)*100, "%named")
	b.ReportMetric(float64(split)/draws*100, "%split")
}

// falseChanges counts series of constant rate in which a change is seen.
func falseChanges(draws int) (split int) {
	r := rand.New(rand.NewPCG(4, 4))
	series := make([]bool, 120)
	for i := range draws {
		steady([]float64{0.02, 0.1, 0.3, 0.5, 0.9}[i%5])(r, series)
		if len(changes(series)) > 0 {
			split++
		}
	}
	return split
}
