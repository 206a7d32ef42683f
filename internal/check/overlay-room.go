package check

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var overlayRoom = Check{
	ID: "overlay-room",
	Doc: `The pods' range has too few blocks for the nodes

Every node has a block of 256 addresses (/24) of the cluster's pod range. When the range has no block left, a further node does not become
ready, and an upgrade, which makes nodes before it removes any, stops.

With kubenet each node is also a route of the route table, which holds 400.

The range cannot be changed after the cluster was made (an overlay's can be enlarged): plan it for the most nodes that there will be.
`,
	Group: Addresses, Hop: model.HopCNI, Needs: []string{"cluster"},
	Source: "https://learn.microsoft.com/azure/aks/concepts-network-azure-cni-overlay",
	Covers: []string{"cni-overlay-podcidr-exhausted"},
	Run: func(p *Pass) {
		c := p.World.Azure.Cluster
		if c == nil || !blocks(c) {
			return
		}
		room := 0
		for _, prefix := range c.PodCIDRs {
			room += size(prefix) / 256
		}
		if room == 0 {
			return
		}
		limit := fmt.Sprintf("pod range %v has %d blocks of /24", c.PodCIDRs, room)
		if strings.EqualFold(c.NetworkPlugin, "kubenet") && room > 400 {
			room, limit = 400, "a route table holds 400 routes, one a node"
		}
		now, later := machines(c)
		f := Finding{
			Severity: Risk, Subject: model.NewRef("cluster", c.Name), Summary: "Further nodes do not become ready, and an upgrade stops.",
			Evidence: []diagnose.Evidence{arm(fmt.Sprintf("%s; %d nodes with the surge of an upgrade, at most %d", limit, now, later))},
			Fix:      []diagnose.Command{{Text: "Enlarge the pod range (overlay), or use fewer and larger nodes"}},
		}
		switch {
		case now > room:
			f.Title = fmt.Sprintf("The pod network has room for %d nodes, and an upgrade needs %d", room, now)
		case later > room:
			f.Confidence = diagnose.Possible
			f.Title = fmt.Sprintf("The pod network has room for %d nodes, and the pools may grow to %d", room, later)
		default:
			return
		}
		p.Report(f)
	},
}

// machines are a cluster's nodes while all its pools are upgraded, and grown as far as they may.
func machines(c *model.ManagedCluster) (now, later int) {
	for i := range c.AgentPools {
		pool := &c.AgentPools[i]
		now += pool.Count + surge(pool)
		later += most(pool) + surge(pool)
	}
	return now, later
}
