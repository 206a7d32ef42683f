package model

import "net/netip"

// Tunnel is what a device of a node needs in order to carry packets to other nodes.
type Tunnel struct {
	ID        uint32       `json:"id,omitempty"`       // VNI
	Port      uint16       `json:"port,omitempty"`     // UDP, of the outer packets' destination
	Local     netip.Addr   `json:"local,omitzero"`     // their source
	Learning  bool         `json:"learning,omitempty"` // it finds peers by what it receives; false: only those that were programmed count
	PeersRead bool         `json:"peersRead,omitempty"`
	Peers     []TunnelPeer `json:"peers,omitempty"`
}

// TunnelPeer is one neighbour within a tunnel.
type TunnelPeer struct {
	Inner netip.Addr `json:"inner"`          // as routes name it
	Outer netip.Addr `json:"outer,omitzero"` // where its packets are sent; unset: no forwarding entry says so
}
