package cni

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/podpath/podpath/internal/model"
)

// traits are what a plugin is and can.
type traits struct {
	name      string
	told      string // what it is recognised by
	addresses string
	between   string // how packets travel between nodes
	policies  string // who carries NetworkPolicies out
	egress    string // whose address leaves
	services  string // who translates Services
	followed  string // what podpath follows of it
	configure func(*model.World, *Network)
}

func (k Kind) traits() traits { return known[k] }

var known = map[Kind]traits{
	Kubenet: {
		"kubenet", "networkPlugin of the cluster; bridge cbr0", "a /24 of the pods' range on each node", "routed: a route table has one route a node",
		"Calico, where installed", "the node's, by ip-masq-agent", "kube-proxy", "all", routed,
	},
	AzureNodes: {
		"Azure CNI, node subnet", "networkPlugin of the cluster", "of the nodes' subnet", "routed: the VNet knows every pod",
		"Azure NPM or Calico, where installed", "the pod's within the VNet, the node's outside", "kube-proxy", "all", routed,
	},
	AzurePods: {
		"Azure CNI, pod subnet", "networkPlugin and podSubnetID of the cluster", "of a subnet of their own", "routed: the VNet knows every pod",
		"Azure NPM or Calico, where installed", "the pod's", "kube-proxy", "all", routed,
	},
	AzureOver: {
		"Azure CNI Overlay", "networkPluginMode of the cluster; labels of nodes", "a /24 of the pods' range on each node", "routed by Azure itself, not encapsulated: security groups see pods' addresses",
		"Azure NPM, Calico or Cilium, where installed", "the node's, by ip-masq-agent", "kube-proxy", "all", routed,
	},
	AzureCilium: {
		"Azure CNI powered by Cilium", "networkDataplane of the cluster", "as with the other kinds of Azure CNI", "routed",
		"Cilium", "the node's, by ip-masq-agent or Cilium", "Cilium, in place of kube-proxy", "the network between nodes; not Cilium's programs in the kernel", routed,
	},
	Cilium: {
		"Cilium", "DaemonSet cilium; cilium-config; annotations network.cilium.io; device cilium_host", "a range on each node", "vxlan (UDP 8472), geneve (UDP 6081), wireguard (UDP 51871) or routed",
		"Cilium", "the node's, unless configured", "Cilium, where kube-proxy-replacement is true; else kube-proxy", "policies, and the outer packets between nodes; not its programs in the kernel", cilium,
	},
	Calico: {
		"Calico", "DaemonSet calico-node; annotations projectcalico.org; devices tunl0, vxlan.calico", "blocks of IP pools", "routed by BGP, IP in IP (protocol 4), vxlan (UDP 4789) or wireguard (UDP 51820)",
		"Calico", "the node's, where the pool says natOutgoing", "kube-proxy", "policies, nodes' routes, outer packets; not BGP", calico,
	},
	Flannel: {
		"Flannel", "DaemonSet kube-flannel-ds; annotations flannel.alpha.coreos.com; plugin flannel; device flannel.1", "a /24 of its Network on each node", "vxlan (UDP 8472), wireguard (UDP 51820) or routed (host-gw)",
		"nobody", "the node's, by flanneld --ip-masq", "kube-proxy", "all of vxlan and host-gw; outer packets of the others", flannel,
	},
	Canal: {
		"Canal", "DaemonSet canal; canal-config", "a /24 of Flannel's Network on each node", "as Flannel",
		"Calico", "the node's, by flanneld --ip-masq", "kube-proxy", "as Flannel", flannel,
	},
	Weave: {
		"Weave Net", "DaemonSet weave-net; device weave", "of one range for all nodes", "vxlan (UDP 6784) or sleeve (UDP and TCP 6783)",
		"Weave", "the node's", "kube-proxy", "outer packets only", weave,
	},
	Antrea: {
		"Antrea", "DaemonSet antrea-agent; device antrea-gw0", "a range on each node", "geneve (UDP 6081) unless configured",
		"Antrea", "the node's", "Antrea (AntreaProxy) for pods", "policies of the API's own kinds, and outer packets", antrea,
	},
	None: {
		"no network plugin", "networkPlugin none of the cluster, and no sign of another", "none: pods wait for one", "not at all",
		"nobody", "none", "kube-proxy", "that there is none", nil,
	},
}

// order is how the matrix lists them.
var order = []Kind{Kubenet, AzureNodes, AzurePods, AzureOver, AzureCilium, Cilium, Calico, Flannel, Canal, Weave, Antrea, None}

const intro = `Network plugins

A network plugin (CNI) gives pods their addresses and carries their packets. podpath tells which one runs from the cloud's own document, DaemonSets, annotations
and labels of nodes, the plugin's files on nodes (the first by name in /etc/cni/net.d counts), and network devices. Kubernetes' promise, whatever the plugin: every
pod reaches every other one without translation, and nodes reach pods.

Where packets are wrapped (vxlan, geneve, wireguard, IP in IP), what the network between the nodes sees are packets from node to node: its security groups and
firewalls must let that port pass in both directions, each direction being a connection of its own, and pods' links need an MTU smaller by what wrapping takes
(vxlan and geneve 50 bytes, wireguard 60, IP in IP 20). Azure does not carry IP in IP at all. Where packets are routed, the network sees pods' own addresses.
`

// Explain is the page on network plugins, with what podpath knows of each.
func Explain() string {
	var b strings.Builder
	b.WriteString(intro)
	matrix(&b)
	for _, k := range order {
		t := known[k]
		fmt.Fprintf(&b, "\n%s\n", t.name)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, row := range [][2]string{
			{"recognised by", t.told},
			{"pods' addresses", t.addresses},
			{"between nodes", t.between},
			{"policies", t.policies},
			{"Services", t.services},
			{"address outside", t.egress},
			{"podpath follows", t.followed},
		} {
			fmt.Fprintf(w, "  %s\t%s\n", row[0], row[1])
		}
		_ = w.Flush() // into memory
	}
	return b.String()
}

// cells are a plugin's row of the matrix where it is not simply routed and
// enforced by what is installed beside it.
var cells = map[Kind][3]string{
	AzureCilium: {"routed, or Azure's overlay", "Cilium", "Cilium"},
	AzureOver:   {"Azure's overlay", "if installed", "kube-proxy"},
	Cilium:      {"vxlan, geneve, wireguard, routed", "Cilium", "Cilium or kube-proxy"},
	Calico:      {"BGP, ipip, vxlan, wireguard", "Calico", "kube-proxy"},
	Flannel:     {"vxlan, wireguard, host-gw", "nobody", "kube-proxy"},
	Canal:       {"vxlan, wireguard, host-gw", "Calico", "kube-proxy"},
	Weave:       {"vxlan", "Weave", "kube-proxy"},
	Antrea:      {"geneve", "Antrea", "Antrea"},
	None:        {"-", "nobody", "kube-proxy"},
}

// ports are the outer packets' where they are wrapped, by default.
var ports = map[Kind]string{
	Cilium:  fmt.Sprintf("%d, %d, %d", portCiliumVXLAN, portGeneve, portCiliumWireGuard),
	Calico:  fmt.Sprintf("proto 4, %d, %d", portVXLAN, portWireGuard),
	Flannel: fmt.Sprintf("%d, %d", portFlannelVXLAN, portWireGuard),
	Canal:   fmt.Sprintf("%d, %d", portFlannelVXLAN, portWireGuard),
	Weave:   fmt.Sprint(portWeaveFast),
	Antrea:  fmt.Sprint(portGeneve),
}

// matrix is every plugin at one glance.
func matrix(b *strings.Builder) {
	b.WriteString("\n")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "PLUGIN\tBETWEEN NODES\tUDP PORTS\tPOLICIES BY\tSERVICES BY\n")
	for _, k := range order {
		c, ok := cells[k]
		if !ok {
			c = [3]string{"routed", "if installed", "kube-proxy"}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", known[k].name, c[0], cmp.Or(ports[k], "-"), c[1], c[2])
	}
	_ = w.Flush() // into memory
}
