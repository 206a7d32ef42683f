package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// maxConfig bounds the configuration texts that are parsed.
const maxConfig = 64 << 10

// Default ports. Sources: flannel's Documentation/backends.md; Calico's
// FelixConfiguration (vxlanPort, wireguardListeningPort); Cilium's tunnel-port and
// its system requirements; Antrea's network requirements; Weave Net's FAQ.
const (
	portVXLAN           = 4789
	portFlannelVXLAN    = 8472 // the kernel's own default
	portFlannelUDP      = 8285
	portWireGuard       = 51820
	portCiliumVXLAN     = 8472
	portCiliumWireGuard = 51871
	portGeneve          = 6081
	portWeaveFast       = 6784
)

// flannelMaps are where its manifests keep the configuration.
var flannelMaps = []model.Ref{
	"configmap/kube-flannel/kube-flannel-cfg", "configmap/kube-system/kube-flannel-cfg", "configmap/kube-system/canal-config",
	"configmap/kube-system/rke2-canal-config",
}

// flannelNet is net-conf.json.
type flannelNet struct {
	Network, IPv6Network string
	Backend              struct {
		Type          string
		Port          json.Number
		VNI, MTU      json.Number
		DirectRouting bool
	}
}

func parseFlannel(text string) (flannelNet, error) {
	var c flannelNet
	if len(text) > maxConfig {
		return c, fmt.Errorf("net-conf.json is longer than %d bytes", maxConfig)
	}
	err := json.Unmarshal([]byte(text), &c)
	return c, err
}

func number(n json.Number) int {
	i, err := strconv.Atoi(string(n))
	if err != nil || i < 0 || i > 1<<16-1 {
		return 0
	}
	return i
}

// flannel reads the backend from the nodes' annotations, and the rest from its ConfigMap.
func flannel(w *model.World, n *Network) {
	n.Mode = flannelModes[annotation(w, "flannel.alpha.coreos.com/backend-type")]
	c := flannelConfig(w, n)
	if n.Mode == "" {
		n.Mode = flannelModes[strings.ToLower(c.Backend.Type)]
	}
	n.Port = map[Mode]uint16{VXLAN: portFlannelVXLAN, WireGuard: portWireGuard, UDP: portFlannelUDP}[n.Mode]
	if p := number(c.Backend.Port); p != 0 && n.Mode.Wrapped() {
		n.Port = uint16(p)
	}
	n.MTU, n.Direct = number(c.Backend.MTU), c.Backend.DirectRouting
	for _, s := range []string{c.Network, c.IPv6Network} {
		if p, err := netip.ParsePrefix(s); err == nil {
			n.Ranges = append(n.Ranges, p.Masked())
		}
	}
	n.Masquerades = flag(w, n.Agent, "ip-masq")
}

var flannelModes = map[string]Mode{
	"vxlan": VXLAN, "host-gw": Routed, "wireguard": WireGuard, "udp": UDP, "ipip": IPIP, "alloc": Routed,
}

// flannelConfig finds its ConfigMap; without one the port is an assumption.
func flannelConfig(w *model.World, n *Network) flannelNet {
	for _, ref := range flannelMaps {
		text, ok := w.Kube.ConfigMaps[ref]["net-conf.json"]
		if !ok {
			continue
		}
		n.Config = ref
		c, err := parseFlannel(text)
		if err == nil {
			return c
		}
		n.Gaps = append(n.Gaps, model.Gap{What: "net-conf.json of " + string(ref), Ref: ref, Reason: err.Error()})
	}
	n.Assumed = true
	return flannelNet{}
}

// flag says whether a DaemonSet's pods are started with a switch; nil: none of them was read.
func flag(w *model.World, agent model.Ref, name string) *bool {
	var read, on bool
	for _, p := range w.Kube.Pods {
		if p == nil || agent == "" || p.Owner != agent {
			continue
		}
		for _, c := range p.Containers {
			for _, arg := range c.Command {
				read = true
				word, value, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
				on = on || word == name && (!given || value == "true")
			}
		}
	}
	if !read {
		return nil
	}
	return &on
}

// calico is told by what its agent writes on the nodes: it has an address on a
// tunnel's device, or none. Which pools use the tunnel, and between which nodes,
// stands in its IPPools.
func calico(w *model.World, n *Network) {
	n.Assumed = true
	switch {
	case annotation(w, "projectcalico.org/WireguardPublicKey", "projectcalico.org/IPv4WireguardInterfaceAddr") != "":
		n.Mode, n.Port = WireGuard, portWireGuard
	case annotation(w, "projectcalico.org/IPv4VXLANTunnelAddr") != "":
		n.Mode, n.Port = VXLAN, portVXLAN
	case annotation(w, "projectcalico.org/IPv4IPIPTunnelAddr") != "":
		n.Mode = IPIP
	case annotation(w, "projectcalico.org/IPv4Address") != "":
		n.Mode = Routed
	}
	n.Gaps = append(n.Gaps, model.Gap{What: "Calico's IPPools", Reason: "podpath does not read them: which pools are wrapped, and between which nodes, is told by the nodes' own routes only"})
}

const ciliumMap model.Ref = "configmap/kube-system/cilium-config"

// cilium is told by its ConfigMap. What its programs in the kernel do with a
// packet is not followed.
func cilium(w *model.World, n *Network) {
	n.Gaps = append(n.Gaps, model.Gap{What: "Cilium's programs in the nodes' kernels", Reason: "podpath does not follow them: forwarding, Services (where it replaces kube-proxy) and masquerading are its own"})
	c, ok := w.Kube.ConfigMaps[ciliumMap]
	if !ok {
		n.Gaps = append(n.Gaps, model.Gap{What: "cilium-config", Ref: ciliumMap, Reason: "not read", Permission: "get configmaps in namespace kube-system"})
		return
	}
	n.Config = ciliumMap
	protocol := strings.ToLower(firstOf(c["tunnel-protocol"], c["tunnel"], "vxlan"))
	switch {
	case strings.EqualFold(c["routing-mode"], "native"), protocol == "disabled":
		n.Mode = Routed
	case protocol == "geneve":
		n.Mode, n.Port = Geneve, portGeneve
	case protocol == "vxlan":
		n.Mode, n.Port = VXLAN, portCiliumVXLAN
	}
	if p := number(json.Number(c["tunnel-port"])); p != 0 && n.Mode.Wrapped() {
		n.Port = uint16(p)
	}
	if c["enable-wireguard"] == "true" {
		n.Mode, n.Port = WireGuard, portCiliumWireGuard
	}
	n.MTU = number(json.Number(c["mtu"]))
}

// weave fragments or wraps as it can: its fast datapath is vxlan on a port of its own.
func weave(_ *model.World, n *Network) {
	n.Mode, n.Port, n.Assumed = VXLAN, portWeaveFast, true
}

func antrea(_ *model.World, n *Network) {
	n.Mode, n.Port, n.Assumed = Geneve, portGeneve, true
}

func routed(_ *model.World, n *Network) { n.Mode = Routed }

func firstOf(words ...string) string {
	for _, w := range words {
		if w != "" {
			return w
		}
	}
	return ""
}
