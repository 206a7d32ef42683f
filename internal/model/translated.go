package model

import (
	"fmt"
	"net/netip"
	"slices"
)

// TranslatedFlows are the UDP entries of a node's connection table that ask for
// one address and are sent on to another, whoever asks.
type TranslatedFlows struct {
	To    netip.AddrPort `json:"to"`              // as the clients write it
	Leads netip.AddrPort `json:"leads"`           // where the kernel sends it
	Count int            `json:"count"`           // entries
	Alive int            `json:"alive,omitempty"` // of them, those that carried a packet within the last ten seconds
	Froms []netip.Addr   `json:"froms,omitempty"` // clients of those that are alive

	Sockets []netip.AddrPort `json:"sockets,omitempty"` // one socket of each of these clients
	Silent  int              `json:"silent,omitempty"`  // of the alive, those to which no packet ever came back
}

// VirtualServer is one that kube-proxy wrote for the kernel's IPVS.
type VirtualServer struct {
	Protocol string         `json:"protocol"` // TCP, UDP, SCTP
	Addr     netip.AddrPort `json:"addr"`
	Servers  []RealServer   `json:"servers,omitempty"`
}

// String is the virtual server with its servers and their weights.
func (v VirtualServer) String() string {
	words := make([]string, len(v.Servers))
	for i, s := range v.Servers {
		words[i] = fmt.Sprintf("%s*%d", s.Addr, s.Weight)
	}
	return fmt.Sprintf("%s %s %v", v.Protocol, v.Addr, words)
}

// RealServer is where a virtual server sends connections; one of weight 0 gets no new ones.
type RealServer struct {
	Addr   netip.AddrPort `json:"addr"`
	Weight int            `json:"weight"`
}

// SocketOf is a socket of one of these clients; not valid: it was not told.
func (f *TranslatedFlows) SocketOf(clients []netip.Addr) netip.AddrPort {
	for _, s := range f.Sockets {
		if slices.Contains(clients, s.Addr()) {
			return s
		}
	}
	return netip.AddrPort{}
}

// Lost are the kinds of UDP entries of a node that somebody keeps alive, that ask
// for an address of a Service, and that lead to no endpoint of it, in whatever
// state. The Service's EndpointSlices have to be known.
func (k *Kube) Lost(facts *NodeFacts, svc *Service) []TranslatedFlows {
	own := slices.Concat(svc.ClusterIPs, svc.ExternalIPs, svc.LoadBalancerIPs)
	var out []TranslatedFlows
	for _, f := range facts.Translated {
		if f.Alive > 0 && slices.Contains(own, f.To.Addr()) && !k.isEndpoint(svc, f.Leads.Addr()) {
			out = append(out, f)
		}
	}
	return out
}

func (k *Kube) isEndpoint(svc *Service, a netip.Addr) bool {
	text := a.String()
	for _, s := range k.EndpointSlices {
		if s.Namespace == svc.Namespace && s.Service == svc.Name && slices.ContainsFunc(s.Endpoints, func(e SliceEndpoint) bool { return slices.Contains(e.Addresses, text) }) {
			return true
		}
	}
	return false
}
