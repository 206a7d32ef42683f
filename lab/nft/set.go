package nft

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Span is a range of IPv4 addresses, both ends included. nftables refuses sets
// whose elements overlap, so everything that becomes a set is merged here first.
type Span struct{ Lo, Hi uint32 }

// Set is a set of addresses or ports.
type Set []Span

// AddrSpan is one address.
func AddrSpan(a netip.Addr) Span { n := toUint(a); return Span{n, n} }

// PrefixSpan is a CIDR.
func PrefixSpan(p netip.Prefix) Span {
	lo := toUint(p.Masked().Addr())
	return Span{lo, lo | uint32(uint64(1)<<(32-p.Bits())-1)}
}

// Prefixes is the set of all addresses of the IPv4 prefixes among these.
func Prefixes(prefixes ...netip.Prefix) Set {
	var s Set
	for _, p := range prefixes {
		if p.Addr().Is4() {
			s = append(s, PrefixSpan(p))
		}
	}
	return s.Merge()
}

func toUint(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }

func toAddr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// Merge sorts and joins what overlaps or touches.
func (s Set) Merge() Set {
	sorted := slices.Clone(s)
	slices.SortFunc(sorted, func(a, b Span) int {
		switch {
		case a.Lo < b.Lo:
			return -1
		case a.Lo > b.Lo:
			return 1
		}
		return 0
	})
	var out Set
	for _, r := range sorted {
		if n := len(out); n > 0 && uint64(r.Lo) <= uint64(out[n-1].Hi)+1 {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Minus is s without what is in t.
func (s Set) Minus(t Set) Set {
	out := s.Merge()
	for _, cut := range t.Merge() {
		var next Set
		for _, r := range out {
			if cut.Hi < r.Lo || cut.Lo > r.Hi {
				next = append(next, r)
				continue
			}
			if cut.Lo > r.Lo {
				next = append(next, Span{r.Lo, cut.Lo - 1})
			}
			if cut.Hi < r.Hi {
				next = append(next, Span{cut.Hi + 1, r.Hi})
			}
		}
		out = next
	}
	return out
}

// Has says whether an address is in the set.
func (s Set) Has(a netip.Addr) bool {
	n := toUint(a)
	for _, r := range s {
		if r.Lo <= n && n <= r.Hi {
			return true
		}
	}
	return false
}

// Everything says whether the set is all of IPv4.
func (s Set) Everything() bool { return len(s) == 1 && s[0] == Span{0, 1<<32 - 1} }

// Text writes the set as nftables reads it.
func (s Set) Text() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = toAddr(r.Lo).String()
		if r.Hi != r.Lo {
			parts[i] += "-" + toAddr(r.Hi).String()
		}
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}

// ParsePrefix reads what ARM calls an address prefix: CIDR or bare address.
func ParsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a CIDR", s)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// Ports merges port ranges as ARM writes them ("443", "1-1024", "*").
// Nil means every port.
func Ports(lists ...string) (Set, error) {
	var s Set
	for _, text := range lists {
		if text == "" {
			continue
		}
		if text == "*" {
			return nil, nil
		}
		lo, hi, ok := strings.Cut(text, "-")
		if !ok {
			hi = lo
		}
		var a, b uint32
		if _, err := fmt.Sscanf(lo+" "+hi, "%d %d", &a, &b); err != nil || a > b || b > 65535 {
			return nil, fmt.Errorf("%q is not a port or a range of ports", text)
		}
		s = append(s, Span{a, b})
	}
	s = s.Merge()
	if len(s) == 1 && s[0].Lo <= 1 && s[0].Hi == 65535 {
		return nil, nil
	}
	return s, nil
}

// PortText writes a set of ports.
func (s Set) PortText() string {
	parts := make([]string, len(s))
	for i, r := range s {
		parts[i] = fmt.Sprint(r.Lo)
		if r.Hi != r.Lo {
			parts[i] += fmt.Sprint("-", r.Hi)
		}
	}
	return "{ " + strings.Join(parts, ", ") + " }"
}

// Range is the span from one address to another.
func Range(a, b netip.Addr) Span { return Span{toUint(a), toUint(b)} }

// CIDRs covers a nft.Span with CIDRs.
func (s Span) CIDRs() []netip.Prefix {
	var out []netip.Prefix
	for lo := uint64(s.Lo); lo <= uint64(s.Hi); {
		bits := 32
		for bits > 0 && lo&(1<<(33-bits)-1) == 0 && lo+1<<(33-bits)-1 <= uint64(s.Hi) {
			bits--
		}
		out = append(out, netip.PrefixFrom(toAddr(uint32(lo)), bits))
		lo += 1 << (32 - bits)
	}
	return out
}
