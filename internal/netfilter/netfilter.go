// Package netfilter reads the packet filter of a Linux machine and walks a
// packet through it: which rule lets it pass, drops or rejects it, and with
// which addresses it goes on.
//
// Rule sets come from `iptables-save` (legacy and nft) and `nft -j list
// ruleset`, and are kept in one neutral form. A walk takes all tables in hook
// order, by priority, as the kernel does (net/netfilter/core.c): a verdict of
// accept ends a base chain, not the walk; drop and reject end the walk; chains of
// type nat see only the first packet of a connection.
//
// What is not understood makes one rule unknown, never the rule set: the walk
// goes on both with and without it, and an outcome says on which rules it
// depends. Chance (statistic, numgen) makes several outcomes, each with its
// share.
//
// The package is pure: text and a packet in, outcomes out.
package netfilter

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Verdict is what becomes of a packet. The zero value says nothing.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota
	Accept
	Drop
	Reject
)

var verdictNames = [...]string{"unknown", "accept", "drop", "reject"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return verdictNames[Unknown]
}

// The hooks, as nft names them.
const (
	HookIngress     = "ingress"
	HookEgress      = "egress"
	HookPrerouting  = "prerouting"
	HookInput       = "input"
	HookForward     = "forward"
	HookOutput      = "output"
	HookPostrouting = "postrouting"
)

// The programs that made a table.
const (
	BackendLegacy = "iptables-legacy"
	BackendNFT    = "iptables-nft" // iptables' own tables within nftables
	BackendNative = "nft"
)

// RuleSet is everything that a machine filters with.
type RuleSet struct {
	Tables []*Table
	Notes  []string // what of it could not be read as a rule at all
	IPSets map[string]*IPSet

	filled map[string]bool // IP sets that rules themselves add to or take from

	newestFirst bool // among chains of one priority, those listed last come first
}

// Table is a table. Legacy iptables may have one of the same name as nftables.
type Table struct {
	Family  string // ip, ip6, inet, netdev, bridge, arp
	Name    string
	Backend string
	Chains  map[string]*Chain
	Order   []string // the chains' names as they were listed
	Sets    map[string]*Set
}

// Chain is a chain; one with a Hook is where the kernel enters the table.
type Chain struct {
	Name     string
	Hook     string
	Type     string // filter, nat, route
	Priority int
	Policy   Verdict
	Devices  []string // of hooks ingress and egress
	Rules    []*Rule
	Line     int // of the text that was read
}

// Rule is one rule: its expressions in order, and its text for people.
type Rule struct {
	Text    string
	Line    int   // in iptables-save's output
	Handle  int   // in nftables, to name it in `nft delete rule`
	Packets int64 // that matched, where it counts
	Comment string
	Exprs   []Expr
}

// ExprKind is what an expression does.
type ExprKind uint8

// The kinds of expressions.
const (
	ExprNothing      ExprKind = iota // counts, logs: goes on
	ExprMatch                        // goes on where Left is in Set
	ExprChance                       // goes on with a probability of Chance
	ExprUnknownMatch                 // may or may not go on
	ExprVerdict                      // ends the rule with Jump
	ExprVerdictMap                   // ends the rule with the verdict that Set has for Left
	ExprUnknownEnd                   // may end the walk in a way that is not known
	ExprMark                         // sets the packet's mark to Value
	ExprCTMark                       // sets the connection's mark to Value
	ExprNAT                          // translates and accepts
	ExprNoTrack                      // the connection is not tracked
	ExprIPSet                        // goes on where the packet is in the IP set SetRef
)

// Expr is one expression of a rule.
type Expr struct {
	Kind   ExprKind
	Left   []Operand // one for each part of a concatenation
	Set    *Set
	SetRef string   // the name of the table's set, where it is not the rule's own
	At     []string // of an IP set: "src" or "dst" for each part of its elements
	Not    bool
	Bits   bool // any bit of Left that is also in Set's only value, rather than equality
	Chance float64
	Jump   Jump
	Value  Operand
	NAT    *NAT
}

// Jump is a verdict of a rule.
type Jump struct {
	Do    string // accept, drop, reject, return, jump, goto, continue
	Chain string
	With  string // of reject: icmp-port-unreachable, tcp-reset, …
}

// NAT is a translation. An address or a port that is not set stays or, with
// masquerading, is the machine's to choose.
type NAT struct {
	Do   string // dnat, snat, masquerade, redirect, netmap
	Addr *Operand
	Port *Operand
}

// Operand is a value of a packet, a constant, or what is computed of them.
type Operand struct {
	Op    string // key, const, &, |, ^, <<, >>, map, random, unknown
	Key   string // of key: "ip saddr", "th dport", "mark", …
	Range Range  // of const
	Args  []Operand
	Set   *Set // of map
	Ref   string
	Mod   uint64 // of random: one of 0 … Mod-1
}

// Set is a set, map or verdict map. Elements do not overlap.
type Set struct {
	Name  string
	Elems []Elem
	exact map[string]int // the elements that are single values
}

// Elem is an element: a range for each part of the key, and what it maps to.
type Elem struct {
	Key     []Range
	Verdict *Jump
	Data    []Range
}

// Range is an interval of values as bytes that sort: addresses in network order,
// numbers in eight bytes, names as they are.
type Range struct{ Lo, Hi string }

func (r Range) single() bool { return r.Lo == r.Hi }

// seal indexes a set's single values.
func (s *Set) seal() *Set {
	s.exact = make(map[string]int, len(s.Elems))
	for i := range s.Elems {
		if key, ok := exactKey(s.Elems[i].Key); ok {
			s.exact[key] = i
		}
	}
	return s
}

func exactKey(key []Range) (string, bool) {
	var b strings.Builder
	for _, r := range key {
		if !r.single() {
			return "", false
		}
		b.WriteByte(byte(len(r.Lo)))
		b.WriteString(r.Lo)
	}
	return b.String(), true
}

// Translates says whether there is a chain that may translate sources.
func (rs *RuleSet) Translates() bool {
	return slices.ContainsFunc(rs.bases(HookPostrouting, false), func(b base) bool { return b.chain.Type == "nat" })
}

// Merge joins what was read of one machine. Where nft lists iptables' own tables,
// those that iptables-save gave are used: nft does not know their matches.
func Merge(sets ...*RuleSet) *RuleSet {
	out := &RuleSet{filled: map[string]bool{}}
	own := map[string]bool{}
	for _, rs := range sets {
		if rs == nil {
			continue
		}
		for _, t := range rs.Tables {
			if t.Backend == BackendNFT {
				own[t.Family+" "+t.Name] = true
			}
		}
	}
	for _, rs := range sets {
		if rs == nil {
			continue
		}
		out.Notes = append(out.Notes, rs.Notes...)
		maps.Copy(out.filled, rs.filled)
		for _, t := range rs.Tables {
			if t.Backend != BackendNative || !own[t.Family+" "+t.Name] {
				out.Tables = append(out.Tables, t)
			}
		}
	}
	return out
}

// Table finds a table.
func (rs *RuleSet) Table(family, name, backend string) *Table {
	for _, t := range rs.Tables {
		if t.Family == family && t.Name == name && t.Backend == backend {
			return t
		}
	}
	return nil
}

// base is a base chain with its table.
type base struct {
	table *Table
	chain *Chain
}

// natPriority is where the kernel translates, whatever priority a chain of type
// nat has: those are called by it in the order of theirs (nf_nat_core.c).
func natPriority(hook string) int {
	if hook == HookPrerouting || hook == HookOutput {
		return -100
	}
	return 100
}

func (b base) order() (int, int) {
	if b.chain.Type == "nat" {
		return natPriority(b.chain.Hook), b.chain.Priority
	}
	return b.chain.Priority, b.chain.Priority
}

// bases are the base chains at a hook, as the kernel calls them.
func (rs *RuleSet) bases(hook string, v6 bool) []base {
	var out []base
	for _, t := range rs.Tables {
		if !t.sees(hook, v6) {
			continue
		}
		for _, name := range t.Order {
			if c := t.Chains[name]; c != nil && c.Hook == hook {
				out = append(out, base{t, c})
			}
		}
	}
	if rs.newestFirst {
		slices.Reverse(out)
	}
	slices.SortStableFunc(out, func(a, b base) int {
		a1, a2 := a.order()
		b1, b2 := b.order()
		return cmp.Or(a1-b1, a2-b2)
	})
	return out
}

func (t *Table) sees(hook string, v6 bool) bool {
	switch t.Family {
	case "inet":
		return true
	case "ip":
		return !v6
	case "ip6":
		return v6
	case "netdev":
		return hook == HookIngress || hook == HookEgress
	}
	return false
}

// Place names a base chain for people: "ip filter FORWARD".
func (t *Table) Place(chain string) string { return t.Family + " " + t.Name + " " + chain }
