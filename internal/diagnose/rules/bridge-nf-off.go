package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var bridgeNFOff = diagnose.Rule{
	ID: "bridge-nf-off",
	Doc: `Answers of a pod on the same bridge are not translated back (bridge-nf-call-iptables is 0)

A pod asks a Service, and the node picks an endpoint on the same node. The request is routed and translated; the answer goes
from pod to pod across the bridge, and with net.bridge.bridge-nf-call-iptables at 0 (or without the module br_netfilter) the
packet filter never sees it. The client gets an answer from an address that it did not ask, and resets it: a time-out, but only where the
endpoint is on the client's own node. It looks random; DNS fails on the nodes that run CoreDNS.

Look-alikes: a dead endpoint fails from every node. A pod that asks itself through its Service needs hairpin mode.

Mend it by loading br_netfilter and setting the switch to 1, and keep both over a reboot.
`,
	Hop:    model.HopNodeKernel,
	Covers: []string{"nk-bridge-nf-off"},
	Needs:  []string{"service", "endpointslice", "pod", "nodefacts"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		const key = "net.bridge.bridge-nf-call-iptables"
		p.Broken(model.HopNodeKernel, func(w diagnose.Way, s *model.Step) {
			facts := p.Case.World.Nodes[s.At.Name()]
			if facts == nil || facts.Sysctls[key] != "0" || !strings.HasPrefix(s.Reason, key) {
				return
			}
			f := diagnose.Finding{
				Subject: s.At,
				Title:   fmt.Sprintf("Node %s does not translate answers that cross its bridge (%s is 0)", facts.Node, key),
				Summary: "Connections to the Service fail whenever the endpoint is on the client's own node, and work when it is on another.",
				Fix: []diagnose.Command{{
					Text:   "Switch it on, and keep it on",
					Line:   onNode(facts.Node, "modprobe br_netfilter; echo br_netfilter > /etc/modules-load.d/br_netfilter.conf; sysctl -w "+key+"=1 && echo "+key+"=1 > /etc/sysctl.d/99-bridge-nf.conf"),
					Verify: again(p),
				}},
			}
			f.Evidence = append(f.Evidence, atBoot(facts, key, "1")...)
			p.ReportAt(w, s, f)
		})
	},
}
