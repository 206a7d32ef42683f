package examine

import (
	"context"
	"sync"

	"github.com/podpath/podpath/internal/collect/azure"
	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
)

// World reads a whole cluster, and Azure around it, for questions that are not
// about one connection. Nothing is probed.
func World(ctx context.Context, o Options) (*model.World, error) {
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if err := login(ctx, o.Config, o.Kube, o.Progress); err != nil {
		return nil, err
	}
	o.Progress("reading the cluster and Azure")
	var w, az model.World
	var work sync.WaitGroup
	// Azure is found from the nodes: once they are known, both sides are read at once.
	err := kube.Nodes(ctx, o.Kube, kube.Options{Server: o.Config.Host}, &az)
	if kube.Mute(err) {
		return nil, err // thirty gaps would say no more
	}
	beside := !o.SkipAzure && err == nil
	if beside {
		work.Go(func() { azure.Collect(ctx, o.Azure, &az) })
	}
	_, err = kube.Collect(ctx, o.Kube, kube.Options{Namespace: o.Namespace, Server: o.Config.Host, Full: true, Control: o.Control}, &model.Question{}, &w)
	work.Wait()
	if err != nil {
		return nil, err
	}
	if o.SkipAzure {
		return &w, nil
	}
	if !beside {
		az = model.World{Kube: w.Kube}
		azure.Collect(ctx, o.Azure, &az)
	}
	w.Azure = az.Azure
	w.Gaps = append(w.Gaps, az.Gaps...)
	if w.Read == nil {
		w.Read = map[string]bool{}
	}
	for kind, whole := range az.Read {
		if _, known := w.Read[kind]; !known {
			w.Read[kind] = whole
		}
	}
	return &w, nil
}
