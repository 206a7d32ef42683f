package reach

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// Protocols are those that have ports and that policies know.
var Protocols = [...]string{"tcp", "udp", "sctp"}

// All ports of all protocols lie on one line: protocol × 65536 + port.
const (
	ports = 1 << 16
	line  = uint32(len(Protocols)) * ports
)

// Span is a stretch of ports of one protocol with what happens to connections there.
type Span struct {
	Protocol    string        `json:"protocol"`
	First, Last uint16        `json:"-"`
	Verdict     model.Verdict `json:"-"`
}

// fn is a function from ports to verdicts, as an index into functions.
type fn int32

// The functions that are the same everywhere.
const (
	drops fn = iota
	passes
	unknown
)

// piece is a stretch of the line; what is in none is dropped.
type piece struct {
	first, last uint32 // both belong to it
	v           model.Verdict
}

// functions holds each function once.
type functions struct {
	mu     sync.RWMutex
	all    [][]piece
	ids    map[string]fn
	joined sync.Map // [2]fn → fn
}

func newFunctions() *functions {
	f := &functions{ids: map[string]fn{}}
	f.id(nil)
	f.id([]piece{{0, line - 1, model.Pass}})
	f.id([]piece{{0, line - 1, model.Unknown}})
	return f
}

// id returns the function of pieces that are sorted and do not overlap.
func (f *functions) id(pieces []piece) fn {
	out := pieces[:0:0]
	for _, p := range pieces {
		if p.v == model.Drop || p.v == model.Reject {
			continue
		}
		if n := len(out); n > 0 && out[n-1].v == p.v && out[n-1].last+1 == p.first {
			out[n-1].last = p.last
			continue
		}
		out = append(out, p)
	}
	var buf [256]byte
	key := buf[:0]
	for _, p := range out {
		key = binary.LittleEndian.AppendUint32(key, p.first)
		key = binary.LittleEndian.AppendUint32(key, p.last)
		key = append(key, byte(p.v))
	}
	f.mu.RLock()
	id, ok := f.ids[string(key)]
	f.mu.RUnlock()
	if ok {
		return id
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if id, ok := f.ids[string(key)]; ok {
		return id
	}
	id = fn(len(f.all))
	f.all, f.ids[string(key)] = append(f.all, out), id
	return id
}

func (f *functions) pieces(id fn) []piece {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.all[id]
}

// both is what happens to a connection that two ends judge: what one of them
// drops is dropped, whatever the other says.
func (f *functions) both(a, b fn) fn {
	switch {
	case a == drops || b == drops:
		return drops
	case a == passes || a == b:
		return b
	case b == passes:
		return a
	}
	if a > b {
		a, b = b, a
	}
	if id, ok := f.joined.Load([2]fn{a, b}); ok {
		return id.(fn)
	}
	var out []piece
	x, y := f.pieces(a), f.pieces(b)
	for i, j := 0, 0; i < len(x) && j < len(y); {
		first, last := max(x[i].first, y[j].first), min(x[i].last, y[j].last)
		if first <= last {
			v := model.Pass
			if x[i].v == model.Unknown || y[j].v == model.Unknown {
				v = model.Unknown
			}
			out = append(out, piece{first, last, v})
		}
		if x[i].last < y[j].last {
			i++
		} else {
			j++
		}
	}
	id := f.id(out)
	f.joined.Store([2]fn{a, b}, id)
	return id
}

// doubted turns every refusal into an unknown.
func (f *functions) doubted(a fn) fn {
	var out []piece
	next := uint32(0)
	for _, p := range f.pieces(a) {
		if p.first > next {
			out = append(out, piece{next, p.first - 1, model.Unknown})
		}
		out, next = append(out, p), p.last+1
	}
	if next < line {
		out = append(out, piece{next, line - 1, model.Unknown})
	}
	return f.id(out)
}

// at is the verdict of a function at one port.
func (f *functions) at(id fn, protocol int, port uint16) model.Verdict {
	at := uint32(protocol)*ports + uint32(port)
	list := f.pieces(id)
	i, ok := slices.BinarySearchFunc(list, at, func(p piece, at uint32) int {
		switch {
		case p.last < at:
			return -1
		case p.first > at:
			return 1
		}
		return 0
	})
	if !ok {
		return model.Drop
	}
	return list[i].v
}

// spans tells a function's pieces with the verdict v, cut at the protocols' ends.
func (f *functions) spans(id fn, v model.Verdict) []Span {
	var out []Span
	for _, p := range f.pieces(id) {
		if p.v != v {
			continue
		}
		for i := p.first / ports; i <= p.last/ports; i++ {
			first, last := max(p.first, i*ports), min(p.last, i*ports+ports-1)
			first, last = max(first-i*ports, 1), last-i*ports // port 0 is none
			if first <= last {
				out = append(out, Span{Protocol: Protocols[i], First: uint16(first), Last: uint16(last), Verdict: v})
			}
		}
	}
	return out
}

// whole says whether a span is every port of its protocol.
func (s Span) whole() bool { return s.First <= 1 && s.Last == ports-1 }

func (s Span) String() string {
	switch {
	case s.whole():
		return s.Protocol
	case s.First == s.Last:
		return fmt.Sprintf("%s/%d", s.Protocol, s.First)
	}
	return fmt.Sprintf("%s/%d-%d", s.Protocol, s.First, s.Last)
}

// text writes spans as "tcp/80,tcp/443,udp"; "all" where they are everything.
func text(spans []Span) string {
	if len(spans) == len(Protocols) && !slices.ContainsFunc(spans, func(s Span) bool { return !s.whole() }) {
		return "all"
	}
	parts := make([]string, len(spans))
	for i := range spans {
		parts[i] = spans[i].String()
	}
	return strings.Join(parts, ",")
}

// ProtocolIndex finds a protocol by its name, in any case.
func ProtocolIndex(name string) (int, bool) {
	i := slices.Index(Protocols[:], strings.ToLower(name))
	return i, i >= 0
}

// stretch is a piece of the line on which a rule's ports match, or may.
type stretch struct {
	first, last uint32
	m           policy.Tri
}

// stretches are the ports of a rule, with the names that its target gives to
// its ports. maybePod is for a target that may be a pod nobody has read.
func stretches(r *policy.Rule, target []named, maybePod bool) []stretch {
	if len(r.Ports) == 0 && len(r.NotPorts) == 0 {
		return everywhere
	}
	var yes, not []stretch
	if len(r.Ports) == 0 {
		yes = everywhere
	}
	for i := range r.Ports {
		yes = portStretches(yes, &r.Ports[i], target, maybePod)
	}
	for i := range r.NotPorts {
		not = portStretches(not, &r.NotPorts[i], target, maybePod)
	}
	return overlay(yes, not)
}

var everywhere = []stretch{{0, line - 1, policy.Yes}}

func portStretches(out []stretch, p *policy.Port, target []named, maybePod bool) []stretch {
	m := policy.Yes
	if p.Unknown != "" {
		m = policy.Maybe
	}
	for i, protocol := range Protocols {
		if p.Protocol != "" && !strings.EqualFold(p.Protocol, protocol) {
			continue
		}
		base := uint32(i) * ports
		if p.Name == "" {
			if p.First <= p.Last {
				out = append(out, stretch{base + uint32(p.First), base + uint32(p.Last), m})
			}
			continue
		}
		if maybePod {
			out = append(out, stretch{base, base + ports - 1, policy.Maybe})
		}
		for _, n := range target {
			if n.name == p.Name && n.protocol == i {
				out = append(out, stretch{base + uint32(n.port), base + uint32(n.port), m})
			}
		}
	}
	return out
}

// overlay makes stretches that do not overlap: a certain match before an
// uncertain one, less what is excluded.
func overlay(yes, not []stretch) []stretch {
	if len(yes) == 1 && len(not) == 0 {
		return yes
	}
	cuts := make([]uint32, 0, 2*(len(yes)+len(not)))
	for _, list := range [2][]stretch{yes, not} {
		for _, s := range list {
			cuts = append(cuts, s.first, s.last+1)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	best := func(list []stretch, at uint32) policy.Tri {
		m := policy.No
		for _, s := range list {
			if s.first <= at && at <= s.last {
				if s.m == policy.Yes {
					return policy.Yes
				}
				m = policy.Maybe
			}
		}
		return m
	}
	var out []stretch
	for i := 0; i+1 < len(cuts); i++ {
		m, n := best(yes, cuts[i]), best(not, cuts[i])
		if m == policy.No || n == policy.Yes {
			continue
		}
		if n == policy.Maybe {
			m = policy.Maybe
		}
		if k := len(out); k > 0 && out[k-1].m == m && out[k-1].last+1 == cuts[i] {
			out[k-1].last = cuts[i+1] - 1
			continue
		}
		out = append(out, stretch{cuts[i], cuts[i+1] - 1, m})
	}
	return out
}
