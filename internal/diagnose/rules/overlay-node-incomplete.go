package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var overlayNodeIncomplete = diagnose.Rule{
	ID: "overlay-node-incomplete",
	Doc: `A node lacks a part of the pods' overlay

In an overlay (Flannel's, Calico's vxlan) each node's agent programs what its kernel needs in order to reach the pods of every other node: a device, a
route to the other node's range, a neighbour entry for its end of the overlay, and a forwarding entry with its address. One of them is gone on one node: a
restart of systemd-networkd or NetworkManager that flushed what it does not own, a clean-up script, a device that somebody set down, an agent that died
half way, or a node that came back with another address. Pods of that node and pods of the others do not reach each other; pods on the same node do, and
nodes reach nodes.

Look-alikes: a security group or a node's firewall that drops the overlay's port loses the same connections, with everything in place on the nodes; there
the receiving device counts no packet. With a route table (kubenet) the missing route is the cloud's, not the node's.

Mend it by restarting the plugin's pod on that node: it programs everything anew. Then keep the network daemon's hands off: ManageForeignRoutes=no and
ManageForeignRoutingPolicyRules=no for systemd-networkd, unmanaged-devices for NetworkManager.
`,
	Hop:    model.HopCNI,
	Covers: []string{"nk-single-node-fault", "cni-systemd-networkd-flush"},
	Needs:  []string{"nodefacts", "node"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopCNI, func(w diagnose.Way, step *model.Step) {
			if step.Decided.Kind() == "node" && !step.Hairpin && (step.Outer || podNode(p, step.In.Dst) != "") {
				reportOverlay(p, w, step)
			}
		})
	},
}

func reportOverlay(p *diagnose.Pass, w diagnose.Way, step *model.Step) {
	name, net := step.Decided.Name(), cni.Detect(&p.Case.World)
	f := diagnose.Finding{
		Subject: step.Decided,
		Title:   fmt.Sprintf("Node %s lacks a part of %s's overlay", name, net.Name()),
		Summary: "Packets between its pods and those of another node get lost on this node: what its agent programs for the overlay is not all there.",
		Fix: []diagnose.Command{{
			Text: "See what is there: devices, routes, neighbour and forwarding entries",
			Line: onNode(name, "ip -d link show type vxlan; ip route; ip neigh show nud permanent; bridge fdb show"),
		}},
	}
	if facts := p.Case.World.Nodes[name]; facts != nil {
		for _, l := range tunnels(facts) {
			f.Evidence = append(f.Evidence, node(fmt.Sprintf("node %s: %s is %s, MTU %d", name, l.Name, map[bool]string{true: "up", false: "down"}[l.Up], l.MTU), step.Decided))
		}
	}
	f.Evidence = append(f.Evidence, healthEvidence(p, net, name)...)
	if net.Agent != "" {
		f.Fix = append(f.Fix, diagnose.Command{
			Text:   "Start the plugin's pod on this node anew",
			Line:   diagnose.Kubectl("-n", net.Agent.Part(0), "delete", "pod", "--field-selector=spec.nodeName="+name, "-l", agentLabel(p, net)),
			Verify: again(p),
		})
	}
	p.ReportAt(w, step, f)
}

// agentLabel selects the pods of a plugin's DaemonSet.
func agentLabel(p *diagnose.Pass, net cni.Network) string {
	set := p.Case.World.Kube.Workloads[net.Agent]
	if set == nil {
		return "k8s-app"
	}
	labels := set.Labels
	if set.Selector != nil && len(set.Selector.MatchLabels) > 0 {
		labels = set.Selector.MatchLabels
	}
	for _, key := range sortedKeys(labels) {
		return key + "=" + labels[key]
	}
	return "k8s-app"
}
