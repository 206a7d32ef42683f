package rules

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
)

var podPorts = diagnose.Rule{
	ID: "pod-ports",
	Doc: `The pod has no local port left towards this destination

Each connection that a pod opens takes a local port from net.ipv4.ip_local_port_range (28,232 of them by default), and keeps it towards that
destination address and port until it is over, and for a minute longer in TIME-WAIT. When all are taken, connect() fails at once with
EADDRNOTAVAIL, "Cannot assign requested address": no packet leaves the pod. Other destinations work from the same pod, and this one
from other pods.

Look-alikes: source ports that run out at a load balancer, NAT gateway or firewall are a time-out, never this error, and hit all pods behind them.
A process without file descriptors fails before it has a socket ("too many open files"), towards every destination.

Mend it by keeping connections and using them again; a wider range only lasts longer.
`,
	Hop:    model.HopPod,
	Covers: []string{"pod-ephemeral-port-exhaustion"},
	Needs:  []string{"probe"},
	Sees:   func(o *model.Observation) bool { return o.Failed == "tcp" && o.Result == model.AddrNotAvail },
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Failed != "tcp" || seen.Result != model.AddrNotAvail {
			return
		}
		pod := p.Pod()
		if pod == nil {
			return
		}
		reportPodPorts(p, pod, seen)
	},
}

func reportPodPorts(p *diagnose.Pass, pod *model.Pod, seen *model.Observation) {
	f := diagnose.Finding{
		Subject:    ownerOf(pod),
		Confidence: diagnose.Likely,
		Title:      fmt.Sprintf("Pod %s/%s has no local port left towards %s", pod.Namespace, pod.Name, seen.Address),
		Summary:    "The pod's own kernel refuses to open the connection, before any packet leaves: every local port that it may use towards this address and port is taken.",
		Evidence: []diagnose.Evidence{
			probe(fmt.Sprintf("from %s: EADDRNOTAVAIL (cannot assign requested address) for %s, at once", diagnose.PlaceOf(seen), seen.Address), seen.From),
		},
	}
	if o := firstGood(p.Control(p.Origin(), "control:other-host")); o != nil {
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s: %s answers, so it is this destination's ports alone", diagnose.PlaceOf(o), o.Target), o.From))
	}
	in := p.Case.World.Inside[pod.Ref()]
	if in == nil {
		f.Gaps = append(f.Gaps, insideGap(p, pod.Ref()))
		f.Fix = []diagnose.Command{{Text: "Let the application keep a few connections and use them again; see what it holds", Line: diagnose.Kubectl("-n", pod.Namespace, "exec", pod.Name, "--", "cat", "/proc/net/sockstat"), Verify: again(p)}}
		p.Report(f)
		return
	}
	u := resource.PortsToward(pod.Ref(), in, netip.AddrPortFrom(seen.Address.Addr(), seen.Address.Port()))
	if u.Limit > 0 {
		f.Evidence = append(f.Evidence, fromPod(fmt.Sprintf("%.0f of its %.0f local ports are taken towards %s", u.Used, u.Limit, seen.Address), pod.Ref(), p.Endpoint()))
	}
	for _, says := range u.Says {
		f.Evidence = append(f.Evidence, fromPod(says, pod.Ref()))
	}
	if u.State == resource.Out {
		f.Confidence = diagnose.Proven
	}
	f.Fix = u.Remedy
	f.Fix[0].Verify = again(p)
	p.Report(f)
}

// fromPod is evidence that was read inside a pod.
func fromPod(text string, refs ...model.Ref) diagnose.Evidence {
	return diagnose.Evidence{Text: text, Refs: refs, Source: "pod"}
}

// insideGap is why a pod's own network namespace was not read.
func insideGap(p *diagnose.Pass, ref model.Ref) model.Gap {
	what := "sockets, ports and queues of " + string(ref)
	for _, g := range p.Case.World.Gaps {
		if strings.HasPrefix(g.What, what) {
			return g
		}
	}
	return model.Gap{What: what, Ref: ref, Reason: "nobody entered the pod", Permission: "patch pods/ephemeralcontainers in namespace " + ref.Part(0)}
}
