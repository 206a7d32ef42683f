// Package examine is podpath's one pipeline: collect and probe side by side,
// then trace, then diagnose. The command line and everything else that asks
// "why" calls it.
package examine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/podpath/podpath/internal/collect/azure"
	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/diagnose/rules"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/vantage"
)

// Options say how a question is looked into.
type Options struct {
	Config    *rest.Config
	Kube      kubernetes.Interface
	Namespace string // of names that carry none

	Azure     azure.Options
	SkipAzure bool

	Probe     vantage.Request // its Pod, Node, Nodes, Plan and Facts are filled in here
	SkipProbe bool
	Once      bool   // ask once: do not ask again where the answer is good, or answers vary
	Roots     string // PEM that is trusted beside what the pod trusts

	Control  bool // of a whole cluster, read what surrounds the API server too
	AllNodes bool // check: read the inside of every node

	Timeout  time.Duration // of everything; 0: none but those of the single calls
	Progress func(string)  // told what is being done; may be nil
	Now      time.Time     // what the case is dated with
}

// Timing says where the time went.
type Timing struct{ Total, Own, Collect, Probe time.Duration }

// Answer is a case with its diagnosis.
type Answer struct {
	Case   *model.Case
	Result diagnose.Result
	Timing Timing
}

// Why looks into one question. It fails only where nothing can be said at all
// (no API server, no such pod); everything else that could not be done is a Gap
// in the case.
func Why(ctx context.Context, q model.Question, o Options) (*Answer, error) {
	start := time.Now()
	if o.Timeout > 0 {
		o.Timeout += seriesLength(o.Probe.Series)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	c := &model.Case{Version: 1, Question: q, Asked: o.Now}
	if err := login(ctx, o.Config, o.Kube, o.Progress); err != nil {
		return nil, err
	}
	o.Progress("reading the cluster")
	reading := kube.Options{Namespace: o.Namespace, Server: o.Config.Host}
	if o.Timeout > 0 { // a limit that strikes first is the one to be told
		reading.CallTimeout = min(o.Timeout, kube.DefaultCallTimeout)
		o.Azure.CallTimeout = min(o.Timeout, cmp.Or(o.Azure.CallTimeout, azure.DefaultCallTimeout))
		o.Azure.Timeout = min(o.Timeout, cmp.Or(o.Azure.Timeout, azure.DefaultTimeout))
	}
	from, err := kube.Collect(ctx, o.Kube, reading, &c.Question, &c.World)
	if err != nil {
		return nil, err
	}
	note, err := choosePort(c, from)
	if err != nil {
		return nil, err
	}
	settings, err := chooseContainer(&c.Question, from.Pod)
	if err != nil {
		return nil, err
	}
	if err := besidePorts(c); err != nil {
		return nil, err
	}
	a := &Answer{Case: c}
	o.Progress("reading Azure, and probing from the pod and its neighbours")
	gather(ctx, c, from, o, a, start)
	c.Question.To = c.Question.To.Public() // the probes are over: from here on it is only shown and kept
	for i := range c.Question.Beside {
		c.Question.Beside[i] = c.Question.Beside[i].Public()
	}
	for _, n := range []string{note, settings} {
		if n != "" {
			c.Notes = append(c.Notes, n)
		}
	}
	switch err := ctx.Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		// What was read and seen until now is an answer, if half a one.
		c.World.Gaps = append(c.World.Gaps, model.Gap{What: "the rest", Reason: fmt.Sprintf("the time limit of %s was over while Azure was read and probes ran", o.Timeout)})
	case err != nil && len(c.Tries) == 0:
		return nil, err
	case err != nil: // interrupted: what was seen until now is the answer
		c.Notes = append(c.Notes, "interrupted: this is what was seen until then")
	}
	own := time.Now()
	idx := trace.Build(&c.World)
	for _, f := range flows(c, from) {
		c.Paths = append(c.Paths, idx.Run(f))
	}
	c.Lookup = lookup(c, from, idx)
	sayWhy(c, idx.Run)
	a.Result = diagnose.RunWith(c, rules.All(), idx.Run)
	a.Timing.Own = time.Since(own)
	a.Timing.Total = time.Since(start)
	return a, nil
}

// Diagnose judges a case that was kept; it gives what it gave then.
func Diagnose(c *model.Case) diagnose.Result {
	return diagnose.RunWith(c, rules.All(), trace.Build(&c.World).Run)
}

// gather reads Azure and probes, side by side.
func gather(ctx context.Context, c *model.Case, from kube.From, o Options, a *Answer, start time.Time) {
	var wg sync.WaitGroup
	az := model.World{Kube: c.World.Kube}
	if !o.SkipAzure {
		wg.Go(func() {
			azo := o.Azure
			azo.Host = c.Question.To.Host
			azo.Metrics = outside(c.Question.To)
			azo.Machines, azo.Advisor = machines(c, from), true
			azure.Collect(ctx, azo, &az)
			a.Timing.Collect = time.Since(start)
		})
	}
	var seen vantage.Result
	req := request(c, from, o)
	if !o.SkipProbe {
		wg.Go(func() {
			seen = vantage.Run(ctx, vantage.Clients{Kube: o.Kube, Config: o.Config}, req)
			a.Timing.Probe = time.Since(start)
		})
	}
	use := beginUse(ctx, o, users(c, from))
	wg.Wait()
	use.end(ctx, c, strained(&seen, o))
	c.World.Azure = az.Azure
	c.World.Gaps = append(c.World.Gaps, az.Gaps...)
	if c.World.Read == nil {
		c.World.Read = map[string]bool{}
	}
	maps.Copy(c.World.Read, az.Read)
	if o.SkipAzure {
		c.World.Gaps = append(c.World.Gaps, model.Gap{What: "Azure", Reason: "not read: --no-azure"})
	}
	if o.SkipProbe && from.Node != "" {
		ref := model.NewRef("node", from.Node)
		seen.Gaps = append(seen.Gaps, model.Gap{What: "sysctls and routes of " + string(ref), Ref: ref, Reason: "not read: --no-probe"})
	}
	c.World.Nodes = seen.NodeFacts
	c.World.Gaps = append(c.World.Gaps, seen.Gaps...)
	c.Observations = seen.Observations
	reached(c)
	series(ctx, c, seen, o)
	c.Notes = slices.Concat(seen.Notes, c.Notes) // the series has told its own already
	c.World.Listeners, c.World.Sockets, c.World.Inside = seen.Listeners, seen.Sockets, seen.Inside
	c.Notes = append(c.Notes, ownConnections(c)...)
	if !o.SkipProbe {
		throughAzureProxy(ctx, c, from, req, o)
	}
}

// machines are the nodes whose load matters to the question: that of the asking
// pod, and those of the pods that answer.
func machines(c *model.Case, from kube.From) []string {
	out := []string{from.Node}
	for _, b := range slices.Concat(endpoints(c), podsNamed(c)) {
		if pod := c.World.Kube.Pods[b.Pod]; pod != nil && !slices.Contains(out, pod.Node) && len(out) < mostMachines {
			out = append(out, pod.Node)
		}
	}
	return out
}

// mostMachines bounds the filter of a metrics request.
const mostMachines = 10

// outside says that a destination may lie outside the cluster, so that source
// ports matter.
func outside(to model.Endpoint) bool {
	switch to.Kind {
	case "ip", "host", "url", "internet":
		return !strings.HasSuffix(to.Host, ".svc") && !strings.Contains(to.Host, ".svc.")
	}
	return false
}

// request is what the vantage points are asked.
func request(c *model.Case, from kube.From, o Options) vantage.Request {
	req := o.Probe
	req.Pod, req.Node, req.Nodes = from.Pod, from.Node, c.World.Kube.Nodes
	req.Facts = facts(c, from.Pod)
	req.Facts.Patient = req.Series != nil
	req.Facts.ExtraRoots = o.Roots + clusterRoots(c, o.Config)
	req.Backends = endpoints(c)
	for _, b := range req.Backends {
		req.Facts.Backends = append(req.Facts.Backends, b.Addr)
	}
	if len(req.Backends) == 0 {
		req.Backends = podsNamed(c)
	}
	req.Facts.Behind = behind(c)
	req.Plan = probe.PlanFor(c.Question, req.Facts)
	req.Beside = beside(c, from.Pod)
	if req.FarNodes = farNodes(c); len(req.FarNodes) == 0 && outside(c.Question.To) {
		req.Sharers = otherNodes(c, from.Node)
	}
	req.Resolvers = resolvers(c)
	req.Container = c.Question.Container
	req.Sockets = c.Question.Via == "app"
	if c.Question.Protocol == "udp" && len(req.Backends) > 0 {
		req.Escalate = false // a new socket that works says nothing of those that the node's connection table remembers
	}
	if !o.Once {
		spec := quick
		req.More = &spec
	}
	return req
}
