package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var conntrackStale = diagnose.Rule{
	ID: "conntrack-stale",
	Doc: `The pod's UDP socket is still sent to an endpoint that is gone

The node's kernel keeps for each UDP socket where it was sent first, and each further packet renews that. When the endpoint goes away,
kube-proxy has to delete the entry; where it missed that, a program that goes on using its socket (a DNS forwarder, statsd, SIP) talks
to an address that nobody has: silence, or "connection refused". A new socket works, and so does podpath's probe.

podpath reads the connection table of the pod's node whenever UDP to a Service is asked about, and compares where entries to the Service lead
with its EndpointSlices. An entry counts while packets still renew it. What the application meets decides: its socket is not answered,
though a new one is, so that this is told as a failure that comes and goes.

Look-alikes: an endpoint that is dead and still listed fails for new sockets too. Rules that lead to a dead endpoint (kube-proxy-stale), and
a Service without endpoints, do so as well. An entry that nobody renews is forgotten within two minutes and harms nobody.

Mend it by deleting the entries, or by restarting the client; then see why kube-proxy missed them (its version, its log).

Sources: https://github.com/kubernetes/kubernetes/issues/125467, net/netfilter/nf_conntrack_proto_udp.c of Linux.
`,
	Hop:           model.HopKubeProxy,
	Covers:        []string{"kp-udp-stale-conntrack"},
	Needs:         []string{"probe"},
	Under:         []string{"kube-proxy-stale", "kube-proxy-missing", "service-no-endpoints"}, // which new sockets meet too
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		for _, w := range p.Ways() {
			if w.Path == nil || w.Path.Flow.Protocol != "udp" || p.Pod() == nil {
				continue
			}
			svc := serviceOf(p, w.Path)
			facts, gap := p.Case.World.Nodes[p.Node()], unreadEntries(p, svc)
			if gap != nil {
				p.Skip(*gap)
			}
			if svc == nil || gap != nil {
				continue
			}
			for _, lost := range p.Case.World.Kube.Lost(facts, svc) {
				if lost.To.Port() == w.Path.Flow.DstPort && slices.ContainsFunc(p.Pod().IPs, func(a netip.Addr) bool { return slices.Contains(lost.Froms, a) }) {
					reportLost(p, w, svc, &lost)
				}
			}
		}
	},
}

// unreadEntries is what keeps the rule from speaking of a Service, or nil.
func unreadEntries(p *diagnose.Pass, svc *model.Service) *model.Gap {
	if svc == nil {
		if gaps := p.Gaps([]string{"service"}); len(gaps) > 0 {
			return &gaps[0]
		}
		return nil
	}
	if gaps := p.Gaps([]string{"endpointslice"}); len(gaps) > 0 || !endpointsRead(p, svc) {
		return &append(gaps, model.Gap{What: "endpoints of " + svc.Name, Reason: "they were not read", Permission: "list endpointslices.discovery.k8s.io in namespace " + svc.Namespace})[0]
	}
	facts, at := p.Case.World.Nodes[p.Node()], model.NewRef("node", p.Node())
	gap := model.Gap{What: "connection table of " + string(at), Ref: at, Reason: "the node was not entered", Permission: "--via app, which enters it"}
	if facts == nil {
		if gaps := p.Gaps([]string{"nodefacts"}); len(gaps) > 0 {
			gap = gaps[0]
		}
		return &gap
	}
	if facts.Translated == nil {
		gap.Reason, gap.Permission = "it was not read", "NET_ADMIN capability (--node-reader=full)"
		return &gap
	}
	return nil
}

// serviceOf is the Service that a way is sent to, or nil.
func serviceOf(p *diagnose.Pass, path *model.Path) *model.Service {
	for _, ref := range sortedRefs(p.Case.World.Kube.Services) {
		if s := p.Case.World.Kube.Services[ref]; slices.Contains(slices.Concat(s.ClusterIPs, s.ExternalIPs, s.LoadBalancerIPs), path.Flow.Dst) {
			return s
		}
	}
	return nil
}

func reportLost(p *diagnose.Pass, w diagnose.Way, svc *model.Service, lost *model.TranslatedFlows) {
	ref, at := model.NewRef("service", svc.Namespace, svc.Name), model.NewRef("node", p.Node())
	f := diagnose.Finding{
		Subject: at, Confidence: diagnose.Possible, Sometimes: true,
		Title:    fmt.Sprintf("A UDP socket of %s is still sent to %s, which is no endpoint of %s", p.Pod().Ref(), lost.Leads, ref),
		Summary:  "The node's kernel remembers where the socket was sent first, and each packet renews that. A new socket is sent to an endpoint that there is.",
		Evidence: lostEvidence(p, lost, ref, at),
		Fix: []diagnose.Command{
			{Text: "Delete the entries: the next packet goes to an endpoint", Line: deleteEntries(p.Node(), lost), Verify: again(p)},
			{Text: "Or restart the client; then see in kube-proxy's log why it left them", Line: diagnose.Kubectl("logs", "-n", "kube-system", "-l", "component=kube-proxy", "--prefix", "--tail=50")},
		},
	}
	if w.Kind == "question" { // a lookup, which asks by a socket of its own each time, is answered
		f.Confidence = diagnose.Likely
	}
	p.ReportOn(w, f)
}

func lostEvidence(p *diagnose.Pass, lost *model.TranslatedFlows, refs ...model.Ref) []diagnose.Evidence {
	name := "UDP"
	if s := lost.SocketOf(p.Pod().IPs); s.IsValid() {
		name = fmt.Sprintf("UDP from %s (local port %d of %s)", s, s.Port(), p.Pod().Ref())
	}
	out := []diagnose.Evidence{
		node(fmt.Sprintf("node %s: %s to %s still leads to %s, which is no endpoint, in %d of its connection table's entries; %d of them carried a packet within the last 10 seconds", p.Node(), name, lost.To, lost.Leads, lost.Count, lost.Alive), refs...),
	}
	if lost.Silent > 0 {
		out = append(out, node(fmt.Sprintf("to %d of these no packet ever came back (UNREPLIED)", lost.Silent), refs...))
	}
	if seen := p.Seen(); seen != nil && seen.Result == model.OK {
		out = append(out, probe("a new socket, podpath's own, is answered"))
	}
	return out
}

// deleteEntries is the command that makes the kernel forget one kind of entries.
func deleteEntries(name string, lost *model.TranslatedFlows) string {
	family := "ipv4"
	if lost.To.Addr().Is6() {
		family = "ipv6"
	}
	return onNode(name, fmt.Sprintf("conntrack -D -f %s -p udp --orig-dst %s --orig-port-dst %d --reply-src %s", family, lost.To.Addr(), lost.To.Port(), lost.Leads.Addr()))
}
