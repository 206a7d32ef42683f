package fabric

import "testing"

// A connection that is opened between the readings of the two counters has not failed.
func TestAttemptsAndArrivals(t *testing.T) {
	way := egress{name: "lb/out"}
	early := map[string]int64(nil)
	for i, c := range []struct{ attempted, arrived, failed int64 }{
		{3, 3, 0},
		{0, 1, 0}, // it was sent after the first counter was read
		{1, 0, 0}, // and is the attempt here
		{1, 0, 1}, // this one never arrived
		{0, 2, 0},
		{12, 6, 4}, // two of them are those of before
		{4, 0, 4},
	} {
		s := sampling{router: map[string]int64{"lb/out/attempted": c.attempted}, internet: map[string]int64{"lb/out/arrived": c.arrived}, early: early}
		early = s.ahead([]egress{way})
		if attempted, failed := s.split(way); attempted != float64(c.attempted) || failed != float64(c.failed) {
			t.Errorf("reading %d: %g attempted, %g failed; want %d and %d", i, attempted, failed, c.attempted, c.failed)
		}
	}
}
