package rules

import (
	"fmt"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
	"github.com/podpath/podpath/internal/watch"
)

var cpuThrottled = diagnose.Rule{
	ID: "cpu-throttled",
	Doc: `A container is stopped by its CPU limit

limits.cpu gives a container a quota of CPU time in each period of 100 ms. When that is used up the kernel stops all its threads until the next
period, however idle the node is. Of a server the connection itself is quick, since the kernel makes it, and TLS handshakes and answers take long; of
a client, everything does. kubectl top shows no more than the limit, and may show less: what counts is the share of periods in which it was
stopped (container_cpu_cfs_throttled_periods_total).

Look-alikes: a node whose CPUs are all busy slows every pod on it. A service that waits for something else (a database) uses no CPU.
Lost packets show as whole seconds in the connection's own time. A container that was stopped now and then long ago, or one that
has nothing to do with the connection, explains nothing.

Mend it by a higher limit or none (requests.cpu alone keeps the share of each), or by more replicas.
`,
	Hop:    model.HopPod,
	Covers: []string{"pod-cpu-throttled"},
	Needs:  []string{"probe", "pod"},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Failed == "dns" || !(computing(seen) || slowComputing(p)) {
			return
		}
		for _, pod := range served(p) {
			reportThrottled(p, pod, "the server", heldUp(p))
		}
		if pod := p.Pod(); pod != nil && clientIsSlow(p) {
			reportThrottled(p, pod, "the client", false)
		}
	},
}

// computing says that a connection stood, and what takes CPU did not come in time.
func computing(o *model.Observation) bool {
	return (o.Failed == "tls" || o.Failed == "http") && (o.Result == model.TimedOut || o.Result == model.Closed || o.Result == model.Reset)
}

// slowComputing says that what takes CPU takes long.
func slowComputing(p *diagnose.Pass) bool {
	s := p.Slow()
	return s != nil && s.Phase != "dns"
}

// heldUp says that the server is slow from every place that asked.
func heldUp(p *diagnose.Pass) bool {
	return !slices.ContainsFunc([]model.Vantage{model.VantagePeer, model.VantageOtherNode}, func(v model.Vantage) bool {
		o := p.At(v)
		return o != nil && !diagnose.Fails(o) && o.Took < 200*time.Millisecond
	})
}

// clientIsSlow says that the sender did not get to run, or that the same question
// is quick from another pod of the same node.
func clientIsSlow(p *diagnose.Pass) bool {
	if s := p.Slow(); s != nil && s.Phase == watch.Sender {
		return true
	}
	own, peer := median(p.Case.Tries, p.Origin()), median(p.Case.Tries, model.VantagePeer)
	return own > 0 && peer > 0 && own > 3*peer
}

// median is how long tries of the question took from a place; 0: none was sent.
func median(tries []model.Try, v model.Vantage) time.Duration {
	var all []time.Duration
	for _, t := range tries {
		if t.Vantage == v && t.Idle == 0 && (t.Purpose == "" || t.Purpose == "question") {
			all = append(all, t.Took)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// reportThrottled names the containers of a pod that their quota stops.
func reportThrottled(p *diagnose.Pass, pod *model.Pod, side string, everywhere bool) {
	for i := range p.Case.World.Usage {
		use := &p.Case.World.Usage[i]
		if use.Pod != pod.Ref() || use.Container == "" {
			continue
		}
		u, ok := resource.CPUOf(&p.Case.World, use)
		if !ok || u.State == resource.Room {
			continue
		}
		f := diagnose.Finding{
			Subject: ownerOf(pod),
			Title:   fmt.Sprintf("Container %s of pod %s/%s (%s) is stopped by its CPU limit", use.Container, pod.Namespace, pod.Name, side),
			Summary: "It uses up its quota in a part of each 100 ms, and the kernel stops it for the rest: what takes CPU (TLS handshakes, answers) waits, while connections are made at once.",
			Fix:     u.Remedy,
		}
		if u.State != resource.Out || side == "the server" && !everywhere {
			f.Confidence = diagnose.Likely
		}
		for _, says := range u.Says {
			f.Evidence = append(f.Evidence, diagnose.Evidence{Text: says, Refs: []model.Ref{pod.Ref()}, Source: "kubelet"})
		}
		if s := p.Slow(); s != nil {
			f.Evidence = append(f.Evidence, slowEvidence(s))
		}
		f.Fix[0].Verify = again(p)
		p.Report(f)
	}
}
