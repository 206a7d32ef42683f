package rules

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

var corednsSlow = diagnose.Rule{
	ID: "coredns-slow",
	Doc: `CoreDNS answers late: it has too little CPU for what it is asked

The pods of the cluster's DNS are ready and answer, and their answers take seconds, or come after the resolver has given up: they are held back by
their CPU limit, share a node that is busy, or are asked more than they can answer (each name with few dots is asked for with every entry
of the search list). Lookups of every pod of the cluster are slow or time out, now and then at first.

podpath watches lookups from several places; where all of them wait, what they have in common is CoreDNS.

Look-alikes: where only the pods of one node wait, that node loses queries. Where only names outside the cluster are slow, its upstream is. One CoreDNS
pod that never answers is told by itself. A rule of a node that drops a share of the queries loses those of other nodes as well, to the CoreDNS pod that it keeps.

Mend it: raise or remove the CPU limit of CoreDNS, give it more replicas or a node pool of its own, and cache on the nodes (AKS LocalDNS).

Source: https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/connectivity/dns/basic-troubleshooting-dns-resolution-problems
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-coredns-cpu-starved"},
	Under:  []string{"coredns-down", "coredns-pod-silent", "corefile-loop", "policy-denies", "nsg-denies", "node-firewall-drops"},
	Needs:  []string{"probe", "probe:other-node"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "dns" && (o.Result == model.TimedOut || o.Result == model.ServFail)
	},
	Run: func(p *diagnose.Pass) {
		svc, servers := p.NameServers()
		if seen := p.Seen(); seen == nil || seen.Failed != "dns" || len(p.Case.Tries) == 0 || svc == nil || len(servers) == 0 || !asksClusterDNS(p) {
			return
		}
		slow := watch.SlowLookups(p.Case.Tries, lateAnswer)
		here, far := slow[p.Origin()], slow[model.VantageOtherNode]
		if here.Count < fewestLost || far.Count < fewestLost || here.Low < 0.02 || upstreamLoses(p, p.Upstreams()) != nil {
			return
		}
		reportSlowDNS(p, svc, servers, slow)
	},
}

// lateAnswer is how long a lookup may take before it is called late: CoreDNS
// answers from its cache in a millisecond, and asks its upstream in a few dozens.
const lateAnswer = 700 * time.Millisecond

func reportSlowDNS(p *diagnose.Pass, svc *model.Service, servers []*model.Pod, slow map[model.Vantage]watch.Rate) {
	f := diagnose.Finding{
		Subject: dnsWorkload(p, svc), Confidence: diagnose.Likely, Sometimes: true,
		Title:   "CoreDNS answers late, to pods of every node",
		Summary: "Lookups wait for it or give up. What it is asked is more than the CPU that it gets can answer.",
		Fix: []diagnose.Command{
			{Text: "See how much CPU its pods use, and whether their node is busy", Line: diagnose.Kubectl("top", "pod", "-n", svc.Namespace, "-l", "k8s-app=kube-dns")},
			{Text: "Give CoreDNS more replicas or a larger CPU limit (on AKS: coredns-autoscaler in kube-system), or cache on the nodes (AKS LocalDNS)", Verify: again(p)},
		},
	}
	if g := unexcluded(p); len(g) > 0 {
		f.Confidence, f.Gaps = diagnose.Possible, g
	}
	for _, v := range []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageOtherNode} {
		if r := slow[v]; r.Of > 0 {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s: %d of %d lookups took longer than %s or got no answer", placeWords[v], r.Count, r.Of, lateAnswer)))
		}
	}
	servers = slices.SortedFunc(slices.Values(servers), func(a, b *model.Pod) int { return cmp.Compare(a.Name, b.Name) })
	for _, pod := range servers {
		f.Evidence = append(f.Evidence, kube(podState(pod)+", on node "+pod.Node+limitsOf(pod), pod.Ref()))
	}
	p.ReportOn(dnsWay, f)
}

// unexcluded is what was not read and could show somebody else who loses queries:
// a node's own rules, or the name server behind CoreDNS.
func unexcluded(p *diagnose.Pass) []model.Gap {
	var out []model.Gap
	if len(p.Case.World.Nodes) == 0 {
		out = p.Gaps([]string{"nodefacts"})
	}
	behind := slices.ContainsFunc(p.Case.Tries, func(t model.Try) bool {
		return t.Vantage == model.VantageNode && slices.Contains(p.Upstreams(), t.Resolver.Addr())
	})
	if !behind {
		out = append(out, p.Gaps([]string{"probe:node", "vnet"})...)
	}
	return out
}

// limitsOf are the CPU limits of a pod's containers.
func limitsOf(pod *model.Pod) string {
	words := ""
	for _, c := range pod.Containers {
		if c.CPUQuota > 0 && c.Kind == "" {
			words += fmt.Sprintf("; container %s: limits.cpu %gm", c.Name, math.Round(1000*c.CPUQuota))
		}
	}
	return words
}

var placeWords = map[model.Vantage]string{
	model.VantagePod: "the pod", model.VantagePeer: "another pod on the same node", model.VantageOtherNode: "a pod on another node",
}
