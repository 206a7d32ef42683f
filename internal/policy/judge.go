package policy

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/podpath/podpath/internal/model"
)

// outcome is one way in which a flow may end at a pod, and the line that leads there.
type outcome struct {
	reached  bool
	sure     bool // by a line that matches for certain
	by       *filed
	rule     *Rule // nil: the refusal at a tier's end
	tier     int
	policies []selected // those of the tier
}

// verdict walks the tiers and gathers every outcome that is possible.
type verdict struct {
	q           *question
	allow, deny outcome
	bottom      bool   // the end of all tiers can be reached
	why         string // the first thing that was not certain
	doubt       *filed
	notes       []note
}

// note is a line of the trail before it is put into words: most decisions need none.
type note struct {
	by   *selected
	rule *Rule // that hands over to the next tier, for certain or perhaps; nil: no rule decided
	sure bool
}

// judge asks the policies that select a pod, tier by tier.
func (x *Index) judge(pod *model.Pod, f model.Flow, ingress bool, policies []selected) Decision {
	q := question{x: x, f: f, ingress: ingress, pod: pod}
	q.peer, q.peerIP = x.peer(f, ingress)
	q.target = q.peer
	if ingress {
		q.target = pod
	}
	v := verdict{q: &q, bottom: true, notes: make([]note, 0, len(policies))}
	for first := 0; first < len(policies) && v.bottom; {
		after := first + 1
		for after < len(policies) && policies[after].tier == policies[first].tier {
			after++
		}
		v.bottom = v.tier(policies[first:after])
		first = after
	}
	return v.decision(policies)
}

// tier asks the policies of one tier and says whether the next one can be reached.
func (v *verdict) tier(policies []selected) (next bool) {
	isolated := No // certainly, perhaps or not at all
	for first := 0; first < len(policies); {
		// Policies of one rank: whichever comes first, each is asked as if it did.
		decided, after := false, first
		for ; after < len(policies) && policies[after].Rank == policies[first].Rank; after++ {
			s := &policies[after]
			sure, passes := v.policy(s, policies)
			decided, next = decided || sure, next || passes
			if s.side.Isolates {
				isolated = either(isolated, s.sure)
			}
		}
		if decided {
			return next
		}
		first = after
	}
	if isolated != No {
		if !v.deny.reached {
			v.deny = outcome{reached: true, by: strictest(policies), tier: policies[0].tier, policies: policies}
		}
		if isolated == Maybe {
			v.doubtful(v.deny.by, "whether it selects the pod is not known")
		}
	}
	return next || isolated != Yes
}

// policy asks the rules of one policy. sure says that one of them decides for
// certain; passes that one hands over to the next tier, or may.
func (v *verdict) policy(s *selected, of []selected) (sure, passes bool) {
	for i := range s.side.Rules {
		r := &s.side.Rules[i]
		if r.Action == Log {
			continue
		}
		m, reason := v.q.matches(r)
		if m == No {
			continue
		}
		if m == Yes && s.sure == Maybe {
			m, reason = Maybe, s.why
		}
		if m == Maybe {
			v.doubtful(s.filed, "rule "+strconv.Itoa(r.Index+1)+" of "+string(s.Ref)+": "+reason)
		}
		if r.Action == Allow || r.Action == Unsure {
			v.allow.set(s.filed, r, of, m)
		}
		if r.Action == Deny || r.Action == Unsure {
			v.deny.set(s.filed, r, of, m)
		}
		if r.Action == Next || r.Action == Unsure {
			passes = true
			v.notes = append(v.notes, note{s, r, m == Yes})
		}
		if r.Action == Unsure {
			v.doubtful(s.filed, "rule "+strconv.Itoa(r.Index+1)+" of "+string(s.Ref)+": its action is not understood")
		}
		if m == Yes {
			return true, passes
		}
	}
	v.notes = append(v.notes, note{by: s})
	return false, passes
}

// trail puts the notes into words.
func (v *verdict) trail() []string {
	out := make([]string, len(v.notes))
	for i, n := range v.notes {
		text := string(n.by.Ref) + ": "
		switch way := direction(v.q.ingress); {
		case n.rule != nil && n.sure:
			text += way + " " + ruleText(n.rule) + " passes it on to the next tier"
		case n.rule != nil:
			text += way + " " + ruleText(n.rule) + " perhaps passes it on to the next tier"
		case n.by.side.Isolates:
			text += "no " + way + " rule of " + strconv.Itoa(len(n.by.side.Rules)) + " allows it"
		default:
			text += "no " + way + " rule of " + strconv.Itoa(len(n.by.side.Rules)) + " decides it"
		}
		out[i] = text
	}
	return out
}

func (v *verdict) doubtful(f *filed, why string) {
	if v.doubt == nil {
		v.doubt, v.why = f, why
	}
}

func (o *outcome) set(f *filed, r *Rule, of []selected, m Tri) {
	if !o.reached || !o.sure && m == Yes {
		*o = outcome{reached: true, sure: m == Yes, by: f, rule: r, tier: f.tier, policies: of}
	}
}

// ruleText names a rule: by its place, counted from one, and its own name.
func ruleText(r *Rule) string {
	text := "rule " + strconv.Itoa(r.Index+1)
	if r.Name != "" {
		text += " " + strconv.Quote(r.Name)
	}
	return text
}

// decision puts the possible outcomes into words.
func (v *verdict) decision(policies []selected) Decision {
	d := Decision{Rule: -1, Dialect: v.q.x.dialect}
	passes := v.allow.reached || v.bottom
	switch {
	case v.deny.reached && passes:
		d.Verdict, d.Gaps, d.Trail = model.Unknown, v.q.gaps, v.trail()
		v.unsure(&d)
	case v.deny.reached:
		d.Verdict, d.Refuses, d.Trail = model.Drop, true, v.trail()
		v.name(&d, &v.deny, "denies")
		if v.q.hint != "" {
			d.Trail = append(d.Trail, v.q.hint)
		}
	case v.allow.reached:
		d.Verdict = model.Pass
		// What other policies of a union say changes nothing; what handed the flow over does.
		if v.allow.by.Kind != "NetworkPolicy" || slices.ContainsFunc(v.notes, func(n note) bool { return n.rule != nil }) {
			d.Trail = v.trail()
		}
		v.name(&d, &v.allow, "allows")
	default:
		d.Verdict, d.Trail = model.Pass, v.trail()
		d.Reason = "none of " + count(len(policies), "policy that selects", "policies that select") + " " + string(v.q.pod.Ref()) + " for " + direction(v.q.ingress) + " refuses it"
	}
	return d
}

func (v *verdict) unsure(d *Decision) {
	if v.doubt != nil {
		d.Decided, d.Kind, d.Tier = v.doubt.Ref, v.doubt.Kind, v.q.x.rules.Tiers[v.doubt.tier].Name
		d.Reason = "it cannot be told whether it is allowed: " + v.why
		return
	}
	other := v.allow.by
	d.Decided, d.Kind, d.Tier = v.deny.by.Ref, v.deny.by.Kind, v.q.x.rules.Tiers[v.deny.tier].Name
	if other == nil {
		d.Reason = fmt.Sprintf("it cannot be told whether it is allowed: %s denies it, and another policy of the same priority does not; their order is not defined", v.deny.by.Ref)
		return
	}
	d.Reason = fmt.Sprintf("it cannot be told whether it is allowed: %s denies it and %s allows it, and for equal priorities (%s) no order is defined", v.deny.by.Ref, other.Ref, v.deny.by.Order)
}

// name says which line led to an outcome. No Sprintf: most of the time of one
// decision would go there.
func (v *verdict) name(d *Decision, o *outcome, verb string) {
	q := v.q
	d.Decided, d.Kind, d.Tier = o.by.Ref, o.by.Kind, q.x.rules.Tiers[o.tier].Name
	if o.rule == nil {
		isolating := 0
		for i := range o.policies {
			if o.policies[i].side.Isolates {
				isolating++
			}
		}
		d.Reason = string(o.by.Ref) + " selects " + string(q.pod.Ref()) + " for " + direction(q.ingress) + ", and no rule of " +
			count(isolating, "policy that does", "policies that do") + " allows " + q.peerText()
		return
	}
	d.Rule, d.RuleName = o.rule.Index, o.rule.Name
	d.List = o.by.list(o.rule, q.ingress)
	d.Reason = d.List + " " + ruleText(o.rule) + " of " + string(o.by.Ref)
	if o.by.Order != "" {
		d.Reason += " (" + o.by.Order + ")"
	}
	d.Reason += " " + verb + " it"
	if verb == "denies" {
		d.Reason += ": " + q.peerText()
	}
}

// strictest is the policy to name when none allows a flow: the isolating one
// with the fewest rules, a default deny above all; then the first.
func strictest(policies []selected) *filed {
	best := -1
	for i := range policies {
		if !policies[i].side.Isolates {
			continue
		}
		if best < 0 || len(policies[i].side.Rules) < len(policies[best].side.Rules) {
			best = i
		}
	}
	return policies[max(best, 0)].filed
}
