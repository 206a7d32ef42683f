package rules

import (
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nodeFirewallRejects = diagnose.Rule{
	ID: "node-firewall-rejects",
	Doc: `A rule of the node's own packet filter rejects the packets

The node's iptables or nftables rules hold a REJECT that matches: the sender is told at once, by an ICMP message or a TCP
reset. firewalld and hand-written host firewalls reject rather than drop. A connect fails with "connection refused" (port
unreachable, tcp-reset) or "no route to host" (host prohibited), within a millisecond.

Look-alikes: a port on which nobody listens is refused by the pod itself, from every node. A Service without endpoints is
refused by kube-proxy's rules. A firewall appliance resets after the connection stood.

Mend it by taking the rule away, and away from what writes it, or by accepting the pods' range before it.
`,
	Hop:    model.HopNodeKernel,
	Covers: []string{"nk-single-node-fault"},
	Needs:  []string{"nodefacts"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "tcp" && result(model.Refused, model.Unreachable, model.NotPermitted, model.Reset)(o)
	},
	Run: func(p *diagnose.Pass) {
		filtered(p, model.Reject, func(w diagnose.Way, s *model.Step) {
			p.ReportAt(w, s, filterFinding(p, s, "rejects"))
		})
	},
}
