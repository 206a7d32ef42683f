package vantage

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/probe"
)

// maxInside bounds how many pods behind the destination are entered: each then
// lists podpath's container for its life.
const maxInside = 2

// insides looks into the asking pod, and into pods behind the destination that
// were slow or silent: how many local ports are taken, which queues are full, how
// many files are open. What a series moves is read before and after it.
func (s *session) insides(ctx context.Context) {
	if !s.awaitOthers(ctx) || s.req.Via == ViaNone || s.req.Via == ViaTwin || s.req.Via == ViaExec {
		return
	}
	select {
	case <-s.podDone:
	case <-ctx.Done():
		return
	}
	first := s.insideRefs(s.strained(s.podObs))
	s.readInsides(ctx, first)
	if s.req.Series == nil {
		return
	}
	s.repeats.Wait()
	s.mu.Lock()
	second := s.insideRefs(s.strained(tried(s.result.Tries)))
	s.mu.Unlock()
	s.readInsides(ctx, union(first, second))
}

func union(a, b []model.Ref) []model.Ref {
	for _, r := range b {
		if !slices.Contains(a, r) {
			a = append(slices.Clone(a), r)
		}
	}
	return a
}

// insideRefs are the asking pod, where its own namespace was entered, and those behind the destination.
func (s *session) insideRefs(behind []model.Ref) []model.Ref {
	var out []model.Ref
	if s.entered {
		out = append(out, s.req.Pod.Ref())
	}
	return append(out, behind...)
}

// late is from when on a phase is not what a healthy server of the same cluster takes.
const late = 900 * time.Millisecond

// strained are the pods behind the destination that did not answer, or late: those
// that showed it themselves, else, where the question itself was, the first ones.
func (s *session) strained(obs []model.Observation) []model.Ref {
	bad, asked := map[netip.AddrPort]bool{}, false
	for i := range obs {
		o := &obs[i]
		if !straining(o) {
			continue
		}
		bad[o.Address] = true
		asked = asked || o.Purpose == "" || o.Purpose == probe.PurposeQuestion
	}
	refused := s.refusing() // listening enters it
	var out, others []model.Ref
	for _, b := range s.req.Backends {
		switch {
		case b.Pod == "" || b.Pod == refused || s.req.Pod != nil && b.Pod == s.req.Pod.Ref():
		case bad[b.Addr]:
			out = append(out, b.Pod)
		case asked:
			others = append(others, b.Pod)
		}
	}
	if len(out) == 0 {
		out = others
	}
	return out[:min(len(out), maxInside)]
}

// straining says that a server was reached in vain or late. A refusal is looked
// into by listening, and a name that is not found is nobody's fault here.
func straining(o *model.Observation) bool {
	if o.Failed == "dns" || o.Result == model.Refused || o.Result == model.ProbeFailed {
		return false
	}
	if o.Result != model.OK && o.Result != "" && o.Result != model.HTTPStatus {
		return true
	}
	return slices.ContainsFunc(o.Phases, func(p model.Phase) bool { return p.Name != "dns" && p.Duration > late })
}

// tried are tries as far as straining looks at them.
func tried(tries []model.Try) []model.Observation {
	out := make([]model.Observation, 0, len(tries))
	for _, t := range tries {
		if t.Vantage == model.VantagePod && t.Idle == 0 {
			out = append(out, model.Observation{Purpose: t.Purpose, Address: t.Address, Phases: t.Phases, Result: t.Result, Failed: t.Failed})
		}
	}
	return out
}

// readInsides reads pods side by side; one that was read before is read again.
func (s *session) readInsides(ctx context.Context, refs []model.Ref) {
	var wg sync.WaitGroup
	for _, ref := range refs {
		wg.Go(func() {
			var in model.Inside
			if !s.inPod(ctx, ref, "sockets, ports and queues of "+string(ref), "inside", &in) {
				return
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.keepInside(ref, &in)
		})
	}
	wg.Wait()
}

// keepInside keeps a reading. A second one tells how counters moved, and what the
// sockets and queues were at their fullest.
func (s *session) keepInside(ref model.Ref, in *model.Inside) {
	if s.result.Inside == nil {
		s.result.Inside = map[model.Ref]*model.Inside{}
	}
	old := s.result.Inside[ref]
	if old == nil {
		s.result.Inside[ref] = in
		return
	}
	old.After = maps.Clone(in.Counters)
	if sum(in.Sockets) > sum(old.Sockets) {
		old.Sockets, old.Held = in.Sockets, max(in.Held, old.Held)
	}
	if fullest(in.Listening) > fullest(old.Listening) {
		old.Listening = in.Listening
	}
	old.Processes = in.Processes
}

func sum(all []model.SocketCount) (n int) {
	for _, s := range all {
		n += s.Count
	}
	return n
}

func fullest(all []model.Queue) (n int) {
	for _, q := range all {
		n = max(n, q.Waiting)
	}
	return n
}
