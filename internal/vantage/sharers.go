package vantage

import (
	"context"
	"slices"
	"sync"

	"github.com/podpath/podpath/internal/model"
)

// fewestLost is how many connections of the question's own place must have got no
// answer: one may get lost anywhere, and reading a node takes a pod.
const fewestLost = 3

// lateNodes reads the nodes that matter by what was seen: those that share the way
// out, where a series lost connections (a NAT gateway's or firewall's source ports
// may all be held by pods of another node), and those of pods of the cluster's DNS
// that gave no answer (the node may drop the queries).
func (s *session) lateNodes(ctx context.Context) {
	if s.req.NodeReader == ReaderNone || !s.wants(model.VantageNode) || ctx.Err() != nil {
		return
	}
	names := s.silentResolvers()
	if s.req.Series != nil && s.lost() >= fewestLost {
		names = append(names, s.req.Sharers...)
	}
	s.mu.Lock()
	names = slices.DeleteFunc(names, func(name string) bool { return s.result.NodeFacts[name] != nil || name == s.req.Node })
	s.mu.Unlock()
	slices.Sort(names)
	names = slices.Compact(names)
	var wg sync.WaitGroup
	for _, name := range names[:min(len(names), maxFarNodes)] {
		wg.Go(func() { s.farNode(ctx, name) })
	}
	wg.Wait()
}

// silentResolvers are the nodes of the cluster's DNS pods that did not answer the
// question's own place or one beside it.
func (s *session) silentResolvers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for i := range s.result.Observations {
		o := &s.result.Observations[i]
		if o.Vantage == model.VantageHere || o.Vantage == model.VantageOtherNode {
			continue
		}
		for _, q := range o.Queries {
			if node := s.req.Resolvers[q.Server.Addr()]; node != "" && q.Result == model.TimedOut {
				out = append(out, node)
			}
		}
	}
	return out
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
