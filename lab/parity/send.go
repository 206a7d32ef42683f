package parity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
)

// fate is what became of one connection.
type fate struct {
	Result string `json:"result"` // ok, refused, timeout, unreachable, reset …
	Who    string `json:"who"`    // the pod that answered, where it says so
	Millis int64  `json:"millis"`
	Detail string `json:"detail"`
}

// How long a connection may take, in milliseconds. What is predicted to be
// dropped has time for the SYN to be sent twice; what is predicted to pass has
// patience with a busy machine.
const (
	limitOfDropped = 2200
	limitOfOthers  = 12000
)

// send opens all connections at once, each from where it comes from.
func (s *stage) send(ctx context.Context, list []flow, predicted []prediction) ([]fate, error) {
	byPlace := map[place][]int{}
	for i := range list {
		byPlace[list[i].from] = append(byPlace[list[i].from], i)
	}
	fates := make([]fate, len(list))
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for from, indices := range byPlace {
		all.Go(func() {
			got, err := s.sendFrom(ctx, from, list, predicted, indices)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("send from %s: %w", from.name, err))
				return
			}
			for k, i := range indices {
				fates[i] = got[k]
			}
		})
	}
	all.Wait()
	return fates, errors.Join(errs...)
}

func (s *stage) sendFrom(ctx context.Context, from place, list []flow, predicted []prediction, indices []int) ([]fate, error) {
	netns := from.netns
	if netns == "" {
		at, err := s.lab.Hands.Place(ctx, "pod", "uid:"+s.pod(from.name).uid)
		if err != nil {
			return nil, err
		}
		netns = at.Netns
	}
	var attempts []map[string]any
	for _, i := range indices {
		f, limit := &list[i], limitOfOthers
		if !mayPass(&predicted[i]) {
			limit = limitOfDropped
		}
		attempts = append(attempts, map[string]any{"network": f.protocol, "to": f.to.String(), "host": f.host, "tls": f.tls, "limit": limit})
	}
	in, err := json.Marshal(attempts)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "nsenter", "--net="+netns, "--", filepath.Join(s.lab.Bin(), "app"), "dial")
	var complaint bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, complaint.String())
	}
	var got []fate
	if err := json.Unmarshal(out, &got); err != nil || len(got) != len(indices) {
		return nil, fmt.Errorf("%d answers for %d attempts: %w", len(got), len(indices), err)
	}
	return got, nil
}

// mayPass says that a time-out would be a surprise.
func mayPass(p *prediction) bool {
	for _, w := range p.Paths {
		if w.Verdict == "drop" || w.Verdict == "unknown" {
			return false
		}
	}
	return true
}

func (s *stage) pod(id string) *pod {
	for _, p := range s.pods {
		if p.id() == id {
			return p
		}
	}
	return nil
}
