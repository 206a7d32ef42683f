package watch

import (
	"math"
	"time"
)

// fewestOnsets is how often a failure must begin before a period is looked for.
const fewestOnsets = 5

// leastSampled is how many tries a period has at least: that every second or third
// fails is a matter of their turn, as where backends are taken one by one, not of time.
const leastSampled = 5

// period is the interval at which failures begin, or 0: Rayleigh's test on the
// beginnings, over periods from their shortest distance to a quarter of the span,
// paid for by the number of periods that were tried. Tries that are themselves
// sent at a fixed rate would show that rate, so the same test on all of them must
// stay quiet at the period that is found.
func period(begins, all []time.Duration) time.Duration {
	if len(begins) < fewestOnsets {
		return 0
	}
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
	if float64(tried)*math.Exp(-best) > alpha || rayleigh(all, at) > 6 {
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
