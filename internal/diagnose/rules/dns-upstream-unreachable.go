package rules

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/corefile"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/watch"
)

var dnsUpstreamUnreachable = diagnose.Rule{
	ID: "dns-upstream-unreachable",
	Doc: `The cluster's DNS gets no answer from its own upstream

CoreDNS runs and answers names of the cluster, and forwards all others to a server that does not answer: a custom DNS server of the VNet
that is off or unreachable, or one that somebody wrote into coredns-custom. Names outside the cluster fail with SERVFAIL after
seconds, or time out.

Look-alikes: CoreDNS that is down fails for names of the cluster too. A policy or NSG that blocks port 53 shows in the
configuration, and a name that does not exist is answered at once.

Mend it by starting that DNS server or opening the way to it; or by pointing the VNet (or coredns-custom) at one that answers.
Nodes take new DNS servers of the VNet over when they are restarted or renew their lease.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-upstream-unreachable"},
	Needs:  []string{"probe", "vnet", "configmap", "service", "pod", "probe:node"},
	Under:  []string{"dns-queries-lost", "coredns-slow", "coredns-down", "corefile-loop", "corefile-broken", "dns-address-differs", "dns-service-no-pods", "dns-config-dead-server", "nsg-denies", "policy-denies", "ip-forward-off", "rp-filter-strict", "masquerade-missing", "forward-policy-drop", "route-node-missing", "route-table-not-associated", "route-blackhole", "route-wrong-next-hop"},
	Sees:   dnsFailed,
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || !dnsFailed(seen) {
			return
		}
		_, servers := p.NameServers()
		if len(servers) == 0 || clusterDNSFails(p) || answersItself(p) {
			return
		}
		for _, f := range forwards(p, p.LookedUp()) {
			reportUpstream(p, customDNS, f.addrs, fmt.Sprintf("ConfigMap coredns-custom, %s: %s", f.key, f.line))
			return // what is written for the name there wins over the VNet's servers
		}
		vnet := p.VNet()
		switch {
		case vnet == nil:
		case len(vnet.DNSServers) > 0:
			reportUpstream(p, model.NewRef("vnet", vnet.Name), vnet.DNSServers, fmt.Sprintf("VNet %s: dnsServers %s", vnet.Name, list(addrs(vnet.DNSServers))))
		default:
			for _, a := range p.Upstreams() {
				reportUpstream(p, model.NewRef("host", a.String()), []netip.Addr{a}, fmt.Sprintf("VNet %s names no DNS servers of its own, so the nodes' and CoreDNS's upstream is Azure's resolver %s", vnet.Name, a))
			}
		}
	},
}

// answersItself says that CoreDNS's configuration asks no upstream for the name.
func answersItself(p *diagnose.Pass) bool {
	file := trace.Corefile(&p.Case.World)
	if file == nil {
		return false
	}
	kind := file.Decide(p.LookedUp(), "A").Kind
	return kind == corefile.Hosts || kind == corefile.Template
}

// clusterDNSFails says that a name of the cluster itself could not be looked up.
func clusterDNSFails(p *diagnose.Pass) bool {
	for _, o := range p.Control(p.Origin(), "control:cluster-dns") {
		return dnsFailed(o)
	}
	return false
}

// reportLossyUpstream says that a server answers some of what it is asked.
func reportLossyUpstream(p *diagnose.Pass, f diagnose.Finding, servers []netip.Addr, lost *watch.Rate) {
	f.Sometimes, f.Confidence = true, diagnose.Likely
	f.Title = fmt.Sprintf("The cluster's DNS forwards to %s, which answers only some of what it is asked", list(addrs(servers)))
	f.Summary = "CoreDNS passes names outside the cluster on to that server; where it gets no answer, lookups wait, or end with SERVFAIL. What CoreDNS remembers is answered at once."
	f.Evidence = append(f.Evidence, probe(fmt.Sprintf("%d of %d lookups of the node, which asks it without CoreDNS, lost a query", lost.Count, lost.Of)))
	f.Fix = []diagnose.Command{{Text: "See whether that server, or the way to it, is overloaded (Azure's resolver answers so many questions a second from each machine); let CoreDNS remember longer, or cache on the nodes (AKS LocalDNS)", Verify: watchAgain(p)}}
	p.ReportOn(dnsWay, f)
}

func reportUpstream(p *diagnose.Pass, subject model.Ref, servers []netip.Addr, where string) {
	f := diagnose.Finding{
		Subject: subject,
		Title:   fmt.Sprintf("The cluster's DNS forwards to %s, which does not answer", list(addrs(servers))),
		Summary: "CoreDNS passes names outside the cluster on to that server; without an answer from it no such name resolves.",
	}
	source := arm(where, subject)
	if subject.Kind() == "configmap" {
		source = kube(where, subject)
	}
	f.Evidence = []diagnose.Evidence{source}
	silent := 0
	if lost := upstreamLoses(p, servers); lost != nil {
		reportLossyUpstream(p, f, servers, lost)
		return
	}
	for _, a := range servers {
		no, yes := asked(p, a)
		switch {
		case yes != nil:
			return // it answers: something else
		case no != nil:
			silent++
			if r := resultAt(no, a); r == model.ServFail || r == model.DNSRefused {
				f.Title = fmt.Sprintf("The cluster's DNS forwards to %s, which answers %s", a, upper(strings.TrimPrefix(string(r), "dns-")))
				f.Summary = "CoreDNS passes names outside the cluster on to that server, which does not look them up."
			}
			f.Evidence = append(f.Evidence, probe(dnsWords(a, no), no.From))
		}
	}
	if silent == 0 {
		f.Confidence = diagnose.Likely
		if o := p.At(model.VantageNode); o == nil {
			f.Confidence = diagnose.Possible // neither it nor the node, which asks it as well, was asked
			f.Gaps = p.Gaps([]string{"probe:node"})
		}
	}
	for _, g := range p.Gaps([]string{"configmap"}) {
		if subject != customDNS && g.Ref == customDNS {
			f.Confidence = diagnose.Possible // it may send the name elsewhere
			f.Gaps = append(f.Gaps, g)
		}
	}
	if nobody := unowned(p, servers); subject == customDNS && nobody {
		f.Confidence = diagnose.Proven
		f.Evidence = append(f.Evidence, arm("no network interface or firewall that was read has that address", subject))
	}
	if o := p.At(model.VantageNode); o != nil && o.Failed != "dns" && subject == customDNS {
		f.Confidence = diagnose.Proven
		f.Evidence = append(f.Evidence, probe("the node, which asks the VNet's own resolver, finds the name", o.From))
	}
	for _, o := range p.Control(p.Origin(), "control:cluster-dns") {
		if !diagnose.Fails(o) {
			f.Evidence = append(f.Evidence, probe("names of the cluster resolve, so CoreDNS itself works", o.From))
		}
	}
	f.Fix = upstreamFix(p, subject)
	if silent == 0 && f.Confidence != diagnose.Proven {
		f = p.Excluded(f)
	}
	p.ReportOn(diagnose.Way{Kind: "dns-upstream"}, f)
}

// resultAt is how a probe's last query to a server ended.
func resultAt(o *model.Observation, server netip.Addr) model.Reason {
	result := model.Reason("")
	for _, q := range o.Queries {
		if q.Server.Addr() == server {
			result = q.Result
		}
	}
	return result
}

// unowned says that the servers have addresses of the cluster's VNet that nobody there has.
func unowned(p *diagnose.Pass, servers []netip.Addr) bool {
	if !p.Case.World.Read["nic"] || len(servers) == 0 {
		return false
	}
	for _, a := range servers {
		if p.OwnerOf(a).Ref != "" || p.Subnet(a) == nil {
			return false
		}
	}
	return true
}

func upstreamFix(p *diagnose.Pass, subject model.Ref) []diagnose.Command {
	if subject.Kind() == "configmap" {
		return []diagnose.Command{
			{Text: "Forward to a server that answers, or take the lines out", Line: diagnose.KubectlFor(subject, "edit")},
			{Text: "Let CoreDNS read it", Line: diagnose.Kubectl("-n", "kube-system", "rollout", "restart", "deployment/coredns"), Verify: again(p)},
		}
	}
	vnet := p.VNet()
	if subject.Kind() == "host" {
		return []diagnose.Command{
			{Text: "Azure's resolver answers in every VNet unless something on the node or an NSG rule for the tag AzurePlatformDNS stops it: ask it from the node", Line: onNode(p.Node(), "nslookup "+diagnose.Quote(p.Host())+" "+subject.Name())},
			{Text: "If it stays silent, look at Azure's service health; meanwhile a DNS server of your own can be set on the VNet", Line: diagnose.Az("network vnet show", vnet.ID, "--name", vnet.Name, "--query", "dhcpOptions"), Verify: again(p)},
		}
	}
	return []diagnose.Command{
		{Text: "Start the DNS server or open the way to it; or go back to Azure's own resolver", Line: diagnose.Az("network vnet update", vnet.ID, "--name", vnet.Name, "--dns-servers", "")},
		{Text: "Then let the nodes take it over (restart them, or renew their lease), and CoreDNS with them", Line: diagnose.Kubectl("-n", "kube-system", "rollout", "restart", "deployment/coredns"), Verify: again(p)},
	}
}
