package watch

import (
	"math"
	"math/rand/v2"
	"time"

	"gonum.org/v1/gonum/stat"
)

// fewestOnsets is how often a failure must begin before a period is looked for.
const fewestOnsets = 5

// leastSampled is how many tries a period has at least: that every second or third
// fails is a matter of their turn, as where backends are taken one by one, not of time.
const leastSampled = 5

// period is the interval at which failures begin, or 0. at are the moments of the
// tries. Two tests share the error: few onsets in a row that are evenly apart, and
// many, of which some may have been missed.
func period(failed []bool, at []time.Duration) time.Duration {
	onsets := onsetsOf(failed)
	if len(onsets) < fewestOnsets {
		return 0
	}
	begins := make([]time.Duration, len(onsets))
	for i, k := range onsets {
		begins[i] = at[k]
	}
	if even(failed, onsets) {
		return ((begins[len(begins)-1] - begins[0]) / time.Duration(len(begins)-1)).Round(10 * time.Millisecond)
	}
	return frequency(begins, at)
}

// onsetsOf are the tries at which failures begin. When the first run of failures
// began was not seen.
func onsetsOf(failed []bool) []int {
	var out []int
	for i := 1; i < len(failed); i++ {
		if failed[i] && !failed[i-1] {
			out = append(out, i)
		}
	}
	return out
}

// evenness is by how much, as a share of their mean, distances between onsets may
// differ where they are said to be even; draws is how many random orders they are
// held against.
const (
	evenness = 0.25
	draws    = 2000
)

// even says that onsets are apart as evenly as chance makes them one time in two
// hundred: the same runs of failures with the same number of good tries between
// them, but these dealt out at random. That is how failures come, single or in
// bursts, where nothing remembers when the last one was.
func even(failed []bool, onsets []int) bool {
	gaps, runs := gapsOf(failed, onsets)
	spread, mean := spreadOf(gaps)
	if spread > evenness || mean < leastSampled {
		return false
	}
	good := -len(runs) // beyond the one that parts two runs
	for i, g := range gaps {
		good += int(g) - runs[i]
	}
	r, asEven := rand.New(rand.NewPCG(1, uint64(len(failed)))), 1
	for range draws {
		if s, _ := spreadOf(dealt(r, runs, good)); s <= spread {
			if asEven++; float64(asEven) > alpha/2*(draws+1) {
				return false
			}
		}
	}
	return true
}

// gapsOf are the distances between onsets, in tries, and how many of each failed.
func gapsOf(failed []bool, onsets []int) (gaps []float64, runs []int) {
	for i := 1; i < len(onsets); i++ {
		gaps = append(gaps, float64(onsets[i]-onsets[i-1]))
		runs = append(runs, count(failed[onsets[i-1]:onsets[i]]))
	}
	return gaps, runs
}

// spreadOf is the standard deviation as a share of the mean, and the mean.
func spreadOf(gaps []float64) (spread, mean float64) {
	mean, deviation := stat.PopMeanStdDev(gaps, nil)
	return deviation / mean, mean
}

// dealt are distances with so many good tries dealt out to the runs, every way of
// dealing them being as likely: places for the borders are drawn from all places.
func dealt(r *rand.Rand, runs []int, good int) []float64 {
	out := make([]float64, len(runs))
	places, borders, k := good+len(runs)-1, len(runs)-1, 0
	for i := range out {
		out[i] = float64(runs[i] + 1)
	}
	for left := places; left > 0; left-- {
		if borders > 0 && r.IntN(left) < borders {
			borders, k = borders-1, k+1
			continue
		}
		out[k]++
	}
	return out
}

// frequency is Rayleigh's test on the onsets, over periods from their shortest
// distance to a quarter of the span, paid for by the number of periods that were
// tried. Tries that are themselves sent at a fixed rate would show that rate, so the
// same test on all of them must stay quiet at the period that is found.
func frequency(begins, all []time.Duration) time.Duration {
	span, shortest := begins[len(begins)-1]-begins[0], time.Duration(math.MaxInt64)
	for i := 1; i < len(begins); i++ {
		shortest = min(shortest, begins[i]-begins[i-1])
	}
	longest := span / 4
	shortest = max(shortest/2, leastSampled*span/time.Duration(max(len(all), 1)))
	if span <= 0 || shortest <= 0 || shortest > longest {
		return 0
	}
	// Frequencies in steps of a quarter of what the span tells apart.
	low, high, step := 1/longest.Seconds(), 1/shortest.Seconds(), 1/(4*span.Seconds())
	tried := min(int((high-low)/step)+1, 20000)
	best, at := 0.0, 0.0
	for i := range tried {
		f := low + float64(i)*step
		if p := rayleigh(begins, f); p > best*(1+1e-9) {
			best, at = p, f
		}
	}
	// Under no period the power is exponential: P(power > x) = exp(-x).
	if float64(tried)*math.Exp(-best) > alpha/2 || rayleigh(all, at) > 6 {
		return 0
	}
	return time.Duration(float64(time.Second) / at).Round(10 * time.Millisecond)
}

// rayleigh is |Σ e^{2πift}|² / n.
func rayleigh(times []time.Duration, f float64) float64 {
	var c, s float64
	for _, t := range times {
		sin, cos := math.Sincos(2 * math.Pi * f * t.Seconds())
		c, s = c+cos, s+sin
	}
	return (c*c + s*s) / float64(len(times))
}
