package netfilter

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// number is a number as bytes that sort.
func number(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return string(b[:])
}

// numeric is the number of such bytes.
func numeric(s string) (uint64, bool) {
	if len(s) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64([]byte(s)), true
}

func one(s string) Range { return Range{s, s} }

func numberRange(lo, hi uint64) Range { return Range{number(lo), number(hi)} }

func addrBytes(a netip.Addr) string { return string(a.AsSlice()) }

func addrOf(s string) netip.Addr {
	a, _ := netip.AddrFromSlice([]byte(s))
	return a
}

// prefixRange is the interval of a prefix's addresses.
func prefixRange(p netip.Prefix) Range {
	lo := p.Masked().Addr().AsSlice()
	hi := append([]byte(nil), lo...)
	for bit := p.Bits(); bit < len(hi)*8; bit++ {
		hi[bit/8] |= 0x80 >> (bit % 8)
	}
	return Range{string(lo), string(hi)}
}

// everything holds any value.
var everything = Range{"", strings.Repeat("\xff", 20)}

// protocols are the numbers of protocols, which tools write as names where the
// machine has /etc/protocols, and as numbers elsewhere.
var protocols = map[string]uint64{
	"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51,
	"ipv6-icmp": 58, "icmpv6": 58, "sctp": 132, "udplite": 136,
}

func protocol(name string) (string, bool) {
	name = strings.ToLower(name)
	if n, ok := protocols[name]; ok {
		return number(n), true
	}
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return number(n), true
	}
	return "", false
}

// deviceRange is an interface's name; the wildcard stands at its end.
func deviceRange(name, wildcard string) Range {
	if stem, ok := strings.CutSuffix(name, wildcard); ok {
		return Range{stem, stem + everything.Hi}
	}
	return one(name)
}

// val is what is known of a value: nothing, one value, an interval, or several
// names at once (flags).
type val struct {
	known bool
	none  bool // the packet has no such field: the rule does not match, negated or not
	r     Range
	names []string
}

func exactly(s string) val      { return val{known: true, r: one(s)} }
func flags(names ...string) val { return val{known: true, names: names} }

// tri is a three-valued answer. Its zero value: it cannot be told.
type tri uint8

const (
	maybe tri = iota
	no
	yes
)

func triOf(b bool) tri {
	if b {
		return yes
	}
	return no
}

func (a tri) and(b tri) tri {
	switch {
	case a == no || b == no:
		return no
	case a == yes && b == yes:
		return yes
	}
	return maybe
}

func (a tri) not() tri {
	switch a {
	case yes:
		return no
	case no:
		return yes
	}
	return maybe
}

// in says whether a value lies in an interval.
func (v val) in(r Range) tri {
	if r == everything {
		return yes
	}
	if !v.known {
		return maybe
	}
	for _, n := range v.names {
		if r.Lo <= n && n <= r.Hi {
			return yes
		}
	}
	if v.names != nil {
		return no
	}
	switch {
	case r.Lo <= v.r.Lo && v.r.Hi <= r.Hi && (len(r.Lo) == len(v.r.Lo) || r.Lo != r.Hi):
		return yes
	case v.r.Hi < r.Lo || r.Hi < v.r.Lo:
		return no
	}
	return maybe
}

// hit is an element that a key may have found.
type hit struct {
	elem *Elem
	sure tri
}

// find looks a key up. A nil set holds what is not known.
func (s *Set) find(vals []val) []hit {
	if key, ok := exactVals(vals); ok {
		if i, found := s.exact[key]; found {
			return []hit{{&s.Elems[i], yes}}
		}
	}
	var out []hit
	for i := range s.Elems {
		e := &s.Elems[i]
		sure := yes
		for j := range vals {
			if j >= len(e.Key) {
				sure = no
				break
			}
			if sure = sure.and(vals[j].in(e.Key[j])); sure == no {
				break
			}
		}
		switch sure {
		case yes:
			return []hit{{e, yes}}
		case maybe:
			out = append(out, hit{e, maybe})
		}
	}
	return out
}

func exactVals(vals []val) (string, bool) {
	key := make([]Range, len(vals))
	for i, v := range vals {
		if !v.known || v.names != nil || !v.r.single() {
			return "", false
		}
		key[i] = v.r
	}
	return exactKey(key)
}

// holds says whether a set has a key. A value that is known to lie within an
// interval is held when elements together cover it; only single elements are
// looked at, which is what rule sets have.
func (s *Set) holds(vals []val) tri {
	hits := s.find(vals)
	switch {
	case len(hits) == 0:
		return no
	case hits[0].sure == yes:
		return yes
	}
	return maybe
}
