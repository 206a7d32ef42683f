package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var dnsConfigNoSearch = diagnose.Rule{
	ID: "dns-config-no-search",
	Doc: `The pod's search list does not lead to the Service

The pod asks the cluster's DNS, but its resolv.conf has no search domains of the cluster (dnsPolicy None without searches in dnsConfig),
or ndots keeps a resolver from searching. A short name is then asked for as it stands, and does not exist; the Service's whole name
resolves.

Look-alikes: a short name of a Service in another namespace is searched, and not found. A pod that asks other name servers finds the whole
name neither.

Mend it with searches NAMESPACE.svc.cluster.local, svc.cluster.local and cluster.local and ndots 5 in dnsConfig, or with dnsPolicy
ClusterFirst; or write the whole name.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-wrong-dnspolicy"},
	Needs:  []string{"probe", "service"},
	Sees:   noName,
	Run: func(p *diagnose.Pass) {
		seen, pod := p.Seen(), p.Pod()
		host := trimDot(p.LookedUp())
		ref, svc := meant(p, host)
		if seen == nil || pod == nil || svc == nil || !noName(seen) || !asksClusterDNS(p) || strings.Contains(host, ".svc.") {
			return
		}
		whole := fmt.Sprintf("%s.%s.svc.%s.", ref.Part(1), ref.Part(0), clusterZone(p))
		if wasAsked(seen, whole) {
			return
		}
		f := diagnose.Finding{
			Subject: p.Client(),
			Title:   fmt.Sprintf("The search list never leads from %s to Service %s/%s", host, svc.Namespace, svc.Name),
			Summary: fmt.Sprintf("The name that would be answered, %s, is not among those that the pod's resolver asks for.", trimDot(whole)),
			Evidence: append([]diagnose.Evidence{
				kube(fmt.Sprintf("Service %s/%s exists", svc.Namespace, svc.Name), ref),
				kube(fmt.Sprintf("pod %s/%s: dnsPolicy %s%s", pod.Namespace, pod.Name, firstOf(pod.DNSPolicy, "ClusterFirst"), dnsConfigText(pod)), pod.Ref()),
			}, queries(seen)...),
		}
		if r := seen.Resolver; r != nil {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("the pod's resolv.conf: search %s, ndots %d", list(r.Search), r.Ndots), seen.From))
		}
		f.Fix = dnsConfigFix(p, "Give the pod the cluster's search list", fmt.Sprintf(`{"dnsConfig":{"searches":["%s.svc.%s","svc.%s","%s"],"options":[{"name":"ndots","value":"5"}]}}`,
			pod.Namespace, clusterZone(p), clusterZone(p), clusterZone(p)))
		p.ReportOn(dnsWay, f)
	},
}

// dnsConfigText is a pod's dnsConfig in one clause.
func dnsConfigText(pod *model.Pod) string {
	c := pod.DNSConfig
	if c == nil {
		return ", no dnsConfig"
	}
	out := ", dnsConfig nameservers " + list(c.Nameservers) + ", searches " + list(c.Searches)
	var options []string
	for _, k := range sortedKeys(c.Options) {
		options = append(options, strings.TrimSuffix(k+":"+c.Options[k], ":"))
	}
	if len(options) > 0 {
		out += ", options " + list(slices.Compact(options))
	}
	return out
}
