package reach

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// Finding is a policy, or a rule of one, that is there for nothing.
type Finding struct {
	Kind   string    `json:"kind"` // selects-nothing, peer-selects-nothing, dead-rule, shadowed-rule, changes-nothing
	Policy model.Ref `json:"policy"`
	Rule   string    `json:"rule,omitempty"` // "ingress rule 2"
	Reason string    `json:"reason"`
}

// ruleID names a rule of a policy in one direction. A rule of the policy's own
// may be several neutral ones.
type ruleID struct {
	p *policy.Policy
	d int
	i int // index in the policy's own list
}

// hygiene is one search for what changes nothing.
type hygiene struct {
	e       *Engine
	matters map[ruleID]bool            // some pair of some profile is judged otherwise without it
	useful  map[*policy.Policy]bool    // the same for whole policies
	subject map[*policy.Policy]*choice // what it selects
	of      map[*policy.Policy][2][]*profile
	gone    map[ruleID]bool // shadowed ones that were found: others may not lean on them
	s       *scratch
}

// Hygiene finds policies and rules that change nothing, in the order of the
// policies. Where something is not known, it may change something.
func (e *Engine) Hygiene() []Finding {
	h := &hygiene{
		e: e, matters: map[ruleID]bool{}, useful: map[*policy.Policy]bool{}, subject: map[*policy.Policy]*choice{},
		of: map[*policy.Policy][2][]*profile{}, gone: map[ruleID]bool{}, s: newScratch(len(e.entries)),
	}
	for d := range e.profiles {
		for _, p := range e.profiles[d] {
			h.profile(p, d)
		}
	}
	var out []Finding
	for t := range e.x.Rules().Tiers {
		for _, p := range e.x.Rules().Tiers[t].Policies {
			out = append(out, h.policy(p)...)
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(a.Policy, b.Policy) })
	return out
}

// profile asks of each rule and policy of a profile whether it makes a difference;
// where the answer is not known, so is what any of them adds to it.
func (h *hygiene) profile(p *profile, d int) {
	for i := range p.policies {
		of := h.of[p.policies[i].p]
		of[d] = append(of[d], p)
		h.of[p.policies[i].p] = of
	}
	if len(p.policies) == 0 {
		return
	}
	h.cells(p, d, func(steps []step) {
		s := h.s
		for _, cut := range s.cuts[:len(s.cuts)-1] {
			whole := p.verdict(steps, s, cut)
			for _, m := range s.matches {
				id := ruleID{p.policies[steps[m.step].policy].p, d, steps[m.step].rule.Index}
				if !h.matters[id] && (whole == model.Unknown || h.without(p, steps, cut, id) != whole) {
					h.matters[id] = true
				}
			}
			for i := range p.policies {
				if a := p.policies[i].p; !h.useful[a] {
					s.skip = int32(i)
					if whole == model.Unknown || p.verdict(steps, s, cut) != whole {
						h.useful[a] = true
					}
					s.skip = -1
				}
			}
		}
	})
}

// without is the verdict when a rule, and those that are gone, are not there.
func (h *hygiene) without(p *profile, steps []step, port uint32, id ruleID) model.Verdict {
	h.s.leave = func(k int32) bool {
		at := ruleID{p.policies[steps[k].policy].p, id.d, steps[k].rule.Index}
		return at == id || h.gone[at]
	}
	v := p.verdict(steps, h.s, port)
	h.s.leave = nil
	return v
}

// cells prepares the scratch for each cell of a profile that has entries.
func (h *hygiene) cells(p *profile, d int, each func([]step)) {
	s, steps := h.s, h.e.steps(p, d)
	s.reset()
	for i := range steps {
		h.e.refine(steps, int32(i), d, s)
	}
	filled := make([]bool, len(s.parent))
	filled[0] = len(s.touched) < len(h.e.entries)
	for _, i := range s.touched {
		filled[s.cell[i]] = true
	}
	for c := range filled {
		if filled[c] {
			h.e.prepare(steps, int32(c), s)
			each(steps)
		}
	}
}

// policy tells what is there for nothing in one policy.
func (h *hygiene) policy(p *policy.Policy) []Finding {
	c := h.e.find.units(&p.Subject)
	if len(c.yes)+len(c.maybe) == 0 {
		return []Finding{{Kind: "selects-nothing", Policy: p.Ref, Reason: "its selector selects no pod"}}
	}
	var out []Finding
	for d, side := range [2]*policy.Side{p.Egress, p.Ingress} {
		if side != nil {
			out = append(out, h.side(p, d, side)...)
		}
	}
	if !h.useful[p] {
		out = append(out, Finding{Kind: "changes-nothing", Policy: p.Ref, Reason: "without it every connection is judged as with it: other policies say the same, or nothing refuses what it allows"})
	}
	return out
}

func (h *hygiene) side(p *policy.Policy, d int, side *policy.Side) []Finding {
	var out []Finding
	last := -1
	for i := range side.Rules {
		r := &side.Rules[i]
		if r.Index == last || r.Action == policy.Log {
			continue
		}
		last = r.Index
		name := p.RuleText(r, d == ingress)
		nothing := 0
		for j := range r.Peers {
			if h.nobody(p, d, &r.Peers[j]) {
				nothing++
				out = append(out, Finding{Kind: "peer-selects-nothing", Policy: p.Ref, Rule: name, Reason: fmt.Sprintf("peer %d of it selects no pod", j+1)})
			}
		}
		id := ruleID{p, d, r.Index}
		switch {
		case nothing > 0 && nothing == len(r.Peers):
			out = append(out, Finding{Kind: "dead-rule", Policy: p.Ref, Rule: name, Reason: "none of its peers selects anything"})
		case h.matters[id]:
		case !h.matches(p, d, r.Index):
			out = append(out, Finding{Kind: "dead-rule", Policy: p.Ref, Rule: name, Reason: "it can match no connection: its port names are those of no pod, or what it is about is never asked"})
		case h.shadowed(id):
			out = append(out, Finding{Kind: "shadowed-rule", Policy: p.Ref, Rule: name, Reason: "whatever it matches is decided the same without it: by " + h.others(id)})
		}
	}
	return out
}

// nobody says whether a peer that chooses pods chooses none.
func (h *hygiene) nobody(p *policy.Policy, d int, peer *policy.Peer) bool {
	if peer.Kind != policy.Pods {
		return false
	}
	for _, q := range h.of[p][d][:min(1, len(h.of[p][d]))] {
		return h.e.find.peer(peer, &h.e.units[q.unit]).none()
	}
	return false
}

// matches says whether a rule matches any port of any cell of any profile.
func (h *hygiene) matches(p *policy.Policy, d, index int) bool {
	found := false
	for _, q := range h.of[p][d] {
		h.cells(q, d, func(steps []step) {
			for k, m := range h.s.matches {
				st := &steps[m.step]
				found = found || q.policies[st.policy].p == p && st.rule.Index == index && len(h.s.stretchs[k]) > 0
			}
		})
		if found {
			return true
		}
	}
	return false
}

// shadowed says whether a rule still makes no difference when those that were
// called shadowed before are gone; then it is gone too.
func (h *hygiene) shadowed(id ruleID) bool {
	same := true
	for _, q := range h.of[id.p][id.d] {
		h.cells(q, id.d, func(steps []step) {
			for _, cut := range h.s.cuts[:len(h.s.cuts)-1] {
				if same && h.without(q, steps, cut, id) != h.without(q, steps, cut, ruleID{}) {
					same = false
				}
			}
		})
	}
	if same {
		h.gone[id] = true
	}
	return same
}

// others names a rule that decides what the shadowed one matches.
func (h *hygiene) others(id ruleID) string {
	text := ""
	for _, q := range h.of[id.p][id.d] {
		h.cells(q, id.d, func(steps []step) {
			if text != "" || !slices.ContainsFunc(h.s.matches, func(m match) bool {
				return q.policies[steps[m.step].policy].p == id.p && steps[m.step].rule.Index == id.i
			}) {
				return
			}
			for _, m := range h.s.matches {
				st := &steps[m.step]
				at := ruleID{q.policies[st.policy].p, id.d, st.rule.Index}
				if decides := st.rule.Action != policy.Next && st.rule.Action != policy.Log; at != id && !h.gone[at] && decides {
					text = string(at.p.Ref) + " " + at.p.RuleText(st.rule, id.d == ingress)
					return
				}
			}
		})
		if text != "" {
			return text + ", among others"
		}
	}
	return "what holds without any rule"
}
