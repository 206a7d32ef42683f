package examine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/podpath/podpath/internal/check"
	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/vantage"
)

// Check reads a whole cluster, and with AllNodes the inside of every node, and
// says what is wrong with it. It fails only where nothing can be said at all.
func Check(ctx context.Context, o Options) (*check.Report, error) {
	start := time.Now()
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	o.Control = true
	o.Azure.Metrics, o.Azure.Fleet, o.Azure.Advisor = true, true, true
	var work sync.WaitGroup
	var shown []model.Certificate
	var hidden error
	work.Go(func() { shown, hidden = kube.ServerCertificate(ctx, o.Config) })
	w, err := World(ctx, o)
	work.Wait()
	if err != nil {
		return nil, err
	}
	w.Kube.Certificates = append(w.Kube.Certificates, shown...)
	if hidden != nil {
		w.Gaps = append(w.Gaps, kube.Unreadable(hidden))
	}
	if o.SkipAzure {
		w.Gaps = append(w.Gaps, model.Gap{What: "Azure", Reason: "not read: --no-azure", Skipped: true})
	}
	var notes []string
	if o.AllNodes {
		notes = enterNodes(ctx, o, w)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	read := time.Now()
	o.Progress("checking")
	r := check.Run(w, check.Options{Now: o.Now, Notes: notes})
	r.Timing = &check.Timing{
		TotalMillis: time.Since(start).Milliseconds(), OwnMillis: time.Since(read).Milliseconds(), CollectMillis: read.Sub(start).Milliseconds(),
	}
	return r, nil
}

// enterNodes reads the inside of every node that is ready.
func enterNodes(ctx context.Context, o Options, w *model.World) []string {
	var names []string
	for name, n := range w.Kube.Nodes {
		if n.Ready {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	req := o.Probe
	req.Nodes = w.Kube.Nodes
	seen := vantage.ReadNodes(ctx, vantage.Clients{Kube: o.Kube, Config: o.Config}, req, names, func(done int) {
		o.Progress(fmt.Sprintf("reading inside the nodes: %d of %d", done, len(names)))
	})
	w.Nodes = seen.NodeFacts
	w.Gaps = append(w.Gaps, seen.Gaps...)
	notes := seen.Notes
	if left := len(w.Kube.Nodes) - len(names); left > 0 {
		notes = append(notes, fmt.Sprintf("%d of %d nodes are not ready and were not entered", left, len(w.Kube.Nodes)))
	}
	slices.SortStableFunc(w.Gaps, func(a, b model.Gap) int { return strings.Compare(a.What, b.What) })
	return notes
}
