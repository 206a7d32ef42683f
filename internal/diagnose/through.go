package diagnose

import (
	"slices"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// fewestThrough is how many tries speak against a line that stops everything: one
// may have been under way when it was written.
const fewestThrough = 3

// Changed says that the rate of the question's own failures changed while it was
// watched: all were hit at one time, and few or none at another, which tells nothing
// of how one connection differs from the next.
func (p *Pass) Changed() bool { return p.view.watched != nil && len(p.view.watched.Changes) > 0 }

// letThrough counts the question's own tries that came to where a finding's line
// should have stopped them all, after the first that failed, and those that got
// through. What has ended, or began and lasts, is told as what it was or is; a
// line that hits a share, or one endpoint of several, is not refuted by those that pass.
func (p *Pass) letThrough(f *Finding) (through, of int) {
	w, way := p.view.watched, p.wayOf(f)
	if w == nil || way == nil || f.Sometimes || w.Class != watch.Intermittent && w.Class != watch.Undecided || !stopsAll(way.Path, f.step) {
		return 0, 0
	}
	dst := way.Path.Flow.Dst
	own := slices.DeleteFunc(slices.Clone(p.Case.Tries), func(t model.Try) bool {
		asked := t.Purpose == "" || t.Purpose == "question"
		return !asked || t.Vantage != p.Origin() || t.Idle > 0 || t.Lag > watch.Lateness || t.Result == model.ProbeFailed || t.Address.Addr() != dst
	})
	if p.several(dst) || p.Case.Question.Protocol == "udp" {
		return 0, 0
	}
	first := slices.IndexFunc(own, func(t model.Try) bool { return watch.Failed(&t) })
	for i := max(first, 0) + 1; first >= 0 && i < len(own); i++ {
		of++
		if own[i].Result == model.OK {
			through++
		}
	}
	return through, of
}

// stopsAll says that a step drops every packet of its way, not a share of them.
func stopsAll(path *model.Path, s *model.Step) bool {
	stops := s.Verdict == model.Drop || s.Verdict == model.Reject
	return stops && path.Share(s) == 1 && (s.Filter == nil || s.Filter.Share == 0 || s.Filter.Share == 1)
}
