package reach

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// special are the networks that are not the internet (RFC 6890 and its
// registries, multicast, Azure's wire server): "the internet" is cut along them.
var special = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "168.63.129.16/32", "224.0.0.0/3",
	"::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8",
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// atoms cuts all addresses into ranges that no rule tells apart: an atom is a
// prefix that some rule names, less the longer ones. Sorted by address, then by
// length, everything inside a prefix follows it without a gap.
type atoms struct {
	list  []netip.Prefix
	after []int32 // one past the last atom inside
	empty []bool  // longer prefixes cover it wholly
	table bart.Table[int32]
}

func newAtoms(named []netip.Prefix) *atoms {
	list := append(slices.Clone(named), netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
	list = append(list, special...)
	for i := range list {
		list[i] = list[i].Masked()
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(cmp.Compare(a.Addr().BitLen(), b.Addr().BitLen()), a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	list = slices.Compact(list)
	a := &atoms{list: list, after: make([]int32, len(list)), empty: make([]bool, len(list))}
	var open []int32
	for i, p := range list {
		a.table.Insert(p, int32(i))
		for len(open) > 0 && !inside(p, list[open[len(open)-1]]) {
			a.after[open[len(open)-1]] = int32(i)
			open = open[:len(open)-1]
		}
		open = append(open, int32(i))
	}
	for _, i := range open {
		a.after[i] = int32(len(list))
	}
	for i := range list {
		next := i + 1
		a.empty[i] = next < int(a.after[i]) && a.covered(list[i], &next, int(a.after[i]), true)
	}
	return a
}

func inside(p, outer netip.Prefix) bool {
	return p.Addr().BitLen() == outer.Addr().BitLen() && p.Bits() >= outer.Bits() && outer.Contains(p.Addr())
}

// covered says whether the atoms from *next on, up to end, fill a prefix; with
// top the prefix itself does not count.
func (a *atoms) covered(p netip.Prefix, next *int, end int, top bool) bool {
	if *next >= end || !inside(a.list[*next], p) {
		return false
	}
	if !top && a.list[*next] == p {
		*next = int(a.after[*next])
		return true
	}
	if p.Bits() == p.Addr().BitLen() {
		return false
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	high := netip.PrefixFrom(upper(p), p.Bits()+1)
	if !a.covered(low, next, end, false) {
		return false
	}
	return a.covered(high, next, end, false)
}

// upper is the first address of a prefix's upper half.
func upper(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// of is the atom that holds an address.
func (a *atoms) of(ip netip.Addr) int32 {
	i, ok := a.table.Lookup(ip)
	if !ok {
		return -1
	}
	return i
}

// within are the atoms from the first result up to the second, of a prefix that
// is one of the list.
func (a *atoms) within(p netip.Prefix) (from, to int32) {
	p = p.Masked()
	i, ok := slices.BinarySearchFunc(a.list, p, func(x, y netip.Prefix) int {
		return cmp.Or(cmp.Compare(x.Addr().BitLen(), y.Addr().BitLen()), x.Addr().Compare(y.Addr()), cmp.Compare(x.Bits(), y.Bits()))
	})
	if !ok {
		return 0, 0
	}
	return int32(i), a.after[i]
}

// sample is an address of an atom that no longer prefix holds; not ok where there is none.
func (a *atoms) sample(i int32) (netip.Addr, bool) {
	if a.empty[i] {
		return netip.Addr{}, false
	}
	return a.gap(a.list[i], i+1, a.after[i])
}

// gap finds the first address of p that no atom from next to end holds.
func (a *atoms) gap(p netip.Prefix, next, end int32) (netip.Addr, bool) {
	at := p.Addr()
	for next < end {
		q := a.list[next]
		if at.Less(q.Addr()) {
			return at, true
		}
		last := lastOf(q)
		if next = a.after[next]; !p.Contains(last.Next()) || !last.Next().IsValid() {
			return netip.Addr{}, false
		}
		at = last.Next()
	}
	return at, true
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// internet are the atoms outside of every special network and of own.
func (a *atoms) internet(own []netip.Prefix) []int32 {
	var out []int32
	skip := slices.Concat(special, own)
	for i, p := range a.list {
		if !a.empty[i] && !slices.ContainsFunc(skip, func(s netip.Prefix) bool { return inside(p, s.Masked()) }) {
			out = append(out, int32(i))
		}
	}
	return out
}
