package reach

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// profile is what the policies that select some units say, in one direction:
// which ports are open to (egress) or from (ingress) which entries.
type profile struct {
	unit     int32   // one of those that it is for: all are judged alike
	own      int32   // an entry of it
	units    []int32 // at their first address; another one may have a profile of its own
	policies []applied
	rest     fn // for entries that are in no cell
	cells    []cell
}

// applied is a policy that selects a unit, or may.
type applied struct {
	p    *policy.Policy
	side *policy.Side
	tier int32
	sure policy.Tri
}

// cell is a set of entries to which the same ports are open. A large one is a
// bitmap.
type cell struct {
	fn   fn
	list []int32
	bits []uint64
}

func (c *cell) has(i int32) bool {
	if c.bits != nil {
		return c.bits[i>>6]&(1<<(i&63)) != 0
	}
	_, ok := slices.BinarySearch(c.list, i)
	return ok
}

// each calls f with every entry of the cell, in order.
func (c *cell) each(f func(int32)) {
	for _, i := range c.list {
		f(i)
	}
	for w, word := range c.bits {
		for ; word != 0; word &= word - 1 {
			f(int32(w<<6 + bits.TrailingZeros64(word)))
		}
	}
}

// at is what is open between the profile's units and an entry.
func (p *profile) at(i int32) fn {
	for k := range p.cells {
		if p.cells[k].has(i) {
			return p.cells[k].fn
		}
	}
	return p.rest
}

// assign finds the policies of each unit, and gives units with the same ones
// the same profile.
func (e *Engine) assign() {
	var of [2][][]applied
	of[egress], of[ingress] = make([][]applied, len(e.units)), make([][]applied, len(e.units))
	for t := range e.x.Rules().Tiers {
		for _, p := range e.x.Rules().Tiers[t].Policies {
			c := e.find.units(&p.Subject)
			for d, side := range [2]*policy.Side{p.Egress, p.Ingress} {
				if side == nil {
					continue
				}
				for _, u := range c.yes {
					of[d][u] = append(of[d][u], applied{p, side, int32(t), policy.Yes})
				}
				for _, u := range c.maybe {
					of[d][u] = append(of[d][u], applied{p, side, int32(t), policy.Maybe})
				}
			}
		}
	}
	known := &keys{ids: map[*policy.Policy]uint64{}, sides: map[*policy.Side]uses{}}
	for d := range of {
		profiles := map[string]int32{}
		var key []byte
		for u := range e.units {
			for k, own := range e.units[u].entries {
				key = e.profileKey(key[:0], own, d, of[d][u], known)
				i, ok := profiles[string(key)]
				if !ok {
					i = int32(len(e.profiles[d]))
					profiles[string(key)] = i
					e.profiles[d] = append(e.profiles[d], &profile{unit: int32(u), own: own, policies: of[d][u]})
				}
				e.units[u].sides[d] = append(e.units[u].sides[d], i)
				if k == 0 {
					e.profiles[d][i].units = append(e.profiles[d][i].units, int32(u))
				}
			}
		}
	}
}

// profileKey is equal for entries of units that are judged alike in a direction.
func (e *Engine) profileKey(key []byte, own int32, d int, list []applied, known *keys) []byte {
	n := &e.units[e.entries[own].unit]
	all := uses{}
	for i := range list {
		a := &list[i]
		id, ok := known.ids[a.p]
		if !ok {
			id = uint64(len(known.ids))
			known.ids[a.p] = id
		}
		key = append(binary.AppendUvarint(key, id), byte(a.sure))
		all.add(known.of(a.side))
	}
	// Only where policies could not be read, or are not enforced, does the namespace itself count.
	if w := e.weak[n.ns]; w != plain {
		key = append(append(key, 0xfe), n.ns...)
	}
	if all.names && d == ingress {
		key = binary.AppendUvarint(append(key, 0xfd), uint64(n.nameID))
	}
	if all.node {
		key = append(append(key, 0xfc), n.rep.Node...)
	}
	if all.self {
		key = binary.AppendUvarint(append(key, 0xfb), uint64(own))
	}
	return key
}

// uses are what of its own a unit brings into the judgement of a side.
type uses struct{ names, node, self bool }

func (u *uses) add(v uses) {
	u.names, u.node, u.self = u.names || v.names, u.node || v.node, u.self || v.self
}

// keys are what making the keys of profiles needs again and again.
type keys struct {
	ids   map[*policy.Policy]uint64
	sides map[*policy.Side]uses
}

func (k *keys) of(s *policy.Side) uses {
	u, ok := k.sides[s]
	if !ok {
		u.side(s)
		k.sides[s] = u
	}
	return u
}

func (u *uses) side(s *policy.Side) {
	for i := range s.Rules {
		r := &s.Rules[i]
		u.names = u.names || usesNames(r)
		u.node = u.node || r.Windows != "" || slices.ContainsFunc(r.Peers, func(p policy.Peer) bool { return p.Own != policy.AnyNode })
		u.self = u.self || len(r.Self) > 0
	}
}

func usesNames(r *policy.Rule) bool {
	name := func(p policy.Port) bool { return p.Name != "" }
	return slices.ContainsFunc(r.Ports, name) || slices.ContainsFunc(r.NotPorts, name)
}

// step is one rule of a profile that can match anything.
type step struct {
	rule   *policy.Rule
	policy int32 // index into the profile's policies
	m      policy.Tri
	set    *set
	ports  []stretch
	byName bool // instead: ports depend on the names that each target gives to its own
}

// match is a step that matches a cell's entries, for sure or perhaps.
type match struct {
	step int32
	m    policy.Tri
}

// steps lists the rules that can match, in the order in which they are asked.
func (e *Engine) steps(p *profile, d int) []step {
	u := &e.units[p.unit]
	var out []step
	for i := range p.policies {
		for j := range p.policies[i].side.Rules {
			r := &p.policies[i].side.Rules[j]
			if r.Action == policy.Log {
				continue
			}
			m := e.own(r, u, p.own)
			if p.policies[i].sure == policy.Maybe && m == policy.Yes {
				m = policy.Maybe
			}
			if m == policy.No {
				continue
			}
			s := step{rule: r, policy: int32(i), m: m, set: e.find.of(r.Peers, u)}
			if s.byName = d == egress && usesNames(r); !s.byName {
				s.ports = stretches(r, u.names, false)
			}
			if s.set.none() || !s.byName && len(s.ports) == 0 {
				continue
			}
			out = append(out, s)
		}
	}
	return out
}

// own is what of a rule depends on the selected pod alone.
func (e *Engine) own(r *policy.Rule, u *unit, at int32) policy.Tri {
	m := policy.Yes
	if r.Unknown != "" || r.Windows != "" && e.x.OnWindows(u.rep) {
		m = policy.Maybe
	}
	if len(r.Self) == 0 {
		return m
	}
	best := policy.No
	for i := range r.Self {
		switch e.x.MatchPeer(&r.Self[i], u.rep, u.rep, e.entries[at].ip, true) {
		case policy.Yes:
			best = policy.Yes
		case policy.Maybe:
			if best == policy.No {
				best = policy.Maybe
			}
		}
	}
	if best == policy.Yes {
		return m
	}
	return best
}

// scratch is what one goroutine uses again and again.
type scratch struct {
	cell     []int32 // of each entry
	touched  []int32
	parent   []int32 // of each cell
	last     []match // by which each cell left its parent
	names    []int32 // of each cell: the targets' port names, where they matter
	child    []int32
	named    map[[2]int32]int32
	matches  []match
	cuts     []uint32
	pieces   []piece
	stretchs [][]stretch

	skip  int32            // a policy of the profile that is not asked; -1: none
	leave func(int32) bool // steps that are not asked; nil: none
}

func newScratch(n int) *scratch { return &scratch{cell: make([]int32, n), skip: -1} }

// fill computes a profile.
func (e *Engine) fill(p *profile, d int, s *scratch) {
	if len(p.policies) == 0 {
		p.rest = e.weaken(p, []piece{{0, line - 1, model.Pass}})
		return
	}
	steps := e.steps(p, d)
	s.reset()
	for i := range steps {
		e.refine(steps, int32(i), d, s)
	}
	fns := make([]fn, len(s.parent))
	for c := range fns {
		fns[c] = e.judge(p, steps, int32(c), s)
	}
	p.rest = fns[0]
	e.gather(p, fns, s)
}

func (s *scratch) reset() {
	for _, i := range s.touched {
		s.cell[i] = 0
	}
	s.touched, s.parent, s.last, s.names = s.touched[:0], append(s.parent[:0], -1), append(s.last[:0], match{step: -1}), append(s.names[:0], -1)
}

// refine splits the cells by one rule: entries that it matches go to a cell of their own.
func (e *Engine) refine(steps []step, i int32, d int, s *scratch) {
	st := &steps[i]
	if st.byName {
		e.refineNamed(st, i, s)
		return
	}
	if st.set.all != policy.No {
		return // every cell has it: judge adds it
	}
	for _, part := range [2]struct {
		list []int32
		m    policy.Tri
	}{{st.set.yes, policy.Yes}, {st.set.maybe, policy.Maybe}} {
		if len(part.list) == 0 {
			continue
		}
		before := len(s.parent)
		s.child = append(s.child[:0], make([]int32, before)...)
		for _, at := range part.list {
			old := s.cell[at]
			next := s.child[old]
			if next == 0 {
				next = s.split(old, match{i, part.m}, -1)
				s.child[old] = next
			}
			if old == 0 {
				s.touched = append(s.touched, at)
			}
			s.cell[at] = next
		}
	}
}

func (s *scratch) split(old int32, m match, names int32) int32 {
	if names < 0 {
		names = s.names[old]
	}
	s.parent, s.last, s.names = append(s.parent, old), append(s.last, m), append(s.names, names)
	return int32(len(s.parent) - 1)
}

// refineNamed does so for a rule whose ports depend on the names that each target gives to its own.
func (e *Engine) refineNamed(st *step, i int32, s *scratch) {
	if s.named == nil {
		s.named = map[[2]int32]int32{}
	}
	for _, m := range [2]policy.Tri{policy.Yes, policy.Maybe} {
		list := st.set.yes
		switch {
		case st.set.all == m:
			list = e.everything()
		case st.set.all != policy.No:
			continue
		case m == policy.Maybe:
			list = st.set.maybe
		}
		clear(s.named)
		for _, at := range list {
			old := s.cell[at]
			key := [2]int32{old, e.targetNames(at)}
			next := s.named[key]
			if next == 0 {
				next = s.split(old, match{i, m}, key[1])
				s.named[key] = next
			}
			if old == 0 {
				s.touched = append(s.touched, at)
			}
			s.cell[at] = next
		}
	}
}

// What the names of a target's ports are when it is no unit.
const (
	noNames  = int32(1<<30) + iota
	anyNames // it may be a pod that nobody has read
)

// targetNames is a unit that has the port names of an entry.
func (e *Engine) targetNames(i int32) int32 {
	n := &e.entries[i]
	if n.unit >= 0 {
		return e.nameRep[e.units[n.unit].nameID]
	}
	if i >= e.outside && e.mayBePod(n) {
		return anyNames
	}
	return noNames
}

// prepare gathers the rules that match the entries of one cell, and the ports at
// which the verdict may change.
func (e *Engine) prepare(steps []step, c int32, s *scratch) {
	s.matches, s.stretchs, s.cuts = s.matches[:0], s.stretchs[:0], append(s.cuts[:0], 0, line)
	for at := c; at > 0; at = s.parent[at] {
		s.matches = append(s.matches, s.last[at])
	}
	for i := range steps {
		if steps[i].set.all != policy.No && !steps[i].byName {
			s.matches = append(s.matches, match{int32(i), steps[i].set.all})
		}
	}
	slices.SortFunc(s.matches, func(a, b match) int { return cmp.Compare(a.step, b.step) })
	for _, m := range s.matches {
		st := &steps[m.step]
		list := st.ports
		if st.byName {
			switch n := s.names[c]; n {
			case noNames:
				list = stretches(st.rule, nil, false)
			case anyNames:
				list = stretches(st.rule, nil, true)
			default:
				list = stretches(st.rule, e.units[n].names, false)
			}
		}
		s.stretchs = append(s.stretchs, list)
		for _, x := range list {
			s.cuts = append(s.cuts, x.first, x.last+1)
		}
	}
	slices.Sort(s.cuts)
	s.cuts = slices.Compact(s.cuts)
}

// judge computes what is open to the entries of one cell.
func (e *Engine) judge(p *profile, steps []step, c int32, s *scratch) fn {
	e.prepare(steps, c, s)
	s.pieces = s.pieces[:0]
	for i := 0; i+1 < len(s.cuts); i++ {
		s.pieces = append(s.pieces, piece{s.cuts[i], s.cuts[i+1] - 1, p.verdict(steps, s, s.cuts[i])})
	}
	return e.weaken(p, s.pieces)
}

// weaken takes from the verdicts what is not known to happen.
func (e *Engine) weaken(p *profile, pieces []piece) fn {
	w, selected := e.weak[e.units[p.unit].ns], 0
	if len(p.policies) > 0 {
		selected = 1
	}
	for i := range pieces {
		pieces[i].v = w[selected][pieces[i].v]
	}
	return e.fns.id(pieces)
}

// verdict walks the tiers for one port: the contract is the doc of policy.Rules.
func (p *profile) verdict(steps []step, s *scratch, port uint32) model.Verdict {
	allow, deny, bottom := false, false, true
	k := 0 // next match
	for first := 0; first < len(p.policies) && bottom; {
		tier := p.policies[first].tier
		next, decided, isolated := false, false, policy.No
		for first < len(p.policies) && p.policies[first].tier == tier {
			rank := p.policies[first].p.Rank
			for ; first < len(p.policies) && p.policies[first].tier == tier && p.policies[first].p.Rank == rank; first++ {
				a := &p.policies[first]
				if int32(first) == s.skip {
					continue
				}
				if a.side.Isolates && isolated != policy.Yes {
					isolated = a.sure
				}
				done := false
				for ; k < len(s.matches) && steps[s.matches[k].step].policy <= int32(first); k++ {
					if done || steps[s.matches[k].step].policy < int32(first) {
						continue
					}
					st := &steps[s.matches[k].step]
					if s.leave != nil && s.leave(s.matches[k].step) {
						continue
					}
					m := meet(meet(st.m, s.matches[k].m), stretchAt(s.stretchs[k], port))
					if m == policy.No {
						continue
					}
					action := st.rule.Action
					allow = allow || action == policy.Allow || action == policy.Unsure
					deny = deny || action == policy.Deny || action == policy.Unsure
					next = next || action == policy.Next || action == policy.Unsure
					done = m == policy.Yes
				}
				decided = decided || done
			}
			if decided {
				break
			}
		}
		for first < len(p.policies) && p.policies[first].tier == tier {
			first++
		}
		switch {
		case decided:
			bottom = next
		case isolated != policy.No:
			deny = true
			bottom = next || isolated != policy.Yes
		}
	}
	switch {
	case deny && (allow || bottom):
		return model.Unknown
	case deny:
		return model.Drop
	}
	return model.Pass
}

// meet is Yes only if both are, No if one is.
func meet(a, b policy.Tri) policy.Tri {
	switch {
	case a == policy.No || b == policy.No:
		return policy.No
	case a == policy.Yes:
		return b
	}
	return policy.Maybe
}

func stretchAt(list []stretch, port uint32) policy.Tri {
	for i := range list {
		if list[i].first <= port && port <= list[i].last {
			return list[i].m
		}
	}
	return policy.No
}

// weakened is what is known to happen after each verdict, without and with
// policies that select a pod.
type weakened [2][4]model.Verdict

// plain is where everything was read and is enforced.
var plain = weakened{{model.Unknown, model.Pass, model.Drop, model.Drop}, {model.Unknown, model.Pass, model.Drop, model.Drop}}

// weaknesses asks for each namespace once.
func (e *Engine) weaknesses() {
	e.weak = map[string]weakened{}
	for i := range e.units {
		ns := e.units[i].ns
		if _, ok := e.weak[ns]; ok {
			continue
		}
		w := plain
		for selected := range w {
			for _, v := range []model.Verdict{model.Unknown, model.Pass, model.Drop} {
				w[selected][v] = e.x.Weaken(v, ns, selected == 1)
			}
		}
		w[0][model.Drop], w[0][model.Unknown] = model.Drop, model.Unknown // never asked
		if w[1][model.Drop] == model.Drop {
			w[1][model.Reject] = model.Drop
		}
		e.weak[ns] = w
	}
}

// gather collects the entries of each cell that differs from the rest.
func (e *Engine) gather(p *profile, fns []fn, s *scratch) {
	slices.Sort(s.touched)
	at := map[fn]int{}
	for _, i := range s.touched {
		f := fns[s.cell[i]]
		if f == p.rest {
			continue
		}
		k, ok := at[f]
		if !ok {
			k = len(p.cells)
			at[f] = k
			p.cells = append(p.cells, cell{fn: f})
		}
		p.cells[k].list = append(p.cells[k].list, i)
	}
	for k := range p.cells {
		c := &p.cells[k]
		if len(c.list) <= len(e.entries)/32 {
			c.list = slices.Clip(c.list)
			continue
		}
		c.bits = make([]uint64, (len(e.entries)+63)/64)
		for _, i := range c.list {
			c.bits[i>>6] |= 1 << (i & 63)
		}
		c.list = nil
	}
}
