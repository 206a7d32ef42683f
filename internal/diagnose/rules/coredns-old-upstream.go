package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/corefile"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

var corednsOldUpstream = diagnose.Rule{
	ID: "coredns-old-upstream",
	Doc: `CoreDNS still asks the name servers that the VNet had before

CoreDNS takes its upstream from /etc/resolv.conf when a pod of it starts. When the VNet's DNS servers are changed, the nodes take them over
with their lease or a restart; pods that run keep the old ones. Names outside the cluster then fail from pods, and resolve on the nodes.

Look-alikes: an upstream that is down fails from the node as well. A rule that stops pods' packets on the way to the resolver shows in the
configuration. coredns-custom with a server of its own for the name is told by its line.

Mend it by restarting CoreDNS, once the nodes have the new servers.
`,
	Hop:        model.HopDNS,
	Under:      []string{"dns-queries-lost", "coredns-slow"},
	Covers:     []string{"dns-vnet-dns-change-not-propagated", "dns-node-resolv-empty"},
	Needs:      []string{"probe", "probe:node", "vnet", "configmap", "service", "pod"},
	Sees:       dnsFailed,
	LastResort: true,
	Run: func(p *diagnose.Pass) {
		seen, vnet, own := p.Seen(), p.VNet(), p.At(model.VantageNode)
		svc, servers := p.NameServers()
		file := trace.Corefile(&p.Case.World)
		if seen == nil || vnet == nil || own == nil || svc == nil || len(servers) == 0 || file == nil || !dnsFailed(seen) || !asksClusterDNS(p) {
			return
		}
		d := file.Decide(p.LookedUp(), "A")
		if d.Kind != corefile.Forward || !slices.Contains(d.Upstreams, "/etc/resolv.conf") || clusterDNSFails(p) || nameFailed(own) {
			return
		}
		var asked []netip.Addr
		for _, q := range own.Queries {
			if q.Result == model.OK && slices.Contains(p.Upstreams(), q.Server.Addr()) && !slices.Contains(asked, q.Server.Addr()) {
				asked = append(asked, q.Server.Addr())
			}
		}
		if len(asked) == 0 {
			return
		}
		subject := dnsWorkload(p, svc)
		f := diagnose.Finding{
			Subject:    subject,
			Confidence: diagnose.Likely,
			Title:      fmt.Sprintf("CoreDNS gets no answer for outside names, and its node gets one from %s: CoreDNS asks other name servers than the VNet names now", list(addrs(asked))),
			Summary:    "CoreDNS takes its upstream over when its pods start. Nothing on the way from its pods to the VNet's name servers is in the way, so they most likely ask those of before.",
			Evidence: []diagnose.Evidence{
				lineOf(d.At, d.Line),
				arm(fmt.Sprintf("VNet %s: DNS servers %s", vnet.Name, list(addrs(p.Upstreams()))), model.NewRef("vnet", vnet.Name)),
				probe(fmt.Sprintf("the node asks %s, and is answered", list(addrs(asked))), own.From),
			},
			Fix: []diagnose.Command{{
				Text: "Start CoreDNS again, so that it takes the VNet's name servers over",
				Line: diagnose.Kubectl("-n", subject.Part(0), "rollout", "restart", subject.Kind()+"/"+subject.Name()), Verify: again(p),
			}},
		}
		for _, pod := range servers {
			f.Evidence = append(f.Evidence, kube(podState(pod), pod.Ref()))
		}
		f.Evidence = append(f.Evidence, queries(seen)...)
		p.ReportOn(dnsWay, p.Excluded(f))
	},
}
