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
}

func beginUse(ctx context.Context, o Options, pods []*model.Pod) *using {
	u := &using{kube: o.Kube, pods: pods, first: make(chan kube.Use, 1)}
	ctx, u.stop = context.WithCancel(ctx)
	if o.Kube == nil || o.SkipProbe || len(pods) == 0 {
		u.pods = nil
		u.first <- kube.Use{}
		return u
	}
	go func() { u.first <- kube.ReadUse(ctx, o.Kube, pods) }()
	return u
}

// end puts what was read into the case. Where all is well nobody waits for it;
// else it is read a second time, for what the probes met.
func (u *using) end(ctx context.Context, c *model.Case, wanted bool) {
	if !wanted {
		u.stop()
	}
	first := <-u.first
	u.stop()
	if !wanted || len(u.pods) == 0 || ctx.Err() != nil {
		first.Gaps = nil // nobody asked
		keepUse(c, first, kube.Use{})
		return
	}
	keepUse(c, first, kube.ReadUse(ctx, u.kube, u.pods))
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
