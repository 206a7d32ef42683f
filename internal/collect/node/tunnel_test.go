package node

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/internal/model"
)

func TestPeersAreNeighboursThatAreForwarded(t *testing.T) {
	mac := func(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }
	neighbours := []netlink.Neigh{
		{IP: net.ParseIP("10.50.2.0"), HardwareAddr: mac(2)},
		{IP: net.ParseIP("10.50.1.0"), HardwareAddr: mac(1)},
		{IP: net.ParseIP("10.50.3.0")}, // does not answer
	}
	entries := []netlink.Neigh{{HardwareAddr: mac(1), IP: net.ParseIP("10.1.0.4")}, {HardwareAddr: mac(9)}}
	got := join(neighbours, entries)
	want := []model.TunnelPeer{
		{Inner: netip.MustParseAddr("10.50.1.0"), Outer: netip.MustParseAddr("10.1.0.4")}, {Inner: netip.MustParseAddr("10.50.2.0")},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestDevicesThatCarryPackets(t *testing.T) {
	r := &reader{facts: &model.NodeFacts{}}
	if got := r.tunnel(&netlink.Geneve{ID: 1, Dport: 6081}); got == nil || got.Port != 6081 || !got.Learning {
		t.Errorf("geneve: %+v", got)
	}
	if got := r.tunnel(&netlink.Iptun{Local: net.ParseIP("10.1.0.4")}); got == nil || got.Local.String() != "10.1.0.4" {
		t.Errorf("ipip: %+v", got)
	}
	if got := r.tunnel(&netlink.Bridge{}); got != nil {
		t.Errorf("a bridge: %+v", got)
	}
}

func TestDelegatesOfTheNetworkPlugin(t *testing.T) {
	got := parseCNI("10-flannel.conflist", `{"name":"cbr0","plugins":[{"type":"flannel","delegate":{"hairpinMode":true,"mtu":1400,"bridge":"br1"}},{"type":"portmap"}]}`)
	if got.Name != "cbr0" || !slices.Equal(got.Plugins, []string{"flannel", "portmap"}) || !got.Hairpin || got.MTU != 1400 || got.Bridge != "br1" {
		t.Errorf("%+v", got)
	}
}
