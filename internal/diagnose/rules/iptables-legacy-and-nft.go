package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var iptablesLegacyAndNFT = diagnose.Rule{
	ID: "iptables-legacy-and-nft",
	Doc: `A node has rules in both kinds of iptables

iptables-legacy and iptables-nft keep their rules apart, and the kernel runs both. Who lists one sees half: a rule that is not in sight
drops or translates packets, and kube-proxy, the network plugin and the host's firewall may each write to another one. It is no
fault by itself, and the reason why the cause of others is not found.

podpath reads both, walks the connection through both, and names the backend of the rule that decides.

Mend it by choosing one (update-alternatives --set iptables /usr/sbin/iptables-nft), flushing the other, and restarting what wrote there.
`,
	Needs:  []string{"nodefacts"},
	Hop:    model.HopNodeKernel,
	Covers: []string{"kp-mode-transition-leftover"},
	Sees:   diagnose.Unanswered,
	Under:  []string{"node-firewall-drops", "node-firewall-rejects", "kube-proxy-stale", "kube-proxy-missing"},
	Run: func(p *diagnose.Pass) {
		for _, facts := range entered(p) {
			legacy, nft := rulesOf(facts, "iptables-legacy"), rulesOf(facts, "iptables-nft")
			if legacy == 0 || nft == 0 {
				continue
			}
			ref := model.NewRef("node", facts.Node)
			p.ReportOn(wayTo(p, facts.Node), diagnose.Finding{
				Subject: ref, Confidence: diagnose.Possible,
				Title:    fmt.Sprintf("Node %s has %d rules in iptables-legacy and %d in iptables-nft", facts.Node, legacy, nft),
				Summary:  "The kernel runs both; each tool shows its own half.",
				Evidence: []diagnose.Evidence{node(fmt.Sprintf("node %s: rules in the tables of both backends", facts.Node), ref)},
				Fix: []diagnose.Command{
					{Text: "See both", Line: onNode(facts.Node, "iptables-legacy-save; iptables-nft-save")},
					{Text: "Keep the one that kube-proxy and the network plugin write to, flush the other, and restart what wrote there"},
				},
			})
		}
	},
}

// rulesOf counts the rules that a backend of iptables has on a node.
func rulesOf(facts *model.NodeFacts, tool string) int {
	n := 0
	for _, d := range facts.Filters {
		if d.Tool == tool {
			n += strings.Count("\n"+d.Text, "\n-A ") + strings.Count(d.Text, "] -A ")
		}
	}
	return n
}
