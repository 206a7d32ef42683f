package examine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/collect/kube"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
	"github.com/podpath/podpath/internal/vantage"
	"github.com/podpath/podpath/internal/watch"
)

// seriesLength is how much longer a question may take that is asked again and again.
func seriesLength(s *probe.Series) time.Duration {
	if s == nil {
		return 0
	}
	longest := time.Duration(0)
	for _, gap := range s.Gaps() {
		longest = max(longest, gap)
	}
	return max(s.For, 2*s.Search+longest) + time.Minute
}

// series keeps what a series told, with the first probes as its beginning, and
// reads what happened in the cluster meanwhile.
func series(ctx context.Context, c *model.Case, seen vantage.Result, o Options) {
	c.Watched = o.Probe.Series != nil
	if len(seen.Tries) == 0 {
		return
	}
	c.Noise, c.Beside = seen.Noise, seen.Beside
	c.Readings = append(c.Readings, seen.Readings...)
	c.Tries = append(firstTries(c, seen.Tries), seen.Tries...)
	apart(c)
	typical(c)
	if c.More = o.Probe.Series == nil; c.More {
		return // a few more tries of one question: nothing to tell beside them
	}
	own(c)
	unasked(c)
	untried(c)
	if o.Kube == nil {
		return
	}
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), afterLimit)
	defer cancel()
	events, gap := kube.Since(after, o.Kube, o.Now.Add(-before))
	c.Happened = events
	if gap != nil {
		c.World.Gaps = append(c.World.Gaps, *gap)
	}
	left(after, c, o)
}

// quick are the tries of a single question beside its first: at 24 more a failure of
// one connection in ten shows in nine cases of ten.
var quick = probe.Series{Every: 50 * time.Millisecond, For: 3 * time.Second, Count: 24, Jitter: 0.5}

// typical takes out failures of other places that fail clearly less often than
// the question's own does: rules compare places by what was seen there, and one
// failure of a hundred does not make a place that fails as well.
func typical(c *model.Case) {
	origin, rates := diagnose.OriginOf(&c.Question), watch.Failures(c.Tries)
	c.Observations = slices.DeleteFunc(c.Observations, func(ob model.Observation) bool {
		return ob.Sample && ob.Vantage != origin && (ob.Purpose == "" || ob.Purpose == probe.PurposeQuestion) && rates[ob.Vantage].High < rates[origin].Low
	})
}

// own says what the series itself takes: towards one destination each connection
// holds a source port for a while, where sources are translated.
func own(c *model.Case) {
	most := 0
	for _, r := range watch.Failures(c.Tries) {
		most = max(most, r.Of)
	}
	besideOwn(c)
	if outside(c.Question.To) && most > 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("watching itself opened up to %d connections from each place; each takes a source port towards that destination, also for a while after it closed: with few ports, watch at a lower --rate", most))
	}
}

// unasked says how many endpoints of a Service the series did not try by themselves,
// of which it takes only the first few.
func unasked(c *model.Case) {
	asked := map[netip.AddrPort]bool{}
	for i := range c.Tries {
		if t := &c.Tries[i]; t.Purpose == probe.PurposeEndpoint {
			asked[t.Address] = true
		}
	}
	if all := len(endpoints(c)); len(asked) > 0 && len(asked) < all {
		c.Notes = append(c.Notes, fmt.Sprintf("%d of %d endpoints were watched by themselves; what fails at one of the others shows in the Service's tries alone: ask it by itself ('podpath watch FROM ADDRESS:PORT')", len(asked), all))
	}
}

// restarted brings containers up to date that were restarted during the series.
func restarted(c, later *model.Case) {
	for ref, pod := range c.World.Kube.Pods {
		now := later.World.Kube.Pods[ref]
		if now == nil || pod == nil || len(now.Containers) < len(pod.Containers) {
			continue
		}
		more := false
		for i := range pod.Containers {
			was, is := &pod.Containers[i], &now.Containers[i]
			if is.Name == was.Name && is.Restarts > was.Restarts {
				is.Watched, more = is.Restarts-was.Restarts, true
			}
			more = more || is.State != was.State && was.Kind == ""
		}
		if more {
			pod.Containers = now.Containers
		}
	}
}

// restarts says that a pod's endpoint is gone for as long as its container is.
func restarts(pod *model.Pod) bool {
	return pod != nil && slices.ContainsFunc(pod.Containers, func(c model.Container) bool { return c.Watched > 0 || c.State == "waiting" && c.Restarts > 0 })
}

// left takes out what was seen at endpoints that left the Service during the
// series: that they no longer answer is how it should be.
func left(ctx context.Context, c *model.Case, o Options) {
	then := endpoints(c)
	if len(then) == 0 && outside(c.Question.To) {
		return
	}
	later := &model.Case{Question: c.Question}
	if _, err := kube.Collect(ctx, o.Kube, kube.Options{Namespace: o.Namespace, Server: o.Config.Host, CallTimeout: afterLimit}, &later.Question, &later.World); err != nil {
		return
	}
	restarted(c, later)
	ended(c, later)
	now := endpoints(later)
	joined(c, now)
	for _, b := range then {
		if slices.ContainsFunc(now, func(n vantage.Backend) bool { return n.Addr == b.Addr }) || restarts(c.World.Kube.Pods[b.Pod]) {
			continue
		}
		c.Observations = slices.DeleteFunc(c.Observations, func(ob model.Observation) bool { return ob.Purpose == probe.PurposeEndpoint && ob.Address == b.Addr })
		c.Tries = slices.DeleteFunc(c.Tries, func(t model.Try) bool { return t.Purpose == probe.PurposeEndpoint && t.Address == b.Addr })
		c.Notes = append(c.Notes, fmt.Sprintf("endpoint %s left the Service while it was watched; what was seen there does not count", b.Addr))
	}
}

// afterLimit bounds the reading after a series, which also follows Ctrl-C; before
// is how long before it something may have happened that shows in it.
const (
	afterLimit = 5 * time.Second
	before     = 30 * time.Second
)

// firstTries are the question's own first probes, as tries just before the series.
func firstTries(c *model.Case, tries []model.Try) []model.Try {
	if len(tries) == 0 {
		return nil
	}
	first := tries[0].At
	for _, t := range tries {
		if t.At.Before(first) {
			first = t.At
		}
	}
	var out []model.Try
	for i := range c.Observations {
		ob := &c.Observations[i]
		if ob.Vantage != diagnose.OriginOf(&c.Question) || ob.Purpose != "" && ob.Purpose != probe.PurposeQuestion || ob.Result == model.ProbeFailed || ob.Result == "" {
			continue
		}
		if ob.Sample {
			continue // it is of the series itself
		}
		out = append(out, model.Try{
			At: first.Add(-ob.Took), Vantage: ob.Vantage, From: ob.From, Node: ob.Node, Target: ob.Target, Purpose: ob.Purpose,
			Address: ob.Address, Phases: ob.Phases, Result: ob.Result, Failed: ob.Failed, Status: model.StatusOf(ob), Took: ob.Took,
		})
	}
	return out
}
