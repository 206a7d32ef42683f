package parity

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/lab/plan"
)

// rule is a rule of a security group, and route one of a route table, in ARM's words.
type (
	rule  map[string]any
	route map[string]any
)

// host is one of the internet that answers.
type host struct {
	name, addr string
	ports      []int32
}

var outside = []host{
	{"api.payments.example", "203.0.113.10", []int32{443, 80}},
	{"registry.example", "203.0.113.20", []int32{443}},
	{"status.example", "203.0.113.30", []int32{443, 80}},
}

// network makes up security groups and route tables.
func (v *inventor) network() {
	w := v.w
	w.nsgs, w.routes, w.nicOf = map[string][]rule{}, map[string][]route{}, v.IntN(len(v.s.lab.Plan.Nodes))
	if v.chance(60) {
		w.nsgs["nodes"] = v.rules(6)
	}
	if v.chance(30) {
		w.nsgs["nic"] = v.rules(4)
	}
	if v.chance(60) {
		w.nsgs["pods"] = v.rules(4)
	}
	for _, table := range []string{plan.NodesSubnet, plan.PodsSubnet} {
		if v.chance(50) {
			w.routes[table] = v.routesOf(4)
		}
	}
}

func (v *inventor) rules(most int) []rule {
	var out []rule
	var used []int
	for i := range 1 + v.IntN(most) {
		priority := 100 + v.IntN(3900)
		for slices.Contains(used, priority) {
			priority++
		}
		used = append(used, priority)
		r := rule{
			"priority": priority, "direction": one(v, "Inbound", "Outbound"), "access": one(v, "Allow", "Deny", "Deny"), "protocol": one(v, "*", "Tcp", "Udp", "Tcp", "Icmp"),
			"sourcePortRange": "*",
		}
		v.side(r, "source")
		v.side(r, "destination")
		v.nsgPorts(r)
		out = append(out, rule{"name": fmt.Sprintf("r%d", i), "properties": map[string]any(r)})
	}
	return out
}

// side writes one side of a rule: a prefix, a tag, everything, or several prefixes.
func (v *inventor) side(r rule, which string) {
	prefixes := v.prefixes()
	switch v.IntN(5) {
	case 0:
		r[which+"AddressPrefix"] = "*"
	case 1:
		r[which+"AddressPrefix"] = one(v, "VirtualNetwork", "Internet", "AzureLoadBalancer", "VirtualNetwork")
	case 2, 3:
		r[which+"AddressPrefix"] = one(v, prefixes...)
	case 4:
		r[which+"AddressPrefixes"] = some(v, slices.Compact(slices.Sorted(slices.Values(prefixes)))...)
	}
}

// prefixes are networks to write into rules: each a draw of its own.
func (v *inventor) prefixes() []string {
	p, node, h := one(v, v.s.pods...), one(v, v.s.lab.Plan.Nodes...), one(v, outside...)
	return []string{
		p.addr.String(), p.addr.String() + "/32", node.PodCIDR.String(), node.Addr.String() + "/32", plan.NodesPrefix.String(),
		h.addr + "/32", "203.0.113.0/24", masked(h.addr, 28), v.s.lab.Plan.Nodes[0].PodCIDR.String(), "10.0.0.0/8",
	}
}

func (v *inventor) nsgPorts(r rule) {
	numbers := []string{"8080", "8081", "9090", "443", "80", "10250", "5353"}
	switch v.IntN(4) {
	case 0, 1:
		r["destinationPortRange"] = "*"
	case 2:
		r["destinationPortRange"] = one(v, append(numbers, "8080-8082", "5300-5400", "0-1023", "1024-65535")...)
	case 3:
		r["destinationPortRanges"] = some(v, append(numbers, "8081-9090")...)
	}
}

// routesOf makes up user-defined routes, no two for one prefix: Azure refuses that.
func (v *inventor) routesOf(most int) []route {
	var out []route
	var used []string
	for i := range 1 + v.IntN(most) {
		prefix := v.destination()
		if slices.Contains(used, prefix) {
			continue
		}
		used = append(used, prefix)
		r := route{"addressPrefix": prefix}
		switch v.IntN(7) {
		case 0, 1:
			r["nextHopType"] = "None"
		case 2:
			r["nextHopType"] = "VnetLocal"
		case 3, 4:
			r["nextHopType"] = "Internet"
		case 5:
			r["nextHopType"], r["nextHopIpAddress"] = "VirtualAppliance", plan.FWAddr.String()
		case 6:
			r["nextHopType"], r["nextHopIpAddress"] = "VirtualAppliance", one(v, "10.226.0.77", "10.224.200.9")
		}
		out = append(out, route{"name": fmt.Sprintf("u%d", i), "properties": map[string]any(r)})
	}
	return out
}

func (v *inventor) destination() string {
	p, node, h := one(v, v.s.pods...), one(v, v.s.lab.Plan.Nodes...), one(v, outside...)
	list := []string{h.addr + "/32", h.addr + "/32", "203.0.113.0/24", masked(h.addr, 28), "0.0.0.0/0", node.Addr.String() + "/32", plan.NodesPrefix.String()}
	if v.s.lab.Plan.Topology.CNI != plan.Overlay || v.chance(5) { // what Azure does about an overlay's pods nobody documents
		list = append(list, node.PodCIDR.String(), p.addr.String()+"/32")
	}
	return one(v, list...)
}
