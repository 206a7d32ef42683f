package examine

import (
	"context"
	"time"

	"github.com/podpath/podpath/internal/check"
)

// Check reads a whole cluster and says what is wrong with it. It fails only
// where nothing can be said at all.
func Check(ctx context.Context, o Options) (*check.Report, error) {
	start := time.Now()
	o.Control = true
	w, err := World(ctx, o)
	if err != nil {
		return nil, err
	}
	read := time.Now()
	r := check.Run(w, check.Options{Now: o.Now})
	r.Timing = &check.Timing{
		TotalMillis: time.Since(start).Milliseconds(), OwnMillis: time.Since(read).Milliseconds(), CollectMillis: read.Sub(start).Milliseconds(),
	}
	return r, nil
}
