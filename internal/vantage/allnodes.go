package vantage

import (
	"context"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// atOnce is how many nodes are read at the same time: each takes a pod, which the
// API server and the scheduler of images have to bear.
const atOnce = 16

// perNode is what one node may take, of its pod's start and the read.
const perNode = DefaultStartTimeout + runLimit

// ReadNodes reads the inside of nodes, a few at a time: a pod on each, gone again
// before the next is entered. Of the request Image, PullPolicy, ProbeNamespace,
// NodeReader, Nodes and StartTimeout count. progress is told how many are done.
func ReadNodes(ctx context.Context, c Clients, req Request, nodes []string, progress func(done int)) Result {
	req.Pod, req.Node, req.Vantages, req.Plan.Targets = nil, "", AllVantages, nil
	// What owns the pods must outlive all of them.
	req.TTL = DefaultTTL + perNode*time.Duration(len(nodes)/atOnce)
	return newSession(c, req).readNodes(ctx, nodes, progress)
}

func (s *session) readNodes(ctx context.Context, nodes []string, progress func(int)) Result {
	defer s.cleanUp(ctx)
	if s.req.NodeReader == ReaderNone {
		return s.result
	}
	s.wantOthers()
	names := make(chan string)
	done := 0
	var work sync.WaitGroup
	for range min(atOnce, len(nodes)) {
		work.Go(func() {
			for name := range names {
				s.enterOnce(ctx, name)
				s.mu.Lock()
				done++
				n := done
				s.mu.Unlock()
				progress(n)
			}
		})
	}
	for _, name := range nodes {
		select {
		case names <- name:
		case <-ctx.Done():
		}
	}
	close(names)
	work.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.sweep(last)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sort()
	return s.result
}

// enterOnce reads one node within its time, and removes the pods that it took.
func (s *session) enterOnce(ctx context.Context, name string) {
	own, cancel := context.WithTimeout(ctx, perNode)
	defer cancel()
	s.farNode(own, name)
	s.leaveNode(ctx, name)
}

// leaveNode removes the pods of this run on a node: the next nodes need room
// among those that may be there at once.
func (s *session) leaveNode(ctx context.Context, node string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	now := int64(0)
	s.mu.Lock()
	var here, rest []created
	for _, c := range s.created {
		if c.node == node {
			here = append(here, c)
		} else {
			rest = append(rest, c)
		}
	}
	s.created = rest
	s.mu.Unlock()
	for _, c := range here {
		if err := s.Kube.CoreV1().Pods(c.namespace).Delete(ctx, c.name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			s.mu.Lock()
			s.created = append(s.created, c) // the end of the run tries again
			s.mu.Unlock()
		}
	}
}
