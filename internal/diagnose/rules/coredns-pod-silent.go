package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var corednsPodSilent = diagnose.Rule{
	ID: "coredns-pod-silent",
	Doc: `One of the pods of the cluster's DNS does not answer

CoreDNS runs with several pods, all ready, and one of them gives no answer to queries: its process hangs, something in its network
namespace or on its node drops port 53. kube-proxy sends a share of all queries there, so lookups of every pod of the cluster fail or take
seconds, now and then: a resolver asks again after its time-out, and mostly meets another pod.

Look-alikes: a policy or NSG between this pod and that one shows in the configuration. A name that CoreDNS cannot resolve fails at all of its
pods. CoreDNS that is short of CPU answers late.

Mend it by deleting that pod; look at its node when the next one there is silent too.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-coredns-down"},
	Needs:  []string{"probe", "service", "pod"},
	Under:  []string{"policy-denies", "nsg-denies", "coredns-down", "corefile-broken", "corefile-loop", "ip-forward-off", "forward-policy-drop", "node-firewall-drops", "node-firewall-rejects"},
	Run: func(p *diagnose.Pass) {
		var silent []netip.Addr
		fine := 0
		for _, o := range p.Control(p.Origin(), "control:dns-pod") {
			for _, server := range asksOf(o) {
				pod := podWithAddr(p, server)
				switch {
				case pod != nil && (!pod.Ready || pod.Deleting):
				case o.Result == model.OK: // from the same place: what another place gets says nothing of this one's way
					fine++
				case o.Result == model.TimedOut:
					silent = append(silent, server)
				}
			}
		}
		if fine == 0 {
			return
		}
		for _, server := range silent {
			if !answeredElsewhere(p, server) {
				reportSilentPod(p, server, fine)
			}
		}
	},
}

// answeredElsewhere says that the server answers other places: then it is the way
// to it that is broken, not the pod.
func answeredElsewhere(p *diagnose.Pass, server netip.Addr) bool {
	for _, v := range []model.Vantage{model.VantagePeer, model.VantageNode, model.VantageOtherNode} {
		for _, purpose := range []string{"dns-server", "control:dns-pod"} {
			for _, o := range p.Control(v, purpose) {
				if o.Result == model.OK && slices.Contains(asksOf(o), server) {
					return true
				}
			}
		}
	}
	return false
}

func podWithAddr(p *diagnose.Pass, addr netip.Addr) *model.Pod {
	for _, ref := range sortedRefs(p.Case.World.Kube.Pods) {
		if pod := p.Case.World.Kube.Pods[ref]; !pod.HostNetwork && slices.Contains(pod.IPs, addr) {
			return pod
		}
	}
	return nil
}

func reportSilentPod(p *diagnose.Pass, server netip.Addr, fine int) {
	f := diagnose.Finding{
		Subject: model.NewRef("host", server.String()), Sometimes: true,
		Title:   fmt.Sprintf("%s of the cluster's DNS does not answer, and %s", server, whatOthersDo(fine)),
		Summary: "A share of all lookups goes there and waits for a time-out; which ones is a matter of chance.",
		Fix:     []diagnose.Command{{Text: "Delete the pod with that address, so that another takes its place", Verify: again(p)}},
	}
	if pod := podWithAddr(p, server); pod != nil {
		f.Subject = pod.Ref()
		f.Title = fmt.Sprintf("Pod %s/%s of the cluster's DNS does not answer, and %s", pod.Namespace, pod.Name, whatOthersDo(fine))
		f.Evidence = []diagnose.Evidence{kube(podState(pod)+", on node "+pod.Node, pod.Ref())}
		switch {
		case pod.Node == p.Node():
		case p.Case.World.Nodes[pod.Node] == nil: // that node may drop the queries
			f.Confidence, f.Gaps = diagnose.Possible, p.InsideGaps(pod.Node)
		default:
			f.Confidence = diagnose.Likely // or the way to its node is broken
		}
		f.Fix = []diagnose.Command{{Text: "Let another pod take its place", Line: diagnose.Kubectl("-n", pod.Namespace, "delete", "pod", pod.Name), Verify: again(p)}}
		blockedWay(p, pod, &f)
	} else {
		f.Confidence, f.Gaps = diagnose.Possible, p.Gaps([]string{"pod"})
	}
	for _, o := range p.Control(p.Origin(), "control:dns-pod") {
		f.Evidence = append(f.Evidence, queries(o)[:min(2, len(o.Queries))]...)
	}
	p.ReportOn(dnsWay, f)
}

// blockedWay names the line of configuration that stops queries to the pod, when there is one.
func blockedWay(p *diagnose.Pass, pod *model.Pod, f *diagnose.Finding) {
	from := p.Pod()
	if p.Trace == nil || from == nil || len(from.IPs) == 0 {
		return
	}
	path := p.Trace(model.Flow{Protocol: "udp", From: from.Ref(), Src: from.IPs[0], To: pod.Ref(), Dst: pod.IPs[0], DstPort: 53})
	if step := path.Broken(); step != nil && step.Decided != "" {
		f.Subject, f.Hop = step.Decided, step.Hop
		f.Evidence = append(f.Evidence, diagnose.Evidence{Text: step.Title + ": " + step.Reason, Refs: []model.Ref{step.Decided}, Source: "trace"})
		f.Fix = []diagnose.Command{{Text: "Let queries to the cluster's DNS pods pass there", Verify: again(p)}}
	}
}

func whatOthersDo(n int) string {
	if n == 1 {
		return "the other one does"
	}
	return fmt.Sprintf("%d others do", n)
}
