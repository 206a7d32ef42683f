package diagnose

import (
	"slices"

	"github.com/podpath/podpath/internal/model"
)

// Certain says that a step of a way is reached for certain: nothing before it is unknown
// for want of reading.
func (p *Pass) Certain(w Way, step *model.Step) bool {
	for _, steps := range [][]model.Step{w.Path.Steps, w.Path.Return} {
		for i := range steps {
			if &steps[i] == step {
				return true
			}
			if steps[i].Verdict == model.Unknown && len(steps[i].Gaps) > 0 {
				return false
			}
		}
	}
	return false
}

// Reported says that a finding was reported about a step, by whatever rule.
func (p *Pass) Reported(step *model.Step) bool {
	return slices.ContainsFunc(p.view.findings, func(f Finding) bool {
		return f.step != nil && f.step.Decided == step.Decided && f.step.Hop == step.Hop && f.step.At == step.At
	})
}

// Fits says that the question's probe failed as a step's verdict makes it fail.
func (p *Pass) Fits(w Way, step *model.Step) bool {
	seen := p.Seen()
	if seen == nil || !Fails(seen) || passed(w.Path, step, seen) {
		return false
	}
	if behind(w.Path, step) {
		seen = beyond(seen)
	}
	if seen.Failed != "tcp" && seen.Failed != "udp" {
		return false
	}
	switch seen.Result {
	case model.NoRoute, model.NotPermitted:
		return true
	case model.TimedOut:
		return step.Verdict == model.Drop
	case model.Refused, model.Unreachable:
		return step.Verdict == model.Reject
	}
	return false
}

// Agreement is how the prediction compares with the probes from other places and
// to other hosts.
type Agreement struct {
	With    []*model.Observation // nothing stops them by the prediction, and they got through
	Through []*model.Observation // the same line should have stopped them, and they got through
	Odd     []*model.Observation // the prediction lets them pass, and they failed
}

// Agree compares the prediction that a way breaks at a step with the other probes.
func (p *Pass) Agree(step *model.Step) Agreement {
	var a Agreement
	if p.Trace == nil {
		return a
	}
	for _, v := range []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageNode, model.VantageOtherNode} {
		if v != p.Origin() {
			for _, o := range p.Asked(v) {
				p.compare(&a, o, step)
			}
		}
		for _, o := range p.Control(v, "control:other-host") {
			if !Fails(o) { // one that fails may be down
				p.compare(&a, o, step)
			}
		}
	}
	return a
}

func (p *Pass) compare(a *Agreement, o *model.Observation, step *model.Step) {
	if !o.Address.IsValid() || o.From == "" || o.Proxy != "" || o.Failed == "dns" {
		return
	}
	path := p.predicted(o)
	b := path.Broken()
	switch {
	case b == nil && len(path.Steps) > 0 && !Fails(o):
		a.With = append(a.With, o)
	case path.Verdict == model.Pass:
		a.Odd = append(a.Odd, o)
	case b != nil && b.Decided == step.Decided && b.Hop == step.Hop && (!Fails(o) || passed(&path, b, o)):
		a.Through = append(a.Through, o)
	}
}

// predicted is the way of one probe.
func (p *Pass) predicted(o *model.Observation) model.Path {
	flow := p.flowFrom(o.From)
	flow.Dst, flow.DstPort, flow.Host, flow.Scheme = o.Address.Addr(), o.Address.Port(), p.Host(), p.Case.Question.To.Scheme
	if o.Purpose == "control:other-host" {
		to, err := model.ParseEndpoint(o.Target, false)
		if err != nil {
			return model.Path{}
		}
		flow.Host, flow.Scheme = to.Host, to.Scheme
	}
	return p.Trace(flow)
}
