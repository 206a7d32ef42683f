package watch

import (
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// lookupTries are 40 tries whose lookups took so long, one of each kind at the end.
func lookupTries() []model.Try {
	tries := with(of(strings.Repeat(".", 40)), func(t *model.Try) {
		t.Phases = []model.Phase{{Name: "dns", Result: model.OK, Duration: 4 * time.Millisecond}}
	})
	tries[36].Phases[0].Duration = 2004 * time.Millisecond // asked again
	tries[37].Phases[0].Duration = 900 * time.Millisecond  // slow, and no packet was lost
	tries[38].Phases[0].Result = model.TimedOut
	tries[39].Phases[0].Duration = 2004 * time.Millisecond
	tries[39].Lag = time.Second // the sender itself was late
	return tries
}

func TestLookups(t *testing.T) {
	if r := LookupsLost(lookupTries())[model.VantagePod]; r.Count != 2 || r.Of != 39 {
		t.Errorf("lost: %+v", r)
	}
	if r := SlowLookups(lookupTries(), 700*time.Millisecond)[model.VantagePod]; r.Count != 3 || r.Of != 39 {
		t.Errorf("slow: %+v", r)
	}
}

func TestMoreOften(t *testing.T) {
	for _, c := range []struct {
		a, of, b, rest int
		want           bool
	}{{9, 60, 0, 60, true}, {7, 60, 5, 60, false}, {2, 60, 0, 60, false}, {0, 60, 9, 60, false}, {60, 60, 0, 0, false}} {
		if got := MoreOften(wilson(c.a, c.of, 0.95), wilson(c.b, c.rest, 0.95)); got != c.want {
			t.Errorf("%d of %d against %d of %d: %t", c.a, c.of, c.b, c.rest, got)
		}
	}
}

func TestAtEndpoints(t *testing.T) {
	tries := with(of("FF......"), func(t *model.Try) { t.Purpose = "control:endpoint" })
	if got := AtEndpoints(append(tries, of("FFFF")...)); len(got) != 1 || got[tries[0].Address].Count != 2 || got[tries[0].Address].Of != 8 {
		t.Errorf("%+v", got)
	}
}
