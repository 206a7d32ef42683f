package resource

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// natPorts are the source ports of each public address of a NAT gateway towards
// one destination, of each protocol, shared by all machines of its subnets;
// mostNATAddresses is how many addresses it may have.
// https://learn.microsoft.com/azure/nat-gateway/nat-gateway-resource
const (
	natPorts         = 64512
	mostNATAddresses = 16
)

// snatNATGateway are the source ports of the NAT gateways: what the nodes that
// were read hold towards the question's destinations, and what Azure Monitor
// says of all connections.
func snatNATGateway(c *model.Case) []Use {
	var out []Use
	for _, id := range slices.Sorted(maps.Keys(c.World.Azure.NATGateways)) {
		g := c.World.Azure.NATGateways[id]
		ref := model.NewRef("natgateway", g.Name)
		if !onTheWay(c, ref) || len(g.PublicIPs)+len(g.Prefixes) == 0 {
			continue
		}
		if u, ok := natWhole(c, id, g); ok {
			out = append(out, u)
		}
		for _, f := range asked(c, ref) {
			h := held(c, nodesOf(c), func(h model.Holder) bool { return h.To == f.to && h.UDP == f.udp })
			if !h.read || h.count == 0 {
				continue
			}
			u := Use{Kind: "snat-natgw", Name: "source ports", Of: ref, Toward: f.String(), Unit: "ports", Used: float64(h.count - h.asking), Limit: natLimit(c, g), Who: h.who, Source: "node", Remedy: natRemedy(c, g)}
			u.Says = append(u.Says, overAndAsking(h)...)
			u.Says = append(u.Says, "of the nodes that were read; others share these ports")
			u.settle()
			out = append(out, u)
		}
	}
	return out
}

// natWhole is the gateway as a whole: it has no limit of its own that one could
// come near, but counts what failed.
func natWhole(c *model.Case, id string, g *model.NATGateway) (Use, bool) {
	total := find(c, want{id, "TotalConnectionCount", "Total", nil})
	failed, words, now := failures(c, "SNATConnectionCount", "", find(c, want{id, "SNATConnectionCount", "Total", map[string]string{"ConnectionState": "Failed"}}))
	dropped := sum(find(c, want{id, "PacketDropCount", "Total", nil}))
	available := last(find(c, want{id, "DatapathAvailability", "Average", nil}))
	u := Use{Kind: "snat-natgw", Name: "connections", Of: model.NewRef("natgateway", g.Name), Unit: "connections", Used: last(total), Pace: pace(total), Source: "metric", Remedy: natRemedy(c, g)}
	if math.IsNaN(u.Used) && failed == 0 && math.IsNaN(available) {
		return u, false
	}
	if math.IsNaN(u.Used) {
		u.Used = 0
	}
	u.Who = held(c, nodesOf(c), outward).who
	if now >= few {
		u.State = Out
	}
	if failed > 0 {
		u.Says = append(u.Says, words)
	}
	if text := byState("SNATConnectionCount", find(c, want{id, "SNATConnectionCount", "Total", nil})); text != "" {
		u.Says = append(u.Says, text)
	}
	if dropped > 0 {
		u.Says = append(u.Says, fmt.Sprintf("PacketDropCount: %.0f packets were dropped in them", dropped))
	}
	if available < 100 {
		u.Says = append(u.Says, fmt.Sprintf("DatapathAvailability is %.0f %%: below 90 %% for a quarter of an hour the gateway itself is ill", available))
	}
	if u.State == Out {
		u.Says = append(u.Says, fmt.Sprintf("with %s it has %.0f source ports towards each destination, shared by all machines of its subnets", plural(natAddresses(c, g), "public address", "public addresses"), natLimit(c, g)))
	}
	u.settle()
	return u, true
}

// overAndAsking says which of the connections hold a port for nothing, or have none yet.
func overAndAsking(h holding) []string {
	var out []string
	if h.over > 0 {
		out = append(out, fmt.Sprintf("%d of %s are over, and keep their port for a while", h.over, plural(h.count, "connection", "connections")))
	}
	if h.asking > 0 {
		out = append(out, fmt.Sprintf("%d have no answer yet: who gets no port waits like this too", h.asking))
	}
	return out
}

func natLimit(c *model.Case, g *model.NATGateway) float64 {
	return float64(natPorts * natAddresses(c, g))
}

func natAddresses(c *model.Case, g *model.NATGateway) int {
	n := len(g.PublicIPs)
	for _, id := range g.Prefixes {
		if p := c.World.Azure.PublicIPPrefixes[strings.ToLower(id)]; p != nil && p.Prefix.IsValid() {
			n += 1 << min(p.Prefix.Addr().BitLen()-p.Prefix.Bits(), 4)
		} else {
			n++
		}
	}
	return min(max(n, 1), mostNATAddresses)
}

// ManagedBy is the cluster that a NAT gateway is a part of, which then is changed by
// AKS alone: what is set on the gateway itself, in the nodes' resource group, AKS sets
// back. nil: it is somebody's own.
// https://learn.microsoft.com/azure/aks/nat-gateway
func ManagedBy(c *model.Case, g *model.NATGateway) *model.ManagedCluster {
	cluster := c.World.Azure.Cluster
	if cluster == nil || !strings.EqualFold(cluster.OutboundType, "managedNATGateway") || !strings.EqualFold(diagnose.ParseArmID(g.ID).Group, cluster.NodeResourceGroup) {
		return nil
	}
	return cluster
}

// ManagedBalancer is the cluster that a load balancer's outbound rules are a part of,
// which AKS sets back to what the cluster's profile says; nil: they are somebody's own.
// https://learn.microsoft.com/azure/aks/load-balancer-standard
func ManagedBalancer(c *model.Case, lb *model.LoadBalancer) *model.ManagedCluster {
	cluster := c.World.Azure.Cluster
	if cluster == nil || cluster.LBProfile == nil || !strings.EqualFold(cluster.OutboundType, "loadBalancer") || !strings.EqualFold(diagnose.ParseArmID(lb.ID).Group, cluster.NodeResourceGroup) {
		return nil
	}
	return cluster
}

// natRemedy is what helps: fewer connections, or another public address.
func natRemedy(c *model.Case, g *model.NATGateway) []diagnose.Command {
	if cluster, n := ManagedBy(c, g), natAddresses(c, g)+1; cluster != nil {
		return []diagnose.Command{
			{Text: "At once: let the application keep its connections and use them again (a pool, keep-alive); restart the pods that leak them"},
			{Text: fmt.Sprintf("Another public address, by AKS, whose gateway it is: each adds %s ports towards each destination, up to %d addresses", number(natPorts), mostNATAddresses), Line: diagnose.Az("aks update", cluster.ID, "--name", cluster.Name, "--nat-gateway-managed-outbound-ip-count", fmt.Sprint(min(n, mostNATAddresses)))},
			{Text: "Or reach Azure's own services by a private endpoint, which takes no source port"},
		}
	}
	name := g.Name + "-ip-" + fmt.Sprint(len(g.PublicIPs)+1)
	return []diagnose.Command{
		{Text: "At once: let the application keep its connections and use them again (a pool, keep-alive); restart the pods that leak them"},
		{Text: fmt.Sprintf("Make another public address: each adds %d ports towards each destination, up to %d addresses", natPorts, mostNATAddresses), Line: diagnose.Az("network public-ip create", g.ID, "--name", name, "--sku", "Standard", "--allocation-method", "Static")},
		{Text: "Give it to the gateway, with those that it has", Line: diagnose.Az("network nat gateway update", g.ID, append([]string{"--name", g.Name, "--public-ip-addresses"}, append(slices.Clone(g.PublicIPs), name)...)...)},
		{Text: "Or reach Azure's own services by a private endpoint, which takes no source port"},
	}
}
