// Package cni tells which network plugin connects a cluster's pods, and what
// follows from it: how packets travel between nodes (with pods' own addresses,
// or inside other packets, on which port, with how much less room), who carries
// policies out, which address leaves the cluster, and what podpath does not follow.
//
// It reads what plugins leave behind: the cloud's own document, DaemonSets, the
// annotations of nodes, plugin configuration on nodes, network devices. It is
// pure, and says from what it was told.
package cni

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Kind is a network plugin. The zero value is one that is not known.
type Kind string

// The plugins that are recognised.
const (
	Unknown     Kind = ""
	None        Kind = "none"         // the cloud installed none, and nothing else is seen
	Kubenet     Kind = "kubenet"      // a bridge on each node, routes in the cloud
	AzureNodes  Kind = "azure-node"   // pods have addresses of the nodes' subnet
	AzurePods   Kind = "azure-pod"    // pods have addresses of a subnet of their own
	AzureOver   Kind = "azure"        // Azure CNI Overlay: Azure itself routes the pods' range
	AzureCilium Kind = "azure-cilium" // any of these, with Cilium in the nodes' kernels
	Cilium      Kind = "cilium"
	Calico      Kind = "calico"
	Flannel     Kind = "flannel"
	Canal       Kind = "canal" // Flannel's network, Calico's policies
	Weave       Kind = "weave"
	Antrea      Kind = "antrea"
)

// Mode is how a pod's packet travels to another node. The zero value is not known.
type Mode string

// The modes.
const (
	Routed    Mode = "routed" // as it is: the network between the nodes has to know pods' addresses
	VXLAN     Mode = "vxlan"
	Geneve    Mode = "geneve"
	IPIP      Mode = "ipip"
	WireGuard Mode = "wireguard"
	UDP       Mode = "udp" // Flannel's oldest, in user space
)

// Wrapped says that packets travel inside other packets.
func (m Mode) Wrapped() bool { return m != "" && m != Routed }

// overhead is what a mode takes of each packet over IPv4, in bytes. Sources:
// RFC 7348 §5, RFC 8926 (options come on top), RFC 2003, wireguard.com/protocol
// (Flannel and Calico both leave 60 or more).
var overhead = map[Mode]int{VXLAN: 50, Geneve: 50, IPIP: 20, WireGuard: 60, UDP: 28}

// Network is a cluster's pod network.
type Network struct {
	Kind    Kind
	Mode    Mode
	Port    uint16 // UDP, of the outer packets; 0: none, or not known
	Assumed bool   // the port is the plugin's default; its configuration was not read
	Ranges  []netip.Prefix
	// MTU is what the configuration says of pods' links; 0: it does not.
	MTU    int
	Direct bool // nodes of one subnet reach each other without wrapping

	Agent  model.Ref // its DaemonSet
	Config model.Ref // its ConfigMap
	// Masquerades says whether the plugin itself translates what leaves the pods'
	// ranges; nil: not known, or another agent's work.
	Masquerades *bool

	Told []string    // what it was told from
	Gaps []model.Gap // reads that would tell more
}

// Own says that it is neither the cloud's nor unknown: a plugin that was brought along.
func (n Network) Own() bool {
	switch n.Kind {
	case Cilium, Calico, Flannel, Canal, Weave, Antrea:
		return true
	}
	return false
}

// Overhead is what wrapping takes of each packet, in bytes.
func (n Network) Overhead() int { return overhead[n.Mode] }

// Name is the plugin as its makers write it.
func (n Network) Name() string {
	return cmp.Or(n.Kind.traits().name, "a network plugin that is not known")
}

// Text is the network in a few words: "Flannel (vxlan, UDP 8472)".
func (n Network) Text() string {
	if !n.Mode.Wrapped() {
		return n.Name()
	}
	return n.Name() + " (" + n.Carrier() + ")"
}

// Carrier says how packets travel between nodes, for people: "vxlan, UDP 8472".
func (n Network) Carrier() string {
	switch {
	case n.Mode == "":
		return "in a way that is not known"
	case n.Mode == IPIP:
		return "IP in IP (protocol 4)"
	case n.Port == 0:
		return string(n.Mode)
	}
	return fmt.Sprintf("%s, UDP %d", n.Mode, n.Port)
}

// Detect tells the pod network of a world.
func Detect(w *model.World) Network {
	d := &detector{w: w}
	d.signs()
	n := d.choose()
	if configure := n.Kind.traits().configure; configure != nil {
		configure(w, &n)
	}
	return n
}

// detector gathers what plugins left behind.
type detector struct {
	w     *model.World
	found []sign
}

// sign is one thing that speaks for a plugin.
type sign struct {
	kind Kind
	text string
	ref  model.Ref
}

func (d *detector) add(k Kind, ref model.Ref, format string, args ...any) {
	d.found = append(d.found, sign{k, fmt.Sprintf(format, args...), ref})
}

func (d *detector) has(k Kind) bool {
	for _, s := range d.found {
		if s.kind == k {
			return true
		}
	}
	return false
}

// choose takes the first sign, in the order in which sources are trusted: what
// was found first. Calico's agent beside Flannel's is Canal; beside a network of
// the cloud's it only carries policies out.
func (d *detector) choose() Network {
	n := Network{}
	for _, s := range d.found {
		if n.Kind == Unknown {
			n.Kind = s.kind
		}
	}
	if d.has(Flannel) && d.has(Calico) && (n.Kind == Flannel || n.Kind == Calico) {
		n.Kind = Canal
	}
	for _, s := range d.found {
		if s.kind != n.Kind && !(n.Kind == Canal && (s.kind == Flannel || s.kind == Calico)) {
			continue
		}
		n.Told = append(n.Told, s.text)
		if s.ref.Kind() == "daemonset" {
			n.Agent = cmp.Or(n.Agent, s.ref)
		}
	}
	if n.Kind == Unknown && d.bare() {
		n.Kind, n.Told = None, []string{"the cluster was made without a network plugin, and none is seen"}
	}
	return n
}

// bare says that the cloud installed no plugin, and that everything that would
// show another one was read.
func (d *detector) bare() bool {
	c := d.w.Azure.Cluster
	return c != nil && strings.EqualFold(c.NetworkPlugin, "none") && d.w.Read["daemonset"] && d.w.Read["node"]
}
