package fabric

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/lab/nft"
	"github.com/podpath/podpath/lab/plan"
)

// The parts of ARM documents that decide about packets. encoding/json matches
// keys without regard to case, as ARM does.
type (
	ref struct {
		ID string `json:"id"`
	}
	resource[P any] struct {
		ID         string `json:"id"`
		Name       string `json:"name"`
		Sku        struct{ Name string }
		Tags       map[string]string `json:"tags"`
		Properties P                 `json:"properties"`
	}
	securityRule struct {
		Protocol, Access, Direction                                                          string
		Priority                                                                             int
		SourcePortRange, DestinationPortRange, SourceAddressPrefix, DestinationAddressPrefix string
		SourcePortRanges, DestinationPortRanges                                              []string
		SourceAddressPrefixes, DestinationAddressPrefixes                                    []string
		SourceApplicationSecurityGroups, DestinationApplicationSecurityGroups                []ref
	}
	securityGroup struct {
		SecurityRules, DefaultSecurityRules []resource[securityRule]
	}
	route struct {
		AddressPrefix, NextHopType, NextHopIPAddress string
	}
	routeTable struct {
		Routes                     []resource[route]
		DisableBgpRoutePropagation bool
	}
	addressSpace struct{ AddressPrefixes []string }
	peering      struct {
		PeeringState                     string
		AllowVirtualNetworkAccess        *bool
		RemoteAddressSpace               addressSpace
		RemoteVirtualNetworkAddressSpace addressSpace
	}
	subnet struct {
		AddressPrefix         string
		AddressPrefixes       []string
		NetworkSecurityGroup  *ref
		RouteTable            *ref
		NatGateway            *ref
		DefaultOutboundAccess *bool
	}
	virtualNetwork struct {
		AddressSpace           addressSpace
		Subnets                []resource[subnet]
		VirtualNetworkPeerings []resource[peering]
	}
	ipConfiguration struct {
		PrivateIPAddress                string
		Primary                         bool
		Subnet                          *ref
		PublicIPAddress                 *ref
		LoadBalancerBackendAddressPools []ref
		ApplicationSecurityGroups       []ref
	}
	networkInterface struct {
		EnableIPForwarding   bool
		NetworkSecurityGroup *ref
		IPConfigurations     []resource[ipConfiguration]
	}
	publicIP struct {
		IPAddress string
	}
	publicPrefix struct {
		IPPrefix string
	}
	natGateway struct {
		IdleTimeoutInMinutes int
		PublicIPAddresses    []ref
		PublicIPPrefixes     []ref
	}
	frontend struct {
		PublicIPAddress  *ref
		PublicIPPrefix   *ref
		PrivateIPAddress string
	}
	backendPool struct {
		BackendIPConfigurations      []ref
		LoadBalancerBackendAddresses []resource[struct{ IPAddress string }]
	}
	outboundRule struct {
		AllocatedOutboundPorts   int
		Protocol                 string
		EnableTCPReset           bool
		IdleTimeoutInMinutes     int
		BackendAddressPool       *ref
		FrontendIPConfigurations []ref
	}
	loadBalancingRule struct {
		Protocol                                           string
		FrontendPort, BackendPort                          int
		EnableFloatingIP                                   bool
		FrontendIPConfiguration, BackendAddressPool, Probe *ref
	}
	probe struct {
		Protocol, RequestPath                   string
		Port, IntervalInSeconds, ProbeThreshold int
	}
	loadBalancer struct {
		FrontendIPConfigurations []resource[frontend]
		BackendAddressPools      []resource[backendPool]
		OutboundRules            []resource[outboundRule]
		LoadBalancingRules       []resource[loadBalancingRule]
		Probes                   []resource[probe]
	}
	azureFirewall struct {
		ProvisioningState string
		PowerState        string
		IPConfigurations  []resource[ipConfiguration]
		FirewallPolicy    *ref
	}
	networkGateway struct {
		GatewayDefaultSite *ref
		LearnedRoutes      []string
	}
	localGateway struct {
		LocalNetworkAddressSpace addressSpace
	}
	managedCluster struct {
		AgentPoolProfiles []struct{ Count int }
		NetworkProfile    struct {
			NetworkPlugin, NetworkPluginMode, PodCidr string
			PodCidrs                                  []string
		}
	}
)

// documents are the ARM documents of a lab, read and indexed by lower-cased id.
type documents struct {
	vnets     []resource[virtualNetwork]
	nsgs      map[string]resource[securityGroup]
	tables    map[string]resource[routeTable]
	nics      []resource[networkInterface]
	publicIPs map[string]resource[publicIP]
	prefixes  map[string]resource[publicPrefix]
	nats      map[string]resource[natGateway]
	balancers []resource[loadBalancer]
	firewalls []resource[azureFirewall]
	gateways  []resource[networkGateway]
	locals    []resource[localGateway]
	clusters  []resource[managedCluster]
}

func lower(s string) string { return strings.ToLower(s) }

func (r *ref) key() string {
	if r == nil {
		return ""
	}
	return lower(r.ID)
}

// kind is the type path of an ARM id: "microsoft.network/virtualnetworks/subnets".
func kind(id string) string {
	_, rest, ok := strings.Cut(lower(id), "/providers/")
	if !ok {
		return ""
	}
	parts := strings.Split(rest, "/")
	out := parts[:1:1]
	for i := 1; i < len(parts); i += 2 {
		out = append(out, parts[i])
	}
	return strings.Join(out, "/")
}

// parent is the id without its last two segments.
func parent(id string) string {
	for range 2 {
		if i := strings.LastIndexByte(id, '/'); i >= 0 {
			id = id[:i]
		}
	}
	return id
}

func read[P any](doc map[string]any) (resource[P], error) {
	var r resource[P]
	text, err := json.Marshal(doc)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("document %v: %w", doc["id"], err)
	}
	if r.Name == "" {
		r.Name = r.ID[strings.LastIndexByte(r.ID, '/')+1:]
	}
	return r, nil
}

// readDocuments reads every document that matters here. A child (a rule, a
// subnet) may stand inside its parent, as a document of its own, or both: the
// document of its own wins.
func readDocuments(docs []map[string]any) (*documents, error) {
	d := &documents{
		nsgs: map[string]resource[securityGroup]{}, tables: map[string]resource[routeTable]{},
		publicIPs: map[string]resource[publicIP]{}, prefixes: map[string]resource[publicPrefix]{},
		nats: map[string]resource[natGateway]{},
	}
	sorted := slices.Clone(docs)
	slices.SortFunc(sorted, func(a, b map[string]any) int { return strings.Compare(docID(a), docID(b)) })
	children := map[string][]map[string]any{}
	for _, doc := range sorted {
		id := docID(doc)
		children[parent(id)+"#"+kind(id)] = append(children[parent(id)+"#"+kind(id)], doc)
	}
	for _, doc := range sorted {
		if err := d.read(docID(doc), doc, children); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func docID(doc map[string]any) string { id, _ := doc["id"].(string); return lower(id) }

func (d *documents) read(id string, doc map[string]any, children map[string][]map[string]any) error {
	switch k := kind(id); k {
	case "microsoft.network/virtualnetworks":
		r, err := read[virtualNetwork](doc)
		if err == nil {
			r.Properties.Subnets, err = join(r.Properties.Subnets, children[id+"#"+k+"/subnets"])
		}
		if err == nil {
			r.Properties.VirtualNetworkPeerings, err = join(r.Properties.VirtualNetworkPeerings, children[id+"#"+k+"/virtualnetworkpeerings"])
		}
		d.vnets = append(d.vnets, r)
		return err
	case "microsoft.network/networksecuritygroups":
		r, err := read[securityGroup](doc)
		if err == nil {
			r.Properties.SecurityRules, err = join(r.Properties.SecurityRules, children[id+"#"+k+"/securityrules"])
		}
		d.nsgs[id] = r
		return err
	case "microsoft.network/routetables":
		r, err := read[routeTable](doc)
		if err == nil {
			r.Properties.Routes, err = join(r.Properties.Routes, children[id+"#"+k+"/routes"])
		}
		d.tables[id] = r
		return err
	case "microsoft.network/networkinterfaces", "microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces":
		return appendTo(&d.nics, doc)
	case "microsoft.network/publicipaddresses":
		return put(d.publicIPs, id, doc)
	case "microsoft.network/publicipprefixes":
		return put(d.prefixes, id, doc)
	case "microsoft.network/natgateways":
		return put(d.nats, id, doc)
	case "microsoft.network/loadbalancers":
		r, err := read[loadBalancer](doc)
		if err == nil {
			r.Properties.OutboundRules, err = join(r.Properties.OutboundRules, children[id+"#"+k+"/outboundrules"])
		}
		if err == nil {
			r.Properties.BackendAddressPools, err = join(r.Properties.BackendAddressPools, children[id+"#"+k+"/backendaddresspools"])
		}
		if err == nil {
			r.Properties.LoadBalancingRules, err = join(r.Properties.LoadBalancingRules, children[id+"#"+k+"/loadbalancingrules"])
		}
		if err == nil {
			r.Properties.Probes, err = join(r.Properties.Probes, children[id+"#"+k+"/probes"])
		}
		d.balancers = append(d.balancers, r)
		return err
	case "microsoft.network/azurefirewalls":
		return appendTo(&d.firewalls, doc)
	case "microsoft.network/virtualnetworkgateways":
		return appendTo(&d.gateways, doc)
	case "microsoft.network/localnetworkgateways":
		return appendTo(&d.locals, doc)
	case "microsoft.containerservice/managedclusters":
		return appendTo(&d.clusters, doc)
	}
	return nil
}

func appendTo[P any](list *[]resource[P], doc map[string]any) error {
	r, err := read[P](doc)
	*list = append(*list, r)
	return err
}

func put[P any](into map[string]resource[P], id string, doc map[string]any) error {
	r, err := read[P](doc)
	into[id] = r
	return err
}

func join[P any](embedded []resource[P], own []map[string]any) ([]resource[P], error) {
	for _, doc := range own {
		r, err := read[P](doc)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(embedded, func(e resource[P]) bool { return strings.EqualFold(e.Name, r.Name) })
		if i >= 0 {
			embedded[i] = r
		} else {
			embedded = append(embedded, r)
		}
	}
	return embedded, nil
}

// addresses are the public addresses behind references to addresses and prefixes.
func (d *documents) addresses(ips, prefixes []ref) []netip.Addr {
	var out []netip.Addr
	for _, r := range ips {
		if a, err := netip.ParseAddr(d.publicIPs[r.key()].Properties.IPAddress); err == nil && a.Is4() {
			out = append(out, a)
		}
	}
	for _, r := range prefixes {
		p, err := netip.ParsePrefix(d.prefixes[r.key()].Properties.IPPrefix)
		if err != nil || !p.Addr().Is4() {
			continue
		}
		for a := p.Masked().Addr(); p.Contains(a) && len(out) < 16; a = a.Next() {
			out = append(out, a)
		}
	}
	return out
}

// nic is one NIC of the VNet, or the firewall's leg, and the link it hangs on.
type nic struct {
	id         string
	name       string
	link       string // the router's interface; empty where nobody is
	node       *plan.Node
	addr       netip.Addr // primary
	addrs      []netip.Addr
	carried    []netip.Prefix // pod ranges that the platform itself knows to be here
	subnet     string         // of the primary configuration, lower-cased id
	subnetOf   map[netip.Addr]string
	forwarding bool
	nsg        string
	public     []netip.Addr
	pools      map[string]bool // of the primary configuration
	poolAddrs  map[string][]netip.Addr
	firewall   bool
	tags       map[string]string // of the firewall
}

// world is what the documents and the plan amount to.
type world struct {
	plan    *plan.Plan
	docs    *documents
	nics    []*nic
	vnet    []netip.Prefix
	peered  []netip.Prefix
	learned []netip.Prefix // by a gateway
	podCIDR []netip.Prefix // that the platform carries (overlay)
	subnets []resource[subnet]
	asg     map[string]nft.Set
	fwUp    bool
}

func newWorld(p *plan.Plan, docs []map[string]any) (*world, error) {
	d, err := readDocuments(docs)
	if err != nil {
		return nil, err
	}
	w := &world{plan: p, docs: d, asg: map[string]nft.Set{}}
	if err := w.readNetworks(); err != nil {
		return nil, err
	}
	w.readPodCIDR()
	if err := w.readNICs(); err != nil {
		return nil, err
	}
	w.readFirewalls()
	return w, nil
}

// readNetworks takes the VNet of the plan; without a document the plan itself is the VNet.
func (w *world) readNetworks() error {
	id := lower(plan.ID(plan.ResourceGroup, "Microsoft.Network/virtualNetworks", plan.VNet))
	for _, v := range w.docs.vnets {
		if lower(v.ID) != id {
			continue
		}
		for _, s := range v.Properties.AddressSpace.AddressPrefixes {
			if err := appendPrefix(&w.vnet, s); err != nil {
				return fmt.Errorf("virtual network %s: addressSpace: %w", v.Name, err)
			}
		}
		w.subnets = v.Properties.Subnets
		for i, s := range w.subnets {
			if s.ID == "" {
				w.subnets[i].ID = v.ID + "/subnets/" + s.Name
			}
		}
		for _, peer := range v.Properties.VirtualNetworkPeerings {
			if !strings.EqualFold(peer.Properties.PeeringState, "Connected") {
				continue
			}
			space := peer.Properties.RemoteVirtualNetworkAddressSpace.AddressPrefixes
			if len(space) == 0 {
				space = peer.Properties.RemoteAddressSpace.AddressPrefixes
			}
			for _, s := range space {
				if err := appendPrefix(&w.peered, s); err != nil {
					return fmt.Errorf("peering %s: %w", peer.Name, err)
				}
			}
		}
	}
	if len(w.vnet) == 0 {
		w.vnet = []netip.Prefix{plan.VNetPrefix}
	}
	if len(w.subnets) == 0 {
		for _, s := range w.plan.Subnets {
			r := resource[subnet]{ID: id + "/subnets/" + s.Name, Name: s.Name}
			r.Properties.AddressPrefix = s.Prefix.String()
			r.Properties.DefaultOutboundAccess = new(bool)
			w.subnets = append(w.subnets, r)
		}
	}
	return w.readGateways()
}

// readGateways finds what a virtual network gateway teaches the VNet: the ranges
// of its sites, 0.0.0.0/0 with a default site, and what it lists as learned by BGP
// (properties.learnedRoutes, or a tag "learnedRoutes", comma separated).
func (w *world) readGateways() error {
	if len(w.docs.gateways) == 0 {
		return nil
	}
	var learned []string
	for _, g := range w.docs.gateways {
		learned = append(learned, g.Properties.LearnedRoutes...)
		for k, v := range g.Tags {
			if strings.EqualFold(k, "learnedRoutes") {
				learned = append(learned, strings.Split(v, ",")...)
			}
		}
		if g.Properties.GatewayDefaultSite != nil {
			learned = append(learned, "0.0.0.0/0")
		}
	}
	for _, l := range w.docs.locals {
		learned = append(learned, l.Properties.LocalNetworkAddressSpace.AddressPrefixes...)
	}
	for _, s := range learned {
		if err := appendPrefix(&w.learned, strings.TrimSpace(s)); err != nil {
			return fmt.Errorf("routes learned by a virtual network gateway: %w", err)
		}
	}
	return nil
}

func (w *world) overlay() bool { return w.plan.Topology.CNI == plan.Overlay }

func (w *world) readPodCIDR() {
	if !w.overlay() {
		return
	}
	for _, c := range w.docs.clusters {
		for _, s := range append(c.Properties.NetworkProfile.PodCidrs, c.Properties.NetworkProfile.PodCidr) {
			if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() && !slices.Contains(w.podCIDR, p.Masked()) {
				w.podCIDR = append(w.podCIDR, p.Masked())
			}
		}
	}
	if len(w.podCIDR) == 0 {
		w.podCIDR = []netip.Prefix{plan.PodCIDR}
	}
}

func appendPrefix(list *[]netip.Prefix, s string) error {
	p, err := nft.ParsePrefix(s)
	if err != nil {
		return err
	}
	if p.Addr().Is4() && !slices.Contains(*list, p) {
		*list = append(*list, p)
	}
	return nil
}

func (w *world) subnet(id string) *resource[subnet] {
	for i := range w.subnets {
		if lower(w.subnets[i].ID) == id {
			return &w.subnets[i]
		}
	}
	return nil
}

func (s *resource[P]) key() string { return lower(s.ID) }

func subnetPrefixes(s *resource[subnet]) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range append([]string{s.Properties.AddressPrefix}, s.Properties.AddressPrefixes...) {
		if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
			out = append(out, p.Masked())
		}
	}
	return out
}

// readNICs pairs NIC documents with the plan's nodes by their address. A node
// without a document has what every AKS node has, so that a lab works before
// its documents are there.
func (w *world) readNICs() error {
	for _, doc := range w.docs.nics {
		n, err := w.readNIC(doc)
		if err != nil {
			return err
		}
		if n != nil {
			w.nics = append(w.nics, n)
		}
	}
	for i := range w.plan.Nodes {
		node := &w.plan.Nodes[i]
		if slices.ContainsFunc(w.nics, func(n *nic) bool { return n.node == node }) {
			continue
		}
		n := &nic{name: node.Name, addr: node.Addr, addrs: []netip.Addr{node.Addr}, forwarding: true, subnetOf: map[netip.Addr]string{}}
		for _, s := range w.subnets {
			if s.Name == node.Subnet {
				n.subnet = s.key()
			}
		}
		n.subnetOf[node.Addr] = n.subnet
		w.place(n, node)
		w.nics = append(w.nics, n)
	}
	slices.SortStableFunc(w.nics, func(a, b *nic) int { return a.addr.Compare(b.addr) })
	return nil
}

func (w *world) readNIC(doc resource[networkInterface]) (*nic, error) {
	n := &nic{
		id: lower(doc.ID), name: doc.Name, forwarding: doc.Properties.EnableIPForwarding, nsg: doc.Properties.NetworkSecurityGroup.key(),
		subnetOf: map[netip.Addr]string{}, pools: map[string]bool{}, poolAddrs: map[string][]netip.Addr{},
	}
	for i, c := range doc.Properties.IPConfigurations {
		if c.Properties.PrivateIPAddress == "" {
			continue
		}
		a, err := netip.ParseAddr(c.Properties.PrivateIPAddress)
		if err != nil {
			return nil, fmt.Errorf("NIC %s: ipConfiguration %s: %w", doc.Name, c.Name, err)
		}
		if !a.Is4() {
			continue
		}
		n.addrs = append(n.addrs, a)
		n.subnetOf[a] = c.Properties.Subnet.key()
		primary := c.Properties.Primary || (i == 0 && !n.addr.IsValid())
		if primary {
			n.addr, n.subnet = a, c.Properties.Subnet.key()
			n.public = w.docs.addresses(refs(c.Properties.PublicIPAddress), nil)
		}
		for _, pool := range c.Properties.LoadBalancerBackendAddressPools {
			n.poolAddrs[pool.key()] = append(n.poolAddrs[pool.key()], a)
			if primary {
				n.pools[pool.key()] = true
			}
		}
		for _, g := range c.Properties.ApplicationSecurityGroups {
			w.asg[g.key()] = append(w.asg[g.key()], nft.AddrSpan(a)).Merge()
		}
	}
	if !n.addr.IsValid() || w.subnet(n.subnet) == nil {
		return nil, nil // not of this VNet
	}
	for i := range w.plan.Nodes {
		if slices.Contains(n.addrs, w.plan.Nodes[i].Addr) {
			w.place(n, &w.plan.Nodes[i])
		}
	}
	if slices.Contains(n.addrs, plan.FWAddr) {
		n.link = fwLink // an appliance that is no Azure Firewall
	}
	return n, nil
}

func refs(r *ref) []ref {
	if r == nil {
		return nil
	}
	return []ref{*r}
}

// place hangs a NIC on its node's link, with the pod ranges that the platform
// itself carries there: an overlay's /24, or a pod subnet's block.
func (w *world) place(n *nic, node *plan.Node) {
	n.node, n.link = node, nodeLink(node.Index)
	if cni := w.plan.Topology.CNI; cni == plan.Overlay || cni == plan.PodSubnet {
		n.carried = []netip.Prefix{node.PodCIDR}
	}
}

func nodeLink(index int) string { return fmt.Sprint("node", index) }

// readFirewalls adds the firewall's leg as a NIC that forwards. Stopped or
// deallocated (no ipConfigurations) it is nobody.
func (w *world) readFirewalls() {
	for _, fw := range w.docs.firewalls {
		state := fw.Properties.PowerState + fw.Tags["powerState"]
		if strings.EqualFold(fw.Properties.ProvisioningState, "Failed") || strings.Contains(lower(state), "stopped") ||
			strings.Contains(lower(state), "deallocated") {
			continue
		}
		for _, c := range fw.Properties.IPConfigurations {
			a, err := netip.ParseAddr(c.Properties.PrivateIPAddress)
			if err != nil && c.Properties.Subnet != nil {
				a, err = plan.FWAddr, nil // requests do not carry the address, answers do
			}
			if err != nil {
				continue
			}
			public := w.docs.addresses(refs(c.Properties.PublicIPAddress), nil)
			if i := slices.IndexFunc(w.nics, func(n *nic) bool { return n.firewall }); i >= 0 {
				w.nics[i].public = append(w.nics[i].public, public...)
				continue
			}
			id := c.Properties.Subnet.key()
			n := &nic{
				id: lower(fw.ID), name: fw.Name, addr: a, addrs: []netip.Addr{a}, subnet: id, subnetOf: map[netip.Addr]string{a: id},
				forwarding: true, firewall: true, public: public, tags: fw.Tags,
			}
			if a == plan.FWAddr {
				n.link, w.fwUp = fwLink, true
			}
			if i := slices.IndexFunc(w.nics, func(o *nic) bool { return o.addr == a }); i >= 0 {
				n.forwarding, n.nsg = w.nics[i].forwarding, w.nics[i].nsg // somebody wrote a NIC document for the appliance
				w.nics = slices.Delete(w.nics, i, i+1)
			}
			w.nics = append(w.nics, n)
		}
	}
}

// owner is the NIC that has an address.
func (w *world) owner(a netip.Addr) *nic {
	for _, n := range w.nics {
		if slices.Contains(n.addrs, a) {
			return n
		}
	}
	return nil
}
