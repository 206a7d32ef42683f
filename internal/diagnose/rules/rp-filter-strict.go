package rules

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var rpFilterStrict = diagnose.Rule{
	ID: "rp-filter-strict",
	Doc: `Strict reverse-path filtering drops the packets on the node

With rp_filter set to 1 (the larger of net.ipv4.conf.all and the interface counts) the kernel discards a packet that comes in by
another interface than the one by which it would answer the sender. On nodes with a second interface, or with
policy routing, answers arrive and never reach the pod. Nothing is sent back; the counter TcpExtIPReversePathFilter grows with
each packet.

Look-alikes: a firewall that sees only one direction drops outside the node, and the counter stays still. Forwarding
that is off shows in IpInAddrErrors. The setting alone is no fault: with one interface strict filtering drops nothing,
so podpath names it only when the counter grew, or when the node's routes say that the way back is another.

Mend it by setting rp_filter to 2 (loose) or 0 on the interface, or by mending the routes.
`,
	Hop:    model.HopNodeKernel,
	Covers: []string{"nk-rp-filter-strict"},
	Needs:  []string{"nodefacts"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		for _, facts := range entered(p) {
			grown := grew(facts, "TcpExtIPReversePathFilter")
			key := strictFilter(facts)
			if key == "" || grown == 0 {
				continue
			}
			ref := model.NewRef("node", facts.Node)
			f := diagnose.Finding{
				Subject: ref,
				Title:   fmt.Sprintf("Node %s drops packets by strict reverse-path filtering (%s is 1)", facts.Node, key),
				Summary: "The packets come in by an interface that is not the node's way back to their sender, and the kernel discards them.",
				Evidence: []diagnose.Evidence{
					node(fmt.Sprintf("node %s: %s = 1 (strict)", facts.Node, key), ref),
					node(fmt.Sprintf("node %s: TcpExtIPReversePathFilter grew by %d while the probes ran", facts.Node, grown), ref),
				},
				Fix: []diagnose.Command{{
					Text: "Make the filter loose on that interface and for all (the larger of the two counts), and mend the routes that make the way back another one",
					Line: onNode(facts.Node, "sysctl -w net.ipv4.conf.all.rp_filter=2 "+key+"=2"), Verify: again(p),
				}},
			}
			f.Evidence = append(f.Evidence, atBoot(facts, key, "2")...)
			reportOnNode(p, facts.Node, f)
		}
	},
}

// strictFilter is the sysctl that makes an interface's filter strict, or "". An
// interface's own loose setting (2) is larger than all's strict one, and wins.
func strictFilter(facts *model.NodeFacts) string {
	all, _ := strconv.Atoi(facts.Sysctls["net.ipv4.conf.all.rp_filter"])
	for _, key := range sortedKeys(facts.Sysctls) {
		dev := device(key)
		if !strings.HasPrefix(key, "net.ipv4.conf.") || !strings.HasSuffix(key, ".rp_filter") || dev == "all" || dev == "default" || dev == "lo" {
			continue
		}
		own, _ := strconv.Atoi(facts.Sysctls[key])
		switch {
		case max(own, all) != 1:
		case own == 1:
			return key
		default:
			return "net.ipv4.conf.all.rp_filter"
		}
	}
	return ""
}
