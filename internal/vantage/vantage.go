// Package vantage runs probes from inside the cluster. It is the only package
// that writes to it: it adds an ephemeral container to the failing pod, and
// creates short-lived pods beside it, on its node and on another one.
//
// What it creates is unprivileged, labelled, has an owner that expires, and a
// deadline of its own. It is removed when Run returns, also after a cancelled
// context; what a killed podpath leaves behind ends by itself within the TTL, and
// the next run sweeps it.
package vantage

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// DefaultImage is the probe image where nothing else is said.
const DefaultImage = "ghcr.io/podpath/probe:latest"

// The ways into a pod, in the order in which "auto" tries them.
const (
	ViaAuto      = "auto"
	ViaEphemeral = "ephemeral" // an ephemeral container of the pod
	ViaTwin      = "twin"      // a pod like it
	ViaExec      = "exec"      // tools of the pod's own container
	ViaNone      = "none"      // create nothing, enter nothing
)

// Defaults of a request.
const (
	DefaultTTL          = 3 * time.Minute
	DefaultEphemeralTTL = 10 * time.Minute
	DefaultStartTimeout = 12 * time.Second
	DefaultNamespace    = "kube-system"
)

// AllVantages are the five, the failing pod first.
var AllVantages = []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageNode, model.VantageOtherNode, model.VantageHere}

// Clients are the ways to the API server.
type Clients struct {
	Kube   kubernetes.Interface
	Config *rest.Config // for exec
}

// Request says where to probe from, what, and how.
type Request struct {
	Pod       *model.Pod // the failing pod; nil: FROM is no pod
	Container string     // of the pod, for its user and CA bundle; default: the pod's default container
	Node      string     // default: the pod's
	Nodes     map[string]*model.Node
	Vantages  []model.Vantage // default: all

	Plan  probe.Plan  // as for the failing pod; it is adapted to the other places
	Facts probe.Facts // what the plan was made from

	Image          string
	PullPolicy     string                // default IfNotPresent
	Via            string                // default auto
	ProbeNamespace string                // for pods in the host's network
	NodeReader     string                // how much is read inside nodes; default full
	Backends       []Backend             // where the question leads: addresses and the pods that have them
	Sockets        bool                  // list the pod's own connections too
	FarNodes       []string              // nodes at the other end, which are read and not probed from
	Sharers        []string              // nodes that share the way out, which are read after a series that lost connections: one of their pods may hold what runs out
	Resolvers      map[netip.Addr]string // the cluster's DNS pods and their nodes, which are read where such a pod does not answer
	TTL            time.Duration
	EphemeralTTL   time.Duration // of the process in an ephemeral container: it cannot be added twice
	StartTimeout   time.Duration // how long a pod may take to start
	Escalate       bool          // use the other places only when the pod's own probe fails or hangs

	Env map[string]string // this machine's variables, for proxies on the way from here

	Beside []probe.Target                  // other destinations of the series, from the question's own place
	Series *probe.Series                   // repeat the question from every place; nil: once
	More   *probe.Series                   // asked by the pod again where its first answer was good, and by the others where that then fails; nil: once is enough
	OnLine func(model.Vantage, probe.Line) // told what a series tells, as it comes, one line at a time; may be nil
}

// Result is what was seen.
type Result struct {
	Observations []model.Observation
	NodeFacts    map[string]*model.NodeFacts
	Listeners    map[model.Ref][]model.Listener   // of pods behind the destination that refused
	Sockets      map[model.Ref][]model.Connection // of the asking pod, where they were asked for
	Inside       map[model.Ref]*model.Inside      // of the asking pod, and of pods behind the destination that were slow or silent
	Gaps         []model.Gap
	Notes        []string // what was done to the cluster, and what stays
	Tries        []model.Try
	Beside       []model.Try // of other destinations
	Noise        []model.Noise
	Readings     []model.Reading
}

func (r *Request) defaults() {
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&r.Image, DefaultImage)
	set(&r.PullPolicy, string(corev1.PullIfNotPresent))
	set(&r.Via, ViaAuto)
	set(&r.ProbeNamespace, DefaultNamespace)
	set(&r.NodeReader, ReaderFull)
	if r.Pod != nil {
		set(&r.Node, r.Pod.Node)
	}
	if r.TTL <= 0 {
		r.TTL = DefaultTTL
	}
	if r.EphemeralTTL <= 0 {
		r.EphemeralTTL = DefaultEphemeralTTL
	}
	if r.StartTimeout <= 0 {
		r.StartTimeout = DefaultStartTimeout
	}
	if len(r.Vantages) == 0 {
		r.Vantages = AllVantages
	}
	if r.Series != nil { // what is created must outlast it
		r.TTL += max(r.Series.For, 2*r.Series.Search) + seriesGrace
		r.Escalate, r.More = false, nil
	}
}

// Run probes from every place of the request, side by side. It always returns a
// result: what could not be done is a Gap in it.
func Run(ctx context.Context, c Clients, req Request) Result {
	return newSession(c, req).run(ctx)
}

// session is one run.
type session struct {
	Clients
	req  Request
	id   string
	exec execFunc

	mu      sync.Mutex
	result  Result
	created []created
	owners  map[string]*owner

	escalate     chan struct{} // closed when the other places are wanted
	escalateOnce sync.Once
	early        chan struct{} // closed when the node is wanted before it is known whether the others are
	earlyOnce    sync.Once
	podDone      chan struct{}       // closed when the pod's own probe is over, however it went
	podObs       []model.Observation // then: what it saw
	nodeRead     chan struct{}       // closed when the node has been read, or will not be
	nodeOnce     sync.Once
	imageOnce    sync.Once
	nodeFacts    *model.NodeFacts      // then, if it was read: its state before any pod was started there
	begun        time.Time             // when the pod's own probe began
	recheck      func(context.Context) // asks the question again from the pod
	entered      bool                  // the asking pod itself was entered: what is read there is its own
	repeats      sync.WaitGroup        // series that run
	tries        map[model.Vantage]int // that were told from each place
	varies       bool                  // the question was answered well, and then it was not
}

// created is an object to remove.
type created struct{ namespace, name, node string }

func newSession(c Clients, req Request) *session {
	req.defaults()
	s := &session{
		Clients: c, req: req, id: strings.ToLower(rand.Text()[:8]), owners: map[string]*owner{},
		escalate: make(chan struct{}), early: make(chan struct{}), podDone: make(chan struct{}), nodeRead: make(chan struct{}),
	}
	s.exec = s.remoteExec
	s.result.NodeFacts = map[string]*model.NodeFacts{}
	return s
}

func (s *session) wants(v model.Vantage) bool { return slices.Contains(s.req.Vantages, v) }

func (s *session) run(ctx context.Context) Result {
	defer s.cleanUp(ctx)
	wait, stop := context.WithCancel(ctx)
	defer stop()
	var podSide, others sync.WaitGroup
	if s.wants(model.VantageHere) {
		podSide.Go(func() { s.here(wait) })
	}
	if !s.wants(model.VantagePod) || s.req.Pod == nil || s.req.Via == ViaNone || !s.req.Escalate || s.req.Sockets {
		s.wantOthers()
	}
	podSide.Go(func() {
		defer close(s.podDone)
		s.podObs = s.podVantage(wait)
	})
	podSide.Go(func() { s.ownSockets(wait) })
	if s.req.Via != ViaNone {
		for _, f := range []func(context.Context){s.peer, s.otherNode, s.farNodes, s.listening, s.insides, s.sweep} {
			others.Go(func() { f(wait) })
		}
		others.Go(func() {
			s.node(wait)
			s.nodeOnce.Do(func() { close(s.nodeRead) })
		})
	}
	podSide.Wait()
	if !s.othersWanted() {
		stop() // the pod's own probe answered: nobody else is needed
	}
	others.Wait()
	s.repeats.Wait()
	s.lateNodes(ctx)
	s.nodeLeftOut()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sort()
	return s.result
}

// wantOthers lets the other places start.
func (s *session) wantOthers() { s.escalateOnce.Do(func() { close(s.escalate) }) }

func (s *session) othersWanted() bool {
	select {
	case <-s.escalate:
		return true
	default:
		return false
	}
}

// awaitOthers waits until the other places are wanted; false: they are not.
func (s *session) awaitOthers(ctx context.Context) bool {
	select {
	case <-s.escalate:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// wantNode lets the node's pod start: where the way into the failing pod takes a
// second of its own, the node would be waited for after it.
func (s *session) wantNode() { s.earlyOnce.Do(func() { close(s.early) }) }

// awaitNode waits until the node is wanted.
func (s *session) awaitNode(ctx context.Context) bool {
	select {
	case <-s.early:
		return ctx.Err() == nil
	case <-s.escalate:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// sort puts the places in their usual order; within one, the plan's order stays.
func (s *session) sort() {
	slices.SortStableFunc(s.result.Observations, func(a, b model.Observation) int {
		return slices.Index(AllVantages, a.Vantage) - slices.Index(AllVantages, b.Vantage)
	})
	slices.SortStableFunc(s.result.Gaps, func(a, b model.Gap) int { return strings.Compare(a.What, b.What) })
	slices.Sort(s.result.Notes)
	s.result.Notes = slices.Compact(s.result.Notes)
}

func (s *session) keep(place place, obs []model.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range obs {
		o.Vantage, o.From, o.Node, o.Via = place.vantage, place.from, place.node, place.via
		s.result.Observations = append(s.result.Observations, o)
	}
}

func (s *session) gap(g model.Gap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Gaps = append(s.result.Gaps, g)
}

func (s *session) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.result.Notes = append(s.result.Notes, fmt.Sprintf(format, args...))
}

// place is where observations come from.
type place struct {
	vantage   model.Vantage
	from      model.Ref
	node, via string
}

// here probes from this machine.
func (s *session) here(ctx context.Context) {
	plan := s.req.Plan.For(model.VantageHere, s.req.Facts)
	for i := range plan.Targets {
		t := &plan.Targets[i]
		t.Proxy = probe.ProxyFor(s.req.Env, t.Scheme, t.Host, t.Port)
	}
	if len(plan.Targets) == 0 {
		return
	}
	plan.CAFiles = nil
	s.keep(place{vantage: model.VantageHere, via: "local"}, probe.Run(ctx, plan))
	s.repeatHere(ctx, plan)
}

// cleanUp removes what this run created, whatever has become of its context.
func (s *session) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.mu.Lock()
	list, owners := s.created, s.owners
	s.mu.Unlock()
	now := int64(0)
	background := metav1.DeletePropagationBackground
	var wg sync.WaitGroup
	for _, c := range list {
		wg.Go(func() {
			_ = s.Kube.CoreV1().Pods(c.namespace).Delete(ctx, c.name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		})
	}
	for ns, o := range owners {
		wg.Go(func() {
			if ref, _ := o.get(); ref != nil {
				_ = s.Kube.BatchV1().Jobs(ns).Delete(ctx, ref.Name, metav1.DeleteOptions{PropagationPolicy: &background})
			}
		})
	}
	wg.Wait()
}
