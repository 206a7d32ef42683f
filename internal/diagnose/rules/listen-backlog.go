package rules

import (
	"fmt"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
)

var listenBacklog = diagnose.Rule{
	ID: "listen-backlog",
	Doc: `The server does not accept its connections fast enough

The kernel completes handshakes for a listening socket and lets them wait until the application accepts them: as many as the lesser of the
application's backlog and net.core.somaxconn of the pod, and one more. When the queue is full it drops what comes: the client sends its SYN again
after one, three and seven seconds, so that connections take just that long, or time out. ListenOverflows and ListenDrops of the pod's
network namespace grow; ss -lnt shows Recv-Q above Send-Q. The server may have CPU to spare.

Look-alikes: a full connection table or a packet filter on a node drops for all pods of the node, and this queue has room. Loss on the way
hits other servers too. A process that has no file descriptor left cannot accept either: then that is the cause, and this its consequence.

Mend what keeps the server from accepting; a longer queue (backlog, somaxconn) helps against bursts alone.
`,
	Hop:    model.HopPod,
	Covers: []string{"nk-listen-backlog-overflow"},
	Needs:  []string{"probe", "pod"},
	Under:  []string{"open-files", "policy-denies", "node-firewall-drops"},
	Run: func(p *diagnose.Pass) {
		for _, pod := range served(p) {
			in := p.Case.World.Inside[pod.Ref()]
			if in == nil || !waitedFor(p, pod) {
				continue
			}
			if q := queueAt(in, portOf(p, pod)); q != nil && (q.Full() || resource.Overflowing(in)) {
				reportBacklog(p, pod, in, q)
			}
		}
	},
}

// served are the pods that the question leads to.
func served(p *diagnose.Pass) []*model.Pod {
	out := destinations(p)
	for _, e := range endpointsTried(p) {
		if e.pod != nil && !slices.Contains(out, e.pod) {
			out = append(out, e.pod)
		}
	}
	return out
}

// portOf is the port at which a pod is asked, 0: not known.
func portOf(p *diagnose.Pass, pod *model.Pod) uint16 {
	for _, o := range p.Control(p.Origin(), "control:endpoint") {
		if slices.Contains(pod.IPs, o.Address.Addr()) {
			return o.Address.Port()
		}
	}
	if o := p.Seen(); o != nil && slices.Contains(pod.IPs, o.Address.Addr()) {
		return o.Address.Port()
	}
	return 0
}

// queueAt is the queue of a port, the fullest where the port is not known.
func queueAt(in *model.Inside, port uint16) *model.Queue {
	for i := range in.Listening {
		if q := &in.Listening[i]; (port == 0 || q.Port == port) && !q.Addr.IsLoopback() {
			return q
		}
	}
	return nil
}

// synWait is how long Linux waits before it sends a SYN again.
const synWait = time.Second

// waitedFor says that connections to a pod, or to the Service that leads to it,
// waited for a handshake in vain, or as long as a SYN that was sent again.
func waitedFor(p *diagnose.Pass, pod *model.Pod) bool {
	late := func(phases []model.Phase, failed string, result model.Reason) bool {
		return failed == "tcp" && result == model.TimedOut || slices.ContainsFunc(phases, func(ph model.Phase) bool {
			return ph.Name == "tcp" && ph.Result == model.OK && ph.Duration >= synWait*98/100
		})
	}
	all := slices.Concat(p.Asked(p.Origin()), p.Control(p.Origin(), "control:endpoint"))
	if slices.ContainsFunc(all, func(o *model.Observation) bool { return late(o.Phases, o.Failed, o.Result) }) {
		return true
	}
	return slices.ContainsFunc(p.Case.Tries, func(t model.Try) bool {
		return t.Vantage == p.Origin() && t.Idle == 0 && late(t.Phases, t.Failed, t.Result)
	})
}

func reportBacklog(p *diagnose.Pass, pod *model.Pod, in *model.Inside, q *model.Queue) {
	u := resource.QueueOf(pod.Ref(), in, q)
	f := diagnose.Finding{
		Subject:  ownerOf(pod),
		Title:    fmt.Sprintf("Pod %s/%s does not accept the connections that wait at its port %d", pod.Namespace, pod.Name, q.Port),
		Summary:  "The packets arrive, and the pod's kernel drops them: the queue of connections that wait for the application to accept them is full.",
		Evidence: []diagnose.Evidence{fromPod(fmt.Sprintf("%d connections wait at port %d; more than %d may not (Recv-Q and Send-Q of ss -lnt)", q.Waiting, q.Port, q.Limit), pod.Ref())},
		Fix:      u.Remedy,
	}
	for _, says := range u.Says {
		f.Evidence = append(f.Evidence, fromPod(says, pod.Ref()))
	}
	if !q.Full() || !resource.Overflowed(in) {
		f.Confidence = diagnose.Likely
	}
	f.Fix[0].Verify = again(p)
	p.Report(f)
}
