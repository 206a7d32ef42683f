package rules

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// outerEvidence says of a step about an outer packet whose packets it carries:
// people who wrote a rule about UDP between nodes may not know.
func outerEvidence(p *diagnose.Pass, step *model.Step) []diagnose.Evidence {
	if !step.Outer {
		return nil
	}
	net := cni.Detect(&p.Case.World)
	return []diagnose.Evidence{kube(fmt.Sprintf("the packet is one from node to node: it carries what pods of the two nodes send each other in %s's overlay (%s)", net.Name(), net.Carrier()), refsOf(net)...)}
}

func refsOf(net cni.Network) []model.Ref {
	var out []model.Ref
	for _, ref := range []model.Ref{net.Agent, net.Config} {
		if ref != "" {
			out = append(out, ref)
		}
	}
	return out
}

// tunnels are a node's devices that carry pods' packets to other nodes.
func tunnels(facts *model.NodeFacts) []model.Link {
	var out []model.Link
	for _, l := range facts.Links {
		if l.Tunnel != nil || l.Kind == "wireguard" {
			out = append(out, l)
		}
	}
	return out
}

// healthEvidence is what else is seen to be wrong with the plugin on a node.
func healthEvidence(p *diagnose.Pass, net cni.Network, name string) []diagnose.Evidence {
	var out []diagnose.Evidence
	for _, problem := range net.Health(&p.Case.World, name) {
		out = append(out, kube(oneLine(problem.Text), problem.Subject))
	}
	return out
}

// overlaid says whether a way crosses an overlay between nodes.
func overlaid(w diagnose.Way) bool {
	return slices.ContainsFunc(slices.Concat(w.Path.Steps, w.Path.After), func(s model.Step) bool { return s.Outer })
}
