package rules

import (
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// entered are the nodes of the question's ways that somebody looked inside: the
// sender's first, then the receiver's.
func entered(p *diagnose.Pass) []*model.NodeFacts {
	var names []string
	add := func(name string) {
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	add(p.Node())
	for _, w := range p.Ways() {
		for _, ref := range []model.Ref{w.Path.Flow.From, w.Path.Flow.To} {
			if pod := p.Case.World.Kube.Pods[ref]; pod != nil {
				add(pod.Node)
			}
		}
	}
	var out []*model.NodeFacts
	for _, name := range names {
		if facts := p.Case.World.Nodes[name]; facts != nil {
			out = append(out, facts)
		}
	}
	return out
}

// grew is by how much a counter of the node grew while the probes ran; 0 when
// it was not read twice.
func grew(facts *model.NodeFacts, counter string) int64 {
	after, ok := facts.After[counter]
	if !ok {
		return 0
	}
	return max(0, after-facts.Counters[counter])
}

// forwarded says that the question's packets are forwarded by a node rather
// than sent by it: they come from a pod with an address of its own.
func forwarded(p *diagnose.Pass) bool {
	pod := p.Pod()
	return pod != nil && !pod.HostNetwork
}

// onNode is the kubectl command that runs a command in a node's own namespaces.
func onNode(name, command string) string {
	return diagnose.OnNode(name, command)
}

// device is the interface in a sysctl's name: net.ipv4.conf.eth0.rp_filter.
func device(sysctl string) string {
	s := strings.TrimPrefix(sysctl, "net.ipv4.conf.")
	return s[:max(0, strings.LastIndexByte(s, '.'))]
}

// wayTo is the first way that ends or starts on the node, "question" otherwise.
func wayTo(p *diagnose.Pass, name string) diagnose.Way {
	for _, w := range p.Ways() {
		for _, ref := range []model.Ref{w.Path.Flow.From, w.Path.Flow.To} {
			if pod := p.Case.World.Kube.Pods[ref]; pod != nil && pod.Node == name {
				return w
			}
		}
	}
	return diagnose.Way{Kind: "question"}
}
