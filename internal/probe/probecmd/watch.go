package probecmd

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/collect/node"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// renewal is how often a series keeps the serving process of its container alive:
// well within the shortest time that one is given.
const renewal = 30 * time.Second

// watch runs the series of a plan. The line of each outcome is written at once;
// when the caller is gone it ends.
func watch(ctx context.Context, s Streams) error {
	plan, err := probe.ReadPlan(s.In)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(probe.WhileListened(ctx, s.In))
	defer stop()
	go renew(ctx)
	fmt.Fprintln(s.Err, "podpath-probe: running")
	plan.Look = func(of string) []model.Level { return node.Levels("/", of) }
	out := json.NewEncoder(s.Out)
	return probe.RunSeries(ctx, plan, func(l probe.Line) error { return out.Encode(l) })
}

// renew keeps the serving process alive; one that cannot be told only ends at its own time.
func renew(ctx context.Context) {
	tick := time.NewTicker(renewal)
	defer tick.Stop()
	for {
		_ = tell(socketName(), "renew")
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
