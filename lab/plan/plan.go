// Package plan turns a topology into the lab's world: every name and address
// that SCENARIOS.md fixes. It decides nothing and starts nothing.
package plan

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Names and addresses that hold in every topology.
const (
	Subscription  = "00000000-0000-0000-0000-000000000001"
	Tenant        = "00000000-0000-0000-0000-000000000002"
	Location      = "westeurope"
	ResourceGroup = "rg-lab"
	NodeGroup     = "MC_rg-lab_aks-lab_westeurope"
	Cluster       = "aks-lab"
	VNet          = "vnet-lab"
	NodesSubnet   = "snet-nodes"
	PodsSubnet    = "snet-pods"
	FWSubnet      = "AzureFirewallSubnet"
	NodesNSG      = "nsg-nodes"
	PodsNSG       = "nsg-pods"
	RouteTable    = "rt-nodes"
	Firewall      = "fw-lab"
	FWPolicy      = "fw-lab-policy"
	AKSServices   = "aks-services"       // the internet host that plays Microsoft's endpoints
	Proxy         = "proxy.corp.example" // the forward proxy: the firewall's address, port ProxyPort
	NATGateway    = "natgw-lab"
	LoadBalancer  = "kubernetes"
	VMSize        = "Standard_D2s_v5"
	// InternalDomain is what Azure's DHCP puts into a node's search list.
	InternalDomain = "lab.ax.internal.cloudapp.net"
)

// Prefixes and addresses of the lab's world.
var (
	VNetPrefix   = netip.MustParsePrefix("10.224.0.0/12")
	NodesPrefix  = netip.MustParsePrefix("10.224.0.0/16")
	PodsPrefix   = netip.MustParsePrefix("10.225.0.0/16")
	FWPrefix     = netip.MustParsePrefix("10.226.0.0/24")
	FWAddr       = netip.MustParseAddr("10.226.0.4")
	PodCIDR      = netip.MustParsePrefix("10.244.0.0/16")
	ServiceCIDR  = netip.MustParsePrefix("10.0.0.0/16")
	DNSService   = netip.MustParseAddr("10.0.0.10")
	APIServer    = netip.MustParseAddrPort("10.224.255.1:6443")
	AzureDNS     = netip.MustParseAddr("168.63.129.16")
	PublicDNS    = netip.MustParseAddr("203.0.113.253")
	EgressPrefix = netip.MustParsePrefix("192.0.2.0/24")
	LBAddr       = netip.MustParseAddr("192.0.2.10")
	NATAddr      = netip.MustParseAddr("192.0.2.20")
	FWPublicAddr = netip.MustParseAddr("192.0.2.30")
	Laptop       = netip.MustParseAddr("198.51.100.7")
)

// ProxyPort is where the forward proxy listens, on FWAddr.
const ProxyPort = 3128

// The values that a topology's fields take.
const (
	Kubenet    = "kubenet"
	NodeSubnet = "azure-node-subnet"
	PodSubnet  = "azure-pod-subnet"
	Overlay    = "azure-overlay"
	Flannel    = "flannel-vxlan" // networkPlugin none, and Flannel brought along

	OutLB      = "loadBalancer"
	OutManaged = "managedNATGateway"
	OutUser    = "userAssignedNATGateway"
	OutUDR     = "userDefinedRouting"
	OutNone    = "none"
)

// Topology is the shape of one lab, as SCENARIOS.md §1 writes it.
type Topology struct {
	CNI       string `yaml:"cni,omitempty" json:"cni"`
	Outbound  string `yaml:"outbound,omitempty" json:"outbound"`
	Policy    string `yaml:"policy,omitempty" json:"policy"`
	KubeProxy string `yaml:"kubeProxy,omitempty" json:"kubeProxy"`
	Nodes     int    `yaml:"nodes,omitempty" json:"nodes,omitempty"`
	Pools     []Pool `yaml:"pools,omitempty" json:"pools,omitempty"`
}

// Pool is one node pool of a topology.
type Pool struct {
	Name   string `yaml:"name" json:"name"`
	Subnet string `yaml:"subnet,omitempty" json:"subnet,omitempty"`
	Nodes  int    `yaml:"nodes,omitempty" json:"nodes,omitempty"`
}

// Complete fills in the defaults and refuses what no lab can be.
func (t Topology) Complete() (Topology, error) {
	def := func(s *string, value string, allowed ...string) error {
		if *s == "" {
			*s = value
		}
		for _, a := range allowed {
			if *s == a {
				return nil
			}
		}
		return fmt.Errorf("%q is none of %v", *s, allowed)
	}
	if err := def(&t.CNI, Overlay, Kubenet, NodeSubnet, PodSubnet, Overlay, Flannel); err != nil {
		return t, fmt.Errorf("topology.cni: %w", err)
	}
	if err := def(&t.Outbound, OutLB, OutLB, OutManaged, OutUser, OutUDR, OutNone); err != nil {
		return t, fmt.Errorf("topology.outbound: %w", err)
	}
	if err := def(&t.Policy, "none", "none", "enforced"); err != nil {
		return t, fmt.Errorf("topology.policy: %w", err)
	}
	if err := def(&t.KubeProxy, "nftables", "nftables", "iptables"); err != nil {
		return t, fmt.Errorf("topology.kubeProxy: %w", err)
	}
	if len(t.Pools) == 0 {
		if t.Nodes == 0 {
			t.Nodes = 2
		}
		t.Pools = []Pool{{Name: "np1", Subnet: NodesSubnet, Nodes: t.Nodes}}
	}
	total := 0
	for i := range t.Pools {
		p := &t.Pools[i]
		if p.Name == "" {
			return t, fmt.Errorf("topology.pools[%d]: a pool needs a name", i)
		}
		if p.Subnet == "" {
			p.Subnet = NodesSubnet
		}
		if p.Nodes == 0 {
			p.Nodes = 1
		}
		total += p.Nodes
	}
	if total < 1 || total > 5 {
		return t, fmt.Errorf("topology: %d nodes; a lab has 1 to 5", total)
	}
	t.Nodes = total
	return t, nil
}

// Key names a topology; two scenarios with the same key can share a lab.
func (t Topology) Key() string {
	key := fmt.Sprintf("%s/%s/%s/%s/%d", t.CNI, t.Outbound, t.Policy, t.KubeProxy, t.Nodes)
	if len(t.Pools) > 1 || (len(t.Pools) == 1 && (t.Pools[0].Name != "np1" || t.Pools[0].Subnet != NodesSubnet)) {
		for _, p := range t.Pools {
			key += fmt.Sprintf("/%s:%s:%d", p.Name, p.Subnet, p.Nodes)
		}
	}
	return key
}

// Node is one node of the lab.
type Node struct {
	Index    int    // over all pools, from 0
	Name     string // aks-np1-vmss000000
	Pool     string
	VMSS     string // aks-np1-vmss
	Instance int    // within the scale set
	Subnet   string
	Addr     netip.Addr   // eth0
	PodCIDR  netip.Prefix // what the CNI hands out on this node, whatever the CNI
}

// Subnet is one subnet of the lab's VNet.
type Subnet struct {
	Name   string
	Prefix netip.Prefix
}

// Plan is a lab's world.
type Plan struct {
	Lab      string // name of this lab: prefix of its network namespaces
	Topology Topology
	Nodes    []Node
	Subnets  []Subnet
}

// New lays out a completed topology. It fails only on an invalid one.
func New(lab string, t Topology) (*Plan, error) {
	t, err := t.Complete()
	if err != nil {
		return nil, err
	}
	p := &Plan{Lab: lab, Topology: t, Subnets: []Subnet{
		{NodesSubnet, NodesPrefix}, {PodsSubnet, PodsPrefix}, {FWSubnet, FWPrefix},
	}}
	next := byte(227)
	index := 0
	instances := map[string]int{}
	for _, pool := range t.Pools {
		subnet, ok := p.Subnet(pool.Subnet)
		if !ok {
			subnet = Subnet{pool.Subnet, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, next, 0, 0}), 16)}
			p.Subnets = append(p.Subnets, subnet)
			next++
		}
		for range pool.Nodes {
			base := subnet.Prefix.Addr().As4()
			base[3] = byte(4 + index)
			vmss := "aks-" + pool.Name + "-vmss"
			instance := instances[vmss]
			instances[vmss]++
			p.Nodes = append(p.Nodes, Node{
				Index: index, Name: fmt.Sprintf("%s%06d", vmss, instance), Pool: pool.Name, VMSS: vmss,
				Instance: instance, Subnet: subnet.Name, Addr: netip.AddrFrom4(base), PodCIDR: p.podCIDR(index, subnet),
			})
			index++
		}
	}
	return p, nil
}

func (p *Plan) podCIDR(i int, subnet Subnet) netip.Prefix {
	switch p.Topology.CNI {
	case NodeSubnet:
		b := subnet.Prefix.Addr().As4()
		b[2] = byte(1 + i)
		return netip.PrefixFrom(netip.AddrFrom4(b), 24)
	case PodSubnet:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 225, byte(i), 0}), 24)
	default:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24)
	}
}

// ProviderID is how a Node names its virtual machine; AKS writes the group in lower case.
func ProviderID(n Node) string {
	return "azure://" + ID(strings.ToLower(NodeGroup), "Microsoft.Compute/virtualMachineScaleSets", n.VMSS, "virtualMachines", strconv.Itoa(n.Instance))
}

// Subnet finds a subnet by name.
func (p *Plan) Subnet(name string) (Subnet, bool) {
	for _, s := range p.Subnets {
		if s.Name == name {
			return s, true
		}
	}
	return Subnet{}, false
}

// Node finds a node by name.
func (p *Plan) Node(name string) (Node, bool) {
	for _, n := range p.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return Node{}, false
}

// PodsInVNet says whether pods have addresses of the VNet.
func (t Topology) PodsInVNet() bool { return t.CNI == NodeSubnet || t.CNI == PodSubnet }

// ID is the ARM id of a resource in group rg: ID("rg-lab", "Microsoft.Network/networkSecurityGroups", "nsg-nodes").
// Further names are child segments, given in pairs as ARM writes them.
func ID(group, kind, name string, rest ...string) string {
	id := "/subscriptions/" + Subscription + "/resourceGroups/" + group + "/providers/" + kind + "/" + name
	for _, r := range rest {
		id += "/" + r
	}
	return id
}

// Host is one host of the lab's internet.
type Host struct {
	Name  string // api.payments.example
	Addr  netip.Addr
	V6    netip.Addr
	Names []string // what it answers to beside its own name; "*.x" is every name below x
}

// Hosts are the internet's hosts, without public DNS and the laptop.
var Hosts = []Host{
	host("api.payments.example", 10), host("registry.example", 20), host("status.example", 30),
	host("expired.example", 31), host("selfsigned.example", 32), host("closed.example", 33),
	host("silent.example", 34), host("slow.example", 35), host("reset.example", 36), host("big.example", 37),
	host("wrongname.example", 38), host("incomplete.example", 39), host("ratelimited.example", 40),
	{Name: "v6.example", Addr: netip.MustParseAddr("203.0.113.41"), V6: netip.MustParseAddr("2001:db8::41")},
	// What AKS itself needs, so that its required endpoints exist in the lab.
	{Name: AKSServices, Addr: netip.MustParseAddr("203.0.113.100"), Names: []string{
		"*.hcp." + Location + ".azmk8s.io", "mcr.microsoft.com", "*.data.mcr.microsoft.com", "mcr-0001.mcr-msedge.net", "management.azure.com",
		"login.microsoftonline.com", "packages.microsoft.com", "acs-mirror.azureedge.net", "packages.aks.azure.com", "ntp.ubuntu.com",
		"security.ubuntu.com", "azure.archive.ubuntu.com", "changelogs.ubuntu.com", "snapshot.ubuntu.com",
	}},
}

func host(name string, last byte) Host {
	return Host{Name: name, Addr: netip.AddrFrom4([4]byte{203, 0, 113, last})}
}
