package rules

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
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
			if why := conntrackEvidence(p, facts); len(why) > 0 {
				reportConntrack(p, facts, why)
			}
		}
	},
}

// conntrackEvidence is what says that the table is full now, or was while the
// probes ran: how full it is, and what the kernel dropped for want of room.
func conntrackEvidence(p *diagnose.Pass, facts *model.NodeFacts) []diagnose.Evidence {
	ref := model.NewRef("node", facts.Node)
	i := slices.IndexFunc(resource.Kind(p.Case, resource.Conntrack), func(u resource.Use) bool { return u.Of == ref })
	if i < 0 {
		return nil
	}
	u := resource.Kind(p.Case, resource.Conntrack)[i]
	dropped, early := grew(facts, "ConntrackDrop"), grew(facts, "ConntrackEarlyDrop")
	if u.State != resource.Out && !(u.State == resource.Near && dropped > 0 && early > 0) {
		return nil // what drops beside a table with room is another's fault
	}
	out := []diagnose.Evidence{node(fmt.Sprintf("node %s: %.0f of %.0f entries are in use", facts.Node, u.Used, u.Limit), ref)}
	for _, says := range u.Says {
		out = append(out, node(fmt.Sprintf("node %s: %s", facts.Node, says), ref))
	}
	for _, w := range u.Who {
		out = append(out, node(fmt.Sprintf("%s holds %.0f TCP connections of node %s", w.Ref, w.Count, facts.Node), w.Ref))
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
