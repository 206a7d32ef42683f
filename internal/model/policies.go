package model

import "net/netip"

// Policies beyond NetworkPolicy. Wherever a document said something that was not
// understood and that may change what it means, Unknown says what: only that
// rule (or peer, or the choice of pods) is then uncertain.

// AdminPolicy is an AdminNetworkPolicy, a BaselineAdminNetworkPolicy or a
// ClusterNetworkPolicy of policy.networking.k8s.io.
type AdminPolicy struct {
	Ref      Ref         `json:"ref"`  // adminnetworkpolicy/NAME, baselineadminnetworkpolicy/NAME, clusternetworkpolicy/NAME
	Tier     string      `json:"tier"` // admin, baseline
	Priority int32       `json:"priority"`
	Subject  AdminPods   `json:"subject"`
	Ingress  []AdminRule `json:"ingress,omitempty"`
	Egress   []AdminRule `json:"egress,omitempty"`
}

// AdminPods is a choice of pods by namespace and labels; nil selects all.
type AdminPods struct {
	Namespaces *Selector `json:"namespaces,omitempty"`
	Pods       *Selector `json:"pods,omitempty"`
	Unknown    string    `json:"unknown,omitempty"`
}

// AdminRule is one rule of an AdminPolicy. Empty Ports mean all of every protocol.
type AdminRule struct {
	Name    string       `json:"name,omitempty"`
	Action  string       `json:"action"` // Allow (or Accept), Deny, Pass
	Peers   []AdminPeer  `json:"peers,omitempty"`
	Ports   []PolicyPort `json:"ports,omitempty"` // Protocol "" is every protocol
	Unknown string       `json:"unknown,omitempty"`
}

// AdminPeer is one peer: pods, nodes, networks or domain names, whichever is set.
type AdminPeer struct {
	Pods     *AdminPods     `json:"pods,omitempty"`
	Nodes    *Selector      `json:"nodes,omitempty"`
	Networks []netip.Prefix `json:"networks,omitempty"`
	Names    []string       `json:"names,omitempty"`
	Unknown  string         `json:"unknown,omitempty"`
}

// CalicoPolicy is Calico's own NetworkPolicy or GlobalNetworkPolicy. Selectors
// are in Calico's language.
type CalicoPolicy struct {
	Ref                    Ref          `json:"ref"`                 // caliconetworkpolicy/NS/NAME, globalnetworkpolicy/NAME
	Namespace              string       `json:"namespace,omitempty"` // "" for a GlobalNetworkPolicy
	Name                   string       `json:"name"`
	Tier                   string       `json:"tier"`            // "default" where none is given
	Order                  *float64     `json:"order,omitempty"` // nil: after all others
	Selector               string       `json:"selector,omitempty"`
	NamespaceSelector      string       `json:"namespaceSelector,omitempty"`
	ServiceAccountSelector string       `json:"serviceAccountSelector,omitempty"`
	Ingress                bool         `json:"ingress"` // types, with the API's default filled in
	Egress                 bool         `json:"egress"`
	IngressRules           []CalicoRule `json:"ingressRules,omitempty"`
	EgressRules            []CalicoRule `json:"egressRules,omitempty"`
	HostsOnly              string       `json:"hostsOnly,omitempty"` // why it is for host endpoints only: preDNAT, doNotTrack
	Unknown                string       `json:"unknown,omitempty"`
}

// AsksForAccounts says whether the policy chooses by labels of service accounts.
func (p *CalicoPolicy) AsksForAccounts() bool {
	asks := p.ServiceAccountSelector != ""
	for _, rules := range [][]CalicoRule{p.IngressRules, p.EgressRules} {
		for i := range rules {
			asks = asks || rules[i].Source.ServiceAccountSelector != "" || rules[i].Destination.ServiceAccountSelector != ""
		}
	}
	return asks
}

// CalicoRule is one rule of a CalicoPolicy.
type CalicoRule struct {
	Action      string       `json:"action"`             // Allow, Deny, Pass, Log
	Protocol    string       `json:"protocol,omitempty"` // name or number
	NotProtocol string       `json:"notProtocol,omitempty"`
	IPVersion   int          `json:"ipVersion,omitempty"`
	Source      CalicoEntity `json:"source,omitzero"`
	Destination CalicoEntity `json:"destination,omitzero"`
	HTTP        bool         `json:"http,omitempty"` // it also asks for properties of HTTP requests
	Unknown     string       `json:"unknown,omitempty"`
}

// CalicoEntity is one side of a CalicoRule; all that is set must hold.
type CalicoEntity struct {
	Nets                   []netip.Prefix `json:"nets,omitempty"`
	NotNets                []netip.Prefix `json:"notNets,omitempty"`
	Selector               string         `json:"selector,omitempty"`
	NotSelector            string         `json:"notSelector,omitempty"`
	NamespaceSelector      string         `json:"namespaceSelector,omitempty"`
	Ports                  []string       `json:"ports,omitempty"` // "80", "8000:9000", a name
	NotPorts               []string       `json:"notPorts,omitempty"`
	ServiceAccounts        []string       `json:"serviceAccounts,omitempty"`
	ServiceAccountSelector string         `json:"serviceAccountSelector,omitempty"`
	Service                Ref            `json:"service,omitempty"` // service/NS/NAME: its endpoints
	Domains                []string       `json:"domains,omitempty"`
}

// CalicoTier is a tier of Calico's.
type CalicoTier struct {
	Name          string   `json:"name"`
	Order         *float64 `json:"order,omitempty"`         // nil: after all others
	DefaultAction string   `json:"defaultAction,omitempty"` // Deny (also when empty), Pass
}

// NetworkSet is Calico's NetworkSet or GlobalNetworkSet: addresses that labels select.
type NetworkSet struct {
	Ref       Ref            `json:"ref"`                 // networkset/NS/NAME, globalnetworkset/NAME
	Namespace string         `json:"namespace,omitempty"` // "" for a GlobalNetworkSet
	Labels    Labels         `json:"labels,omitempty"`
	Nets      []netip.Prefix `json:"nets,omitempty"`
	Domains   []string       `json:"domains,omitempty"`
	Unknown   string         `json:"unknown,omitempty"`
}

// CiliumPolicy is a CiliumNetworkPolicy or a CiliumClusterwideNetworkPolicy.
type CiliumPolicy struct {
	Ref       Ref          `json:"ref"`                 // ciliumnetworkpolicy/NS/NAME, ciliumclusterwidenetworkpolicy/NAME
	Namespace string       `json:"namespace,omitempty"` // "" for a cluster-wide one
	Specs     []CiliumSpec `json:"specs,omitempty"`     // spec, then specs
}

// CiliumSpec is one rule of a CiliumPolicy: whom it is for and what it says.
type CiliumSpec struct {
	Endpoints   *Selector    `json:"endpoints,omitempty"`
	Hosts       bool         `json:"hosts,omitempty"`       // it is for nodes (nodeSelector) and not for pods
	DenyIngress *bool        `json:"denyIngress,omitempty"` // enableDefaultDeny; nil: what the rules imply
	DenyEgress  *bool        `json:"denyEgress,omitempty"`
	Ingress     []CiliumRule `json:"ingress,omitempty"`
	IngressDeny []CiliumRule `json:"ingressDeny,omitempty"`
	Egress      []CiliumRule `json:"egress,omitempty"`
	EgressDeny  []CiliumRule `json:"egressDeny,omitempty"`
	Unknown     string       `json:"unknown,omitempty"`
}

// CiliumRule is one entry of a CiliumSpec: any of its peers, on any of its ports.
type CiliumRule struct {
	Peered    bool         `json:"peered,omitempty"` // it names peers, if only an empty list
	Endpoints []Selector   `json:"endpoints,omitempty"`
	Requires  []Selector   `json:"requires,omitempty"`
	Entities  []string     `json:"entities,omitempty"`
	CIDRs     []PolicyPeer `json:"cidrs,omitempty"`    // IPBlock and Except
	Names     []string     `json:"names,omitempty"`    // toFQDNs: names and patterns
	Nodes     []Selector   `json:"nodes,omitempty"`    // fromNodes, toNodes
	Services  []Ref        `json:"services,omitempty"` // service/NS/NAME
	Ported    bool         `json:"ported,omitempty"`   // it names ports (or ICMP types)
	Ports     []CiliumPort `json:"ports,omitempty"`
	Unknown   string       `json:"unknown,omitempty"`
}

// CiliumPort is a port with what else must hold of what is said on it.
type CiliumPort struct {
	PolicyPort        // Protocol "" is every protocol; Port "" or "0" every port
	L7         string `json:"l7,omitempty"` // "http", "kafka", "dns", …; "" when the port is all
}
