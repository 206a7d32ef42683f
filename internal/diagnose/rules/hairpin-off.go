package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var hairpinOff = diagnose.Rule{
	ID: "hairpin-off",
	Doc: `A pod does not reach itself through its own Service (hairpin mode is off)

A pod asks a Service that it is behind of, and the node picks the pod itself. The packet is translated and would have to leave
the node's bridge by the port that it came in by, which a bridge does not do unless that port is in hairpin mode. One in N of
the pod's own calls times out, N being the number of endpoints; nobody else sees anything, and the pod's own address works.

podpath reads the mode of each port of the node's bridges, and follows the connection to the pod itself.

Look-alikes: a dead endpoint fails for every client. Answers that are not translated back (bridge-nf-call-iptables is 0) fail for
all endpoints on the client's node. A bridge that is promiscuous sends the packet back by the node.

Mend it in the network plugin's configuration (hairpinMode), which new pods get; for those that are there, set the port's mode.

Sources: br_nf_pre_routing_finish and should_deliver in net/bridge of Linux; https://github.com/kubernetes/kubernetes/issues/13375.
`,
	Hop:    model.HopCNI,
	Covers: []string{"cni-hairpin-off"},
	Needs:  []string{"service", "endpointslice", "pod", "nodefacts"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopCNI, func(w diagnose.Way, s *model.Step) {
			if facts := p.Case.World.Nodes[s.At.Name()]; s.Hairpin && facts != nil {
				reportHairpin(p, w, s, facts)
			}
		})
	},
}

func reportHairpin(p *diagnose.Pass, w diagnose.Way, s *model.Step, facts *model.NodeFacts) {
	f := diagnose.Finding{
		Subject: s.At,
		Title:   fmt.Sprintf("%s does not reach itself through its Service: hairpin mode is off on node %s", s.In.To, facts.Node),
		Summary: "The bridge of the node does not give the pod back what it sends to itself. Connections to the Service fail whenever the pod itself is picked.",
		Fix: []diagnose.Command{
			{Text: "Set hairpinMode in the network plugin's configuration; new pods get it" + cniFile(facts)},
			{
				Text:   "And switch it on for the pods that are there",
				Line:   onNode(facts.Node, "for p in /sys/class/net/*/brport/hairpin_mode; do echo 1 > $p; done"),
				Verify: again(p),
			},
		},
	}
	p.ReportAt(w, s, f)
}

// cniFile names the file that says how a node's pods are plugged in.
func cniFile(facts *model.NodeFacts) string {
	for _, c := range facts.CNI {
		if !c.Hairpin {
			return fmt.Sprintf(" (%s on the node says no)", c.File)
		}
	}
	return ""
}
