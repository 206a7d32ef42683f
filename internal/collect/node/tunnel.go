package node

import (
	"errors"
	"net"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/podpath/podpath/internal/model"
)

// maxPeers bounds the peers of one tunnel that are kept: one for each node.
const maxPeers = 8192

// tunnel is how a device carries packets to other nodes; nil: it is none that does.
func (r *reader) tunnel(l netlink.Link) *model.Tunnel {
	switch d := l.(type) {
	case *netlink.Vxlan:
		t := &model.Tunnel{ID: uint32(d.VxlanId), Port: uint16(d.Port), Local: addrOf(d.SrcAddr), Learning: d.Learning}
		r.peers(t, d.Attrs())
		return t
	case *netlink.Geneve:
		return &model.Tunnel{ID: d.ID, Port: d.Dport, Learning: true}
	case *netlink.Iptun:
		return &model.Tunnel{Local: addrOf(d.Local), Learning: true}
	}
	return nil
}

// peers joins the neighbours on a vxlan device (address and hardware address)
// with its forwarding entries (hardware address and the node that has it).
func (r *reader) peers(t *model.Tunnel, a *netlink.LinkAttrs) {
	neighbours, err := neighboursOf(a.Index, netlink.FAMILY_V4)
	if err != nil {
		r.gap("neighbours on "+a.Name, err, "")
		return
	}
	entries, err := neighboursOf(a.Index, familyBridge)
	if err != nil {
		r.gap("forwarding entries of "+a.Name, err, "")
		return
	}
	t.Peers, t.PeersRead = join(neighbours, entries), true
}

const familyBridge = 7 // AF_BRIDGE

func neighboursOf(link, family int) ([]netlink.Neigh, error) {
	list, err := netlink.NeighList(link, family)
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		err = nil
	}
	return list, err
}

// join finds for each neighbour where its packets are sent. A neighbour that does
// not answer has no hardware address, and so no peer.
func join(neighbours, entries []netlink.Neigh) []model.TunnelPeer {
	at := map[string]net.IP{}
	for _, e := range entries {
		if len(e.IP) > 0 {
			at[e.HardwareAddr.String()] = e.IP
		}
	}
	var out []model.TunnelPeer
	for _, n := range neighbours {
		if a := addrOf(n.IP); a.IsValid() && len(n.HardwareAddr) > 0 && len(out) < maxPeers {
			out = append(out, model.TunnelPeer{Inner: a, Outer: addrOf(at[n.HardwareAddr.String()])})
		}
	}
	slices.SortFunc(out, func(a, b model.TunnelPeer) int { return a.Inner.Compare(b.Inner) })
	return out
}
