package diagnose

import (
	"slices"

	"github.com/podpath/podpath/internal/model"
)

// A firewall that decides by name ends the TCP connection itself, reads what the
// client says first, and only then opens a connection of its own to the far
// side. That the client's connection stands says nothing about the way behind
// the firewall: what happens there shows in the phase after it.

// ended is the place in a way at which the sender's connection ends, or -1.
func ended(path *model.Path) int {
	return slices.IndexFunc(path.Steps, func(s model.Step) bool { return s.Terminates && !blocks(&s) })
}

// behind says that a step lies beyond the place at which the sender's connection
// ends: on the way there after it, on the way back before it.
func behind(path *model.Path, step *model.Step) bool {
	end := ended(path)
	if end < 0 {
		return false
	}
	for i := range path.Steps {
		if &path.Steps[i] == step {
			return i > end
		}
	}
	for i := range path.Return {
		if path.Return[i].Terminates {
			return false
		}
		if &path.Return[i] == step {
			return true
		}
	}
	return later(Way{Path: path}, step)
}

// beyond is what a probe's answer says of the connection that a firewall opens
// after it has heard the client: silence there, or a refusal, is passed on as a
// handshake that hangs or is broken off before the far side said anything.
func beyond(o *model.Observation) *model.Observation {
	first := o != nil && (o.Failed == "tls" || o.Failed == "http" && o.PhaseOf("tls") == nil)
	if !first {
		return o
	}
	far := *o
	switch o.Result {
	case model.TimedOut:
		far.Failed = "tcp"
	case model.Reset, model.Closed:
		far.Failed, far.Result = "tcp", model.Refused
	default:
		return o
	}
	return &far
}

// Beyond is what the question's probe tells of the far side: what it saw, or,
// where a firewall on the way ends the connection, what that one saw.
func (p *Pass) Beyond() *model.Observation {
	seen := p.Seen()
	for _, w := range p.Ways() {
		if w.Kind == "question" && ended(w.Path) >= 0 && w.Path.Broken() == nil {
			return beyond(seen)
		}
	}
	return seen
}

// mayBeBeyond says that an appliance before a finding's step was not read, which
// may be what the connection stands with.
func (p *Pass) mayBeBeyond(f *Finding) bool {
	w := p.wayOf(f)
	if w == nil || ended(w.Path) >= 0 {
		return false
	}
	for i := range w.Path.Steps {
		s := &w.Path.Steps[i]
		if s == f.step {
			return false
		}
		if s.Hop == model.HopAppliance && s.Verdict == model.Unknown && len(s.Gaps) > 0 {
			return true
		}
	}
	return false
}

// hiddenEnd are the gaps behind which there may be a firewall that ends the
// connection; none where the way was read.
func (p *Pass) hiddenEnd() []model.Gap {
	var out []model.Gap
	for _, w := range p.Ways() {
		if w.Kind != "question" || ended(w.Path) >= 0 {
			continue
		}
		for _, s := range w.Path.Steps {
			if s.Verdict == model.Unknown {
				out = append(out, s.Gaps...)
			}
		}
	}
	return out
}

// passed says that the probe's connection stood at a step of a way, so that
// nothing there drops its packets.
func passed(path *model.Path, step *model.Step, seen *model.Observation) bool {
	if behind(path, step) {
		seen = beyond(seen)
	}
	return passedTCP(seen)
}

// sees says that a rule would make the probe see what it saw.
func (p *Pass) sees(r *Rule, f *Finding) bool {
	seen := p.Seen()
	if r.Sees(seen) {
		return true
	}
	if f.step == nil {
		return f.Hop == model.HopEndpoint && r.Sees(p.Beyond())
	}
	if p.mayBeBeyond(f) && r.Sees(beyond(seen)) {
		f.Confidence = min(f.Confidence, Possible)
		return true
	}
	way := p.wayOf(f)
	return way != nil && behind(way.Path, f.step) && r.Sees(beyond(seen))
}

// wayOf is the way that a finding's step is on, or nil.
func (p *Pass) wayOf(f *Finding) *Way {
	for i := range p.view.ways {
		w := &p.view.ways[i]
		for _, steps := range [][]model.Step{w.Path.Steps, w.Path.Return, w.Path.After} {
			for j := range steps {
				if &steps[j] == f.step {
					return w
				}
			}
		}
	}
	return nil
}
