package watch

import (
	"math"
	"slices"
)

// shortest is how many tries a stretch between two changes has at least.
const shortest = 5

// changes are the indices at which the failure rate changes: optimal partitioning
// (Jackson and others 2005) by the likelihood of a constant rate in each stretch.
// A change must gain log n + 6 in log-likelihood, which pays for having looked at
// every place: of series of constant rate fewer than one in a hundred is parted
// (measured by BenchmarkClassify). The best places lie where the outcome turns.
func changes(failed []bool) []int {
	sum := make([]int, len(failed)+1)
	for i, f := range failed {
		sum[i+1] = sum[i]
		if f {
			sum[i+1]++
		}
	}
	price := math.Log(float64(len(sum))) + 6
	edges := []int{0}
	for _, r := range runs(failed) {
		edges = append(edges, r.from+r.len)
	}
	// best[i] is the best likelihood of what comes before edges[i], and prev[i] where its last stretch begins.
	best, prev := make([]float64, len(edges)), make([]int, len(edges))
	for i := 1; i < len(edges); i++ {
		best[i] = math.Inf(-1)
		for j := range i {
			if edges[i]-edges[j] < shortest && (i < len(edges)-1 || j > 0) {
				break
			}
			l := likelihood(sum, edges[j], edges[i])
			if j > 0 {
				l += best[j] - price
			}
			if l > best[i] {
				best[i], prev[i] = l, j
			}
		}
	}
	var out []int
	for i := prev[len(edges)-1]; i > 0; i = prev[i] {
		out = append(out, edges[i])
	}
	slices.Reverse(out)
	return out
}

// likelihood is the log-likelihood of the tries from..to under their own mean rate.
func likelihood(sum []int, from, to int) float64 {
	n, k := float64(to-from), float64(sum[to]-sum[from])
	l := 0.0
	if k > 0 {
		l += k * math.Log(k/n)
	}
	if k < n {
		l += (n - k) * math.Log(1-k/n)
	}
	return l
}
