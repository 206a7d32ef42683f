package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var dnsPolicyOfNode = diagnose.Rule{
	ID: "dns-policy-of-node",
	Doc: `The pod does not ask the cluster's DNS, and the name is the cluster's

By its dnsPolicy the pod asks other name servers than CoreDNS: with Default those of its node; with None those of its dnsConfig; and with
ClusterFirst in the host network those of its node too, because only ClusterFirstWithHostNet means the cluster's there. Names outside the
cluster resolve, names of Services do not exist for it.

Look-alikes: a Service that is missing fails from every pod. A short name from another namespace fails although the cluster's DNS is
asked. CoreDNS that is down fails for all pods but this one.

Mend it with dnsPolicy ClusterFirst, or ClusterFirstWithHostNet for a pod in the host network.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-hostnetwork-policy", "dns-wrong-dnspolicy"},
	Needs:  []string{"probe", "service"},
	Sees:   noName,
	Run: func(p *diagnose.Pass) {
		seen, pod := p.Seen(), p.Pod()
		ref, svc := meant(p, p.LookedUp())
		if seen == nil || pod == nil || svc == nil || !noName(seen) || !podAvoidsClusterDNS(pod) || asksClusterDNS(p) {
			return
		}
		policy := firstOf(pod.DNSPolicy, "ClusterFirst")
		want, title := "ClusterFirst", fmt.Sprintf("dnsPolicy %s keeps the pod from asking the cluster's DNS", policy)
		if pod.HostNetwork {
			want = "ClusterFirstWithHostNet"
			title = fmt.Sprintf("A pod in the host network with dnsPolicy %s asks its node's name servers, not the cluster's DNS (ClusterFirstWithHostNet would)", policy)
		}
		f := diagnose.Finding{
			Subject: p.Client(),
			Title:   title,
			Summary: fmt.Sprintf("The name is that of a Service, which only the cluster's DNS knows; this pod asks %s.", list(addrs(asksOf(seen)))),
			Evidence: append([]diagnose.Evidence{
				kube(fmt.Sprintf("pod %s/%s: hostNetwork %t, dnsPolicy %s", pod.Namespace, pod.Name, pod.HostNetwork, policy), pod.Ref()),
				kube(fmt.Sprintf("Service %s/%s exists", svc.Namespace, svc.Name), ref),
			}, queries(seen)...),
			Fix: dnsConfigFix(p, "Let the pod ask the cluster's DNS", `{"dnsPolicy":"`+want+`"}`),
		}
		p.ReportOn(dnsWay, f)
	},
}

// asksOf are the servers that a lookup's queries went to.
func asksOf(o *model.Observation) []netip.Addr {
	var out []netip.Addr
	for _, q := range o.Queries {
		if a := q.Server.Addr(); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}
