package watch

import "math"

// Class is how lasting a failure is. The zero value says that too little was seen.
type Class string

// The classes.
const (
	Undecided    Class = ""             // too few tries, or one change with too little after it
	Never        Class = "none"         // no failure was seen
	Intermittent Class = "intermittent" // it failed now and then, and is not shown to have ended
	Persistent   Class = "persistent"   // every try failed, or every one since a change
	Recovered    Class = "recovered"    // it failed, and has worked for longer than chance allows
)

// Confidence is that of a class: one series in a hundred may be called wrongly.
const Confidence = 0.99

const alpha = 1 - Confidence

// fewest is the number of tries below which nothing is said: eight in a row of one
// kind still leave room for a rate of 44 %.
const fewest = 8

// Verdict is a class with what it rests on.
type Verdict struct {
	Class Class `json:"class"`
	Since int   `json:"since,omitempty"` // index of the try from which it holds: the onset of a persistent failure, the first try after the last failure
	// Blind is the largest rate of the other outcome that the tries could not have
	// shown: failures when none was seen, successes when all failed, since Since.
	Blind float64 `json:"blind,omitempty"`
}

// run is a stretch of equal outcomes.
type run struct{ failed, from, len int }

// Classify says how lasting the failures of a series are; failed[i] is the i-th try's outcome in order of time.
//
// A series whose last run is of one kind has ended there only if the run is too
// long to be one more of its kind: by the order of the tries if they fell at
// random (the share of arrangements with such a tail: hypergeometric), and, where
// runs of this kind ended before, by how long those were (the exact prediction
// interval of an exponential, which also holds for failures that come in bursts).
func Classify(failed []bool) Verdict {
	n := len(failed)
	if n < fewest {
		return Verdict{Blind: blind(n, alpha)}
	}
	list := runs(failed)
	last := list[len(list)-1]
	if len(list) == 1 {
		return Verdict{Class: ended(last), Blind: blind(n, alpha)}
	}
	if lasting(list, n) {
		v := Verdict{Class: ended(last), Since: last.from, Blind: blind(last.len, alpha)}
		if v.Class == Never {
			v.Class = Recovered
		}
		return v
	}
	if len(list) == 2 {
		return Verdict{Since: last.from, Blind: blind(last.len, alpha)}
	}
	return Verdict{Class: Intermittent}
}

func ended(r run) Class {
	if r.failed == 1 {
		return Persistent
	}
	return Never
}

func runs(failed []bool) []run {
	var out []run
	for i, f := range failed {
		kind := 0
		if f {
			kind = 1
		}
		if len(out) == 0 || out[len(out)-1].failed != kind {
			out = append(out, run{failed: kind, from: i})
		}
		out[len(out)-1].len++
	}
	return out
}

// lasting says that the last run is too long to be another one of its kind.
func lasting(list []run, n int) bool {
	last := list[len(list)-1]
	same, others, before := 0, 0, 0 // tries of the last run's kind before it, of the other kind; earlier runs of its kind
	for _, r := range list[:len(list)-1] {
		if r.failed == last.failed {
			same += r.len
			before++
		} else {
			others += r.len
		}
	}
	// Of all arrangements of so many of the other kind, those that leave the tail free.
	if last.len < fewest || choose(n-last.len, others)-choose(n, others) > math.Log(alpha) {
		return false
	}
	if before == 0 {
		return true
	}
	// Runs that ended have a mean of same/before; another one lasts longer than
	// this with probability (1 + len/same)^-before.
	return -float64(before)*math.Log1p(float64(last.len)/float64(same)) <= math.Log(alpha)
}
