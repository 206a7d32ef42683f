package rules

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var conntrackFull = diagnose.Rule{
	ID: "conntrack-full",
	Doc: `The node's table of tracked connections is full

The kernel keeps an entry for each connection that it forwards or translates. When nf_conntrack_count reaches nf_conntrack_max, packets of
new connections are dropped, and old ones live on: time-outs at random, from this node alone. The kernel says "nf_conntrack: table full,
dropping packet", and the counter drop of /proc/net/stat/nf_conntrack grows.

Look-alikes: source ports that run out at the load balancer or NAT gateway time out too, from every node that shares them, and this
table has room. A full accept queue hits one server, whoever asks.

Mend it by raising net.netfilter.nf_conntrack_max (AKS: the node pool's custom sysctls; kube-proxy: --conntrack-max-per-core), and find
what leaks connections.
`,
	Hop:    model.HopNodeKernel,
	Covers: []string{"nk-conntrack-table-full"},
	Needs:  []string{"nodefacts"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		for _, facts := range entered(p) {
			if why := conntrackEvidence(facts); len(why) > 0 {
				reportConntrack(p, facts, why)
			}
		}
	},
}

// conntrackEvidence is what says that the table is full now: how full it is, or
// that entries were dropped while the probes ran.
func conntrackEvidence(facts *model.NodeFacts) []diagnose.Evidence {
	ref := model.NewRef("node", facts.Node)
	count, err1 := strconv.ParseInt(facts.Sysctls["net.netfilter.nf_conntrack_count"], 10, 64)
	limit, err2 := strconv.ParseInt(facts.Sysctls["net.netfilter.nf_conntrack_max"], 10, 64)
	full := err1 == nil && err2 == nil && limit > 0 && count*100 >= limit*98
	dropped := grew(facts, "ConntrackDrop")
	if !full {
		return nil // what drops beside a table with room is another's fault
	}
	out := []diagnose.Evidence{node(fmt.Sprintf("node %s: %d of %d entries are in use", facts.Node, count, limit), ref)}
	if dropped > 0 {
		out = append(out, node(fmt.Sprintf("node %s: %d packets were dropped for it while the probes ran", facts.Node, dropped), ref))
	}
	for i := len(facts.Kernel) - 1; i >= 0; i-- {
		if strings.Contains(facts.Kernel[i], "table full") {
			out = append(out, node(fmt.Sprintf("node %s: the kernel says: %s", facts.Node, facts.Kernel[i]), ref))
			break
		}
	}
	return out
}

func reportConntrack(p *diagnose.Pass, facts *model.NodeFacts, why []diagnose.Evidence) {
	const key = "net.netfilter.nf_conntrack_max"
	limit, _ := strconv.ParseInt(facts.Sysctls[key], 10, 64)
	f := diagnose.Finding{
		Subject:  model.NewRef("node", facts.Node),
		Title:    fmt.Sprintf("Node %s has no room for new connections in its connection table", facts.Node),
		Summary:  "The kernel drops the first packets of new connections; established ones go on.",
		Evidence: why,
		Fix: []diagnose.Command{
			{Text: "Make room at once, and keep it (on AKS in the node pool's custom node configuration)", Line: onNode(facts.Node, fmt.Sprintf("sysctl -w %s=%d", key, limit*2)), Verify: again(p)},
			{Text: "See who holds the entries", Line: onNode(facts.Node, "conntrack -L 2>/dev/null | awk '{print $5}' | sort | uniq -c | sort -rn | head")},
		},
	}
	f.Evidence = append(f.Evidence, atBoot(facts, key, strconv.FormatInt(limit*2, 10))...)
	if grew(facts, "ConntrackDrop") == 0 {
		f.Confidence = diagnose.Likely
	}
	reportOnNode(p, facts.Node, f)
}
