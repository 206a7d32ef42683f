// Package nft writes nftables: tables as text for `nft -f`, and sets of addresses
// and ports that nftables accepts.
package nft

import (
	"fmt"
	"slices"
	"strings"
)

// Table collects one nftables table. It is written out so that loading it
// replaces all rules in one transaction and yet keeps counters and connection
// tracking: chains that are no longer wanted are deleted by name.
type Table struct {
	family, name string
	Order        []string
	chains       map[string][]string
	hooks        map[string]string
	counters     map[string]bool
	Objects      []string // counters of other kinds, sets: declared before the chains
}

// NewTable starts a table of a family ("ip").
func NewTable(family, name string) *Table {
	return &Table{family: family, name: name, chains: map[string][]string{}, hooks: map[string]string{}, counters: map[string]bool{}}
}

// Chain declares a chain; hook is its "type … hook …; policy …;" line, or empty.
func (t *Table) Chain(name, hook string) {
	if _, ok := t.chains[name]; !ok {
		t.Order = append(t.Order, name)
		t.chains[name] = nil
		t.hooks[name] = hook
	}
}

// Rule adds a rule to a chain, which is declared if it is not yet.
func (t *Table) Rule(chain, text string) {
	t.Chain(chain, "")
	t.chains[chain] = append(t.chains[chain], strings.TrimSpace(text))
}

// Rules adds one rule for each alternative match, counted under one name.
func (t *Table) Rules(chain string, match []string, counter, verdict string) {
	t.counters[counter] = true
	for _, m := range match {
		t.Rule(chain, m+`counter name "`+counter+`" `+verdict)
	}
}

// Text is the script for `nft -f`; old are the chains that the last one made.
func (t *Table) Text(old []string) string {
	var b strings.Builder
	id := t.family + " " + t.name
	fmt.Fprintf(&b, "add table %s\nflush table %s\n", id, id)
	for _, c := range old {
		if _, ok := t.chains[c]; !ok {
			fmt.Fprintf(&b, "delete chain %s %s\n", id, c)
		}
	}
	fmt.Fprintf(&b, "table %s {\n", id)
	names := make([]string, 0, len(t.counters))
	for n := range t.counters {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(&b, "\tcounter %s { }\n", n)
	}
	for _, o := range t.Objects {
		fmt.Fprintf(&b, "\t%s\n", o)
	}
	for _, c := range t.Order {
		fmt.Fprintf(&b, "\tchain %s {\n", c)
		if t.hooks[c] != "" {
			fmt.Fprintf(&b, "\t\t%s\n", t.hooks[c])
		}
		for _, r := range t.chains[c] {
			fmt.Fprintf(&b, "\t\t%s\n", r)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// Ident makes a name that nftables takes without quotes.
func Ident(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-', r == '.':
			return r
		}
		return '_'
	}, s)
}
