package model

import "net/netip"

// Resolver is what a program's resolver takes from resolv.conf(5).
type Resolver struct {
	Servers []netip.Addr `json:"servers,omitempty"`
	Search  []string     `json:"search,omitempty"`
	Ndots   int          `json:"ndots"`
	Options []string     `json:"options,omitempty"` // as written, ndots left out
	From    string       `json:"from,omitempty"`    // where this is known from: "the pod's /etc/resolv.conf", "dnsPolicy ClusterFirst"
}

// Lookup is the predicted way of one name: every name that will be asked for,
// in order, up to the first that is predicted to have an address.
type Lookup struct {
	Host     string      `json:"host"`
	From     Ref         `json:"from,omitempty"`
	Resolver Resolver    `json:"resolver"`
	Tries    []LookupTry `json:"tries,omitempty"`
	Notes    []string    `json:"notes,omitempty"` // where resolvers of other C libraries differ for this name
	Gaps     []Gap       `json:"gaps,omitempty"`
}

// LookupTry is one query name with the way of its queries: name server, the
// Corefile's deciding line, the upstream, private zones.
type LookupTry struct {
	Name    string   `json:"name"` // absolute
	Steps   []Step   `json:"steps"`
	Result  Reason   `json:"result,omitempty"` // of the queries for addresses; empty: not known from configuration
	Answers []string `json:"answers,omitempty"`
}
