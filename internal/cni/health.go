package cni

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Problem is something wrong with the network plugin on one node.
type Problem struct {
	Subject model.Ref // what to look at: the node, or its agent's pod
	Text    string
	Fatal   bool // pods that start on this node now get no network
}

// Health says what is wrong with the plugin on a node; nothing, when nothing is
// seen to be. It says nothing about what was not read.
func (n Network) Health(w *model.World, node string) []Problem {
	var out []Problem
	k := w.Kube.Nodes[node]
	if k == nil {
		return nil
	}
	ref := model.NewRef("node", node)
	for _, c := range k.Conditions {
		if text, bad := condition(c); bad {
			out = append(out, Problem{ref, text, true})
		}
	}
	if f := w.Nodes[node]; f != nil && f.CNIRead && len(f.CNI) == 0 {
		out = append(out, Problem{ref, "no configuration of a network plugin is in /etc/cni/net.d", true})
	}
	if n.needsRange() && len(k.PodCIDRs) == 0 && w.Read["node"] && othersHaveRange(w) {
		out = append(out, Problem{ref, "the node has no range of addresses for pods (spec.podCIDR)", true})
	}
	return append(out, n.agent(w, node)...)
}

// needsRange says that the plugin hands out addresses of Node.spec.podCIDR.
func (n Network) needsRange() bool { return n.Kind == Flannel || n.Kind == Canal || n.Kind == Kubenet }

func othersHaveRange(w *model.World) bool {
	for _, n := range w.Kube.Nodes {
		if n != nil && len(n.PodCIDRs) > 0 {
			return true
		}
	}
	return false
}

// condition says whether a node's condition is about its network plugin. The
// kubelet takes the words from the container runtime ("cni plugin not
// initialized", "no networks found in /etc/cni/net.d").
func condition(c model.Condition) (string, bool) {
	switch {
	case c.Type == "Ready" && c.Status != "True" && (strings.Contains(c.Message, "NetworkPluginNotReady") || strings.Contains(c.Message, "cni plugin not initialized") || strings.Contains(c.Message, "no networks found in")):
		return "the node is not ready: " + c.Message, true
	case c.Type == "NetworkUnavailable" && c.Status == "True":
		return fmt.Sprintf("condition NetworkUnavailable: %s %s", c.Reason, c.Message), true
	}
	return "", false
}

// agent judges the plugin's own pod on the node.
func (n Network) agent(w *model.World, node string) []Problem {
	if n.Agent == "" || !w.Read["pod"] {
		return nil
	}
	for _, ref := range slices.Sorted(maps.Keys(w.Kube.Pods)) {
		p := w.Kube.Pods[ref]
		if p == nil || p.Owner != n.Agent || p.Node != node {
			continue
		}
		if p.Ready {
			return nil
		}
		return []Problem{{ref, fmt.Sprintf("%s's agent on the node, %s, is not ready (%s)", n.Name(), ref, strings.TrimSpace(p.Phase+" "+waiting(p))), false}}
	}
	return []Problem{{n.Agent, fmt.Sprintf("%s has no pod on node %s", n.Agent, node), false}}
}

func waiting(p *model.Pod) string {
	for _, c := range p.Containers {
		if c.State == "waiting" && c.Reason != "" {
			return c.Reason
		}
	}
	return p.Reason
}
