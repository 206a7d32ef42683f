package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var noproxyMissing = diagnose.Rule{
	ID: "noproxy-missing",
	Doc: `NO_PROXY does not exempt the cluster's own names and ranges

The pod has an HTTP proxy in its variables, and the destination is inside the cluster: a Service's name or address, or a pod's. NO_PROXY does not name it, so the
call goes out to the proxy, which knows nothing of the cluster's names and networks and answers 502, 503 or 403, or not at all. Past the proxy, from the same pod,
the destination answers.

Look-alikes: a proxy that is down or overloaded fails for destinations outside as well. A Service without endpoints fails past the proxy, too.

Mend NO_PROXY of the workload: .svc, .cluster.local, the Service range and the pod range (not every client understands ranges in it); on AKS, noProxy of
httpProxyConfig.
`,
	Hop:    model.HopApp,
	Covers: []string{"app-noproxy-missing-cluster-cidr"},
	Needs:  []string{"probe", "service"},
	Run: func(p *diagnose.Pass) {
		seen, pod := p.Seen(), asking(p)
		if seen == nil || pod == nil || seen.Proxy == "" || !diagnose.Fails(seen) || p.External() {
			return
		}
		for _, direct := range p.Control(p.Origin(), "control:direct") {
			if diagnose.Fails(direct) || !direct.Address.IsValid() || !ofCluster(p, direct) {
				continue
			}
			p.Report(diagnose.Finding{
				Subject: p.Client(),
				Title:   fmt.Sprintf("NO_PROXY of %s does not exempt %s, which is inside the cluster", p.Client(), p.Host()),
				Summary: fmt.Sprintf("The call goes out to the proxy %s, which does not know the cluster's names and networks.", redact(seen.Proxy)),
				Evidence: append([]diagnose.Evidence{
					kube(fmt.Sprintf("pod %s/%s has the proxy %s and NO_PROXY %q", pod.Namespace, pod.Name, redact(proxyOf(pod)), noProxyOf(pod)), pod.Ref()),
					probe(fmt.Sprintf("through the proxy: %s", diagnose.OutcomeOf(seen)), seen.From),
					probe(fmt.Sprintf("past the proxy, from the same pod: %s answers", direct.Address), direct.From),
				}, answerEvidence(seen)...),
				Fix: []diagnose.Command{{Text: "Add the cluster's names and ranges to NO_PROXY", Line: noProxyEnv(p, pod), Verify: again(p)}},
			})
			return
		}
	},
}

// ofCluster says that what a probe connected to is a Service or a pod, by its
// name or by its address.
func ofCluster(p *diagnose.Pass, o *model.Observation) bool {
	words := strings.Split(trimDot(p.Host()), ".")
	if len(words) > 2 && words[2] == "svc" || len(words) == 2 && p.Case.World.Kube.Namespaces[words[1]] != nil {
		return true
	}
	a := o.Address.Addr()
	for _, s := range p.Case.World.Kube.Services {
		for _, ip := range s.ClusterIPs {
			if ip == a {
				return true
			}
		}
	}
	return podAt(p, o) != nil
}

// noProxyOf is what a pod's containers exempt from the proxy.
func noProxyOf(pod *model.Pod) string {
	for _, c := range pod.Containers {
		if c.Kind == "init" || c.Kind == "ephemeral" {
			continue
		}
		if v := firstOf(c.Env["no_proxy"], c.Env["NO_PROXY"]); v != "" {
			return v
		}
	}
	return ""
}

func noProxyEnv(p *diagnose.Pass, pod *model.Pod) string {
	ref := p.Client()
	if len(ref.Parts()) != 2 || ref.Kind() == "pod" {
		return ""
	}
	list := firstOf(noProxyOf(pod), "localhost,127.0.0.1") + ",.svc,.cluster.local"
	if c := p.Case.World.Azure.Cluster; c != nil {
		for _, prefix := range append(c.ServiceCIDRs[:len(c.ServiceCIDRs):len(c.ServiceCIDRs)], c.PodCIDRs...) {
			list += "," + prefix.String()
		}
	}
	return diagnose.Kubectl("-n", ref.Part(0), "set", "env", ref.Kind()+"/"+ref.Part(1), "NO_PROXY="+list)
}
