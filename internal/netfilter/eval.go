package netfilter

import (
	"net/netip"
	"strconv"
)

// set finds the set of an expression.
func (t *Table) set(s *Set, ref string) *Set {
	if s != nil {
		return s
	}
	return t.Sets[ref]
}

func (w *walker) values(p *Packet, left []Operand) []val {
	out := make([]val, len(left))
	for i := range left {
		out[i] = w.eval(p, &left[i])
	}
	return out
}

// matches says whether a condition holds.
func (w *walker) matches(p *Packet, t *Table, e *Expr) tri {
	if len(e.Left) == 1 && e.Left[0].Key == "fragment" {
		return triOf(e.Not)
	}
	vals := w.values(p, e.Left)
	for _, v := range vals {
		if v.none {
			return no
		}
	}
	set := t.set(e.Set, e.SetRef)
	if set == nil {
		return maybe
	}
	var out tri
	if e.Bits {
		out = anyBit(vals[0], set)
	} else {
		out = set.holds(vals)
	}
	if e.Not {
		return out.not()
	}
	return out
}

// anyBit says whether a number has any bit of the set's values.
func anyBit(v val, s *Set) tri {
	n, ok := numeric(v.r.Lo)
	if !v.known || !ok || !v.r.single() {
		return maybe
	}
	for _, e := range s.Elems {
		if len(e.Key) == 0 {
			return maybe
		}
		bits, ok := numeric(e.Key[0].Lo)
		if !ok {
			return maybe
		}
		if n&bits != 0 {
			return yes
		}
	}
	return no
}

// eval computes a value.
func (w *walker) eval(p *Packet, o *Operand) val {
	switch o.Op {
	case "key":
		return w.key(p, o.Key)
	case "const":
		return val{known: true, r: o.Range}
	case "&", "|", "^", "<<", ">>":
		return w.arithmetic(p, o)
	}
	return val{}
}

func (w *walker) arithmetic(p *Packet, o *Operand) val {
	var out uint64
	for i := range o.Args {
		v := w.eval(p, &o.Args[i])
		if v.none {
			return v
		}
		n, ok := numeric(v.r.Lo)
		if !v.known || !ok || !v.r.single() {
			return val{}
		}
		if i == 0 {
			out = n
			continue
		}
		switch o.Op {
		case "&":
			out &= n
		case "|":
			out |= n
		case "^":
			out ^= n
		case "<<":
			out <<= min(n, 63)
		case ">>":
			out >>= min(n, 63)
		}
	}
	return exactly(number(out))
}

// mark computes a mark; lost: it is not known any more.
func (w *walker) mark(p *Packet, o *Operand) (mark uint32, lost bool) {
	v := w.eval(p, o)
	n, ok := numeric(v.r.Lo)
	if !v.known || !ok || !v.r.single() {
		return 0, true
	}
	return uint32(n), false
}

// found is a packet with the element that its key found; nil: none.
type found struct {
	state
	elem *Elem
}

// lookup looks a key up in a map: one element, none, or several that are possible.
func (w *walker) lookup(f fork, r *Rule, t *Table, e *Expr) []found {
	set := t.set(e.Set, e.SetRef)
	if set == nil {
		w.stop(f.assume(r), Unknown, "", Decision{t, "", r})
		return nil
	}
	if len(e.Left) == 1 && e.Left[0].Op == "random" {
		return f.random(set, e.Left[0].Mod)
	}
	vals := w.values(&f.p, e.Left)
	for _, v := range vals {
		if v.none {
			return []found{{f.state, nil}}
		}
	}
	hits := set.find(vals)
	if len(hits) == 0 {
		return []found{{f.state, nil}}
	}
	if hits[0].sure == yes {
		return []found{{f.state, hits[0].elem}}
	}
	s := f.assume(r)
	s.chance /= float64(len(hits) + 1)
	out := []found{{s, nil}}
	for _, h := range hits {
		out = append(out, found{s, h.elem})
	}
	return out
}

// share is how much of the numbers below mod a set holds.
func (s *Set) share(mod uint64, not bool) float64 {
	held := 0.0
	for i := range s.Elems {
		held += float64(s.Elems[i].below(mod)) / float64(mod)
	}
	if not {
		return 1 - held
	}
	return held
}

// below counts the numbers below mod that an element of one part holds.
func (e *Elem) below(mod uint64) uint64 {
	if len(e.Key) == 0 {
		return 0
	}
	lo, ok1 := numeric(e.Key[0].Lo)
	hi, ok2 := numeric(e.Key[0].Hi)
	if !ok1 || !ok2 || lo >= mod || hi < lo {
		return 0
	}
	return min(hi, mod-1) - lo + 1
}

// random takes every element of a map with the share that it has of the numbers below mod.
func (f fork) random(set *Set, mod uint64) []found {
	var out []found
	left := f.chance
	for i := range set.Elems {
		e := &set.Elems[i]
		n := e.below(mod)
		if n == 0 {
			continue
		}
		s := f.state
		s.chance = f.chance * float64(n) / float64(mod)
		left -= s.chance
		out = append(out, found{s, e})
		if len(out) >= maxStates {
			break
		}
	}
	if left > 1e-9 {
		s := f.state
		s.chance = left
		out = append(out, found{s, nil})
	}
	return out
}

// translate carries out a translation: one packet for each that is possible.
func (w *walker) translate(f fork, r *Rule, t *Table, n *NAT) []state {
	if n.Addr != nil && n.Addr.Op == "map" {
		e := &Expr{Left: n.Addr.Args, Set: n.Addr.Set, SetRef: n.Addr.Ref}
		var out []state
		for _, o := range w.lookup(f, r, t, e) {
			if o.elem == nil {
				out = append(out, o.state) // no mapping: the rule does not apply, nothing is translated
				continue
			}
			out = append(out, w.mapped(o.state, n, o.elem.Data))
		}
		return out
	}
	var addr, port val
	if n.Addr != nil {
		addr = w.eval(&f.p, n.Addr)
	}
	if n.Port != nil {
		port = w.eval(&f.p, n.Port)
	}
	return []state{w.rewrite(f.state, n, addr, port)}
}

func (w *walker) mapped(s state, n *NAT, data []Range) state {
	var addr, port val
	if len(data) > 0 {
		addr = val{known: true, r: data[0]}
	}
	if len(data) > 1 {
		port = val{known: true, r: data[1]}
	} else if n.Port != nil {
		port = w.eval(&s.p, n.Port)
	}
	return w.rewrite(s, n, addr, port)
}

func (w *walker) rewrite(s state, n *NAT, addr, port val) state {
	before := s.p
	p := &s.p
	newPort, setPort := uint16(0), n.Port != nil || port.known
	if v, ok := numeric(port.r.Lo); ok && port.known && port.r.single() && v <= 65535 {
		newPort = uint16(v)
	}
	var to netip.Addr
	if addr.known && addr.r.single() {
		to = addrOf(addr.r.Lo)
	}
	if n.dst(s.hook) {
		p.dstDone = true
		p.Dst = w.newDst(p, n, to)
		if setPort {
			p.DstPort = newPort
		}
		p.DNAT = p.DNAT || !p.Dst.IsValid() || p.Dst != before.Dst || p.DstPort != before.DstPort
	} else {
		p.srcDone = true
		p.Src = w.newSrc(p, n, to)
		if setPort {
			p.SrcPort = newPort
		}
		p.SNAT = p.SNAT || !p.Src.IsValid() || p.Src != before.Src || setPort
	}
	return s.note("%s", natText(&before, p))
}

// dst says whether it is the destination that is translated. For netmap that
// depends on the hook.
func (n *NAT) dst(hook string) bool {
	switch n.Do {
	case "dnat", "redirect":
		return true
	case "netmap":
		return hook == HookPrerouting || hook == HookOutput
	}
	return false
}

func (w *walker) newDst(p *Packet, n *NAT, to netip.Addr) netip.Addr {
	switch {
	case n.Do == "redirect" && w.machine.Source != nil:
		return w.machine.Source(p.In, p.Src)
	case n.Do == "dnat" && n.Addr == nil:
		return p.Dst
	}
	return to
}

func (w *walker) newSrc(p *Packet, n *NAT, to netip.Addr) netip.Addr {
	switch {
	case n.Do == "masquerade" && w.machine.Source != nil:
		return w.machine.Source(p.Out, p.Dst)
	case n.Do == "snat" && n.Addr == nil:
		return p.Src
	}
	return to
}

func endpoint(a netip.Addr, port uint16) string {
	text := "an address that is not known"
	if a.IsValid() {
		text = a.String()
	}
	if port == 0 {
		return text
	}
	if a.IsValid() {
		return netip.AddrPortFrom(a, port).String()
	}
	return text + ", port " + strconv.Itoa(int(port))
}
