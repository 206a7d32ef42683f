package check

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

var corednsShape = Check{
	ID: "coredns-weak",
	Doc: `The cluster's DNS hangs by one pod or one node

CoreDNS answers for all pods. With one ready pod, or with all of them on one node, the loss of that pod or node takes every name with it
until another one runs.

Look-alikes: a cluster of one node has no other choice, and nothing is said.

On AKS the CoreDNS autoscaler makes at least two; see why the others are not ready, and what keeps them on one node.
`,
	Group: DNS, Hop: model.HopDNS, Needs: []string{"service", "pod", "node", "endpointslice"},
	Source: "https://learn.microsoft.com/azure/aks/dns-concepts",
	Covers: []string{"dns-coredns-down"},
	Run: func(p *Pass) {
		servers := p.nameServers()
		if len(servers) == 0 || p.readyNodes() < 2 {
			return
		}
		nodes := map[string]bool{}
		pods := map[model.Ref]bool{}
		for _, s := range servers {
			nodes[s.pod.Node], pods[s.pod.Ref()] = true, true
		}
		f := Finding{Severity: Risk, Confidence: diagnose.Possible, Subject: ownerOf(servers[0].pod)}
		switch {
		case len(pods) == 1:
			f.Title = "One pod answers for all names of the cluster"
		case len(nodes) == 1 && p.readyNodes() > 2:
			f.Title = fmt.Sprintf("All %d pods of the cluster's DNS run on node %s", len(pods), servers[0].pod.Node)
		default:
			return
		}
		f.Evidence = []diagnose.Evidence{kube(fmt.Sprintf("%s ready, on %s", count(len(pods), "pod"), count(len(nodes), "node")), f.Subject)}
		f.Fix = []diagnose.Command{do("See its pods", diagnose.Kubectl("-n", "kube-system", "get", "pods", "-o", "wide", "-l", "k8s-app=kube-dns"))}
		p.Report(f)
	},
}

func (p *Pass) readyNodes() int {
	n := 0
	for _, node := range p.World.Kube.Nodes {
		if node.Ready {
			n++
		}
	}
	return n
}

var corefileLines = Check{
	ID: "corefile-lines",
	Doc: `CoreDNS would not start with its configuration

A line of the Corefile or of coredns-custom is one that CoreDNS refuses. Pods that ran before keep the old configuration, so nothing fails
yet: it shows when they are started again, at a node upgrade or an eviction, and then no name of the cluster resolves.

Look-alikes: where no CoreDNS pod is ready any more, this is the cause, and told as such.

Mend the line that is named, and restart CoreDNS while somebody watches.
`,
	Group: DNS, Hop: model.HopDNS, Needs: []string{"configmap"},
	Source: "https://learn.microsoft.com/azure/aks/coredns-custom",
	Covers: []string{"dns-coredns-bad-corefile", "dns-stale-coredns-config"},
	Run: func(p *Pass) {
		file := trace.Corefile(p.World)
		if file == nil {
			return
		}
		for _, x := range file.Problems {
			ref := trace.CorefileRef(x.Pos)
			if p.reported(ref) {
				continue
			}
			p.Report(Finding{
				Severity: Risk, Confidence: diagnose.Possible, Subject: ref,
				Title:    fmt.Sprintf("CoreDNS would not start again: %s, line %d: %s", x.Key, x.Line, x.Text),
				Summary:  "Its pods run with what they read before; the next one that starts stops at this line.",
				Evidence: []diagnose.Evidence{kube(fmt.Sprintf("%s: %s", x.Pos, x.Text), ref)},
				Fix:      []diagnose.Command{do("Mend the line", diagnose.KubectlFor(ref, "edit"))},
			})
		}
	},
}
