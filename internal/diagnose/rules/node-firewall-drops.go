package rules

import (
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nodeFirewallDrops = diagnose.Rule{
	ID: "node-firewall-drops",
	Doc: `A rule of the node's own packet filter drops the packets

The node's iptables or nftables rules hold one that drops what the node should forward or receive: a FORWARD chain with policy
DROP, or a rule that docker, ufw, firewalld or a hardening script wrote. The connection times out; from other nodes,
and from the node itself where only forwarding is hit, it works.

podpath reads the rule sets of both iptables backends and of nftables, walks the connection's first packet through them as
the kernel does, and names the rule that decides. What it could not understand makes that rule unknown and no other.

Look-alikes: a NetworkPolicy is carried out by rules in the same place, and is named instead of them. ip_forward at 0
drops without a rule. An NSG or a route hits the node's own connections as well.

Mend it by taking the rule away, and away from what writes it, or by accepting the pods' range before it.
`,
	Hop:    model.HopNodeKernel,
	Covers: []string{"nk-forward-policy-drop", "nk-single-node-fault", "nk-conntrack-table-full"},
	Needs:  []string{"nodefacts"},
	Sees: func(o *model.Observation) bool {
		return diagnose.Unanswered(o) || o.Result == model.TimedOut && o.Failed != "dns" // a rule may look at what is said
	},
	Run: func(p *diagnose.Pass) {
		filtered(p, model.Drop, func(w diagnose.Way, s *model.Step) {
			if s.Filter.Table == "kube-proxy" && s.Filter.Chain == "cluster-ips-check" {
				return // kube-proxy's own, for addresses that no Service has: that is what is wrong
			}
			shown, refuted := shareShows(p, w, s)
			if refuted && !counted.MatchString(s.Filter.Text) { // one that counts drops all while it is full
				return
			}
			f := filterFinding(p, s, "drops")
			f.Evidence = append(f.Evidence, outerEvidence(p, s)...)
			if shown != "" {
				f.Confidence = diagnose.Likely
				f.Evidence = append(f.Evidence, probe(shown))
			}
			connectionLimit(p, s, &f)
			if s.Verdict == model.Unknown && s.At.Name() == p.Node() && p.Elsewhere(model.VantageNode) == diagnose.Works && p.Elsewhere(model.VantageOtherNode) == diagnose.Works {
				f.Confidence = diagnose.Likely // it is lost inside this node, and this is what is there
			}
			p.ReportAt(w, s, f)
		})
	},
}
