package vantage

import (
	"context"
	"sync"

	"github.com/podpath/podpath/internal/model"
)

// fewestLost is how many connections of the question's own place must have got no
// answer: one may get lost anywhere, and reading a node takes a pod.
const fewestLost = 3

// sharers reads the nodes that share the way out, where a series lost connections:
// a NAT gateway's or firewall's source ports may all be held by pods of another node.
func (s *session) sharers(ctx context.Context) {
	if s.req.NodeReader == ReaderNone || !s.wants(model.VantageNode) || s.req.Series == nil || ctx.Err() != nil || s.lost() < fewestLost {
		return
	}
	var wg sync.WaitGroup
	for _, name := range s.req.Sharers[:min(len(s.req.Sharers), maxFarNodes)] {
		wg.Go(func() { s.farNode(ctx, name) })
	}
	wg.Wait()
}

// lost counts the connections of the question's own place that got no answer.
func (s *session) lost() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for i := range s.result.Tries {
		if t := &s.result.Tries[i]; t.Vantage == s.origin() && t.Failed == "tcp" && t.Result == model.TimedOut {
			n++
		}
	}
	return n
}
