package vantage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// maker makes the pod of one place in a namespace, below an owner.
type maker func(namespace string, owner *metav1.OwnerReference) *corev1.Pod

// peer probes from another pod of the same node.
func (s *session) peer(ctx context.Context) {
	if !s.wants(model.VantagePeer) || s.req.Node == "" || !s.awaitOthers(ctx) {
		return
	}
	if why := s.wouldMend(ctx); why != "" {
		s.gap(model.Gap{What: "probe from " + describe(model.VantagePeer, s.req.Node), Ref: model.NewRef("node", s.req.Node), Reason: why})
		return
	}
	s.ordinary(ctx, model.VantagePeer, "peer", s.req.Node)
}

// wouldMend waits until a pod may be started on the failing pod's node, and says
// why none may. Where the node cannot be read, the pod's own probe must be over.
func (s *session) wouldMend(ctx context.Context) string {
	why := s.nodeFirst(ctx)
	s.mu.Lock()
	read := s.nodeFacts != nil
	s.mu.Unlock()
	if !read {
		select {
		case <-s.podDone:
		case <-ctx.Done():
		}
	}
	return why
}

// nodeFirst waits until the node has been read, or will not be, and says why no
// pod may be started on it. Starting one makes the network plugin set up the node
// anew: it switches forwarding on, and a node that does not forward would be
// mended before it is looked at.
func (s *session) nodeFirst(ctx context.Context) string {
	select {
	case <-s.nodeRead:
	case <-ctx.Done():
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodeFacts != nil && s.nodeFacts.Sysctls[ipForward] == "0" {
		return "node " + s.req.Node + " does not forward (" + ipForward + " is 0), and its network plugin would switch that on for a new pod: none is started, so that the fault stays as it is"
	}
	return ""
}

const ipForward = "net.ipv4.ip_forward"

// otherNode probes from a pod of another node.
func (s *session) otherNode(ctx context.Context) {
	if !s.wants(model.VantageOtherNode) || s.req.Node == "" || !s.awaitOthers(ctx) {
		return
	}
	node, why := pickOther(s, s.req.Node)
	if node == "" {
		s.gap(model.Gap{What: "probe from another node", Reason: why})
		return
	}
	s.ordinary(ctx, model.VantageOtherNode, "other-node", node)
}

// pickOther chooses a node to compare with: of the same pool if there is one, so
// that only the machine differs.
func pickOther(s *session, not string) (string, string) {
	pool := func(n *model.Node) string {
		return orElse(n.Labels["kubernetes.azure.com/agentpool"], n.Labels["agentpool"])
	}
	var best string
	names := make([]string, 0, len(s.req.Nodes))
	for name := range s.req.Nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n := s.req.Nodes[name]
		if name == not || n.Unschedulable || s.unfitNode(name) != "" {
			continue
		}
		if own := s.req.Nodes[not]; own != nil && pool(n) == pool(own) {
			return name, ""
		}
		best = orElse(best, name)
	}
	if len(s.req.Nodes) < 2 {
		return best, "no other node is known"
	}
	return best, "no other node is ready and takes pods"
}

// ordinary probes from a fresh pod with only podpath's labels: in the namespace
// of the failing pod, or, where none can be created there, in the probes' own.
func (s *session) ordinary(ctx context.Context, v model.Vantage, kind, node string) {
	what := "probe from " + describe(v, node)
	if why := s.unfitNode(node); why != "" {
		s.gap(model.Gap{What: what, Ref: model.NewRef("node", node), Reason: why})
		return
	}
	make := func(ns string, owner *metav1.OwnerReference) *corev1.Pod { return s.peerPod(kind, ns, node, owner) }
	namespaces := []string{s.req.ProbeNamespace}
	if s.req.Pod != nil && s.req.Pod.Namespace != s.req.ProbeNamespace {
		namespaces = []string{s.req.Pod.Namespace, s.req.ProbeNamespace}
	}
	var refused []model.Gap
	for i, ns := range namespaces {
		c, err := s.launch(ctx, ns, make)
		if err != nil {
			refused = append(refused, s.explain(what, model.NewRef("node", node), err, "create pods in namespace "+ns))
			if i == len(namespaces)-1 || !denied(err) {
				s.gap(oneGap(refused, namespaces))
				return
			}
			continue
		}
		obs, err := s.runPlan(ctx, c, s.req.Plan.For(v, s.req.Facts), nil)
		if err != nil {
			if s.unwanted(ctx) {
				return
			}
			s.gap(s.failedRun(ctx, what, model.NewRef("node", node), c, err))
			return
		}
		pl := place{v, model.NewRef("pod", ns, c.pod), node, "pod"}
		s.keep(pl, obs)
		s.repeat(ctx, c, pl, s.req.Plan.For(v, s.req.Facts))
		return
	}
}

// oneGap is that of several namespaces of which any would have done.
func oneGap(refused []model.Gap, namespaces []string) model.Gap {
	g := refused[len(refused)-1]
	if len(refused) == 1 {
		return g
	}
	var reasons, permissions []string
	for i, r := range refused {
		if r.Reason != g.Reason {
			reasons = append(reasons, namespaces[i]+": "+r.Reason)
		}
		if r.Permission != "" {
			permissions = append(permissions, namespaces[i])
		}
	}
	if len(reasons) > 0 {
		g.Reason = strings.Join(append(reasons, namespaces[len(refused)-1]+": "+g.Reason), "; ")
	}
	if len(permissions) > 0 {
		g.Permission = "create pods in namespace " + strings.Join(permissions, " or ")
	}
	return g
}

func describe(v model.Vantage, node string) string {
	switch v {
	case model.VantagePeer:
		return "another pod of node " + node
	case model.VantageOtherNode:
		return "a pod of node " + node
	}
	return "node " + node
}

// unwanted says whether a place failed only because the run ended without it.
func (s *session) unwanted(ctx context.Context) bool {
	return ctx.Err() != nil && !s.othersWanted()
}

// launch creates a pod; it starts while the caller goes on.
func (s *session) launch(ctx context.Context, namespace string, make maker) (container, error) {
	return s.launchWith(ctx, namespace, make, func(*corev1.Pod) {})
}

// launchWith calls created before the pod's first container is watched.
func (s *session) launchWith(ctx context.Context, namespace string, make maker, created func(*corev1.Pod)) (container, error) {
	// Without an owner the pod still has its deadline, and the next run sweeps it.
	owner, err := s.ownerIn(ctx, namespace)
	if err != nil && !denied(err) {
		return container{}, err
	}
	made, err := s.create(ctx, make(namespace, owner))
	if err != nil {
		return container{}, err
	}
	created(made)
	return container{namespace: namespace, pod: made.Name, name: containerName, starting: s.watchStart(ctx, made, containerName)}, nil
}

// nodeLeftOut says why nothing was read inside the node, where that was a choice.
func (s *session) nodeLeftOut() {
	ref := model.NewRef("node", s.req.Node)
	s.mu.Lock()
	known := s.nodeFacts != nil || slices.ContainsFunc(s.result.Gaps, func(g model.Gap) bool { return g.Ref == ref })
	s.mu.Unlock()
	if s.req.Node == "" || known {
		return
	}
	g := model.Gap{What: "sysctls and routes of " + string(ref), Ref: ref}
	switch {
	case !s.wants(model.VantageNode):
		g.Reason = "not asked for: --vantage leaves out node"
	case s.req.Via == ViaNone:
		g.Reason = "not asked for: --probe-via none"
	case !s.othersWanted():
		g.Reason, g.Skipped = "not needed: the pod's own probe got through", true
	default:
		return
	}
	s.gap(g)
}

// node probes from the node's own network namespace, for which no network plugin
// is called, and reads its kernel before and after the pod's probe, so that what
// the probe did to the counters is seen.
func (s *session) node(ctx context.Context) {
	name := s.req.Node
	if !s.wants(model.VantageNode) || name == "" || !s.awaitNode(ctx) {
		return
	}
	ref := model.NewRef("node", name)
	what := "probe from " + describe(model.VantageNode, name)
	if why := s.unfitNode(name); why != "" {
		s.gap(model.Gap{What: what, Ref: ref, Reason: why})
		return
	}
	if s.req.NodeReader == ReaderNone {
		s.probeNode(ctx, name)
		return
	}
	e, facts, err := s.enterAndRead(ctx, name)
	if err != nil {
		s.nodeUnread(ctx, what, e, err)
		return
	}
	c := e.probe
	read := time.Now()
	c.starting = nil
	if !s.awaitOthers(ctx) {
		return
	}
	s.mu.Lock()
	s.nodeFacts = facts
	s.mu.Unlock()
	s.nodeOnce.Do(func() { close(s.nodeRead) })
	var wg sync.WaitGroup
	wg.Go(func() { s.probeAgain(ctx, read) })
	obs, err := s.runPlan(ctx, c, s.req.Plan.For(model.VantageNode, s.req.Facts), nil)
	if err != nil && !s.unwanted(ctx) {
		s.gap(s.failedRun(ctx, what, ref, c, err))
	}
	wg.Wait()
	pl := place{model.VantageNode, ref, name, "host-pod"}
	s.keep(pl, obs)
	s.repeat(ctx, c, pl, s.req.Plan.For(model.VantageNode, s.req.Facts))
	if after, err := s.readNode(ctx, c, false); err == nil {
		facts.After, facts.LevelsAfter = after.Counters, after.Levels
	}
	facts.Node = name
	s.mu.Lock()
	s.result.NodeFacts[name] = facts
	s.mu.Unlock()
}

// nodeUnread notes that nobody got into the node, unless nobody is needed there any more.
func (s *session) nodeUnread(ctx context.Context, what string, e nodeEntry, err error) {
	ref := model.NewRef("node", s.req.Node)
	var launch *launchError
	switch {
	case errors.As(err, &launch):
		if s.awaitOthers(ctx) {
			s.gap(s.explain(what, ref, launch.error, "create pods in namespace "+s.req.ProbeNamespace+" with hostNetwork"))
		}
	case s.awaitOthers(ctx) || s.othersWanted():
		s.gap(s.failedRun(ctx, what, ref, e.reader, err))
	}
}

// probeNode probes from the node without reading it.
func (s *session) probeNode(ctx context.Context, name string) {
	if !s.awaitOthers(ctx) {
		return
	}
	ref := model.NewRef("node", name)
	what := "probe from " + describe(model.VantageNode, name)
	s.gap(model.Gap{What: "sysctls and routes of " + string(ref), Ref: ref, Reason: "not asked for: --node-reader none"})
	e, err := s.launchNode(ctx, name, false)
	if err != nil {
		s.nodeUnread(ctx, what, e, &launchError{err})
		return
	}
	obs, err := s.runPlan(ctx, e.probe, s.req.Plan.For(model.VantageNode, s.req.Facts), nil)
	if err != nil && !s.unwanted(ctx) {
		s.gap(s.failedRun(ctx, what, ref, e.probe, err))
	}
	pl := place{model.VantageNode, ref, name, "host-pod"}
	s.keep(pl, obs)
	s.repeat(ctx, e.probe, pl, s.req.Plan.For(model.VantageNode, s.req.Facts))
}

// probeAgain makes sure that the pod's probe fails once more between the two
// readings: it may have been over before the first.
func (s *session) probeAgain(ctx context.Context, read time.Time) {
	select {
	case <-s.podDone:
	case <-ctx.Done():
		return
	}
	s.mu.Lock()
	obs, recheck, begun := s.podObs, s.recheck, s.begun
	s.mu.Unlock()
	if recheck == nil || questionOK(obs) || begun.After(read) || stillSending(obs, read.Sub(begun)) {
		return
	}
	recheck(ctx)
}

// lastSent is when, at the earliest, a phase that waits in vain sends its last
// packet: a connect its SYN after three seconds, a lookup its query after four.
var lastSent = map[string]time.Duration{"tcp": 3 * time.Second, "dns": 4 * time.Second}

// stillSending says whether a question that hung sent another packet later than so long after it began.
func stillSending(obs []model.Observation, after time.Duration) bool {
	return slices.ContainsFunc(obs, func(o model.Observation) bool {
		p, last := o.PhaseOf(o.Failed), lastSent[o.Failed]
		return o.Purpose == probe.PurposeQuestion && last > 0 && p != nil && p.Result == model.TimedOut && p.Duration > last && after < last-300*time.Millisecond
	})
}
