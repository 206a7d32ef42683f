package rules

import (
	"fmt"
	"slices"
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
		p.Broken(model.HopNodeKernel, func(w diagnose.Way, s *model.Step) {
			if facts := p.Case.World.Nodes[s.At.Name()]; notTranslatedBack(facts, s) {
				p.ReportAt(w, s, bridgeFinding(p, facts))
			}
		})
		lookupsUntranslated(p)
	},
}

const bridgeKey = "net.bridge.bridge-nf-call-iptables"

// notTranslatedBack says that a step breaks for the switch.
func notTranslatedBack(facts *model.NodeFacts, s *model.Step) bool {
	return facts != nil && facts.Sysctls[bridgeKey] == "0" && strings.HasPrefix(s.Reason, bridgeKey)
}

func bridgeFinding(p *diagnose.Pass, facts *model.NodeFacts) diagnose.Finding {
	f := diagnose.Finding{
		Subject: model.NewRef("node", facts.Node),
		Title:   fmt.Sprintf("Node %s does not translate answers that cross its bridge (%s is 0)", facts.Node, bridgeKey),
		Summary: "Connections to the Service fail whenever the endpoint is on the client's own node, and work when it is on another.",
		Fix: []diagnose.Command{{
			Text:   "Switch it on, and keep it on",
			Line:   onNode(facts.Node, "modprobe br_netfilter; echo br_netfilter > /etc/modules-load.d/br_netfilter.conf; sysctl -w "+bridgeKey+"=1 && echo "+bridgeKey+"=1 > /etc/sysctl.d/99-bridge-nf.conf"),
			Verify: again(p),
		}},
	}
	f.Evidence = append(f.Evidence, atBoot(facts, bridgeKey, "1")...)
	return f
}

// lookupsUntranslated reports it where lookups hang: the cluster's DNS is a Service
// like the question's, and the share of its answers that comes from a pod of the
// client's own node is lost.
func lookupsUntranslated(p *diagnose.Pass) {
	seen, facts := p.Seen(), p.Case.World.Nodes[p.Node()]
	_, servers := p.NameServers()
	if seen == nil || seen.Failed != "dns" || seen.Result != model.TimedOut || !asksClusterDNS(p) {
		return
	}
	here := 0
	for _, pod := range servers {
		if pod.Node == p.Node() {
			here++
		}
	}
	predicted := slices.ContainsFunc(p.Case.Paths, func(w model.Path) bool {
		s := w.Broken()
		return s != nil && notTranslatedBack(facts, s)
	})
	if here == 0 || !predicted {
		return
	}
	f := bridgeFinding(p, facts)
	f.Sometimes = here < len(servers)
	f.Evidence = append(f.Evidence, node(fmt.Sprintf("node %s: %s is 0; %d of the %d pods of the cluster's DNS run on it", facts.Node, bridgeKey, here, len(servers)), f.Subject))
	p.ReportOn(dnsWay, f)
}
