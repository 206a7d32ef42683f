package probe

import (
	"context"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// The beat by which a prober watches itself: a process that gets no CPU wakes
// late, and what it then measures is its own delay.
const (
	beatEvery = 20 * time.Millisecond
	keptBeats = 4096
	worthOf   = 20 * time.Millisecond // a beat that is later than this is remembered with its time
)

// lag is how late the prober's own timer was.
type lag struct {
	mu   sync.Mutex
	from time.Time
	held time.Duration
	last time.Time
	all  []time.Duration // a ring
	n    int
	most time.Duration
	late []delay
}

// delay is a stretch in which the prober did not run.
type delay struct{ from, to time.Time }

func newLag() *lag {
	now := time.Now()
	return &lag{from: now, last: now}
}

func (l *lag) beat(ctx context.Context) {
	for {
		due := time.Now().Add(beatEvery)
		if !sleep(ctx, beatEvery) {
			return
		}
		l.note(due, time.Now())
	}
}

func (l *lag) note(due, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := max(now.Sub(due), 0)
	if len(l.all) < keptBeats {
		l.all = append(l.all, d)
	} else {
		l.all[l.n%keptBeats] = d
	}
	l.n++
	l.most = max(l.most, d)
	l.last = now
	if d > worthOf {
		l.held += d
		l.late = append(l.late, delay{due, now})
		if len(l.late) > keptBeats {
			l.late = slices.Delete(l.late, 0, len(l.late)-keptBeats)
		}
	}
}

// between is the longest stretch between two moments in which the prober did not run.
func (l *lag) between(from, to time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var most time.Duration
	for _, d := range l.late {
		if d.to.After(from) && d.from.Before(to) {
			most = max(most, d.to.Sub(d.from))
		}
	}
	if d := to.Sub(l.last) - beatEvery; d > worthOf { // it is late now
		most = max(most, d)
	}
	return most
}

func (l *lag) noise() model.Noise {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := model.Noise{LagMax: l.most, CPUs: runtime.GOMAXPROCS(0), Held: l.held, Over: l.last.Sub(l.from)}
	if len(l.all) > 0 {
		v := slices.Sorted(slices.Values(l.all))
		n.LagP50 = v[len(v)/2]
	}
	n.Load = firstNumber("/proc/loadavg", "")
	n.Pressure = firstNumber("/proc/pressure/cpu", "some avg10=") // absent where the kernel has no PSI
	return n
}

// firstNumber reads the number that follows a prefix at the beginning of a file;
// 0 where there is none.
func firstNumber(file, prefix string) float64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	rest, ok := strings.CutPrefix(string(text), prefix)
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0
	}
	v, err := strconv.ParseFloat(fields[0], 64)
	if err != nil {
		return 0
	}
	return v
}
