package examine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// TestMemoryIsReadAgain: every ten seconds, what the metrics API repeats is kept
// once, and what was read is there when the series ends.
func TestMemoryIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begun, asked := time.Now(), 0
		got := make(chan []model.Reading)
		go func() {
			got <- memoryReadings(ctx, func() []model.Reading {
				asked++
				return []model.Reading{{At: time.Now().Truncate(15 * time.Second), From: "pod/x/a"}}
			})
		}()
		time.Sleep(61 * time.Second) // synctest's clock
		cancel()
		all := <-got
		if asked != 7 || len(all) != 5 {
			t.Errorf("asked %d times within %s, %d kept", asked, time.Since(begun), len(all))
		}
	})
}
