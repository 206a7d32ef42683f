package model

import (
	"testing"
	"time"
)

func TestWaited(t *testing.T) {
	for _, c := range []struct {
		name string
		took time.Duration
		as   Reason
		want time.Duration
	}{
		{"tcp", 1003 * time.Millisecond, OK, SYNWait},
		{"tcp", 985 * time.Millisecond, OK, SYNWait},
		{"tcp", 900 * time.Millisecond, OK, 0}, // slow, and no step
		{"tcp", 1600 * time.Millisecond, OK, 0},
		{"tcp", 1003 * time.Millisecond, TimedOut, 0},
		{"dns", 1003 * time.Millisecond, OK, 0},
		{"dns", 2004 * time.Millisecond, OK, LookupWait},
		{"dns", 3200 * time.Millisecond, OK, 0},
		{"dns", 5010 * time.Millisecond, OK, LibraryWait},
		{"tls", 1003 * time.Millisecond, OK, 0},
	} {
		p := Phase{Name: c.name, Result: c.as, Duration: c.took}
		if got := p.Waited(); got != c.want {
			t.Errorf("%s %s %s: waited %s, want %s", c.name, c.as, c.took, got, c.want)
		}
	}
}
