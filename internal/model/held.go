package model

import (
	"net/netip"
	"slices"
)

// HeldFlows are the connections of a node's connection table from one address to
// one address and port, as the packet leaves for it: TCP, or UDP by itself. Each
// takes a source port wherever its source is translated, until the table that
// translates forgets it.
type HeldFlows struct {
	From   netip.Addr     `json:"from"`
	To     netip.AddrPort `json:"to"`
	UDP    bool           `json:"udp,omitempty"`
	Count  int            `json:"count"`
	Over   int            `json:"over,omitempty"`   // of them, closed or closing: they hold their port all the same
	Asking int            `json:"asking,omitempty"` // of them, without an answer until now, and asked a moment ago: who gets no port waits here too
	Silent int            `json:"silent,omitempty"` // besides: without an answer, and not asked any more: given up, as each try of a probe is that got none
}

// Holders are all connections that a node holds, each with the pod or node that opened it.
func (w *World) Holders(node string) []Holder {
	facts := w.Nodes[node]
	if facts == nil {
		return nil
	}
	owners := map[netip.Addr]Ref{}
	out := make([]Holder, 0, len(facts.Held))
	for _, h := range facts.Held {
		if owners[h.From] == "" {
			owners[h.From] = w.ownerOf(h.From, node)
		}
		out = append(out, Holder{Ref: owners[h.From], HeldFlows: h})
	}
	return out
}

// Holder is who holds connections.
type Holder struct {
	Ref Ref
	HeldFlows
}

// ownerOf is the pod that has an address, or the node itself (also by its bridge's or
// tunnel's address); host/ADDRESS when neither was read.
func (w *World) ownerOf(addr netip.Addr, node string) Ref {
	if n := w.Kube.Nodes[node]; n != nil && slices.Contains(n.InternalIPs, addr) {
		return NewRef("node", node)
	}
	for i := range w.Nodes[node].Links {
		if slices.ContainsFunc(w.Nodes[node].Links[i].Addrs, func(p netip.Prefix) bool { return p.Addr() == addr }) {
			return NewRef("node", node)
		}
	}
	best := Ref("")
	for ref, p := range w.Kube.Pods {
		if p != nil && !p.HostNetwork && p.Phase != "Succeeded" && p.Phase != "Failed" && slices.Contains(p.IPs, addr) && (best == "" || ref < best) {
			best = ref
		}
	}
	if best == "" {
		return NewRef("host", addr.String())
	}
	return best
}
