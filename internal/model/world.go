package model

import (
	"net/netip"
	"time"
)

// World is everything that was read, merged from all sources. What could not be
// read is a Gap; what nobody asked for is absent. A nil slice of a kind that
// Read does not name means "not read", never "there is none".
type World struct {
	Kube      Kube                  `json:"kube"`
	Azure     Azure                 `json:"azure"`
	Nodes     map[string]*NodeFacts `json:"nodes,omitempty"`     // by node name, only nodes that were entered
	Listeners map[Ref][]Listener    `json:"listeners,omitempty"` // by pod: the sockets that listen in its network namespace; only pods that were entered for it
	Sockets   map[Ref][]Connection  `json:"sockets,omitempty"`   // by pod: its own TCP connections, where they were asked for
	Inside    map[Ref]*Inside       `json:"inside,omitempty"`    // by pod: what was read in its own network namespace; only pods that were entered for it
	Usage     []Usage               `json:"usage,omitempty"`     // of the containers that the question concerns; nil: not read
	NodeUsage map[string]NodeUsage  `json:"nodeUsage,omitempty"` // by node name
	Gaps      []Gap                 `json:"gaps,omitempty"`
	Read      map[string]bool       `json:"read,omitempty"` // kinds (as in Ref) whose list is complete for the question: "networkpolicy", "nsg", …
}

// Listener is a socket that waits for connections (or datagrams).
type Listener struct {
	Protocol string     `json:"protocol"` // tcp, udp
	Addr     netip.Addr `json:"addr"`     // 0.0.0.0 and :: mean every address
	Port     uint16     `json:"port"`
}

// Connection is a TCP socket of a pod towards somebody.
type Connection struct {
	Local   netip.AddrPort `json:"local"`
	Remote  netip.AddrPort `json:"remote"`
	State   string         `json:"state"`             // ESTABLISHED, SYN-SENT, CLOSE-WAIT, …
	Retries int            `json:"retries,omitempty"` // times that what it sent last was sent again without an answer

	// What the kernel measured, where Told: else the zeroes say nothing.
	Told      bool          `json:"told,omitempty"`
	Idle      time.Duration `json:"idle,omitempty"`      // since data was last sent or received
	Heard     time.Duration `json:"heard,omitempty"`     // since anything last came from the far side
	KeepAlive time.Duration `json:"keepAlive,omitempty"` // after so long without a word the kernel asks the far side; 0: never
}

// Labels are a Kubernetes object's labels.
type Labels map[string]string

// Kube is what was read from the API server.
type Kube struct {
	Version         string                    `json:"version,omitempty"`
	Server          string                    `json:"server,omitempty"` // URL of the API server
	Namespaces      map[string]*Namespace     `json:"namespaces,omitempty"`
	Pods            map[Ref]*Pod              `json:"pods,omitempty"`
	Nodes           map[string]*Node          `json:"nodes,omitempty"`
	Ingresses       map[Ref]*Ingress          `json:"ingresses,omitempty"` // only where a whole cluster was read
	Services        map[Ref]*Service          `json:"services,omitempty"`
	EndpointSlices  map[Ref]*EndpointSlice    `json:"endpointSlices,omitempty"`
	Policies        map[Ref]*NetworkPolicy    `json:"policies,omitempty"`
	AdminPolicies   map[Ref]*AdminPolicy      `json:"adminPolicies,omitempty"`  // AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy
	CalicoPolicies  map[Ref]*CalicoPolicy     `json:"calicoPolicies,omitempty"` // of both kinds
	CalicoTiers     map[string]*CalicoTier    `json:"calicoTiers,omitempty"`
	NetworkSets     map[Ref]*NetworkSet       `json:"networkSets,omitempty"`     // of both kinds
	CiliumPolicies  map[Ref]*CiliumPolicy     `json:"ciliumPolicies,omitempty"`  // of both kinds
	ServiceAccounts map[Ref]Labels            `json:"serviceAccounts,omitempty"` // only where a policy asks for their labels
	Workloads       map[Ref]*Workload         `json:"workloads,omitempty"`       // deployments, replicasets, daemonsets, statefulsets, jobs
	ConfigMaps      map[Ref]map[string]string `json:"configMaps,omitempty"`      // only those whose keys matter to the network
	PodCIDRs        []netip.Prefix            `json:"podCIDRs,omitempty"`        // networks that pods have their addresses from, as the user told
	Events          []Event                   `json:"events,omitempty"`
	Webhooks        []Webhook                 `json:"webhooks,omitempty"` // these four only where a whole cluster was read
	APIServices     []APIService              `json:"apiServices,omitempty"`
	Certificates    []Certificate             `json:"certificates,omitempty"`
	Deprecated      []DeprecatedAPI           `json:"deprecated,omitempty"`
}

// Namespace is a namespace with what selects it.
type Namespace struct {
	Name        string `json:"name"`
	Labels      Labels `json:"labels,omitempty"`
	Terminating bool   `json:"terminating,omitempty"`
}

// Pod is a pod as far as connections depend on it.
type Pod struct {
	Namespace      string       `json:"namespace"`
	Name           string       `json:"name"`
	UID            string       `json:"uid,omitempty"`
	Labels         Labels       `json:"labels,omitempty"`
	Node           string       `json:"node,omitempty"`
	IPs            []netip.Addr `json:"ips,omitempty"`
	HostNetwork    bool         `json:"hostNetwork,omitempty"`
	Phase          string       `json:"phase"` // Pending, Running, Succeeded, Failed, Unknown
	Reason         string       `json:"reason,omitempty"`
	Message        string       `json:"message,omitempty"`
	Ready          bool         `json:"ready"`
	Deleting       bool         `json:"deleting,omitempty"`
	Owner          Ref          `json:"owner,omitempty"` // its controller, resolved up to the workload that people edit when that was read
	DNSPolicy      string       `json:"dnsPolicy,omitempty"`
	DNSConfig      *DNSConfig   `json:"dnsConfig,omitempty"`
	HostAliases    []HostAlias  `json:"hostAliases,omitempty"`
	ServiceAccount string       `json:"serviceAccount,omitempty"`
	Containers     []Container  `json:"containers,omitempty"`
	Default        string       `json:"default,omitempty"` // the container that kubectl takes where none is named (annotation kubectl.kubernetes.io/default-container)
	Conditions     []Condition  `json:"conditions,omitempty"`
	Created        time.Time    `json:"created,omitzero"`
	Ending         *Ending      `json:"ending,omitempty"`   // where it was told to end: then, or while the question was asked again and again
	Standing       bool         `json:"standing,omitempty"` // no pod yet: its Owner's template, which stands for all replicas
}

// Ref is pod/NS/NAME.
func (p *Pod) Ref() Ref { return NewRef("pod", p.Namespace, p.Name) }

// App is the container that a question is about: the one of that name, else the
// one that kubectl would take, else the first that is an application's. nil: it has none.
func (p *Pod) App(name string) *Container {
	for _, want := range []string{name, p.Default} {
		for i := range p.Containers {
			if c := &p.Containers[i]; want != "" && c.Name == want && c.Kind != "ephemeral" {
				return c
			}
		}
		if want != "" && want == name {
			return nil
		}
	}
	for i := range p.Containers {
		if p.Containers[i].Kind == "" {
			return &p.Containers[i]
		}
	}
	return nil
}

// DNSConfig is a pod's own resolver configuration.
type DNSConfig struct {
	Nameservers []string          `json:"nameservers,omitempty"`
	Searches    []string          `json:"searches,omitempty"`
	Options     map[string]string `json:"options,omitempty"`
}

// HostAlias is a line that the kubelet writes to a pod's /etc/hosts.
type HostAlias struct {
	IP        netip.Addr `json:"ip"`
	Hostnames []string   `json:"hostnames"`
}

// Container is a container with its state.
type Container struct {
	Name         string            `json:"name"`
	Kind         string            `json:"kind,omitempty"` // "", "init", "sidecar", "ephemeral"
	Image        string            `json:"image,omitempty"`
	Ports        []ContainerPort   `json:"ports,omitempty"`
	Env          map[string]string `json:"env,omitempty"`     // literal values and ConfigMap references that were resolved
	EnvFrom      map[string]Ref    `json:"envFrom,omitempty"` // variables whose value comes from elsewhere (secret/…: never read)
	Command      []string          `json:"command,omitempty"` // command and args
	State        string            `json:"state,omitempty"`   // waiting, running, terminated
	Reason       string            `json:"reason,omitempty"`  // CrashLoopBackOff, ImagePullBackOff, OOMKilled, …
	Message      string            `json:"message,omitempty"`
	ExitCode     int32             `json:"exitCode,omitempty"`
	LastReason   string            `json:"lastReason,omitempty"`
	LastExitCode int32             `json:"lastExitCode,omitempty"`
	Started      time.Time         `json:"started,omitzero"` // of the run that is going on
	Restarts     int32             `json:"restarts,omitempty"`
	Ready        bool              `json:"ready,omitempty"`
	RunAsUser    *int64            `json:"runAsUser,omitempty"`
	Readiness    string            `json:"readiness,omitempty"` // what its readiness probe asks: "GET :8080/healthz", "connect :5432", "command", "grpc :9000"; "": it has none
	PreStop      string            `json:"preStop,omitempty"`   // what runs before it is told to end: "sleep 5s", "command", "request"; "": nothing

	CPUQuota      float64   `json:"cpuQuota,omitempty"` // limits.cpu in cores; 0: none
	CPURequest    float64   `json:"cpuRequest,omitempty"`
	MemoryLimit   int64     `json:"memoryLimit,omitempty"` // in bytes; 0: none
	MemoryRequest int64     `json:"memoryRequest,omitempty"`
	LastFinished  time.Time `json:"lastFinished,omitzero"` // when the run before this one ended
	Watched       int32     `json:"watched,omitempty"`     // of its restarts, those while the question was asked again and again
}

// ContainerPort is a declared port; policies and Services may refer to its name.
type ContainerPort struct {
	Name     string `json:"name,omitempty"`
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"` // TCP, UDP, SCTP
	HostPort uint16 `json:"hostPort,omitempty"`
}

// Condition is a status condition of a pod or a node.
type Condition struct {
	Type    string    `json:"type"`
	Status  string    `json:"status"` // True, False, Unknown
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
}

// Node is a node as the API server knows it.
type Node struct {
	Name           string         `json:"name"`
	Labels         Labels         `json:"labels,omitempty"`
	ProviderID     string         `json:"providerID,omitempty"` // azure:///subscriptions/…/virtualMachineScaleSets/…/virtualMachines/0
	InternalIPs    []netip.Addr   `json:"internalIPs,omitempty"`
	ExternalIPs    []netip.Addr   `json:"externalIPs,omitempty"`
	PodCIDRs       []netip.Prefix `json:"podCIDRs,omitempty"`
	Ready          bool           `json:"ready"`
	Unschedulable  bool           `json:"unschedulable,omitempty"`
	Taints         []string       `json:"taints,omitempty"` // key=value:effect
	Conditions     []Condition    `json:"conditions,omitempty"`
	KubeletVersion string         `json:"kubeletVersion,omitempty"`
	OSImage        string         `json:"osImage,omitempty"`
	KernelVersion  string         `json:"kernelVersion,omitempty"`
	Annotations    Labels         `json:"annotations,omitempty"` // only those that concern the network
	CPUs           float64        `json:"cpus,omitempty"`        // allocatable, in cores
	Memory         int64          `json:"memory,omitempty"`      // allocatable, in bytes
}

// Service is a Service.
type Service struct {
	Namespace             string        `json:"namespace"`
	Name                  string        `json:"name"`
	Labels                Labels        `json:"labels,omitempty"`
	Annotations           Labels        `json:"annotations,omitempty"`
	Type                  string        `json:"type"` // ClusterIP, NodePort, LoadBalancer, ExternalName
	ClusterIPs            []netip.Addr  `json:"clusterIPs,omitempty"`
	Headless              bool          `json:"headless,omitempty"`
	ExternalIPs           []netip.Addr  `json:"externalIPs,omitempty"`
	LoadBalancerIPs       []netip.Addr  `json:"loadBalancerIPs,omitempty"` // status.loadBalancer.ingress
	ExternalName          string        `json:"externalName,omitempty"`
	Selector              Labels        `json:"selector,omitempty"`
	Ports                 []ServicePort `json:"ports,omitempty"`
	ExternalTrafficPolicy string        `json:"externalTrafficPolicy,omitempty"`
	InternalTrafficPolicy string        `json:"internalTrafficPolicy,omitempty"`
	SessionAffinity       string        `json:"sessionAffinity,omitempty"`
	PublishNotReady       bool          `json:"publishNotReady,omitempty"`

	SourceRanges        []netip.Prefix `json:"sourceRanges,omitempty"`        // spec.loadBalancerSourceRanges
	Joined              []netip.Addr   `json:"joined,omitempty"`              // endpoints that it got after it was read, while the question was asked again and again
	TrafficDistribution string         `json:"trafficDistribution,omitempty"` // PreferSameZone, PreferSameNode, PreferClose
}

// ServicePort is one port of a Service.
type ServicePort struct {
	Name       string `json:"name,omitempty"`
	Protocol   string `json:"protocol"`
	Port       uint16 `json:"port"`
	TargetPort string `json:"targetPort"` // number or name
	NodePort   uint16 `json:"nodePort,omitempty"`
}

// EndpointSlice is an EndpointSlice.
type EndpointSlice struct {
	Namespace   string          `json:"namespace"`
	Name        string          `json:"name"`
	Service     string          `json:"service,omitempty"`
	AddressType string          `json:"addressType"` // IPv4, IPv6, FQDN
	Ports       []EndpointPort  `json:"ports,omitempty"`
	Endpoints   []SliceEndpoint `json:"endpoints,omitempty"`
}

// EndpointPort is a port that every endpoint of a slice serves.
type EndpointPort struct {
	Name     string `json:"name,omitempty"`
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"`
}

// SliceEndpoint is one endpoint of a slice.
type SliceEndpoint struct {
	Addresses   []string `json:"addresses"`
	Ready       bool     `json:"ready"`
	Serving     bool     `json:"serving"`
	Terminating bool     `json:"terminating,omitempty"`
	Node        string   `json:"node,omitempty"`
	Target      Ref      `json:"target,omitempty"`
	Zones       []string `json:"zones,omitempty"`    // hints: of the zones that should use it
	ForNodes    []string `json:"forNodes,omitempty"` // hints: the nodes that should
}

// NetworkPolicy is a networking.k8s.io/v1 NetworkPolicy.
type NetworkPolicy struct {
	Namespace    string       `json:"namespace"`
	Name         string       `json:"name"`
	PodSelector  Selector     `json:"podSelector"`
	Ingress      bool         `json:"ingress"` // policyTypes, with the API's default filled in
	Egress       bool         `json:"egress"`
	IngressRules []PolicyRule `json:"ingressRules,omitempty"`
	EgressRules  []PolicyRule `json:"egressRules,omitempty"`
}

// Ref is networkpolicy/NS/NAME.
func (p *NetworkPolicy) Ref() Ref { return NewRef("networkpolicy", p.Namespace, p.Name) }

// PolicyRule is one ingress or egress rule: empty Peers and empty Ports each mean all.
type PolicyRule struct {
	Peers   []PolicyPeer `json:"peers,omitempty"`
	Ports   []PolicyPort `json:"ports,omitempty"`
	Unknown string       `json:"unknown,omitempty"` // what of it was not understood; "" when nothing
}

// PolicyPeer is one peer: an IP block, or pods and namespaces (nil selector: own namespace).
type PolicyPeer struct {
	PodSelector       *Selector      `json:"podSelector,omitempty"`
	NamespaceSelector *Selector      `json:"namespaceSelector,omitempty"`
	IPBlock           netip.Prefix   `json:"ipBlock,omitzero"`
	Except            []netip.Prefix `json:"except,omitempty"`
	Unknown           string         `json:"unknown,omitempty"` // what of it was not understood: it may be anybody
}

// PolicyPort is one port entry. Port "" means every port of the protocol.
type PolicyPort struct {
	Protocol string `json:"protocol"`       // TCP, UDP, SCTP
	Port     string `json:"port,omitempty"` // number or name
	EndPort  uint16 `json:"endPort,omitempty"`
}

// Selector is a label selector; the zero value selects everything.
type Selector struct {
	MatchLabels Labels               `json:"matchLabels,omitempty"`
	Expressions []SelectorExpression `json:"expressions,omitempty"`
}

// SelectorExpression is one requirement: In, NotIn, Exists, DoesNotExist.
type SelectorExpression struct {
	Key      string   `json:"key"`
	Operator string   `json:"operator"`
	Values   []string `json:"values,omitempty"`
}

// Workload is a controller of pods that people edit.
type Workload struct {
	Ref      Ref       `json:"ref"` // deployment/NS/NAME, …
	Selector *Selector `json:"selector,omitempty"`
	Owner    Ref       `json:"owner,omitempty"`
	Replicas int32     `json:"replicas"`
	Ready    int32     `json:"ready"`
	Labels   Labels    `json:"labels,omitempty"`
}

// Event is a Kubernetes event.
type Event struct {
	About   Ref       `json:"about"`
	Type    string    `json:"type"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	Count   int32     `json:"count,omitempty"`
	Last    time.Time `json:"last,omitzero"`
}

// NodeFacts is what was read inside one node.
type NodeFacts struct {
	Node     string            `json:"node"`
	Sysctls  map[string]string `json:"sysctls,omitempty"`  // "net.ipv4.ip_forward": "1"; "net.ipv4.conf.eth0.rp_filter": "0"
	Counters map[string]int64  `json:"counters,omitempty"` // "IpInAddrErrors", "TcpExtIPReversePathFilter": before the probes
	After    map[string]int64  `json:"after,omitempty"`    // the same after the probes; missing: not read again
	Links    []Link            `json:"links,omitempty"`

	Levels      map[string]float64 `json:"levels,omitempty"`      // of the machine: "load", "running", "cpus", "cpu.idle" and the other times in ticks, "memory.available" in bytes, "files", "tcp.tw", "disk.busy" in ms, "uptime" in seconds, "nic.tx.bytes", "nic.rx.drops" and the like of the interface of the default route
	LevelsAfter map[string]float64 `json:"levelsAfter,omitempty"` // the same after the probes

	Routes []KernelRoute `json:"routes,omitempty"` // all tables
	Rules  []KernelRule  `json:"rules,omitempty"`
	Chains []FilterChain `json:"chains,omitempty"` // base chains of the packet filter; nil: not read (it takes NET_ADMIN)
	Resolv string        `json:"resolv,omitempty"` // /etc/resolv.conf of the node
	Clock  time.Duration `json:"clock,omitempty"`  // node clock minus podpath's clock, roughly
	Gaps   []Gap         `json:"gaps,omitempty"`

	Neighbours []Neighbour           `json:"neighbours,omitempty"` // those that matter are few: the table's size is a counter
	Pressure   map[string]float64    `json:"pressure,omitempty"`   // "cpu.some": share of the last 10 s, in percent
	Filters    []FilterDump          `json:"filters,omitempty"`    // the packet filter's rules; nil: not read
	Persisted  map[string]SysctlFile `json:"persisted,omitempty"`  // sysctls that a file sets at boot; nil: not read
	Kernel     []string              `json:"kernel,omitempty"`     // kernel messages about the network, the last ones
	Kubelet    map[string]string     `json:"kubelet,omitempty"`    // its flags that concern the network
	CNI        []CNIConfig           `json:"cni,omitempty"`
	CNIRead    bool                  `json:"cniRead,omitempty"` // the folder of the network plugin's files was looked into

	Translated []TranslatedFlows `json:"translated,omitempty"` // UDP in its connection table that was sent on; nil: not read
	IPVS       []VirtualServer   `json:"ipvs,omitempty"`       // kube-proxy's in ipvs mode; nil: none, or not read
	Held       []HeldFlows       `json:"held,omitempty"`       // TCP in its connection table, the most first; nil: not read
}

// FilterDump is the output of one tool that lists the packet filter's rules.
type FilterDump struct {
	Tool   string `json:"tool"`   // nft, iptables-nft, iptables-legacy, ipset
	Family string `json:"family"` // ip, ip6; "" for nft
	Text   string `json:"text"`   // nft -j list ruleset; iptables-save -c
}

// SysctlFile is the file that sets a sysctl at boot, and to what.
type SysctlFile struct {
	Value string `json:"value"`
	File  string `json:"file"`
}

// Neighbour is an entry of the neighbour table.
type Neighbour struct {
	Addr  netip.Addr `json:"addr"`
	Dev   string     `json:"dev"`
	State string     `json:"state"` // reachable, stale, failed, …
	MAC   string     `json:"mac,omitempty"`
}

// CNIConfig is what one of the network plugin's files says that concerns connections.
type CNIConfig struct {
	File    string   `json:"file"`
	Name    string   `json:"name,omitempty"`
	Plugins []string `json:"plugins,omitempty"` // their types, in order
	IPAM    string   `json:"ipam,omitempty"`
	Bridge  string   `json:"bridge,omitempty"`
	MTU     int      `json:"mtu,omitempty"`
	Hairpin bool     `json:"hairpin,omitempty"`
}

// Link is a network interface of a node.
type Link struct {
	Name   string         `json:"name"`
	Up     bool           `json:"up"`
	MTU    int            `json:"mtu"`
	Kind   string         `json:"kind,omitempty"` // veth, bridge, vxlan, …
	Master string         `json:"master,omitempty"`
	Addrs  []netip.Prefix `json:"addrs,omitempty"`
	Drops  int64          `json:"drops,omitempty"` // rx+tx dropped
	Tunnel *Tunnel        `json:"tunnel,omitempty"`

	Promisc bool        `json:"promisc,omitempty"` // it takes every frame, also those to others
	Port    *BridgePort `json:"port,omitempty"`    // as a port of its bridge; nil: it is none, or that was not read
}

// BridgePort is a device as a port of a bridge.
type BridgePort struct {
	Hairpin bool     `json:"hairpin,omitempty"` // a frame may leave by the port that it came in by
	Learned []string `json:"learned,omitempty"` // hardware addresses that the bridge met there
}

// KernelRoute is one route of a node's tables.
type KernelRoute struct {
	Table  uint32       `json:"table"`
	Dst    netip.Prefix `json:"dst"`
	Gw     netip.Addr   `json:"gw,omitzero"`
	Dev    string       `json:"dev,omitempty"`
	Src    netip.Addr   `json:"src,omitzero"`
	Type   string       `json:"type,omitempty"` // unicast, blackhole, unreachable, prohibit, local
	Metric int          `json:"metric,omitempty"`
}

// FilterChain is a base chain of a node's packet filter (nftables, and iptables on top of it).
type FilterChain struct {
	Family string `json:"family"` // ip, ip6, inet, …
	Table  string `json:"table"`
	Name   string `json:"name"`
	Hook   string `json:"hook"`   // prerouting, input, forward, output, postrouting
	Policy string `json:"policy"` // accept, drop
}

// KernelRule is one policy-routing rule.
type KernelRule struct {
	Priority int          `json:"priority"`
	Src      netip.Prefix `json:"src,omitzero"`
	Dst      netip.Prefix `json:"dst,omitzero"`
	IIF      string       `json:"iif,omitempty"`
	Mark     uint32       `json:"mark,omitempty"`
	Table    uint32       `json:"table"`
	Action   string       `json:"action,omitempty"` // lookup, blackhole, …
}
