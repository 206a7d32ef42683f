package netfilter

import (
	"fmt"
	"slices"
	"strings"
)

// call is the run of one base chain and of the chains that it calls.
type call struct {
	w        *walker
	table    *Table
	chain    *Chain
	accepted []state
	running  map[*Chain]bool // chains that are being run: one that calls itself ends nowhere
}

// run takes packets through a chain: those that reach its end, and those that returned.
func (c *call) run(in []state, depth int) (fell, returned []state) {
	chain := c.chain
	if depth > maxDepth || c.running[chain] || len(in) > maxStates {
		c.giveUp(in, chain)
		return nil, nil
	}
	c.running[chain] = true
	defer func() { c.running[chain], c.chain = false, chain }()
	for _, r := range chain.Rules {
		if len(in) == 0 {
			break
		}
		if c.w.steps += len(in) * (1 + len(r.Exprs)); c.w.steps > maxSteps || len(in) > maxStates {
			c.giveUp(in, chain)
			return nil, returned
		}
		var next []state
		for _, s := range in {
			on, back := c.rule(s, r, depth)
			next, returned = append(next, settle(s, on)...), append(returned, settle(s, back)...)
		}
		c.chain, in = chain, next
		if len(in) > 1 {
			in = merge(in)
		}
	}
	return in, returned
}

// giveUp ends packets of which too much is possible.
func (c *call) giveUp(in []state, chain *Chain) {
	for _, s := range in {
		c.w.stop(s.note("too much to follow in chain %s", c.table.Place(chain.Name)), Unknown, "", Decision{c.table, chain.Name, nil})
	}
}

// fork is a packet within a rule that has matched so far.
type fork struct{ state }

// rule takes one packet through one rule: what goes on to the next rule, and
// what returns from the chain.
func (c *call) rule(s state, r *Rule, depth int) (on, returned []state) {
	inside := []fork{{s}}
	for i := range r.Exprs {
		var next []fork
		for _, f := range inside {
			matched, missed := c.expr(f, r, &r.Exprs[i])
			next = append(next, matched...)
			on = append(on, missed...)
		}
		if inside = next; len(inside) == 0 {
			return on, nil
		}
		if e := &r.Exprs[i]; ends(e.Kind) {
			for _, f := range inside {
				o, back := c.finish(f, r, e, depth)
				on, returned = append(on, o...), append(returned, back...)
			}
			return on, returned
		}
	}
	for _, f := range inside {
		on = append(on, f.state)
	}
	return on, returned
}

func ends(k ExprKind) bool {
	return k == ExprVerdict || k == ExprVerdictMap || k == ExprUnknownEnd || k == ExprNAT
}

// expr applies one expression: the packets that go on within the rule, and
// those that the rule does not match.
func (c *call) expr(f fork, r *Rule, e *Expr) (matched []fork, missed []state) {
	switch e.Kind {
	case ExprMatch:
		if c.w.untracked && e.asksConnection() {
			return nil, []state{f.state} // the expression breaks the rule off, negated or not (nft_ct_get_eval)
		}
		if len(e.Left) == 1 && e.Left[0].Op == "random" && e.Set != nil {
			return f.split(e.Set.share(e.Left[0].Mod, e.Not))
		}
		return f.branch(c.w.matches(&f.p, c.table, e), r)
	case ExprIPSet:
		in := c.w.inIPSet(&f.p, e.SetRef, e.At, 0)
		if e.Not {
			in = in.not()
		}
		return f.branch(in, r)
	case ExprUnknownMatch:
		return f.branch(maybe, r)
	case ExprChance:
		chance := e.Chance
		if e.Not {
			chance = 1 - chance
		}
		return f.split(chance)
	case ExprMark:
		f.p.Mark, f.p.markLost = c.w.mark(&f.p, &e.Value)
		return []fork{f}, nil
	case ExprCTMark:
		if c.w.untracked {
			return []fork{f}, nil // there is no connection to mark (nft_ct_set_eval, xt_connmark)
		}
		f.p.CTMark, f.p.ctMarkLost = c.w.mark(&f.p, &e.Value)
		return []fork{f}, nil
	case ExprNoTrack:
		f.p.State = "untracked"
		f.state = f.note("%s", Decision{c.table, c.chain.Name, r})
		return []fork{f}, nil
	}
	return []fork{f}, nil
}

// branch follows a condition. One that cannot be told is followed both ways.
func (f fork) branch(t tri, r *Rule) ([]fork, []state) {
	switch t {
	case yes:
		return []fork{f}, nil
	case no:
		return nil, []state{f.state}
	}
	missed := f.state.assume(r)
	missed.chance /= 2 // nobody knows; shares still make 1
	f.state = missed
	return []fork{f}, []state{missed}
}

func (f fork) split(chance float64) ([]fork, []state) {
	missed := f.state
	missed.chance *= 1 - chance
	f.chance *= chance
	switch {
	case chance <= 0:
		return nil, []state{missed}
	case chance >= 1:
		return []fork{f}, nil
	}
	return []fork{f}, []state{missed}
}

// finish carries out what ends a rule.
func (c *call) finish(f fork, r *Rule, e *Expr, depth int) (on, returned []state) {
	switch e.Kind {
	case ExprVerdict:
		return c.verdict(f.state, r, e.Jump, depth)
	case ExprVerdictMap:
		for _, o := range c.w.lookup(f, r, c.table, e) {
			if o.elem == nil || o.elem.Verdict == nil {
				on = append(on, o.state)
				continue
			}
			a, b := c.verdict(o.state, r, *o.elem.Verdict, depth)
			on, returned = append(on, a...), append(returned, b...)
		}
		return on, returned
	case ExprNAT:
		for _, s := range c.w.translate(f, r, c.table, e.NAT) {
			c.accepted = append(c.accepted, c.decided(s, r))
		}
		return nil, nil
	}
	s := f.assume(r) // ExprUnknownEnd: it may go on, or end nobody knows how
	s.chance /= 2
	c.w.stop(s, Unknown, "", Decision{c.table, c.chain.Name, r})
	return []state{s}, nil
}

func (c *call) decided(s state, r *Rule) state {
	s.last = Decision{c.table, c.chain.Name, r}
	return s.note("%s", s.last)
}

func (c *call) verdict(s state, r *Rule, j Jump, depth int) (on, returned []state) {
	d := Decision{c.table, c.chain.Name, r}
	switch j.Do {
	case "accept":
		c.accepted = append(c.accepted, c.decided(s, r))
	case "drop":
		c.w.stop(s.note("%s", d), Drop, "", d)
	case "reject":
		c.w.stop(s.note("%s", d), Reject, j.With, d)
	case "return":
		return nil, []state{s}
	case "jump", "goto":
		return c.enter(s, j, depth)
	default:
		return []state{s}, nil
	}
	return nil, nil
}

// enter runs another chain. What comes back from a jump goes on after the rule;
// from a goto, it has left this chain too.
func (c *call) enter(s state, j Jump, depth int) (on, returned []state) {
	to := c.table.Chains[j.Chain]
	if to == nil {
		c.w.stop(s.note("chain %q is not there", clip(j.Chain)), Unknown, "", Decision{c.table, c.chain.Name, nil})
		return nil, nil
	}
	from := c.chain
	c.chain = to
	fell, back := c.run([]state{s}, depth+1)
	c.chain = from
	back = append(fell, back...)
	if j.Do == "goto" {
		return nil, back
	}
	return back, nil
}

// natText says what a translation did.
func natText(before, after *Packet) string {
	switch {
	case before.Dst != after.Dst || before.DstPort != after.DstPort:
		return fmt.Sprintf("destination becomes %s", endpoint(after.Dst, after.DstPort))
	case before.Src != after.Src || before.SrcPort != after.SrcPort:
		return fmt.Sprintf("source becomes %s", endpoint(after.Src, after.SrcPort))
	}
	return "nothing to translate"
}

// asksConnection says that a match reads what a connection has and its state,
// which is known without one, is not meant.
func (e *Expr) asksConnection() bool {
	return slices.ContainsFunc(e.Left, func(o Operand) bool { return o.connection() })
}

func (o *Operand) connection() bool {
	return o.Op == "key" && strings.HasPrefix(o.Key, "ct ") && o.Key != "ct state" ||
		slices.ContainsFunc(o.Args, func(a Operand) bool { return a.connection() })
}
