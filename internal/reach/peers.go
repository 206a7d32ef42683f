package reach

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/podpath/podpath/internal/policy"
)

// set is which entries a rule's peers mean, for sure and perhaps. Sorted.
type set struct {
	all        policy.Tri // Yes, Maybe: every entry; No: those of the lists
	yes, maybe []int32
}

var (
	nobody   = &set{all: policy.No}
	everyone = &set{all: policy.Yes}
	anyone   = &set{all: policy.Maybe}
)

func (s *set) none() bool { return s.all == policy.No && len(s.yes) == 0 && len(s.maybe) == 0 }

// lookup finds the units of a selection without asking each unit.
type lookup struct {
	e       *Engine
	byNS    map[string][]int32
	byLabel map[[3]string][]int32 // namespace ("": any), label, value
	chosen  memo[*choice]
	peers   memo[*set]
	lists   memo[*set]
}

// choice is which units a selection chooses.
type choice struct{ yes, maybe []int32 }

// memo keeps what was computed under a key. Two goroutines may compute the same.
type memo[V any] struct{ m sync.Map }

func (m *memo[V]) get(key string, make func() V) V {
	if v, ok := m.m.Load(key); ok {
		return v.(V)
	}
	v, _ := m.m.LoadOrStore(key, make())
	return v.(V)
}

func newLookup(e *Engine) *lookup {
	l := &lookup{e: e, byNS: map[string][]int32{}, byLabel: map[[3]string][]int32{}}
	for i := range e.units {
		u := &e.units[i]
		l.byNS[u.ns] = append(l.byNS[u.ns], int32(i))
		for _, k := range e.looks.keys {
			v, ok := u.rep.Labels[k]
			if known := e.looks.values[k]; ok && known[v] {
				l.byLabel[[3]string{u.ns, k, v}] = append(l.byLabel[[3]string{u.ns, k, v}], int32(i))
				l.byLabel[[3]string{"", k, v}] = append(l.byLabel[[3]string{"", k, v}], int32(i))
			}
		}
	}
	return l
}

// units are those that a selection chooses.
func (l *lookup) units(s *policy.Selection) *choice {
	return l.chosen.get(s.Key(), func() *choice {
		c := &choice{}
		each := func(list []int32) {
			for _, i := range list {
				switch m, _ := l.e.x.Selects(s, l.e.units[i].rep); m {
				case policy.Yes:
					c.yes = append(c.yes, i)
				case policy.Maybe:
					c.maybe = append(c.maybe, i)
				}
			}
		}
		if s.Namespace != "" {
			each(l.candidates(s, s.Namespace))
			return c
		}
		if s.Namespaces.Everything() {
			if r := l.indexed(s); r != nil {
				each(l.candidates(s, ""))
				return c
			}
		}
		for ns := range l.byNS {
			if l.e.x.InNamespace(s, ns) != policy.No {
				each(l.candidates(s, ns))
			}
		}
		slices.Sort(c.yes)
		slices.Sort(c.maybe)
		return c
	})
}

// indexed is a requirement of a selection that units are filed under; nil: none.
func (l *lookup) indexed(s *policy.Selection) *policy.Requirement {
	for i := range s.Pods.Reqs {
		if r := &s.Pods.Reqs[i]; r.Op == policy.In && l.e.looks.values[r.Key] != nil {
			return r
		}
	}
	return nil
}

// candidates are the units of a namespace ("": all) that a selection may choose.
func (l *lookup) candidates(s *policy.Selection, ns string) []int32 {
	r := l.indexed(s)
	if r == nil {
		return l.byNS[ns]
	}
	if len(r.Values) == 1 {
		return l.byLabel[[3]string{ns, r.Key, r.Values[0]}]
	}
	var out []int32
	for _, v := range r.Values {
		out = append(out, l.byLabel[[3]string{ns, r.Key, v}]...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// peerKey is equal for peers that mean the same entries, for subjects on a node.
func peerKey(p *policy.Peer, node string) string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(int(p.Kind)))
	write := func(s string) { b.WriteByte(0x1f); b.WriteString(s) }
	switch p.Kind {
	case policy.Pods:
		write(p.Pods.Key())
	case policy.Hosts:
		write(p.Nodes.Key())
		write(strconv.Itoa(int(p.Own)))
		if p.Own != policy.AnyNode {
			write(node)
		}
	case policy.Range:
		write(strconv.FormatBool(p.Beyond))
	case policy.Names:
		write("names") // without a name to compare with, all are the same
	}
	if p.Kind != policy.Names && p.Kind != policy.Mystery {
		var buf [64]byte
		for _, list := range [2][]netip.Prefix{p.CIDRs, p.Except} {
			for _, c := range list {
				b.WriteByte(0x1e)
				b.Write(c.AppendTo(buf[:0]))
			}
			b.WriteByte(0x1d)
		}
	}
	return b.String()
}

// of is which entries a list of peers means, for a subject.
func (l *lookup) of(list []policy.Peer, subject *unit) *set {
	if len(list) == 0 {
		return everyone
	}
	if len(list) == 1 {
		return l.peer(&list[0], subject)
	}
	keys := make([]string, len(list))
	for i := range list {
		keys[i] = peerKey(&list[i], subject.rep.Node)
	}
	return l.lists.get(strings.Join(keys, "\x1c"), func() *set {
		out := set{all: policy.No}
		for i := range list {
			s := l.peer(&list[i], subject)
			if s.all == policy.Yes {
				return everyone
			}
			if s.all == policy.Maybe {
				out.all = policy.Maybe
			}
			out.yes, out.maybe = append(out.yes, s.yes...), append(out.maybe, s.maybe...)
		}
		if out.all == policy.Maybe && len(out.yes) == 0 {
			return anyone
		}
		if out.all == policy.Maybe { // everybody perhaps, these for sure
			out.all, out.maybe = policy.No, slices.Clone(l.e.everything())
		}
		out.tidy()
		return &out
	})
}

// tidy sorts; what is sure is not perhaps as well.
func (s *set) tidy() {
	slices.Sort(s.yes)
	s.yes = slices.Clip(slices.Compact(s.yes))
	slices.Sort(s.maybe)
	s.maybe = slices.Compact(s.maybe)
	if len(s.yes) > 0 && len(s.maybe) > 0 {
		s.maybe = slices.DeleteFunc(s.maybe, func(i int32) bool {
			_, sure := slices.BinarySearch(s.yes, i)
			return sure
		})
	}
	s.maybe = slices.Clip(s.maybe)
}

func (l *lookup) peer(p *policy.Peer, subject *unit) *set {
	switch {
	case p.Kind == policy.Nobody:
		return nobody
	case p.Kind == policy.Mystery:
		return anyone
	case p.Kind == policy.Anyone && len(p.CIDRs) == 0 && len(p.Except) == 0:
		return everyone
	}
	return l.peers.get(peerKey(p, subject.rep.Node), func() *set {
		out := &set{all: policy.No}
		if p.Kind == policy.Pods {
			l.selected(out, p, subject)
		} else {
			for _, i := range l.named(p) {
				out.ask(l.e, p, subject, i)
			}
			l.addressless(out, p, subject)
		}
		out.tidy()
		return out
	})
}

// ask asks the evaluator about one entry.
func (s *set) ask(e *Engine, p *policy.Peer, subject *unit, i int32) {
	n := &e.entries[i]
	if p.Kind == policy.Range && !p.Beyond && n.atom >= 0 {
		s.yes = append(s.yes, i) // named has looked at the address
		return
	}
	other := e.podOf(n)
	switch e.x.MatchPeer(p, subject.rep, other, n.ip, false) {
	case policy.Yes:
		s.yes = append(s.yes, i)
	case policy.Maybe:
		s.maybe = append(s.maybe, i)
	}
}

// addressless adds the pods that have no address yet: ranges tell them not apart.
func (l *lookup) addressless(out *set, p *policy.Peer, subject *unit) {
	if len(l.e.unplaced) == 0 || p.Kind != policy.Range && p.Kind != policy.Anyone {
		return
	}
	var one set
	one.ask(l.e, p, subject, l.e.unplaced[0])
	if len(one.yes) > 0 {
		out.yes = append(out.yes, l.e.unplaced...)
	}
	if len(one.maybe) > 0 {
		out.maybe = append(out.maybe, l.e.unplaced...)
	}
}

// selected are the entries of the units that a peer of kind Pods chooses, and
// addresses that may be pods nobody has read.
func (l *lookup) selected(out *set, p *policy.Peer, subject *unit) {
	c := l.units(&p.Pods)
	plain := len(p.CIDRs) == 0 && len(p.Except) == 0
	for _, part := range [2]struct {
		units []int32
		to    *[]int32
	}{{c.yes, &out.yes}, {c.maybe, &out.maybe}} {
		for _, u := range part.units {
			for _, i := range l.e.units[u].entries {
				if plain {
					*part.to = append(*part.to, i)
				} else {
					out.ask(l.e, p, subject, i)
				}
			}
		}
	}
	if !l.e.x.World().Read["pod"] {
		for i := l.e.outside; i < int32(len(l.e.entries)); i++ {
			out.ask(l.e, p, subject, i)
		}
	}
}

// named are the entries whose addresses a peer's ranges hold: all, where it has none.
func (l *lookup) named(p *policy.Peer) []int32 {
	e := l.e
	if p.Kind == policy.Hosts || p.Kind == policy.Names || len(p.CIDRs) == 0 && p.Kind == policy.Anyone {
		return l.ranges(e.everything(), p.Kind)
	}
	var out []int32
	whole := p.CIDRs
	if len(whole) == 0 {
		whole = prefixes("0.0.0.0/0", "::/0")
	}
	for _, c := range whole {
		if slices.ContainsFunc(p.Except, func(x netip.Prefix) bool { return inside(c, x) }) {
			continue
		}
		from, to := e.atoms.within(c)
		for a := from; a < to; {
			if skip := e.excepted(p, a); skip > a {
				a = skip
				continue
			}
			out = append(out, e.byAtom[a]...)
			a++
		}
	}
	return out
}

// excepted is one past the atoms of an exception that starts at atom a; a: none does.
func (e *Engine) excepted(p *policy.Peer, a int32) int32 {
	if slices.Contains(p.Except, e.atoms.list[a]) {
		return e.atoms.after[a]
	}
	return a
}

// ranges leaves out the entries that a kind of peer can never mean.
func (l *lookup) ranges(all []int32, kind policy.PeerKind) []int32 {
	if kind == policy.Hosts || kind == policy.Names {
		return all[l.e.pods:] // nodes and what lies outside
	}
	return all
}
