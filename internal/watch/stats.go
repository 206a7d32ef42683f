package watch

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/combin"
	"gonum.org/v1/gonum/stat/distuv"
)

// Rate is a share with its interval.
type Rate struct {
	Of    int     `json:"of"`    // tries
	Count int     `json:"count"` // of them
	Low   float64 `json:"low"`   // Wilson interval at 95 %
	High  float64 `json:"high"`
}

// Share is the share itself; 0 of nothing.
func (r Rate) Share() float64 {
	if r.Of == 0 {
		return 0
	}
	return float64(r.Count) / float64(r.Of)
}

// Enough says that so many tries are taken for a rate at all.
func (r Rate) Enough() bool { return r.Of >= fewest }

// wilson is the score interval (Wilson 1927), which holds for few tries and for
// shares near 0 and 1, where the usual one does not. Of no tries it is everything.
func wilson(count, of int, confidence float64) Rate {
	if of == 0 {
		return Rate{High: 1}
	}
	z := distuv.UnitNormal.Quantile(1 - (1-confidence)/2)
	n, p := float64(of), float64(count)/float64(of)
	mid := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	r := Rate{Of: of, Count: count, Low: mid - half, High: mid + half}
	if count == 0 {
		r.Low = 0 // but for rounding
	}
	if count == of {
		r.High = 1
	}
	return r
}

// blind is the largest rate at which n tries in a row show nothing, but for one
// time in 1/alpha: (1-p)^n = alpha. At alpha 5 % it is the rule of three, p ≈ 3/n.
func blind(n int, alpha float64) float64 {
	if n == 0 {
		return 1
	}
	return 1 - math.Pow(alpha, 1/float64(n))
}

// choose is log C(n, k).
func choose(n, k int) float64 {
	if k <= 0 || k >= n {
		return 0
	}
	return combin.LogGeneralizedBinomial(float64(n), float64(k))
}

// fisher is how likely it is that of `bad` failures in n tries at least k fall on
// a given m of them by chance alone (Fisher's exact test, one-sided).
func fisher(k, m, bad, n int) float64 {
	p, all := 0.0, choose(n, m)
	for i := k; i <= min(m, bad); i++ {
		if m-i <= n-bad {
			p += math.Exp(choose(bad, i) + choose(n-bad, m-i) - all)
		}
	}
	return min(p, 1)
}

// quantile is the p-th quantile of sorted values.
func quantile(p float64, sorted []float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return stat.Quantile(p, stat.Empirical, sorted, nil)
}

// mostFirst compares for a descending order.
func mostFirst[T int | float64](a, b T) int {
	switch {
	case a > b:
		return -1
	case a < b:
		return 1
	}
	return 0
}

func sortedCopy(v []float64) []float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v
}
