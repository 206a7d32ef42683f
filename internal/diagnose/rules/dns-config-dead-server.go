package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// nodeLocal are the addresses that node-local caches listen on: NodeLocal
// DNSCache's, and those of AKS LocalDNS.
var nodeLocal = []netip.Addr{netip.MustParseAddr("169.254.20.10"), netip.MustParseAddr("169.254.10.10"), netip.MustParseAddr("169.254.10.11")}

var dnsConfigDeadServer = diagnose.Rule{
	ID: "dns-config-dead-server",
	Doc: `A name server of the pod's own dnsConfig does not answer

The workload's dnsConfig names a server that is gone, or the address of a node-local cache that does not run. Alone it makes every name of
this workload time out; before a good one it makes every lookup wait for its time-out first (five seconds by default), and then works.

Look-alikes: CoreDNS that is down fails for the other workloads too. A policy that blocks DNS shows in the configuration. Lookups that are
slow now and then have other causes.

Mend it by taking the server out of dnsConfig, or by using dnsPolicy ClusterFirst; for a node-local cache, install it or take its address
away.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-wrong-dnspolicy"},
	Needs:  []string{"probe"},
	Under:  []string{"policy-denies", "nsg-denies"},
	Run: func(p *diagnose.Pass) {
		seen, pod := p.Seen(), p.Pod()
		if seen == nil || pod == nil || pod.DNSConfig == nil || diagnose.Fails(seen) && !dnsFailed(seen) {
			return
		}
		dead, alive := serversOf(seen, pod.DNSConfig.Nameservers)
		if len(dead) == 0 || diagnose.Fails(seen) && len(alive) > 0 {
			return
		}
		f := diagnose.Finding{
			Subject: p.Client(),
			Title:   fmt.Sprintf("Name server %s of the pod's dnsConfig does not answer", list(addrs(dead))),
			Summary: "It stands in the workload's own dnsConfig, so other workloads do not notice.",
			Evidence: append([]diagnose.Evidence{
				kube(fmt.Sprintf("pod %s/%s: dnsPolicy %s%s", pod.Namespace, pod.Name, firstOf(pod.DNSPolicy, "ClusterFirst"), dnsConfigText(pod)), pod.Ref()),
			}, queries(seen)...),
			Fix: dnsConfigFix(p, "Take the server out of dnsConfig, or let the pod ask the cluster's DNS", `{"dnsPolicy":"ClusterFirst","dnsConfig":null}`),
		}
		if len(alive) > 0 {
			f.Title += fmt.Sprintf("; every lookup waits for it before %s is asked", list(addrs(alive)))
		}
		for _, a := range dead {
			if slices.Contains(nodeLocal, a) {
				f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s is the address of a node-local DNS cache; nothing listens there on this node", a)))
			}
		}
		p.ReportOn(dnsWay, f)
	},
}

// serversOf parts the configured servers that were asked into those that gave no answer and those that did.
func serversOf(o *model.Observation, configured []string) (dead, alive []netip.Addr) {
	got := map[netip.Addr]bool{}
	var order []netip.Addr
	for _, q := range o.Queries {
		a := q.Server.Addr()
		if _, ok := got[a]; !ok {
			order = append(order, a)
		}
		switch q.Result {
		case model.TimedOut, model.Refused, model.Unreachable, model.NoRoute:
			got[a] = got[a] || false
		default:
			got[a] = true
		}
	}
	for _, a := range order {
		switch {
		case got[a]:
			alive = append(alive, a)
		case slices.Contains(configured, a.String()):
			dead = append(dead, a)
		}
	}
	return dead, alive
}
