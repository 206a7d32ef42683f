package examine

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/vantage"
)

// Batch is what one reading of a cluster predicts for many connections.
type Batch struct {
	World   *model.World
	Answers []Predicted // in the order of the questions
}

// Predicted are the ways that one connection may take: one for each address that
// the question leads to, and for each endpoint of a Service.
type Predicted struct {
	Question model.Question
	Paths    []model.Path
	Err      error // the question is about nothing that is there
}

// maxBatchNodes bounds how many nodes are entered: each takes a pod.
const maxBatchNodes = 100

// Predict reads the cluster, Azure and the nodes on the way once, and follows
// every connection by configuration. Nothing is probed; with SkipProbe no node is
// entered either, and what their kernels do is not known.
func Predict(ctx context.Context, list []model.Question, o Options) (*Batch, error) {
	w, err := World(ctx, o)
	if err != nil {
		return nil, err
	}
	b := &Batch{World: w, Answers: make([]Predicted, len(list))}
	b.run(list, o.Namespace)
	if o.SkipProbe {
		w.Gaps = append(w.Gaps, model.Gap{What: "sysctls and routes of the nodes", Reason: "not read: --no-probe"})
		return b, nil
	}
	if o.Progress != nil {
		o.Progress("reading the nodes on the way")
	}
	req := o.Probe
	req.Nodes = w.Kube.Nodes
	names := b.nodes()
	for _, name := range names[min(len(names), maxBatchNodes):] {
		ref := model.NewRef("node", name)
		w.Gaps = append(w.Gaps, model.Gap{What: "sysctls and routes of " + string(ref), Ref: ref, Reason: fmt.Sprintf("not entered: podpath enters %d nodes at most", maxBatchNodes)})
	}
	seen := vantage.ReadNodes(ctx, vantage.Clients{Kube: o.Kube, Config: o.Config}, req, names[:min(len(names), maxBatchNodes)], func(int) {})
	w.Nodes, w.Gaps = seen.NodeFacts, append(w.Gaps, seen.Gaps...)
	b.run(list, o.Namespace)
	return b, ctx.Err()
}

// run follows every connection through the world as it is known now.
func (b *Batch) run(list []model.Question, namespace string) {
	idx := trace.Build(b.World)
	for i, q := range list {
		b.Answers[i] = predict(b.World, idx, q, namespace)
	}
}

func predict(w *model.World, idx *trace.Index, q model.Question, namespace string) Predicted {
	for _, e := range []*model.Endpoint{&q.From, &q.To} {
		if e.Namespace == "" && e.Name != "" && e.Kind != "node" {
			e.Namespace = orDefault(namespace)
		}
	}
	c := &model.Case{Version: 1, Question: q, World: *w}
	from, err := sender(w, q.From)
	if err != nil {
		return Predicted{Question: q, Err: fmt.Errorf("FROM: %w", err)}
	}
	from.To = receivers(w, q.To)
	if err := target(w, q.To, from.To); err != nil {
		return Predicted{Question: q, Err: fmt.Errorf("TO: %w", err)}
	}
	if _, err := choosePort(c, from); err != nil {
		return Predicted{Question: q, Err: err}
	}
	out := Predicted{Question: c.Question}
	for _, f := range flows(c, from) {
		out.Paths = append(out.Paths, idx.Ways(f)...)
	}
	return out
}

func orDefault(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}

// sender is who opens a connection, among what was read.
func sender(w *model.World, e model.Endpoint) (kube.From, error) {
	k := &w.Kube
	var found kube.From
	switch e.Kind {
	case "node":
		n := k.Nodes[e.Name]
		if n == nil {
			return found, &kube.NotFoundError{What: "node " + e.Name}
		}
		found.Node = e.Name
		found.Addr = firstAddr(n.InternalIPs)
		return found, nil
	case "ip":
		return senderAt(w, e.Addr)
	case "service":
		return found, fmt.Errorf("%s: a Service opens no connections; name a pod, a workload or a node", e.Raw)
	}
	refs := receivers(w, e)
	if len(refs) == 0 {
		return found, &kube.NotFoundError{What: "a pod of " + e.Raw}
	}
	found.Pods, found.Pod = refs, k.Pods[refs[0]]
	found.Node, found.Addr = found.Pod.Node, firstAddr(found.Pod.IPs)
	return found, nil
}

func senderAt(w *model.World, a netip.Addr) (kube.From, error) {
	var found kube.From
	for _, ref := range slices.Sorted(maps.Keys(w.Kube.Pods)) {
		if p := w.Kube.Pods[ref]; !p.HostNetwork && slices.Contains(p.IPs, a) && p.Phase != "Succeeded" && p.Phase != "Failed" {
			found.Pod, found.Node, found.Addr, found.Pods = p, p.Node, a, []model.Ref{ref}
			return found, nil
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.Kube.Nodes)) {
		if n := w.Kube.Nodes[name]; n != nil && slices.Contains(n.InternalIPs, a) {
			found.Node, found.Addr = name, a
			return found, nil
		}
	}
	return found, &kube.NotFoundError{What: "a running pod or node with the address " + a.String()}
}

func firstAddr(list []netip.Addr) netip.Addr {
	if len(list) == 0 {
		return netip.Addr{}
	}
	return list[0]
}

// receivers are the pods that a side names, by themselves or by what owns them:
// those that run before those that do not.
func receivers(w *model.World, e model.Endpoint) []model.Ref {
	var running, others []model.Ref
	owner := model.NewRef(e.Kind, e.Namespace, e.Name)
	for _, ref := range slices.Sorted(maps.Keys(w.Kube.Pods)) {
		switch p := w.Kube.Pods[ref]; {
		case p == nil || ref != owner && p.Owner != owner:
		case p.Phase == "Running":
			running = append(running, ref)
		default:
			others = append(others, ref)
		}
	}
	return append(running, others...)
}

// target refuses an object that is not there.
func target(w *model.World, e model.Endpoint, pods []model.Ref) error {
	there := true
	switch e.Kind {
	case "ip", "host", "url", "internet":
	case "node":
		there = w.Kube.Nodes[e.Name] != nil
	case "service":
		there = w.Kube.Services[model.NewRef("service", e.Namespace, e.Name)] != nil
	default:
		there = len(pods) > 0
	}
	if !there {
		return &kube.NotFoundError{What: e.Raw}
	}
	return nil
}

// nodes are the nodes on the way of what was followed, in order.
func (b *Batch) nodes() []string {
	seen := map[string]bool{}
	for _, a := range b.Answers {
		for _, p := range a.Paths {
			for _, s := range p.Steps {
				b.place(seen, s.At)
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func (b *Batch) place(seen map[string]bool, at model.Ref) {
	switch at.Kind() {
	case "node":
		if b.World.Kube.Nodes[at.Name()] != nil {
			seen[at.Name()] = true
		}
	case "pod":
		if p := b.World.Kube.Pods[at]; p != nil && p.Node != "" {
			seen[p.Node] = true
		}
	}
}
