package examine

import (
	"context"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/vantage"
)

// mostUsers bounds how many pods are looked at: the asking one, and those behind
// the destination.
const mostUsers = 8

// users are the pods whose CPU and memory the question concerns.
func users(c *model.Case, from kube.From) []*model.Pod {
	var out []*model.Pod
	add := func(p *model.Pod) {
		if p != nil && p.Node != "" && !slices.Contains(out, p) && len(out) < mostUsers {
			out = append(out, p)
		}
	}
	add(from.Pod)
	for _, b := range slices.Concat(endpoints(c), podsNamed(c)) {
		add(c.World.Kube.Pods[b.Pod])
	}
	return out
}

// using is a reading of what pods use that runs beside the probes.
type using struct {
	kube  kubernetes.Interface
	pods  []*model.Pod
	stop  context.CancelFunc
	first chan kube.Use
	again chan []model.Reading // of memory, during a series
}

func beginUse(ctx context.Context, o Options, pods []*model.Pod) *using {
	u := &using{kube: o.Kube, pods: pods, first: make(chan kube.Use, 1), again: make(chan []model.Reading, 1)}
	ctx, u.stop = context.WithCancel(ctx)
	if o.Kube == nil || o.SkipProbe || len(pods) == 0 {
		u.pods = nil
		u.first <- kube.Use{}
		u.again <- nil
		return u
	}
	go func() { u.first <- kube.ReadUse(ctx, o.Kube, pods) }()
	if o.Probe.Series == nil {
		u.again <- nil
		return u
	}
	go func() {
		u.again <- memoryReadings(ctx, func() []model.Reading { return kube.ReadMemory(ctx, o.Kube, pods) })
	}()
	return u
}

// memoryEvery is how often the metrics API is asked, which looks every 15 seconds;
// mostMemory bounds how often in all.
const (
	memoryEvery = 10 * time.Second
	mostMemory  = 360
)

// memoryReadings reads again and again until ctx ends, and keeps what is new.
func memoryReadings(ctx context.Context, read func() []model.Reading) []model.Reading {
	var out []model.Reading
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	for range mostMemory {
		for _, r := range read() {
			if !slices.ContainsFunc(out, func(had model.Reading) bool { return had.From == r.From && had.At.Equal(r.At) }) {
				out = append(out, r)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return out
		}
	}
	return out
}

// end puts what was read into the case. Where all is well nobody waits for it;
// else it is read a second time, for what the probes met.
func (u *using) end(ctx context.Context, c *model.Case, wanted bool) {
	if !wanted {
		u.stop()
	}
	first := <-u.first
	second := kube.Use{}
	if wanted && len(u.pods) > 0 && ctx.Err() == nil {
		second = kube.ReadUse(ctx, u.kube, u.pods)
	}
	u.stop()
	c.Readings = <-u.again
	if !wanted || len(u.pods) == 0 || ctx.Err() != nil {
		first.Gaps = nil // nobody asked
	}
	keepUse(c, first, second)
}

// strained says that something failed, was slow, or is watched.
func strained(seen *vantage.Result, o Options) bool {
	slow := func(phases []model.Phase) bool {
		return slices.ContainsFunc(phases, func(p model.Phase) bool { return p.Duration > late })
	}
	return o.Probe.Series != nil ||
		slices.ContainsFunc(seen.Observations, func(o model.Observation) bool { return o.Result != model.OK || slow(o.Phases) }) ||
		slices.ContainsFunc(seen.Tries, func(t model.Try) bool { return t.Result != model.OK || slow(t.Phases) })
}

// late is from when on a phase is not what a healthy server takes.
const late = 900 * time.Millisecond

// keepUse puts a reading into the case, with the second one, where there is one.
func keepUse(c *model.Case, first, second kube.Use) {
	for i := range first.Usage {
		u := &first.Usage[i]
		j := slices.IndexFunc(second.Usage, func(s model.Usage) bool { return s.Pod == u.Pod && s.Container == u.Container })
		if j >= 0 {
			u.After, u.CPU, u.Memory = second.Usage[j].Before, max(u.CPU, second.Usage[j].CPU), max(u.Memory, second.Usage[j].Memory)
		}
	}
	c.World.Usage, c.World.NodeUsage = first.Usage, first.Nodes
	for node, n := range second.Nodes {
		for pod, w := range first.Nodes[node].Written {
			w.After = n.Written[pod].Before
			n.Written[pod] = w
		}
		for pod, s := range first.Nodes[node].Spent {
			if again, ok := n.Spent[pod]; ok {
				s.After, s.AfterAt = again.Before, again.At
			}
			n.Spent[pod] = s
		}
		for pod, w := range first.Nodes[node].Sent {
			w.After = n.Sent[pod].Before
			n.Sent[pod] = w
		}
	}
	if second.Nodes != nil {
		c.World.NodeUsage = second.Nodes
	}
	c.World.Gaps = append(c.World.Gaps, first.Gaps...)
}
