package netfilter

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of a walk: how many packets in different states are followed at once,
// how deep chains may call each other, and how much is looked at in all.
const (
	maxStates = 256
	maxDepth  = 64
	maxSteps  = 4_000_000
	maxTrail  = 48
)

// Decision is the place that decided.
type Decision struct {
	Table *Table
	Chain string
	Rule  *Rule // nil: the chain's policy
}

// String is the place and the rule, as one would look for them.
func (d Decision) String() string {
	switch {
	case d.Table == nil:
		return ""
	case d.Rule == nil:
		c := d.Table.Chains[d.Chain]
		return fmt.Sprintf("policy %s of chain %s", c.Policy, d.Table.Place(d.Chain))
	}
	return fmt.Sprintf("%s: %s", d.Table.Place(d.Chain), d.Rule.Text)
}

// Outcome is one thing that may become of the packet.
type Outcome struct {
	Verdict Verdict
	With    string  // of reject: what is sent back
	Chance  float64 // its share, where chance decides; all shares make 1
	If      []*Rule // rules that are not understood, on which it depends
	Packet  Packet  // as it leaves, or as it died
	Local   bool    // it was for the machine itself
	Hook    string  // where it ended
	Decided Decision
	Trail   []string // the rules that did something to it, in order
}

// Result is all that may become of a packet.
type Result struct {
	Outcomes []Outcome
	// Order says that two tables have chains of one priority, and that it matters
	// which the kernel calls first: the one that was registered last, which no tool
	// tells (nf_hook_entries_grow in net/netfilter/core.c). The outcomes are those
	// of both orders.
	Order bool
}

// Certain says whether the packet's end does not depend on a rule that is not understood.
func (r Result) Certain() bool {
	v, ok := r.same()
	return ok && v != Unknown
}

func (r Result) same() (Verdict, bool) {
	if len(r.Outcomes) == 0 {
		return Unknown, false
	}
	for _, o := range r.Outcomes {
		if o.Verdict != r.Outcomes[0].Verdict {
			return Unknown, false
		}
	}
	return r.Outcomes[0].Verdict, true
}

// Verdict is what becomes of the packet in every case; unknown where that differs.
func (r Result) Verdict() Verdict {
	v, _ := r.same()
	return v
}

// Share is how much of the traffic surely has a verdict.
func (r Result) Share(v Verdict) float64 {
	sum := 0.0
	for _, o := range r.Outcomes {
		if o.Verdict == v && len(o.If) == 0 {
			sum += o.Chance
		}
	}
	return sum
}

// Of are the outcomes with a verdict.
func (r Result) Of(v Verdict) []Outcome {
	var out []Outcome
	for _, o := range r.Outcomes {
		if o.Verdict == v {
			out = append(out, o)
		}
	}
	return out
}

// state is a packet on its way with what it took to get here.
type state struct {
	p      Packet
	chance float64
	ifs    []*Rule
	trail  []string
	last   Decision // the last rule that accepted
	hook   string
	local  bool
}

func (s state) note(format string, args ...any) state {
	if len(s.trail) < maxTrail {
		s.trail = append(slices.Clip(s.trail), fmt.Sprintf(format, args...))
	}
	return s
}

func (s state) assume(r *Rule) state {
	if !slices.Contains(s.ifs, r) {
		s.ifs = append(slices.Clip(s.ifs), r)
	}
	return s
}

type walker struct {
	rs        *RuleSet
	machine   Machine
	done      []Outcome
	steps     int
	untracked bool // before conntrack
	v6        bool
	undo      *undo
}

// undo takes a connection's translations back in an answer: its destination in
// prerouting, its source in postrouting or, for the machine itself, in input
// (nf_nat_ipv4_pre_routing, nf_nat_ipv4_out and nf_nat_ipv4_local_in in nf_nat_proto.c).
type undo struct{ src, dst netip.AddrPort }

// The priorities at which the kernel translates (enum nf_ip_hook_priorities).
const (
	natDestination = -100
	natSource      = 100
)

// take takes a translation back where a hook has come to a priority.
func (u *undo) take(states []state, hook string, priority int) {
	if u == nil {
		return
	}
	for i := range states {
		p := &states[i].p
		switch {
		case hook == HookPrerouting && priority > natDestination && u.dst.IsValid():
			p.Dst, p.DstPort = u.dst.Addr(), u.dst.Port()
		case (hook == HookPostrouting || hook == HookInput) && priority > natSource && u.src.IsValid():
			p.Src, p.SrcPort = u.src.Addr(), u.src.Port()
		}
	}
}

// Answer walks the first answer to a packet, which was made as made and left as
// left (an outcome's packet), and comes in by the interface in.
func (rs *RuleSet) Answer(made, left Packet, in string, m Machine) Result {
	p := Packet{
		Protocol: left.Protocol, Src: left.Dst, SrcPort: left.DstPort, Dst: left.Src, DstPort: left.SrcPort, In: in,
		State: "established", Reply: true, DNAT: left.DNAT, SNAT: left.SNAT, OrigDst: made.Dst, OrigDstPort: made.DstPort, CTMark: left.CTMark, ctMarkLost: left.ctMarkLost,
	}
	u := &undo{src: netip.AddrPortFrom(made.Dst, made.DstPort), dst: netip.AddrPortFrom(made.Src, made.SrcPort)}
	if left.State == "untracked" {
		p.State, u = "invalid", nil // no connection is known that it would answer
	}
	return rs.bothOrders(func(rs *RuleSet) Result { return rs.incoming(p, m, u) })
}

// Incoming walks a packet that comes in by an interface: prerouting, then input
// or forward and postrouting, as Machine.Route says.
func (rs *RuleSet) Incoming(p Packet, m Machine) Result {
	return rs.bothOrders(func(rs *RuleSet) Result { return rs.incoming(p, m, nil) })
}

// bothOrders walks with chains of one priority in both orders.
func (rs *RuleSet) bothOrders(walk func(*RuleSet) Result) Result {
	last := *rs
	last.newestFirst = !rs.newestFirst
	a, b := walk(rs), walk(&last)
	if a.like(b) {
		return a
	}
	out := Result{Order: true}
	for _, o := range append(slices.Clip(b.Outcomes), a.Outcomes...) {
		o.Chance /= 2
		out.Outcomes = append(out.Outcomes, o)
	}
	return out
}

// like says that the same becomes of the packet.
func (r Result) like(other Result) bool {
	type end struct {
		v Verdict
		p Packet
	}
	shares := map[end]float64{}
	for _, o := range r.Outcomes {
		shares[end{o.Verdict, o.Packet}] += o.Chance
	}
	for _, o := range other.Outcomes {
		shares[end{o.Verdict, o.Packet}] -= o.Chance
	}
	for _, left := range shares {
		if math.Abs(left) > 1e-6 {
			return false
		}
	}
	return true
}

func (rs *RuleSet) incoming(p Packet, m Machine, u *undo) Result {
	w := rs.walker(&p, m)
	w.undo = u
	p.leaving, p.arrived = false, true
	states := w.hook([]state{{p: p, chance: 1}}, HookIngress)
	states = w.hook(states, HookPrerouting)
	var local, forward []state
	for _, s := range states {
		if m.Route != nil {
			s.local, s.p.Out = m.Route(s.p)
		}
		if s.local {
			local = append(local, s)
			continue
		}
		s.p.arrived = false
		forward = append(forward, s)
	}
	local = w.hook(local, HookInput)
	forward = w.hook(w.hook(w.hook(forward, HookForward), HookPostrouting), HookEgress)
	return w.end(append(local, forward...))
}

// Output walks a packet of the machine's own. Where it is translated, it is routed again.
func (rs *RuleSet) Output(p Packet, m Machine) Result {
	return rs.bothOrders(func(rs *RuleSet) Result { return rs.output(p, m) })
}

func (rs *RuleSet) output(p Packet, m Machine) Result {
	w := rs.walker(&p, m)
	p.leaving = true
	states := w.hook([]state{{p: p, chance: 1}}, HookOutput)
	for i := range states {
		if s := &states[i]; m.Route != nil && (s.p.DNAT || s.p.Mark != p.Mark || s.p.Out == "") {
			s.local, s.p.Out = m.Route(s.p)
		}
	}
	return w.end(w.hook(w.hook(states, HookPostrouting), HookEgress))
}

func (rs *RuleSet) walker(p *Packet, m Machine) *walker {
	p.Protocol = strings.ToLower(p.Protocol)
	if p.State == "" {
		p.State = "new"
	}
	if !p.OrigDst.IsValid() && !p.Reply {
		p.OrigDst, p.OrigDstPort = p.Dst, p.DstPort
	}
	return &walker{rs: rs, machine: m, v6: p.v6()}
}

// end accepts what is still on its way, and joins what ended alike.
func (w *walker) end(states []state) Result {
	for _, s := range states {
		w.stop(s, Accept, "", s.last)
	}
	var out []Outcome
	for _, o := range w.done {
		i := slices.IndexFunc(out, func(x Outcome) bool {
			return x.Verdict == o.Verdict && x.With == o.With && x.Packet == o.Packet && x.Decided == o.Decided && slices.Equal(x.If, o.If)
		})
		if i < 0 {
			out = append(out, o)
			continue
		}
		out[i].Chance += o.Chance
	}
	return Result{Outcomes: out}
}

func (w *walker) stop(s state, v Verdict, with string, d Decision) {
	w.done = append(w.done, Outcome{
		Verdict: v, With: with, Chance: s.chance, If: s.ifs, Packet: s.p, Local: s.local, Hook: s.hook, Decided: d, Trail: s.trail,
	})
}

// connectionTracking is the priority at which the kernel looks a packet's connection up.
const connectionTracking = -200

// hook takes packets through the base chains of a hook.
func (w *walker) hook(states []state, hook string) []state {
	if len(states) == 0 {
		return nil
	}
	for i := range states {
		states[i].hook = hook
	}
	for _, b := range w.rs.bases(hook, w.v6) {
		if len(states) == 0 {
			return nil
		}
		w.undo.take(states, hook, b.chain.Priority)
		w.untracked = (hook == HookPrerouting || hook == HookOutput || hook == HookIngress) && b.chain.Priority < connectionTracking
		states = w.base(states, b, hook)
	}
	w.untracked = false
	w.undo.take(states, hook, math.MaxInt)
	return states
}

func (w *walker) base(states []state, b base, hook string) []state {
	var skipped, in []state
	for _, s := range states {
		device := s.p.In
		if hook == HookEgress {
			device = s.p.Out
		}
		if b.chain.Type == "nat" && !translates(&s.p, hook) || !b.chain.on(device) {
			skipped = append(skipped, s)
		} else {
			in = append(in, s)
		}
	}
	out := skipped
	for _, s := range in {
		out = append(out, w.through(s, b)...)
	}
	return merge(out)
}

// through takes one packet through a base chain.
func (w *walker) through(s state, b base) []state {
	c := call{w: w, table: b.table, chain: b.chain, running: map[*Chain]bool{}}
	fell, returned := c.run([]state{s}, 0)
	for _, end := range append(fell, returned...) {
		if b.chain.Policy == Drop {
			w.stop(end, Drop, "", Decision{b.table, b.chain.Name, nil})
			continue
		}
		c.accepted = append(c.accepted, end)
	}
	return settle(s, c.accepted)
}

// settle joins what has become of one packet. Where all of it came out alike, it
// does not matter what was not understood on the way.
func settle(before state, after []state) []state {
	after = merge(after)
	if len(after) == 1 && math.Abs(after[0].chance-before.chance) < 1e-9 {
		after[0].ifs = before.ifs
	}
	return after
}

func (c *Chain) on(device string) bool {
	return len(c.Devices) == 0 || device == "" || slices.Contains(c.Devices, device)
}

// translates says whether chains of type nat are asked: for a connection's first
// packet, until one has decided (nf_nat_inet_fn in nf_nat_core.c).
func translates(p *Packet, hook string) bool {
	if p.State != "new" && p.State != "related" {
		return false
	}
	if hook == HookPrerouting || hook == HookOutput {
		return !p.dstDone
	}
	return !p.srcDone
}

// merge joins packets that are alike by now: what they depended on is still what
// they depend on, and their shares add up.
func merge(states []state) []state {
	type identity struct {
		p     Packet
		local bool
	}
	at := map[identity]int{}
	out := states[:0:0]
	for _, s := range states {
		id := identity{s.p, s.local}
		i, ok := at[id]
		if !ok {
			at[id] = len(out)
			out = append(out, s)
			continue
		}
		out[i].chance += s.chance
		for _, r := range s.ifs {
			out[i] = out[i].assume(r)
		}
	}
	return out
}
