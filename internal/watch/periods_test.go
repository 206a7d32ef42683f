package watch

import (
	"math/rand/v2"
	"testing"
	"time"
)

// paced are the moments of tries that are moved by up to half of their pace.
func paced(r *rand.Rand, n int, pace time.Duration) []time.Duration {
	at := make([]time.Duration, n)
	for i := range at {
		at[i] = time.Duration((float64(i) + 0.5*r.Float64()) * float64(pace))
	}
	return at
}

// outages fails while the time since each multiple of a period is under a length.
// The moment of each outage is moved by up to a share of the period.
func outages(r *rand.Rand, at []time.Duration, every, length time.Duration, moved float64) []bool {
	out := make([]bool, len(at))
	phase := time.Duration(r.Float64() * float64(every))
	for begin := -every; begin < at[len(at)-1]; begin += every {
		from := begin + phase + time.Duration(moved*r.Float64()*float64(every))
		for i := range at {
			out[i] = out[i] || at[i] >= from && at[i] < from+length
		}
	}
	return out
}

// An outage that comes back is seen at the pace of a short watch, also where its
// moment is not exact.
func TestPeriodOfOutages(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 3))
	for _, c := range []struct {
		n             int
		pace          time.Duration
		every, length time.Duration
		moved         float64
		least         int // of 60
	}{
		{150, 200 * time.Millisecond, 5 * time.Second, time.Second, 0, 56},
		{150, 200 * time.Millisecond, 5 * time.Second, time.Second, 0.1, 56},
		{300, 200 * time.Millisecond, 5 * time.Second, time.Second, 0.3, 56},
		{120, 500 * time.Millisecond, 10 * time.Second, 2 * time.Second, 0.1, 44},
		{600, 500 * time.Millisecond, 30 * time.Second, time.Second, 0, 56},
	} {
		seen := 0
		for range 60 {
			at := paced(r, c.n, c.pace)
			p := period(outages(r, at, c.every, c.length, c.moved), at)
			if d := p - c.every; p != 0 && d.Abs() > c.every/20+c.pace/2 {
				t.Errorf("%+v is seen as %s", c, p)
			} else if p != 0 {
				seen++
			}
		}
		if seen < c.least {
			t.Errorf("%+v: seen in %d of 60 series", c, seen)
		}
	}
}

// What comes at random, one by one or in bursts, has no period: at most one series
// in a hundred is said to have one.
func TestNoPeriodAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	const series = 600
	worst := 0
	for _, c := range []struct {
		name string
		draw func(*rand.Rand, []bool) float64
	}{
		{"5 %", steady(0.05)},
		{"10 %", steady(0.1)},
		{"30 %", steady(0.3)},
		{"short bursts", bursts(12, 2)},
		{"bursts", bursts(20, 5)},
		{"long bursts", bursts(40, 15)},
	} {
		for _, n := range []int{60, 150, 400} {
			found := 0
			for range series {
				failed := make([]bool, n)
				c.draw(r, failed)
				if period(failed, paced(r, n, 200*time.Millisecond)) != 0 {
					found++
				}
			}
			worst = max(worst, found)
			if found > series/100 {
				t.Errorf("%s, %d tries: a period in %d of %d series", c.name, n, found, series)
			}
		}
	}
	t.Logf("at worst a period in %d of %d series", worst, series)
}
