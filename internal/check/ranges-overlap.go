package check

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var rangesOverlap = Check{
	ID: "ranges-overlap",
	Doc: `Ranges of addresses overlap

The pods' or the Services' range holds addresses that the virtual network, a peered one, or a network behind a gateway has too, or that AKS
keeps for itself. The nodes take such an address for one of their own network's: pods cannot reach the host that has it.

Look-alikes: a gateway often announces all of 10.0.0.0/8; that part of it is a pod range as well may hurt nobody, so it is listed as worth a
look only.

Pod and Service ranges are chosen when a cluster is made: renumber the other side, or make the cluster anew.
`,
	Group: Addresses, Hop: model.HopCNI, Needs: []string{"cluster", "vnet"},
	Source: "https://learn.microsoft.com/azure/aks/concepts-network-ip-address-planning",
	Covers: []string{"cni-podcidr-overlap-vnet", "pl-service-cidr-overlap"},
	Run: func(p *Pass) {
		c := p.World.Azure.Cluster
		if c == nil {
			return
		}
		var own []span
		for _, prefix := range c.PodCIDRs {
			own = append(own, span{"pod range", prefix, true})
		}
		for _, prefix := range c.ServiceCIDRs {
			own = append(own, span{"Service range", prefix, true})
		}
		for i, a := range own {
			for _, b := range append(own[i+1:], p.neighbours()...) {
				if a.prefix.Overlaps(b.prefix) {
					p.Report(overlap(c, a, b))
				}
			}
		}
	},
}

// span is a range with what it is.
type span struct {
	name   string
	prefix netip.Prefix
	sure   bool // somebody has addresses of it
}

// keptByAKS are ranges that a cluster must not use.
// https://learn.microsoft.com/azure/aks/configure-azure-cni#prerequisites
var keptByAKS = []string{"169.254.0.0/16", "172.30.0.0/16", "172.31.0.0/16", "192.0.2.0/24"}

// neighbours are the ranges around the cluster: its virtual networks', their
// peers', and what gateways announce.
func (p *Pass) neighbours() []span {
	var out []span
	mine := map[string]bool{}
	for _, s := range p.clusterSubnets() {
		mine[strings.ToLower(s.VNetID)] = true
	}
	for _, v := range values(p.World.Azure.VNets) {
		if !mine[strings.ToLower(v.ID)] {
			continue
		}
		for _, prefix := range v.Prefixes {
			out = append(out, span{"virtual network " + v.Name, prefix, true})
		}
		for _, peer := range v.Peerings {
			for _, prefix := range peer.RemotePrefixes {
				if strings.EqualFold(peer.State, "Connected") {
					out = append(out, span{"the network peered by " + peer.Name, prefix, true})
				}
			}
		}
	}
	for _, g := range values(p.World.Azure.Gateways) {
		for _, prefix := range g.Learned {
			if mine[strings.ToLower(g.VNetID)] && prefix.Bits() > 0 {
				out = append(out, span{"a network behind gateway " + g.Name, prefix, false})
			}
		}
	}
	for _, text := range keptByAKS {
		out = append(out, span{"a range that AKS keeps for itself", netip.MustParsePrefix(text), true})
	}
	return out
}

func overlap(c *model.ManagedCluster, a, b span) Finding {
	ref := model.NewRef("cluster", c.Name)
	f := Finding{
		Severity: Broken, Subject: ref,
		Title:   fmt.Sprintf("The %s %s overlaps %s (%s)", a.name, a.prefix, b.name, b.prefix),
		Summary: "The nodes take addresses of the part that both have for their own network's: pods cannot reach the hosts there.",
		Evidence: []diagnose.Evidence{
			arm(fmt.Sprintf("cluster %s: pod ranges %v, Service ranges %v", c.Name, c.PodCIDRs, c.ServiceCIDRs), ref), arm(fmt.Sprintf("%s has %s", b.name, b.prefix)),
		},
		Fix: []diagnose.Command{{Text: "Renumber the other side; the cluster's own ranges cannot be changed after it was made"}},
	}
	if !b.sure {
		f.Severity, f.Confidence = Risk, diagnose.Possible
	}
	return f
}
