package model

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Azure is what was read from Azure Resource Manager. Maps are keyed by
// lower-cased ARM id: Azure itself is not consistent in case.
type Azure struct {
	Found            bool                       `json:"found"`           // the cluster is on Azure and at least one read succeeded
	Cloud            string                     `json:"cloud,omitempty"` // AzurePublicCloud, AzureUSGovernment, …, or the endpoint
	SubscriptionID   string                     `json:"subscriptionID,omitempty"`
	Cluster          *ManagedCluster            `json:"cluster,omitempty"`
	VNets            map[string]*VNet           `json:"vnets,omitempty"`
	Subnets          map[string]*Subnet         `json:"subnets,omitempty"`
	NSGs             map[string]*NSG            `json:"nsgs,omitempty"`
	ASGs             map[string]*ASG            `json:"asgs,omitempty"`
	RouteTables      map[string]*RouteTable     `json:"routeTables,omitempty"`
	NATGateways      map[string]*NATGateway     `json:"natGateways,omitempty"`
	PublicIPs        map[string]*PublicIP       `json:"publicIPs,omitempty"`
	PublicIPPrefixes map[string]*PublicIPPrefix `json:"publicIPPrefixes,omitempty"`
	NICs             map[string]*NIC            `json:"nics,omitempty"`
	VMSSs            map[string]*VMSS           `json:"vmsss,omitempty"`
	LoadBalancers    map[string]*LoadBalancer   `json:"loadBalancers,omitempty"`
	Firewalls        map[string]*Firewall       `json:"firewalls,omitempty"`
	FirewallPolicies map[string]*FirewallPolicy `json:"firewallPolicies,omitempty"`
	IPGroups         map[string][]string        `json:"ipGroups,omitempty"` // addresses, ranges and CIDRs
	PrivateZones     map[string]*PrivateZone    `json:"privateZones,omitempty"`
	Gateways         map[string]*VNetGateway    `json:"gateways,omitempty"` // virtual network gateways
	Required         []RequiredEndpoint         `json:"required,omitempty"` // outboundNetworkDependenciesEndpoints
	Metrics          []Series                   `json:"metrics,omitempty"`
	Advisor          []Advice                   `json:"advisor,omitempty"`
	Effective        []EffectiveRoute           `json:"effective,omitempty"` // effective routes, where Azure gave them (never for scale set interfaces)
	Others           map[string]*Resource       `json:"others,omitempty"`    // resources of types that the trace does not follow
	Sizes            map[string]*VMSize         `json:"sizes,omitempty"`     // of machines, by lower-cased name: those of the nodes and their families, where a disk is at its end; nil: not asked
}

// Resource is what is kept of a resource whose type the trace does not follow.
type Resource struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Name     string `json:"name"`
	Location string `json:"location,omitempty"`
	State    string `json:"state,omitempty"` // provisioningState
}

// EffectiveRoute is one line of an interface's effective routes as Azure computed them.
type EffectiveRoute struct {
	Name        string   `json:"name,omitempty"`   // of the user's route
	Source      string   `json:"source,omitempty"` // Default, User, VirtualNetworkGateway
	State       string   `json:"state,omitempty"`  // Active, Invalid
	Prefixes    []string `json:"prefixes,omitempty"`
	NextHopType string   `json:"nextHopType,omitempty"`
	NextHops    []string `json:"nextHops,omitempty"`
}

// ManagedCluster is a Microsoft.ContainerService/managedClusters resource.
// Enum-like strings are as served: compare them with strings.EqualFold.
type ManagedCluster struct {
	ID                string         `json:"id"`
	Name              string         `json:"name"`
	Location          string         `json:"location,omitempty"`
	KubernetesVersion string         `json:"kubernetesVersion,omitempty"`
	ProvisioningState string         `json:"provisioningState,omitempty"`
	PowerState        string         `json:"powerState,omitempty"`
	NodeResourceGroup string         `json:"nodeResourceGroup,omitempty"`
	FQDN              string         `json:"fqdn,omitempty"`
	PrivateFQDN       string         `json:"privateFQDN,omitempty"`
	Private           bool           `json:"private,omitempty"`
	AuthorizedRanges  []string       `json:"authorizedRanges,omitempty"`
	NetworkPlugin     string         `json:"networkPlugin,omitempty"` // kubenet, azure, none
	PluginMode        string         `json:"pluginMode,omitempty"`    // overlay or ""
	Dataplane         string         `json:"dataplane,omitempty"`     // azure, cilium
	NetworkPolicy     string         `json:"networkPolicy,omitempty"` // azure, calico, cilium, none
	ProxyMode         string         `json:"proxyMode,omitempty"`     // of kube-proxy: IPTABLES, IPVS, NFTABLES; "" means IPTABLES
	OutboundType      string         `json:"outboundType,omitempty"`  // "" (old answers) means loadBalancer
	PodCIDRs          []netip.Prefix `json:"podCIDRs,omitempty"`
	ServiceCIDRs      []netip.Prefix `json:"serviceCIDRs,omitempty"`
	DNSServiceIP      netip.Addr     `json:"dnsServiceIP,omitzero"`
	LBProfile         *LBProfile     `json:"lbProfile,omitempty"`
	NATProfileIPs     []string       `json:"natProfileIPs,omitempty"` // ids of effective outbound addresses
	NATIdleMinutes    int            `json:"natIdleMinutes,omitempty"`
	HTTPProxy         *HTTPProxy     `json:"httpProxy,omitempty"`
	Addons            []string       `json:"addons,omitempty"`         // enabled ones
	ArtifactSource    string         `json:"artifactSource,omitempty"` // Cache or Direct
	AgentPools        []AgentPool    `json:"agentPools,omitempty"`
}

// LBProfile is networkProfile.loadBalancerProfile.
type LBProfile struct {
	AllocatedPorts int      `json:"allocatedPorts"` // 0: the default table by pool size
	IdleMinutes    int      `json:"idleMinutes,omitempty"`
	ManagedIPs     int      `json:"managedIPs,omitempty"`
	EffectiveIPs   []string `json:"effectiveIPs,omitempty"` // ids
}

// HTTPProxy is the cluster's httpProxyConfig.
type HTTPProxy struct {
	HTTP    string   `json:"http,omitempty"`
	HTTPS   string   `json:"https,omitempty"`
	NoProxy []string `json:"noProxy,omitempty"`
}

// AgentPool is a node pool.
type AgentPool struct {
	Name         string `json:"name"`
	Type         string `json:"type,omitempty"` // VirtualMachineScaleSets, VirtualMachines
	Mode         string `json:"mode,omitempty"`
	Count        int    `json:"count"`
	MaxCount     int    `json:"maxCount,omitempty"` // that the autoscaler may grow it to; 0: it does not
	VMSize       string `json:"vmSize,omitempty"`
	SubnetID     string `json:"subnetID,omitempty"` // "": AKS-managed VNet
	PodSubnetID  string `json:"podSubnetID,omitempty"`
	MaxPods      int    `json:"maxPods,omitempty"`
	OSType       string `json:"osType,omitempty"`
	OSDiskType   string `json:"osDiskType,omitempty"`
	OSDiskSizeGB int    `json:"osDiskSizeGB,omitempty"`
	MaxSurge     string `json:"maxSurge,omitempty"`
	PublicIP     bool   `json:"publicIP,omitempty"` // enableNodePublicIP
	State        string `json:"state,omitempty"`    // provisioningState
	Power        string `json:"power,omitempty"`
	LocalDNS     bool   `json:"localDNS,omitempty"` // localDNSProfile.state is Enabled
}

// VNet is a virtual network.
type VNet struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	Prefixes   []netip.Prefix `json:"prefixes,omitempty"`
	DNSServers []netip.Addr   `json:"dnsServers,omitempty"` // empty: Azure-provided
	SubnetIDs  []string       `json:"subnetIDs,omitempty"`
	Peerings   []Peering      `json:"peerings,omitempty"`
}

// Peering is one direction of a VNet peering.
type Peering struct {
	ID                string         `json:"id"`
	Name              string         `json:"name"`
	State             string         `json:"state"` // Connected, Initiated, Disconnected
	RemoteVNetID      string         `json:"remoteVNetID"`
	RemotePrefixes    []netip.Prefix `json:"remotePrefixes,omitempty"`
	AllowAccess       bool           `json:"allowAccess"`
	AllowForwarded    bool           `json:"allowForwarded"`
	UseRemoteGateways bool           `json:"useRemoteGateways,omitempty"`
}

// Subnet is a subnet with everything that hangs on it.
type Subnet struct {
	ID               string         `json:"id"`
	Name             string         `json:"name"`
	VNetID           string         `json:"vnetID,omitempty"`
	Prefixes         []netip.Prefix `json:"prefixes,omitempty"`
	NSGID            string         `json:"nsgID,omitempty"`
	RouteTableID     string         `json:"routeTableID,omitempty"`
	NATGatewayID     string         `json:"natGatewayID,omitempty"`
	DefaultOutbound  *bool          `json:"defaultOutbound,omitempty"` // nil: not said, which means true
	ServiceEndpoints []string       `json:"serviceEndpoints,omitempty"`
	Delegations      []string       `json:"delegations,omitempty"`
	Attached         []string       `json:"attached,omitempty"` // lower-cased ids of what has an address in it, also of what one may not read
}

// NSG is a network security group with custom and default rules in one list.
type NSG struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Rules     []NSGRule `json:"rules,omitempty"`    // custom
	Defaults  []NSGRule `json:"defaults,omitempty"` // as served; the documented six when absent
	SubnetIDs []string  `json:"subnetIDs,omitempty"`
	NICIDs    []string  `json:"nicIDs,omitempty"`
}

// NSGRule is one security rule. Sources and Destinations merge the singular and
// the plural property; entries are CIDRs, addresses, "*", or a service tag.
type NSGRule struct {
	Name         string   `json:"name"`
	Priority     int      `json:"priority"`
	Inbound      bool     `json:"inbound"`
	Allow        bool     `json:"allow"`
	Protocol     string   `json:"protocol"` // Tcp, Udp, Icmp, Esp, Ah, *
	Sources      []string `json:"sources,omitempty"`
	Destinations []string `json:"destinations,omitempty"`
	SourcePorts  []string `json:"sourcePorts,omitempty"` // "*", "80", "100-200"
	DestPorts    []string `json:"destPorts,omitempty"`
	SourceASGs   []string `json:"sourceASGs,omitempty"` // ids
	DestASGs     []string `json:"destASGs,omitempty"`
}

// ASG is an application security group; its members are NIC ip configurations that name it.
type ASG struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// RouteTable is a route table.
type RouteTable struct {
	ID                 string   `json:"id"`
	Name               string   `json:"name"`
	DisablePropagation bool     `json:"disablePropagation,omitempty"`
	Routes             []Route  `json:"routes,omitempty"`
	SubnetIDs          []string `json:"subnetIDs,omitempty"`
}

// Route is a user-defined route. Prefix is as served: a CIDR or a service tag.
type Route struct {
	Name        string     `json:"name"`
	Prefix      string     `json:"prefix"`
	NextHopType string     `json:"nextHopType"` // VirtualAppliance, VirtualNetworkGateway, VnetLocal, Internet, None; open set
	NextHop     netip.Addr `json:"nextHop,omitzero"`
}

// NATGateway is a NAT gateway.
type NATGateway struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	SKU         string   `json:"sku,omitempty"`
	IdleMinutes int      `json:"idleMinutes,omitempty"`
	PublicIPs   []string `json:"publicIPs,omitempty"` // ids
	Prefixes    []string `json:"prefixes,omitempty"`  // ids
	SubnetIDs   []string `json:"subnetIDs,omitempty"`
	State       string   `json:"state,omitempty"`
	Zones       []string `json:"zones,omitempty"`
}

// PublicIP is a public address.
type PublicIP struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Addr     netip.Addr `json:"addr,omitzero"`
	SKU      string     `json:"sku,omitempty"`
	Attached string     `json:"attached,omitempty"` // id of the ip configuration that holds it
}

// PublicIPPrefix is a public address prefix.
type PublicIPPrefix struct {
	ID     string       `json:"id"`
	Name   string       `json:"name"`
	Prefix netip.Prefix `json:"prefix,omitzero"`
}

// NIC is a network interface, of a scale set instance or on its own.
type NIC struct {
	ID                          string     `json:"id"`
	Name                        string     `json:"name"`
	VMID                        string     `json:"vmID,omitempty"` // id of the VM or scale set instance
	Primary                     bool       `json:"primary,omitempty"`
	NSGID                       string     `json:"nsgID,omitempty"`
	IPForwarding                bool       `json:"ipForwarding"`
	IPConfigs                   []IPConfig `json:"ipConfigs,omitempty"`
	DefaultOutboundConnectivity *bool      `json:"defaultOutboundConnectivity,omitempty"`
}

// IPConfig is one ip configuration of a NIC.
type IPConfig struct {
	Name         string     `json:"name"`
	Primary      bool       `json:"primary,omitempty"`
	Addr         netip.Addr `json:"addr,omitzero"`
	SubnetID     string     `json:"subnetID,omitempty"`
	PublicIPID   string     `json:"publicIPID,omitempty"`
	BackendPools []string   `json:"backendPools,omitempty"` // ids
	ASGs         []string   `json:"asgs,omitempty"`         // ids
}

// VMSS is a virtual machine scale set, or (Single) one virtual machine.
type VMSS struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Pool      string         `json:"pool,omitempty"` // agent pool, from its tags
	Tags      Labels         `json:"tags,omitempty"`
	Instances []VMSSInstance `json:"instances,omitempty"`
	Single    bool           `json:"single,omitempty"`
	Size      string         `json:"size,omitempty"`     // of its machines, "Standard_D4s_v5"
	Location  string         `json:"location,omitempty"` // "westeurope"
	OSDisk    *OSDisk        `json:"osDisk,omitempty"`   // of its machines, as the model says; nil: not said
}

// VMSize is what Azure says of a size of machines in a region (Microsoft.Compute/skus).
// A limit of 0 was not said.
type VMSize struct {
	Name          string `json:"name"`
	Family        string `json:"family,omitempty"` // "standardDSv5Family"
	CPUs          int    `json:"cpus,omitempty"`
	UncachedIOPS  int64  `json:"uncachedIOPS,omitempty"`  // of all disks together, past the machine's cache
	UncachedBytes int64  `json:"uncachedBytes,omitempty"` // a second
	CachedIOPS    int64  `json:"cachedIOPS,omitempty"`    // of all disks through the cache, the temporary one as well
	CachedBytes   int64  `json:"cachedBytes,omitempty"`   // read in a second
	EphemeralOS   *bool  `json:"ephemeralOS,omitempty"`   // the operating system's disk can be the machine's own; nil: not said
	Restricted    bool   `json:"restricted,omitempty"`    // the subscription does not get it everywhere in the region
}

// OSDisk is the operating system's disk of a scale set's machines.
type OSDisk struct {
	SizeGB    int    `json:"sizeGB,omitempty"`
	SKU       string `json:"sku,omitempty"` // Premium_LRS, StandardSSD_LRS, …
	Ephemeral bool   `json:"ephemeral,omitempty"`
}

// VMSSInstance is one machine.
type VMSSInstance struct {
	ID       string `json:"id"`
	Computer string `json:"computer,omitempty"` // osProfile.computerName: the node's name
	Power    string `json:"power,omitempty"`    // PowerState/running, …
	State    string `json:"state,omitempty"`
}

// LoadBalancer is a load balancer.
type LoadBalancer struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	SKU       string         `json:"sku,omitempty"`
	Frontends []Frontend     `json:"frontends,omitempty"`
	Pools     []BackendPool  `json:"pools,omitempty"`
	Rules     []LBRule       `json:"rules,omitempty"`
	Outbound  []OutboundRule `json:"outbound,omitempty"`
	Probes    []LBProbe      `json:"probes,omitempty"`
}

// Frontend is a frontend ip configuration.
type Frontend struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	PublicIPID string     `json:"publicIPID,omitempty"`
	PrefixID   string     `json:"prefixID,omitempty"`
	PrivateIP  netip.Addr `json:"privateIP,omitzero"`
	SubnetID   string     `json:"subnetID,omitempty"`
}

// BackendPool is a backend address pool.
type BackendPool struct {
	ID        string       `json:"id"`
	Name      string       `json:"name"`
	IPConfigs []string     `json:"ipConfigs,omitempty"` // ids of NIC ip configurations
	Addrs     []netip.Addr `json:"addrs,omitempty"`     // of an IP-based pool
}

// LBRule is an inbound rule.
type LBRule struct {
	Name         string `json:"name"`
	FrontendID   string `json:"frontendID"`
	PoolID       string `json:"poolID,omitempty"`
	ProbeID      string `json:"probeID,omitempty"`
	Protocol     string `json:"protocol"`
	FrontendPort int    `json:"frontendPort"`
	BackendPort  int    `json:"backendPort"`
	FloatingIP   bool   `json:"floatingIP"`
	DisableSNAT  bool   `json:"disableSNAT"`
	IdleMinutes  int    `json:"idleMinutes,omitempty"`
	TCPReset     bool   `json:"tcpReset,omitempty"`
	Distribution string `json:"distribution,omitempty"`
}

// OutboundRule is an outbound rule.
type OutboundRule struct {
	Name           string   `json:"name"`
	FrontendIDs    []string `json:"frontendIDs"`
	PoolID         string   `json:"poolID"`
	Protocol       string   `json:"protocol"`       // All, Tcp, Udp
	AllocatedPorts int      `json:"allocatedPorts"` // per instance; 0: the default table
	IdleMinutes    int      `json:"idleMinutes,omitempty"`
	TCPReset       bool     `json:"tcpReset,omitempty"`
}

// LBProbe is a health probe.
type LBProbe struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Protocol string `json:"protocol"`
	Port     int    `json:"port"`
	Path     string `json:"path,omitempty"`
	Interval int    `json:"interval,omitempty"` // seconds
	Count    int    `json:"count,omitempty"`

	Threshold int `json:"threshold,omitempty"` // answers of one kind in a row that take a backend out, or in again
}

// Firewall is an Azure Firewall.
type Firewall struct {
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	PolicyID    string      `json:"policyID,omitempty"`
	PrivateIP   netip.Addr  `json:"privateIP,omitzero"`
	PublicIPs   []string    `json:"publicIPs,omitempty"` // ids
	State       string      `json:"state,omitempty"`     // provisioningState
	ThreatIntel string      `json:"threatIntel,omitempty"`
	Groups      []RuleGroup `json:"groups,omitempty"` // classic rules, without a policy
	Allocated   bool        `json:"allocated"`        // has ip configurations: a stopped firewall has none
}

// FirewallPolicy is a firewall policy with its rule collection groups.
type FirewallPolicy struct {
	ID                 string      `json:"id"`
	Name               string      `json:"name"`
	BaseID             string      `json:"baseID,omitempty"`
	ThreatIntel        string      `json:"threatIntel,omitempty"`
	PrivateRanges      []string    `json:"privateRanges,omitempty"` // snat.privateRanges: destinations that are not translated
	DNSProxy           bool        `json:"dnsProxy,omitempty"`
	DNSServers         []string    `json:"dnsServers,omitempty"`
	TLSInspection      bool        `json:"tlsInspection,omitempty"`
	ExplicitProxyHTTP  int         `json:"explicitProxyHTTP,omitempty"` // port, 0: off
	ExplicitProxyHTTPS int         `json:"explicitProxyHTTPS,omitempty"`
	Groups             []RuleGroup `json:"groups,omitempty"`
}

// RuleGroup is a rule collection group.
type RuleGroup struct {
	Name        string           `json:"name"`
	Priority    int              `json:"priority"`
	Collections []RuleCollection `json:"collections,omitempty"`
}

// RuleCollection is a rule collection.
type RuleCollection struct {
	Name     string         `json:"name"`
	Priority int            `json:"priority"`
	Action   string         `json:"action"` // Allow, Deny, Dnat, Snat
	Rules    []FirewallRule `json:"rules,omitempty"`
}

// FirewallRule is a network, application or NAT rule.
type FirewallRule struct {
	Name           string   `json:"name"`
	Kind           string   `json:"kind"` // network, application, nat
	Sources        []string `json:"sources,omitempty"`
	SourceGroups   []string `json:"sourceGroups,omitempty"` // ip group ids (not expanded)
	Destinations   []string `json:"destinations,omitempty"` // addresses, CIDRs, tags
	DestGroups     []string `json:"destGroups,omitempty"`
	DestFQDNs      []string `json:"destFQDNs,omitempty"` // network rules
	DestPorts      []string `json:"destPorts,omitempty"`
	Protocols      []string `json:"protocols,omitempty"` // TCP, UDP, ICMP, Any; for application rules "Https:443"
	FQDNs          []string `json:"fqdns,omitempty"`     // application: targetFqdns
	FQDNTags       []string `json:"fqdnTags,omitempty"`
	URLs           []string `json:"urls,omitempty"`
	WebCategories  []string `json:"webCategories,omitempty"`
	TerminateTLS   bool     `json:"terminateTLS,omitempty"`
	TranslatedAddr string   `json:"translatedAddr,omitempty"`
	TranslatedPort string   `json:"translatedPort,omitempty"`
}

// PrivateZone is a private DNS zone with the VNets that see it.
type PrivateZone struct {
	ID      string              `json:"id"`
	Name    string              `json:"name"`
	Links   []string            `json:"links,omitempty"`   // lower-cased VNet ids
	Records map[string][]string `json:"records,omitempty"` // "name TYPE" → values; nil: not read
}

// LinkedTo says that a VNet sees the zone.
func (z *PrivateZone) LinkedTo(vnetID string) bool {
	return slices.ContainsFunc(z.Links, func(id string) bool { return strings.EqualFold(id, vnetID) })
}

// VNetGateway is a VPN or ExpressRoute gateway.
type VNetGateway struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Type        string         `json:"type,omitempty"` // Vpn, ExpressRoute
	VNetID      string         `json:"vnetID,omitempty"`
	BGP         bool           `json:"bgp,omitempty"`
	Learned     []netip.Prefix `json:"learned,omitempty"`     // learned routes; nil: not read
	DefaultSite string         `json:"defaultSite,omitempty"` // gatewayDefaultSite: forced tunnelling
}

// RequiredEndpoint is one endpoint that AKS itself needs.
type RequiredEndpoint struct {
	Category string   `json:"category"`
	Domain   string   `json:"domain"` // may hold "*"
	Ports    []uint16 `json:"ports,omitempty"`
	Protocol string   `json:"protocol"` // Https, Http, TCP, UDP
	Optional bool     `json:"optional,omitempty"`
}

// Series is one metric series.
type Series struct {
	Resource  string            `json:"resource"` // id
	Metric    string            `json:"metric"`
	Unit      string            `json:"unit,omitempty"`
	Aggregate string            `json:"aggregate"` // Total, Average, Maximum
	Dimension map[string]string `json:"dimension,omitempty"`
	Points    []Point           `json:"points,omitempty"` // a minute without data has no point
}

// Point is one value of a series.
type Point struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`
}

// Advice is one Azure Advisor recommendation.
type Advice struct {
	Category string `json:"category"`
	Impact   string `json:"impact"`
	Resource string `json:"resource"`
	Problem  string `json:"problem"`
	Solution string `json:"solution,omitempty"` // often the problem's own words
}

// MachineOf is the scale set of a machine (its lower-cased id) and the name that
// Azure Monitor gives the machine (aks-np1-vmss_0), by a node's provider id; both
// are empty for what is no scale set's.
func MachineOf(providerID string) (set, name string) {
	raw, ok := strings.CutPrefix(providerID, "azure://")
	seg := strings.Split(strings.Trim(raw, "/"), "/")
	if !ok || len(seg) != 10 || !strings.EqualFold(seg[6], "virtualMachineScaleSets") || !strings.EqualFold(seg[8], "virtualMachines") || strings.Contains(raw, "'") {
		return "", ""
	}
	return strings.ToLower("/" + strings.Join(seg[:8], "/")), seg[7] + "_" + seg[9]
}
