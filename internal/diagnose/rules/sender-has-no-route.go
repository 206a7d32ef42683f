package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var senderHasNoRoute = diagnose.Rule{
	ID: "sender-has-no-route",
	Doc: `The sender itself has no route to the destination

connect(2) fails at once and no packet leaves: the network namespace of the pod (or of the node, for one in the host's network) has no route
that covers the address, or one of type unreachable, prohibit or blackhole. The usual case is an IPv6 address in a cluster whose pods have
IPv4 only. The others: a network plugin that failed half-way when it set the pod up, or something with NET_ADMIN in the pod that changed its routes.

Look-alikes: a router that answers "network unreachable" looks the same to an application; the probe asks its own routing table to tell
the two apart. A time-out means that packets do leave.

Mend it by using an IPv4 address, by a dual-stack cluster, or by setting the pod up anew (delete it; its controller makes another).
`,
	Hop:    model.HopPod,
	Covers: []string{"svc-ip-family-mismatch"},
	Needs:  []string{"probe"},
	Sees:   func(o *model.Observation) bool { return o.Result == model.NoRoute },
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Result != model.NoRoute || seen.Failed != "tcp" && seen.Failed != "udp" || !seen.Address.IsValid() {
			return
		}
		dst := seen.Address.Addr()
		f := diagnose.Finding{
			Subject: seen.From,
			Title:   fmt.Sprintf("The sender has no route to %s", dst),
			Summary: "The connection fails inside the sender, at once; no packet leaves, so no network on the way has a part in it.",
		}
		pod := p.Pod()
		own := pod != nil && p.Origin() == model.VantagePod
		if own {
			f.Subject = pod.Ref()
			f.Title = fmt.Sprintf("Pod %s/%s has no route to %s", pod.Namespace, pod.Name, dst)
		}
		switch {
		case dst.Is6() && !dst.Is4In6() && own && onlyIPv4(pod):
			f.Title = fmt.Sprintf("%s is an IPv6 address, and pod %s/%s has IPv4 only", dst, pod.Namespace, pod.Name)
			f.Evidence = append(f.Evidence, kube(fmt.Sprintf("addresses of pod %s/%s: %s", pod.Namespace, pod.Name, list(addrs(pod.IPs))), pod.Ref()))
			f.Fix = []diagnose.Command{
				{Text: "Ask for the destination by IPv4 (a name with an A record, or its IPv4 address)", Verify: again(p)},
				{Text: "Or make the cluster dual-stack, if its network plugin allows"},
			}
		case own:
			f.Fix = []diagnose.Command{
				{Text: "Look at the pod's own routes", Line: diagnose.Kubectl("-n", pod.Namespace, "debug", pod.Name, "-it", "--image=busybox", "--", "ip", "route")},
				{Text: "Set the pod up anew: its controller makes another one", Line: diagnose.Kubectl("-n", pod.Namespace, "delete", "pod", pod.Name), Verify: again(p)},
			}
			if peer := p.At(model.VantagePeer); peer != nil && peer.Result == model.NoRoute {
				f.Subject = model.NewRef("node", pod.Node)
				f.Summary += " Another pod of the node is in the same state: the node's network plugin sets its pods up so."
			}
		default:
			f.Fix = []diagnose.Command{{Text: "Look at the node's own routes", Line: onNode(p.Node(), "ip route; ip -6 route; ip rule")}}
		}
		p.Report(f)
	},
}

// onlyIPv4 says that a pod has addresses, and none of them is IPv6.
func onlyIPv4(pod *model.Pod) bool {
	for _, ip := range pod.IPs {
		if ip.Is6() && !ip.Is4In6() {
			return false
		}
	}
	return len(pod.IPs) > 0
}
