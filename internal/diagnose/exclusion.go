package diagnose

import (
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// ReportByExclusion reports a finding that no line of configuration states: it
// is what is left when everything else has been ruled out. While a hop that
// could do what was seen was not read, nothing has been ruled out, and the
// finding is no more than possible.
func (p *Pass) ReportByExclusion(f Finding) { p.Report(p.Excluded(f)) }

// Excluded is a finding by exclusion, as sure as what was not read lets it be.
func (p *Pass) Excluded(f Finding) Finding {
	dark := p.Dark()
	if len(dark) > 0 {
		f.Confidence = Possible
		names := []string{}
		for _, s := range dark {
			for _, g := range s.Gaps {
				if !slices.Contains(f.Gaps, g) {
					f.Gaps = append(f.Gaps, g)
				}
			}
			if !slices.Contains(names, s.Title) {
				names = append(names, s.Title)
			}
		}
		f.Evidence = append(f.Evidence, Evidence{Text: "not ruled out, because it was not read: " + strings.Join(names, "; "), Source: "trace"})
	}
	return f
}

// Dark are the hops of the question's way that were not read and could do what
// the probe saw.
func (p *Pass) Dark() []*model.Step {
	var out []*model.Step
	for _, w := range p.Ways() {
		for _, steps := range [][]model.Step{w.Path.Steps, w.Path.Return} {
			for i := range steps {
				if s := &steps[i]; len(s.Gaps) > 0 && (s.Verdict == model.Unknown && p.couldBe(w.Path, s) || halfRead(s) && !passed(w.Path, s, p.Seen())) {
					out = append(out, s)
				}
			}
		}
	}
	return out
}

// halfRead says that a node's kernel lets a packet pass by what was read of it,
// and that its packet filter was not: it may hit the node's own packets too.
func halfRead(s *model.Step) bool {
	return s.Hop == model.HopNodeKernel && s.Verdict == model.Pass && len(s.Gaps) > 0
}

// HalfRead says that a node on the question's way has a packet filter that was not read.
func (p *Pass) HalfRead() bool {
	path := p.Question()
	return path != nil && slices.ContainsFunc(slices.Concat(path.Steps, path.Return), func(s model.Step) bool { return halfRead(&s) })
}

// couldBe says that a hop may be where what was seen happens.
func (p *Pass) couldBe(path *model.Path, step *model.Step) bool {
	seen := p.Seen()
	switch step.Hop {
	case model.HopPod, model.HopPolicy, model.HopNodeKernel, model.HopMasquerade:
		if p.Origin() != model.VantageNode && p.Same(model.VantageNode) {
			return false // the node does not go through what pods go through, and fares alike
		}
	case model.HopRoute, model.HopGateway, model.HopAppliance:
		return true
	}
	return !passed(path, step, seen) // only what reads the stream touches a connection that stands
}

// phaseOrder is the order in which a probe gets on.
var phaseOrder = []string{"dns", "udp", "tcp", "proxy", "tls", "http", "body"}

// Farther says that the question's probe got further from a vantage than where
// it was asked: it works, or fails later, or had the far side's certificate to
// find fault with.
func (p *Pass) Farther(v model.Vantage) bool {
	o, seen := p.At(v), p.Seen()
	switch {
	case o == nil || seen == nil || !Fails(seen):
		return false
	case !Fails(o):
		return true
	case o.Failed == seen.Failed:
		return CutOff(seen) && !CutOff(o)
	}
	return slices.Index(phaseOrder, o.Failed) > slices.Index(phaseOrder, seen.Failed)
}
