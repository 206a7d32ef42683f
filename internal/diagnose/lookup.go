package diagnose

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// sorted walks a map in the order of its keys: results never come in map order.
func sorted[K cmp.Ordered, V any](m map[K]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

func named[V any](m map[string]V, name string, nameOf func(V) string) (found V) {
	for _, v := range sorted(m) {
		if strings.EqualFold(nameOf(v), name) {
			return v
		}
	}
	return found
}

// NSG finds a network security group and, when ref names one, its rule (a
// default rule too).
func (p *Pass) NSG(ref model.Ref) (*model.NSG, *model.NSGRule) {
	if ref.Kind() != "nsg" {
		return nil, nil
	}
	nsg := named(p.Case.World.Azure.NSGs, ref.Part(0), func(n *model.NSG) string { return n.Name })
	if nsg == nil {
		return nil, nil
	}
	for _, list := range [][]model.NSGRule{nsg.Rules, nsg.Defaults} {
		for i := range list {
			if strings.EqualFold(list[i].Name, ref.Part(1)) {
				return nsg, &list[i]
			}
		}
	}
	return nsg, nil
}

// Route finds a route table and, when ref names one, its route.
func (p *Pass) Route(ref model.Ref) (*model.RouteTable, *model.Route) {
	if ref.Kind() != "routetable" {
		return nil, nil
	}
	table := named(p.Case.World.Azure.RouteTables, ref.Part(0), func(t *model.RouteTable) string { return t.Name })
	if table == nil {
		return nil, nil
	}
	for i := range table.Routes {
		if strings.EqualFold(table.Routes[i].Name, ref.Part(1)) {
			return table, &table.Routes[i]
		}
	}
	return table, nil
}

// Subnet finds the subnet that holds an address; with several, the narrowest.
func (p *Pass) Subnet(addr netip.Addr) *model.Subnet {
	var best *model.Subnet
	bits := -1
	for _, s := range sorted(p.Case.World.Azure.Subnets) {
		for _, prefix := range s.Prefixes {
			if prefix.Contains(addr) && prefix.Bits() > bits {
				best, bits = s, prefix.Bits()
			}
		}
	}
	return best
}

// SubnetRef is subnet/VNET/NAME.
func (p *Pass) SubnetRef(s *model.Subnet) model.Ref {
	return model.NewRef("subnet", p.vnetName(s), s.Name)
}

func (p *Pass) vnetName(s *model.Subnet) string {
	if v := p.Case.World.Azure.VNets[strings.ToLower(s.VNetID)]; v != nil {
		return v.Name
	}
	return cmp.Or(ParseArmID(s.VNetID).Name, ParseArmID(s.ID).Parent)
}

// VNet is the VNet of the cluster's nodes, or nil.
func (p *Pass) VNet() *model.VNet {
	vnets := p.Case.World.Azure.VNets
	if node := p.Case.World.Kube.Nodes[p.Node()]; node != nil && len(node.InternalIPs) > 0 {
		if s := p.Subnet(node.InternalIPs[0]); s != nil {
			if v := vnets[strings.ToLower(s.VNetID)]; v != nil {
				return v
			}
		}
	}
	if len(vnets) == 1 {
		return sorted(vnets)[0]
	}
	return nil
}

// EgressSubnet is the subnet whose route table, NSG and NAT gateway decide over
// the asking side's packets: the pod's own when pods have addresses of the
// VNet, the node's otherwise.
func (p *Pass) EgressSubnet() *model.Subnet {
	if pod := p.Pod(); pod != nil && len(pod.IPs) > 0 && !pod.HostNetwork {
		if s := p.Subnet(pod.IPs[0]); s != nil {
			return s
		}
	}
	if node := p.Case.World.Kube.Nodes[p.Node()]; node != nil && len(node.InternalIPs) > 0 {
		return p.Subnet(node.InternalIPs[0])
	}
	return nil
}

// TableOf is the route table of a subnet, or nil.
func (p *Pass) TableOf(s *model.Subnet) *model.RouteTable {
	if s == nil {
		return nil
	}
	return p.Case.World.Azure.RouteTables[strings.ToLower(s.RouteTableID)]
}

// Outbound is the cluster's outbound type, lower-cased; an old answer without
// one means the load balancer; "" when the cluster was not read.
func (p *Pass) Outbound() string {
	c := p.Case.World.Azure.Cluster
	if c == nil {
		return ""
	}
	return strings.ToLower(cmp.Or(c.OutboundType, "loadBalancer"))
}

// Owner is who owns an address inside the VNet.
type Owner struct {
	Ref      model.Ref // firewall/NAME, nic/NAME, loadbalancer/NAME, node/NAME
	Firewall *model.Firewall
	NIC      *model.NIC
}

// OwnerOf finds who owns an address; the zero Owner when nobody does.
func (p *Pass) OwnerOf(addr netip.Addr) Owner {
	az := &p.Case.World.Azure
	for _, fw := range sorted(az.Firewalls) {
		if fw.PrivateIP == addr {
			return Owner{Ref: model.NewRef("firewall", fw.Name), Firewall: fw}
		}
	}
	for _, nic := range sorted(az.NICs) {
		for _, c := range nic.IPConfigs {
			if c.Addr == addr {
				return Owner{Ref: model.NewRef("nic", nic.Name), NIC: nic}
			}
		}
	}
	for _, lb := range sorted(az.LoadBalancers) {
		for _, f := range lb.Frontends {
			if f.PrivateIP == addr {
				return Owner{Ref: model.NewRef("loadbalancer", lb.Name)}
			}
		}
	}
	for _, n := range sorted(p.Case.World.Kube.Nodes) {
		if slices.Contains(n.InternalIPs, addr) {
			return Owner{Ref: model.NewRef("node", n.Name)}
		}
	}
	return Owner{}
}

// Firewall is the firewall on the question's way, with its policy, or nil.
func (p *Pass) Firewall() (*model.Firewall, *model.FirewallPolicy) {
	hop := p.NextHop()
	if !hop.IsValid() {
		return nil, nil
	}
	fw := p.OwnerOf(hop).Firewall
	if fw == nil {
		return nil, nil
	}
	return fw, p.Case.World.Azure.FirewallPolicies[strings.ToLower(fw.PolicyID)]
}

// NextHop is the appliance's address to which the egress subnet's routes send
// the question's packets; invalid when they go elsewhere.
func (p *Pass) NextHop() netip.Addr {
	route := p.UDR(p.Target().Addr())
	if route == nil || !strings.EqualFold(route.NextHopType, "VirtualAppliance") {
		return netip.Addr{}
	}
	return route.NextHop
}

// UDR is the user-defined route of the egress subnet with the longest prefix
// that holds an address, or nil.
func (p *Pass) UDR(dst netip.Addr) *model.Route {
	table := p.TableOf(p.EgressSubnet())
	if table == nil || !dst.IsValid() {
		return nil
	}
	var best *model.Route
	bits := -1
	for i := range table.Routes {
		prefix, err := netip.ParsePrefix(table.Routes[i].Prefix)
		if err == nil && prefix.Contains(dst) && prefix.Bits() > bits {
			best, bits = &table.Routes[i], prefix.Bits()
		}
	}
	return best
}
