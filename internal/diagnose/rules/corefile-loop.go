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

var corefileLoop = diagnose.Rule{
	ID: "corefile-loop",
	Doc: `CoreDNS forwards to itself

A forward line names the cluster's own DNS: its Service address, one of its pods, or loopback; or CoreDNS takes its upstream from a
resolv.conf that names one of these. The plugin loop finds that out at the start and ends CoreDNS ("Loop … detected for zone"), again
and again: every name fails. Without that plugin the queries for the zone go round until they time out.

Look-alikes: a configuration that is not well formed ends CoreDNS too. A dead upstream leaves CoreDNS running, and names of the
cluster resolve.

Mend the forward line: name the server that really knows the zone.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-coredns-loop"},
	Needs:  []string{"configmap", "service", "pod"},
	Sees:   dnsFailed,
	Run: func(p *diagnose.Pass) {
		file := trace.Corefile(&p.Case.World)
		svc, _ := p.NameServers()
		if file == nil || svc == nil {
			return
		}
		pods := corednsPods(p)
		down := len(pods) > 0 && noneReady(pods)
		decided := file.Decide(p.LookedUp(), "A")
		for i := range file.Servers {
			s := &file.Servers[i]
			for j := range s.Plugins {
				line := &s.Plugins[j]
				target, itself := forwardsTo(p, line, svc, pods)
				switch {
				case line.Name != "forward" || !itself:
				case down && has(s, "loop"):
					reportLoop(p, s, line, target, pods)
				case !down && decided.By == line:
					reportLoop(p, s, line, target, nil)
				}
			}
		}
	},
}

func has(s *corefile.Server, plugin string) bool {
	return slices.ContainsFunc(s.Plugins, func(d corefile.Plugin) bool { return d.Name == plugin })
}

// forwardsTo finds a server of a forward line that is the cluster's DNS itself.
func forwardsTo(p *diagnose.Pass, line *corefile.Plugin, svc *model.Service, pods []*model.Pod) (netip.Addr, bool) {
	if line.Name != "forward" {
		return netip.Addr{}, false
	}
	var servers []netip.Addr
	for _, word := range line.Args[min(1, len(line.Args)):] {
		if up := corefile.Upstream(word); up.IsValid() {
			if up.Port() == 53 {
				servers = append(servers, up.Addr())
			}
		} else if word == "/etc/resolv.conf" {
			servers = append(servers, p.Upstreams()...)
		}
	}
	for _, a := range servers {
		own := a.IsLoopback() || slices.Contains(svc.ClusterIPs, a) || slices.ContainsFunc(pods, func(pod *model.Pod) bool { return slices.Contains(pod.IPs, a) })
		if own {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func reportLoop(p *diagnose.Pass, s *corefile.Server, line *corefile.Plugin, target netip.Addr, pods []*model.Pod) {
	f := diagnose.Finding{
		Subject:  trace.CorefileRef(line.Pos),
		Title:    fmt.Sprintf("CoreDNS forwards zone %s to itself (%s)", s.Zones[0].Name, target),
		Summary:  fmt.Sprintf("%s is the cluster's own DNS, so queries for that zone come back to where they started.", target),
		Evidence: []diagnose.Evidence{lineOf(line.Pos, line.Text())},
		Fix:      corefileFix(p, line.Pos, "Forward to the server that knows the zone, or take the block out"),
	}
	if pods != nil {
		f.Summary += " The plugin loop notices at the start and ends CoreDNS, so no name resolves at all."
	}
	if vnet := p.VNet(); vnet != nil && slices.Contains(vnet.DNSServers, target) && slices.Contains(line.Args, "/etc/resolv.conf") {
		f.Subject = model.NewRef("vnet", vnet.Name)
		f.Evidence = append(f.Evidence, arm(fmt.Sprintf("VNet %s: dnsServers %s", vnet.Name, list(addrs(vnet.DNSServers))), f.Subject))
		f.Fix = upstreamFix(p, f.Subject)
	}
	for _, pod := range pods {
		f.Evidence = append(f.Evidence, kube(podState(pod), pod.Ref()))
	}
	p.ReportOn(dnsWay, f)
}
