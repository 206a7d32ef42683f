package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

var podTerminating = diagnose.Rule{
	ID: "pod-terminating",
	Doc: `Pods that are told to end still get connections

When a pod is deleted (a rollout, a scale-down, a drained node), two things begin at the same moment: the kubelet sends SIGTERM to its
containers, and the endpoint is taken out of the EndpointSlice, from where every node's kube-proxy and every ingress controller learns it,
a moment later each. A server that closes its port at once on SIGTERM, without a preStop hook that waits, refuses the connections that come in
between, and resets those that stood. Failures come in short bursts, one for each pod that ends, and are over by themselves.

podpath compares the moments of failures with those at which the destination's pods were told to end, and asks each pod by itself to see when
it closed its port.

Look-alikes: rules of a node that lead to an address that is gone (kube-proxy-stale) fail for longer than that, and from that node alone. A pod
that crashes is restarted, not replaced. A new pod that is ready before it listens refuses as well: give it a readiness probe. A proxy that uses a connection
which its backend just closed fails between rollouts too.

Mend it with a preStop hook that sleeps longer than the slowest node takes (5 to 30 s), within terminationGracePeriodSeconds, and with a server
that goes on answering until then.

Sources: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination,
https://github.com/kubernetes/kubernetes/issues/43576, https://github.com/kubernetes/kubernetes/issues/86280.
`,
	Hop:    model.HopPod,
	Covers: []string{"pod-terminating-gets-traffic"},
	Needs:  []string{"probe", "pod"},
	Under:  []string{"kube-proxy-stale", "duplicate-address"},
	Run: func(p *diagnose.Pass) {
		ends := endings(p)
		if len(ends) == 0 {
			if _, _, is := serviceName(p.Host()); is && p.FailedOnce() {
				skipGaps(p, "service", "endpointslice") // whose pods these are
			}
			return
		}
		if othersFail(p, ends) {
			return
		}
		hit := failuresAfter(p, ends)
		if hit.of == 0 || hit.after*5 < hit.of*4 {
			return // most fail at other times
		}
		reportEnding(p, ends, hit)
	},
}

// endings are the pods behind the destination that were told to end and whose
// server gets SIGTERM at once, the first first.
func endings(p *diagnose.Pass) []*model.Pod {
	var out []*model.Pod
	for _, pod := range served(p) {
		if pod.Ending != nil && unguarded(p, pod) != nil {
			out = append(out, pod)
		}
	}
	slices.SortStableFunc(out, func(a, b *model.Pod) int { return a.Ending.Told.Compare(b.Ending.Told) })
	return out
}

// unguarded is the container that serves the question's port, where no preStop hook
// of it waits; nil: one does, or of several containers it may be the one that serves.
func unguarded(p *diagnose.Pass, pod *model.Pod) *model.Container {
	port := portBehind(p, pod)
	var out *model.Container
	for i := range pod.Containers {
		c := &pod.Containers[i]
		if c.Kind == "init" || c.Kind == "ephemeral" {
			continue
		}
		if port != 0 && slices.ContainsFunc(c.Ports, func(cp model.ContainerPort) bool { return cp.Port == port }) {
			if c.PreStop != "" {
				return nil
			}
			return c
		}
		if c.PreStop != "" {
			return nil
		}
		if out == nil {
			out = c
		}
	}
	return out
}

// portBehind is the port of a pod that the question leads to, 0: not known.
func portBehind(p *diagnose.Pass, pod *model.Pod) uint16 {
	if port := portOf(p, pod); port != 0 {
		return port
	}
	svc, out := askedService(p), uint16(0)
	for _, s := range p.Case.World.Kube.EndpointSlices {
		if svc == nil || s.Namespace != svc.Namespace || s.Service != svc.Name {
			continue
		}
		if len(s.Ports) != 1 || out != 0 && s.Ports[0].Port != out {
			return 0
		}
		out = s.Ports[0].Port
	}
	return out
}

// othersFail says that endpoints fail that nobody told to end.
func othersFail(p *diagnose.Pass, ends []*model.Pod) bool {
	for addr, rate := range watch.AtEndpoints(p.Case.Tries) {
		ending := slices.ContainsFunc(ends, func(pod *model.Pod) bool { return slices.Contains(pod.IPs, addr.Addr()) })
		if !ending && rate.Share() >= seldom {
			return true
		}
	}
	return false
}

// lag is how long after a pod was told to end a node may still send to it:
// kube-proxy writes its rules at most once a second, and a large cluster's rules
// take seconds to write.
const lag = 10 * time.Second

// failures are the failures of a series, and those soon after a pod was told to end.
type failures struct {
	after, of, tries int
	latest           time.Duration // of those, the longest after it
	how              []string      // they failed, the words each once
	from             model.Ref
}

func failuresAfter(p *diagnose.Pass, ends []*model.Pod) failures {
	var h failures
	for i := range p.Case.Tries {
		t := &p.Case.Tries[i]
		if t.Vantage != p.Origin() || !watch.Counts(t) {
			continue
		}
		h.tries++
		if t.Result == model.OK {
			continue
		}
		h.of, h.from = h.of+1, t.From
		if after, ok := sinceTold(t, ends); ok && endsSo(t) {
			h.after, h.latest = h.after+1, max(h.latest, after)
			if how := string(t.Result); !slices.Contains(h.how, how) {
				h.how = append(h.how, how)
			}
		}
	}
	return h
}

// endsSo says that a try failed as one does that meets a server on its way out: it is
// refused, its connection is broken off, or, once the pod's network is gone, nobody answers.
func endsSo(t *model.Try) bool {
	switch t.Result {
	case model.Refused, model.Unreachable, model.TimedOut:
		return t.Failed == "tcp"
	case model.Reset, model.Closed:
		return true
	}
	return false
}

// sinceTold is how long before a try the last pod was told to end; false: none was, lately.
// Kubernetes writes that in whole seconds, by another machine's clock.
func sinceTold(t *model.Try, ends []*model.Pod) (time.Duration, bool) {
	best, ok := time.Duration(0), false
	for _, pod := range ends {
		after := t.At.Sub(pod.Ending.Told)
		if after >= -time.Second && after <= lag+time.Second && (!ok || after < best) {
			best, ok = after, true
		}
	}
	return max(best, 0), ok
}

func reportEnding(p *diagnose.Pass, ends []*model.Pod, hit failures) {
	first := ends[0]
	c := unguarded(p, first)
	f := diagnose.Finding{
		Subject: ownerOf(first), Sometimes: true, Returns: true, Confidence: diagnose.Likely,
		Title:   fmt.Sprintf("Pods of %s that are told to end still get connections, and refuse them", ownerOf(first)),
		Summary: fmt.Sprintf("Container %s has no preStop hook: its server is told to end at the same moment as the nodes are told to send nothing there any more, and closes its port before they know.", c.Name),
		Evidence: []diagnose.Evidence{
			probe(fmt.Sprintf("%d of %d tries failed (%s); %d of the %d within %s after a pod of it was told to end", hit.of, hit.tries, list(hit.how), hit.after, hit.of, hit.latest.Round(100*time.Millisecond)), hit.from),
			kube(toldText(ends)+fmt.Sprintf("; container %s has no preStop hook, so SIGTERM comes at once", c.Name), podRefs(ends)...),
		},
		Fix: preStopFix(p, first, c),
	}
	if said := shutText(ends); said != "" {
		f.Evidence = append(f.Evidence, probe(said, podRefs(ends)...))
		if c.Readiness != "" { // else a new pod that does not listen yet may be what refuses
			f.Confidence = diagnose.Proven
		}
	}
	f.Evidence = append(f.Evidence, scaled(p, ownerOf(first))...)
	p.Report(f)
}

// toldText says when which pods were told to end.
func toldText(ends []*model.Pod) string {
	var words []string
	for i, pod := range ends {
		if i < 4 {
			words = append(words, fmt.Sprintf("%s/%s at %s", pod.Namespace, pod.Name, pod.Ending.Told.UTC().Format(time.TimeOnly)))
		}
	}
	if len(ends) > len(words) {
		words = append(words, fmt.Sprintf("%d more after them", len(ends)-len(words)))
	}
	return "told to end (UTC): pod " + list(words)
}

// atOnce is how soon a port closes on SIGTERM where nothing waits: what Kubernetes
// tells of the moment is a second wide.
const atOnce = 2 * time.Second

// shutText says how soon pods closed their port, where they were asked by themselves.
func shutText(ends []*model.Pod) string {
	var words []string
	for _, pod := range ends {
		if s := pod.Ending.Shut; !s.IsZero() && s.Sub(pod.Ending.Told) < atOnce && len(words) < 4 {
			words = append(words, fmt.Sprintf("%s (pod %s) takes no connection since %s UTC", pod.IPs[0], pod.Name, s.UTC().Format("15:04:05.0")))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "asked by itself, " + list(words)
}

func podRefs(pods []*model.Pod) []model.Ref {
	var out []model.Ref
	for _, pod := range pods {
		out = append(out, pod.Ref())
	}
	return out
}

// scaled are the events by which a Deployment replaced its pods.
func scaled(p *diagnose.Pass, owner model.Ref) []diagnose.Evidence {
	var out []diagnose.Evidence
	for _, e := range p.Case.Happened {
		if e.About == owner && e.Reason == "ScalingReplicaSet" && strings.HasPrefix(e.Message, "Scaled down") && len(out) < 3 {
			out = append(out, kube(fmt.Sprintf("event %s at %s UTC: %s", e.Reason, e.Last.UTC().Format(time.TimeOnly), oneLine(e.Message)), owner))
		}
	}
	return out
}

// preStopFix lets the server go on until the nodes know.
func preStopFix(p *diagnose.Pass, pod *model.Pod, c *model.Container) []diagnose.Command {
	wait := diagnose.Command{Text: "Let it wait before it is told to end, longer than the nodes take; terminationGracePeriodSeconds has to hold that and what the server needs after it", Verify: again(p)}
	if parts := ownerOf(pod).Parts(); len(parts) == 2 && pod.Owner != "" {
		patch := fmt.Sprintf(`{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":45,"containers":[{"name":%q,"lifecycle":{"preStop":{"sleep":{"seconds":10}}}}]}}}}`, c.Name)
		wait.Line = diagnose.Kubectl("-n", parts[0], "patch", pod.Owner.Kind(), parts[1], "-p", patch)
	}
	out := []diagnose.Command{wait}
	if c.Readiness == "" {
		out = append(out, diagnose.Command{Text: "Give it a readiness probe: without one the next pod counts as ready before it listens, and the last is told to end too soon"})
	}
	return append(out, diagnose.Command{Text: "Keep maxUnavailable at 0 and more than one replica, so that there is always another pod to send to"})
}
