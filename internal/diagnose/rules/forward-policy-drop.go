package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var forwardPolicyDrop = diagnose.Rule{
	ID: "forward-policy-drop",
	Doc: `The node's packet filter drops what it should forward

A FORWARD chain whose policy is DROP, without rules that accept pods' packets, is what docker, ufw and hardening scripts leave
behind. Packets of this node's pods to the outside, and from outside to them, vanish; the node's own connections
work, and so do pods on other nodes.

Look-alikes: net.ipv4.ip_forward at 0 looks the same from outside; podpath reads the sysctl, and IpInAddrErrors grows
there. A NetworkPolicy hits the pods that it selects on every node. Masquerading that is missing hits pods of every node.
The packet filter cannot be read without privileges, so podpath argues by exclusion: the pod and its neighbours fail, the
node and the pods of another node work, forwarding is on, and nothing that was read stops the packet.

Mend it by accepting the pods' range in the FORWARD chain, or by taking away what set the policy.
`,
	Hop:        model.HopNodeKernel,
	Covers:     []string{"nk-forward-policy-drop"},
	Needs:      []string{"nodefacts", "probe:node", "probe:other-node", "probe:peer-pod"},
	Sees:       diagnose.Unanswered,
	LastResort: true,
	Run: func(p *diagnose.Pass) {
		name := p.Node()
		facts := p.Case.World.Nodes[name]
		if !forwarded(p) || facts == nil || facts.Sysctls["net.ipv4.ip_forward"] != "1" {
			return
		}
		if p.Fate(p.Origin()) != diagnose.Broken || p.Fate(model.VantageNode) != diagnose.Works || p.Fate(model.VantageOtherNode) != diagnose.Works || p.Fate(model.VantagePeer) == diagnose.Works {
			return
		}
		if brokenAnywhere(p) || facts.Filters != nil {
			return // what the packet filter does is known, not left over
		}
		ref := model.NewRef("node", name)
		f := diagnose.Finding{
			Subject:    ref,
			Confidence: diagnose.Likely,
			Title:      fmt.Sprintf("Node %s drops what it should forward for its pods", name),
			Summary:    "By exclusion: the node's own connection works and its pods' do not, forwarding is on, and nothing that was read stops the packet. What is left is the node's packet filter, most often a FORWARD chain with policy DROP.",
			Evidence: []diagnose.Evidence{
				node(fmt.Sprintf("node %s: net.ipv4.ip_forward = 1", name), ref),
			},
			Fix: []diagnose.Command{
				{Text: "Look at the chain: a policy DROP, or a rule that counts packets", Line: onNode(name, "iptables -vnL FORWARD; nft list ruleset | grep -A3 'hook forward'")},
				{Text: "Accept forwarded packets again, and take away what set the policy (ufw, docker, a hardening script)", Line: onNode(name, "iptables -P FORWARD ACCEPT"), Verify: again(p)},
			},
		}
		for _, counter := range []string{"IpInAddrErrors", "TcpExtIPReversePathFilter"} {
			if _, read := facts.After[counter]; read {
				f.Evidence = append(f.Evidence, node(fmt.Sprintf("node %s: %s grew by %d while the probes ran", name, counter, grew(facts, counter)), ref))
			}
		}
		if p.Fate(model.VantagePeer) == diagnose.Unseen {
			f.Confidence = diagnose.Possible // it may be this pod alone
			f.Gaps = p.Gaps([]string{"probe:peer-pod"})
		}
		p.ReportByExclusion(f)
	},
}

// brokenAnywhere says that the prediction stops the packet somewhere.
func brokenAnywhere(p *diagnose.Pass) bool {
	for _, w := range p.Ways() {
		if w.Path.Broken() != nil {
			return true
		}
	}
	return false
}
