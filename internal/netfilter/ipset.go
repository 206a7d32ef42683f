package netfilter

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// IPSet is one of the kernel's IP sets, which rules of iptables name with
// --match-set: their contents are no part of the rules.
type IPSet struct {
	Name    string
	Type    string   // hash:ip, hash:net, hash:ip,port, list:set, …
	V6      bool     // of family inet6
	parts   []string // of an element: ip, net, port, iface, mark
	in      *Set
	except  *Set     // the elements with nomatch
	members []string // of a list:set
	nets    []int    // where networks stand in an element's key
	device  int      // where an interface stands; -1: nowhere
}

// maxSetElements bounds what one machine's sets may hold.
const maxSetElements = 2_000_000

// partsOf are the parts of a set type's elements that a packet is looked at for (ipset(8)).
var partsOf = map[string]bool{"ip": true, "net": true, "port": true, "iface": true, "mark": true, "set": true}

// ParseIPSets reads `ipset save`. A set of a type that is not known is left out:
// rules that name it stay unknown.
func ParseIPSets(text string) (map[string]*IPSet, error) {
	sets := map[string]*IPSet{}
	n := 0
	for number, line := range strings.Split(text, "\n") {
		words, err := split(strings.TrimSpace(line))
		if err != nil {
			return nil, fmt.Errorf("ipset save: line %d: %w", number+1, err)
		}
		switch {
		case len(words) == 0:
		case len(words) > 2 && words[0] == "create":
			if s := newIPSet(words[1], words[2], words[3:]); s != nil {
				sets[words[1]] = s
			}
		case len(words) > 2 && words[0] == "add":
			if n++; n > maxSetElements {
				return nil, fmt.Errorf("ipset save: more than %d elements", maxSetElements)
			}
			if s := sets[words[1]]; s != nil && !s.add(words[2], words[3:]) {
				delete(sets, words[1]) // what is not understood may hold anything
			}
		default:
			return nil, fmt.Errorf("ipset save: line %d: %q neither creates a set nor adds to one", number+1, clip(line))
		}
	}
	for _, s := range sets {
		s.in.seal()
		s.except.seal()
	}
	return sets, nil
}

func newIPSet(name, kind string, options []string) *IPSet {
	_, parts, _ := strings.Cut(kind, ":")
	s := &IPSet{
		Name: name, Type: kind, V6: slices.Contains(options, "inet6"), parts: strings.Split(parts, ","),
		in: &Set{Name: name}, except: &Set{Name: name}, device: -1,
	}
	at := 0
	for _, p := range s.parts {
		switch {
		case !partsOf[p]:
			return nil
		case p == "net":
			s.nets = append(s.nets, at)
		case p == "iface":
			s.device = at
		case p == "port":
			at++ // its protocol is a value of its own
		}
		at++
	}
	return s
}

func (s *IPSet) add(text string, flags []string) bool {
	if s.parts[0] == "set" {
		s.members = append(s.members, text)
		return true
	}
	words := strings.Split(text, ",")
	if len(words) != len(s.parts) {
		return false
	}
	var key []Range
	for i, part := range s.parts {
		r, ok := element(part, words[i])
		if !ok {
			return false
		}
		key = append(key, r...)
	}
	if s.device >= 0 && slices.Contains(flags, "wildcard") {
		key[s.device] = deviceRange(key[s.device].Lo+"*", "*")
	}
	to := s.in
	if slices.Contains(flags, "nomatch") {
		to = s.except
	}
	to.Elems = append(to.Elems, Elem{Key: key})
	return true
}

// element reads one part of an element.
func element(part, text string) ([]Range, bool) {
	switch part {
	case "ip", "net":
		if lo, hi, ok := strings.Cut(text, "-"); ok {
			a, err1 := netip.ParseAddr(lo)
			b, err2 := netip.ParseAddr(hi)
			if err1 != nil || err2 != nil || a.Is4() != b.Is4() {
				return nil, false
			}
			return []Range{{addrBytes(a), addrBytes(b)}}, true
		}
		p, err := parsePrefix(text)
		if err != nil {
			return nil, false
		}
		return []Range{prefixRange(p)}, true
	case "port":
		proto, ports, ok := strings.Cut(text, ":")
		if !ok { // bitmap:port has no protocol
			proto, ports = "", text
		}
		r, okPorts := portRange(ports)
		number, okProto := protocol(proto)
		if proto == "" {
			return []Range{everything, r}, okPorts
		}
		return []Range{one(number), r}, okPorts && okProto
	case "mark":
		n, err := strconv.ParseUint(text, 0, 32)
		return []Range{one(number(n))}, err == nil
	case "iface":
		return []Range{one(text)}, text != "" && !strings.HasPrefix(text, "physdev:")
	}
	return nil, false
}

func portRange(text string) (Range, bool) {
	lo, hi, ok := strings.Cut(text, "-")
	if !ok {
		hi = lo
	}
	a, err1 := strconv.ParseUint(lo, 10, 16)
	b, err2 := strconv.ParseUint(hi, 10, 16)
	return numberRange(a, b), err1 == nil && err2 == nil && a <= b
}

// maxNested bounds sets of sets; the kernel has no deeper ones than two.
const maxNested = 8

// inIPSet says whether a packet is in a set, each part looked for at the source
// or the destination as the rule says.
func (w *walker) inIPSet(p *Packet, name string, at []string, depth int) tri {
	s := w.rs.IPSets[name]
	if s == nil || depth > maxNested || w.rs.filled[name] {
		return maybe
	}
	if s.parts[0] == "set" {
		out := no
		for _, m := range s.members {
			switch w.inIPSet(p, m, at, depth+1) {
			case yes:
				return yes
			case maybe:
				out = maybe
			}
		}
		return out
	}
	vals, ok := w.setValues(p, s, at)
	if !ok {
		return maybe
	}
	if slices.ContainsFunc(vals, func(v val) bool { return v.none }) || slices.Contains(s.parts, "ip") && s.V6 != p.v6() || slices.Contains(s.parts, "net") && s.V6 != p.v6() {
		return no
	}
	return s.holds(vals)
}

func (w *walker) setValues(p *Packet, s *IPSet, at []string) ([]val, bool) {
	if len(at) < len(s.parts) {
		return nil, false
	}
	family := map[bool]string{false: "ip ", true: "ip6 "}[p.v6()]
	var out []val
	for i, part := range s.parts {
		source := at[i] == "src"
		pick := func(src, dst string) string {
			if source {
				return src
			}
			return dst
		}
		switch part {
		case "ip", "net":
			out = append(out, w.key(p, family+pick("saddr", "daddr")))
		case "port":
			out = append(out, w.key(p, "meta l4proto"), w.key(p, "th "+pick("sport", "dport")))
		case "iface":
			out = append(out, w.key(p, "meta "+pick("iifname", "oifname")))
		case "mark":
			out = append(out, w.key(p, "meta mark"))
		}
	}
	return out, true
}

// holds looks a packet's values up. Where elements overlap, the kernel looks from
// the narrowest network to the widest, and the first decides: one with nomatch
// takes its own out again. With an interface in the element, the narrowest network
// that holds the address decides for every interface (ip_set_hash_gen.h,
// mtype_test_cidrs, and ip_set_hash_netiface.c, which counts as `multi` what
// differs by its interface only).
func (s *IPSet) holds(vals []val) tri {
	in := s.in.holds(vals)
	if in == no || len(s.except.Elems) == 0 && s.device < 0 {
		return in
	}
	if slices.ContainsFunc(vals, func(v val) bool { return !v.known || !v.r.single() }) {
		return maybe
	}
	var best *Elem
	out := no
	for _, list := range []*Set{s.in, s.except} {
		for i := range list.Elems {
			e := &list.Elems[i]
			if !s.fits(e, vals, s.device) || best != nil && s.narrower(best, e) {
				continue
			}
			if best == nil || s.narrower(e, best) {
				best, out = e, no
			}
			if s.fits(e, vals, -1) {
				out = triOf(list == s.in)
			}
		}
	}
	return out
}

// fits says whether an element has the values, but for the one at index but.
func (s *IPSet) fits(e *Elem, vals []val, but int) bool {
	for i, v := range vals {
		if i != but && v.in(e.Key[i]) != yes {
			return false
		}
	}
	return true
}

// narrower compares the networks of two elements that hold the same values.
func (s *IPSet) narrower(a, b *Elem) bool {
	for _, i := range s.nets {
		if a.Key[i] != b.Key[i] {
			return a.Key[i].Lo >= b.Key[i].Lo && a.Key[i].Hi <= b.Key[i].Hi
		}
	}
	return false
}
