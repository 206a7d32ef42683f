package vantage

import (
	"context"
	"fmt"
	"sync"

	"github.com/podpath/podpath/internal/model"
)

// The limits of ReadNodes: each node takes a pod.
const (
	maxNodes      = 100
	nodesAtATime  = 10
	nodesLeftOver = "not entered: podpath enters %d nodes at most"
)

// ReadNodes enters nodes and reads them; nothing is probed. How much is read is
// the request's NodeReader. What could not be read is a Gap.
func ReadNodes(ctx context.Context, c Clients, req Request, names []string) Result {
	s := newSession(c, req)
	if s.req.NodeReader == ReaderNone {
		return s.result
	}
	defer s.cleanUp(ctx)
	s.wantOthers()
	var work sync.WaitGroup
	work.Go(func() { s.sweep(ctx) })
	gate := make(chan struct{}, nodesAtATime)
	for i, name := range names {
		if i >= maxNodes {
			ref := model.NewRef("node", name)
			s.gap(model.Gap{What: "sysctls and routes of " + string(ref), Ref: ref, Reason: fmt.Sprintf(nodesLeftOver, maxNodes)})
			continue
		}
		work.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			s.farNode(ctx, name)
		})
	}
	work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sort()
	return s.result
}
