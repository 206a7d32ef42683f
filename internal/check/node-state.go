package check

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nodeState = Check{
	ID: "node-state",
	Doc: `The inside of a node shows that it runs short, or will not survive a restart

Where the inside of nodes was read (check --all-nodes): a table of neighbours that is nearly full, messages
that say that they were, a clock that is off, a sysctl that a file sets otherwise at the next boot,
UDP that clients still send to an endpoint that is gone.

Look-alikes: what stops a connection now is told by the diagnosis that names it. Counters since the boot say nothing about today.

Mend what is named; on AKS sysctls belong into the node pool's custom node configuration, as nodes are replaced.
`,
	Group: Nodes, Hop: model.HopNodeKernel,
	Source: "https://learn.microsoft.com/azure/aks/custom-node-configuration",
	Covers: []string{"nk-arp-table-overflow", "nk-clock-skew", "kp-udp-stale-conntrack"},
	Run: func(p *Pass) {
		for _, name := range sortedNames(p.World.Nodes) {
			facts := p.World.Nodes[name]
			for _, f := range []func(*model.NodeFacts) *Finding{neighbours, clock, unkept, strict, noPlugin} {
				if found := f(facts); found != nil {
					found.Subject = model.NewRef("node", name)
					p.Report(*found)
				}
			}
			p.lostEntries(facts)
		}
	},
}

// nodeEvidence is a fact that was read inside a node.
func nodeEvidence(f *model.NodeFacts, text string) []diagnose.Evidence {
	return []diagnose.Evidence{{Text: text, Refs: []model.Ref{model.NewRef("node", f.Node)}, Source: "node"}}
}

// nearly is the share of a table, in percent, from which it is called nearly full.
const nearly = 80

func neighbours(f *model.NodeFacts) *Finding {
	most, err := strconv.Atoi(f.Sysctls["net.ipv4.neigh.default.gc_thresh3"])
	full := err == nil && most > 0 && len(f.Neighbours)*100 >= most*nearly
	said := lastSaying(f, "neighbor table overflow", "neighbour table overflow")
	if !full && said == "" {
		return nil
	}
	text := fmt.Sprintf("%d entries, gc_thresh3 %d", len(f.Neighbours), most)
	if said != "" {
		text = "the kernel said: " + said
	}
	return &Finding{
		Severity: Risk, Confidence: diagnose.Possible, Title: fmt.Sprintf("The neighbour table of node %s is, or was, full", f.Node),
		Summary:  "Addresses that find no room are not reached.",
		Evidence: nodeEvidence(f, text), Fix: []diagnose.Command{{Text: "Raise net.ipv4.neigh.default.gc_thresh3 (and 1 and 2 with it)"}},
	}
}

// lastSaying is the last kernel message that holds one of the words.
func lastSaying(f *model.NodeFacts, words ...string) string {
	for i := len(f.Kernel) - 1; i >= 0; i-- {
		for _, w := range words {
			if strings.Contains(strings.ToLower(f.Kernel[i]), w) {
				return f.Kernel[i]
			}
		}
	}
	return ""
}

// off is from when on a clock is off: certificates and tokens allow for less.
const off = time.Minute

func clock(f *model.NodeFacts) *Finding {
	if f.Clock.Abs() < off {
		return nil
	}
	return &Finding{
		Severity: Broken, Hop: model.HopNodeResource, Title: fmt.Sprintf("The clock of node %s is off by %s", f.Node, f.Clock.Abs().Round(time.Second)),
		Summary:  "Certificates and tokens look expired, or not valid yet, to whatever runs there.",
		Evidence: nodeEvidence(f, fmt.Sprintf("node clock minus this machine's: %s", f.Clock.Round(time.Second))),
		Fix:      []diagnose.Command{{Text: "See whether its time service runs and reaches its source: chronyc tracking"}},
	}
}

// unkept finds a sysctl that pods depend on and that a file sets otherwise at boot.
func unkept(f *model.NodeFacts) *Finding {
	const key = "net.ipv4.ip_forward"
	file, set := f.Persisted[key]
	if !set || file.Value == f.Sysctls[key] || f.Sysctls[key] != "1" {
		return nil
	}
	return &Finding{
		Severity: Risk, Title: fmt.Sprintf("Node %s stops forwarding at its next boot: %s sets %s to %s", f.Node, file.File, key, file.Value),
		Evidence: nodeEvidence(f, fmt.Sprintf("%s is 1 now, and %s = %s in %s", key, key, file.Value, file.File)), Fix: []diagnose.Command{{Text: "Take the line out of " + file.File}},
		Confidence: diagnose.Possible,
	}
}

// strict finds a reverse path filter that drops answers which come in by another
// link than the one that the node would use: it matters with more than one way out.
func strict(f *model.NodeFacts) *Finding {
	uplink, other := "", ""
	for _, r := range f.Routes {
		switch {
		case !r.Gw.IsValid() || r.Dev == "":
		case r.Dst.Bits() == 0 && r.Dst.Addr().Is4():
			uplink = r.Dev
		default:
			other = r.Dev
		}
	}
	value := max(f.Sysctls["net.ipv4.conf.all.rp_filter"], f.Sysctls["net.ipv4.conf."+uplink+".rp_filter"])
	if value != "1" || uplink == "" || other == "" || other == uplink {
		return nil
	}
	return &Finding{
		Severity: Risk, Confidence: diagnose.Possible, Title: fmt.Sprintf("Node %s has routes by %s and %s, and rp_filter is strict", f.Node, uplink, other),
		Summary:  "Answers that come in by another link than the one of the route to their sender are dropped.",
		Evidence: nodeEvidence(f, fmt.Sprintf("rp_filter is 1; the default route is by %s, another gateway by %s", uplink, other)),
		Fix:      []diagnose.Command{{Text: "Set net.ipv4.conf.all.rp_filter to 2 (loose), or make the routes symmetric"}},
	}
}

// lostEntries finds UDP that clients go on sending to what is no endpoint of the
// Service any more, by entries of the connection table that kube-proxy left.
func (p *Pass) lostEntries(f *model.NodeFacts) {
	if len(f.Translated) == 0 || !p.World.Read["endpointslice"] {
		return
	}
	at := model.NewRef("node", f.Node)
	for _, s := range values(p.World.Kube.Services) {
		for _, l := range p.World.Kube.Lost(f, s) {
			p.Report(Finding{
				Severity: Broken, Hop: model.HopKubeProxy, Subject: at, Confidence: diagnose.Likely,
				Title:    fmt.Sprintf("Node %s still sends UDP for Service %s/%s to %s, which is no endpoint of it", f.Node, s.Namespace, s.Name, l.Leads),
				Summary:  "Sockets that were open before the endpoint went away stay with it while they are used; new ones are right.",
				Evidence: nodeEvidence(f, fmt.Sprintf("UDP to %s leads to %s in %d of its connection table's entries; %d of them carried a packet within the last 10 seconds", l.To, l.Leads, l.Count, l.Alive)),
				Fix:      []diagnose.Command{{Text: "podpath explain conntrack-stale: delete the entries on the node, or restart the clients"}},
			})
		}
	}
}

// noPlugin finds a node without configuration of a network plugin.
func noPlugin(f *model.NodeFacts) *Finding {
	if !f.CNIRead || len(f.CNI) > 0 {
		return nil
	}
	return &Finding{
		Severity: Outage, Hop: model.HopCNI, Title: fmt.Sprintf("Node %s has no configuration of a network plugin", f.Node), Summary: "Pods that start there get no network.",
		Evidence: nodeEvidence(f, "no file of a plugin is in /etc/cni/net.d"), Fix: []diagnose.Command{{Text: "See why the plugin's agent on this node has not written it"}},
	}
}
