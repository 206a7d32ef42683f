package vantage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// readAll reads n nodes of a fake cluster.
func (c *cluster) readAll(ctx context.Context, n int, req Request, progress func(int)) Result {
	req.Nodes = map[string]*model.Node{}
	var names []string
	for i := range n {
		name := fmt.Sprintf("n%03d", i)
		req.Nodes[name] = &model.Node{Name: name, Ready: true}
		names = append(names, name)
	}
	s := newSession(Clients{Kube: c}, req)
	s.exec = c.run
	return s.readNodes(ctx, names, progress)
}

func TestReadNodes(t *testing.T) {
	c := newCluster()
	var mu sync.Mutex
	var told []int
	r := c.readAll(context.Background(), 40, Request{StartTimeout: 2 * time.Second}, func(n int) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, n)
	})
	if len(r.NodeFacts) != 40 || r.NodeFacts["n007"].Node != "n007" || len(r.Gaps) > 0 {
		t.Errorf("%d nodes, gaps %s", len(r.NodeFacts), gapsOf(r))
	}
	slices.Sort(told)
	if len(told) != 40 || told[39] != 40 {
		t.Errorf("progress %v", told)
	}
	if left := c.left(t); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestReadNodesAFewAtATime: no more pods are there at once than nodes are read.
func TestReadNodesAFewAtATime(t *testing.T) {
	c := newCluster()
	var mu sync.Mutex // not the fake's own: listing takes that one's
	most := 0
	c.readAll(context.Background(), 60, Request{StartTimeout: 2 * time.Second}, func(int) {
		n := len(c.left(t))
		mu.Lock()
		defer mu.Unlock()
		most = max(most, n)
	})
	if most > atOnce+1 { // and the owner
		t.Errorf("%d objects at once", most)
	}
}

func TestReadNodesStops(t *testing.T) {
	c := newCluster()
	ctx, cancel := context.WithCancel(context.Background())
	c.block = make(chan struct{})
	go func() {
		for len(nodePods(c)) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	c.readAll(ctx, 50, Request{StartTimeout: time.Minute}, func(int) {})
	if left := c.left(t); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestReadNodesRefused(t *testing.T) {
	c := newCluster()
	c.forbid("create", "pods", "")
	r := c.readAll(context.Background(), 2, Request{}, func(int) {})
	if len(r.NodeFacts) != 0 || strings.Count(gapsOf(r), "[create pods in namespace kube-system with hostNetwork]") != 2 {
		t.Errorf("%s", gapsOf(r))
	}
	if r := c.readAll(context.Background(), 2, Request{NodeReader: ReaderNone}, func(int) {}); len(r.NodeFacts)+len(r.Gaps) > 0 {
		t.Errorf("%+v", r)
	}
}
