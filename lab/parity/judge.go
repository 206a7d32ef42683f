package parity

import (
	"fmt"
	"slices"
	"strings"
)

// summary counts what was compared.
type summary struct {
	about                                   string
	flows, passed, dropped, rejected, mixed int
	unknown                                 int
	by                                      map[string]int // hop → how many were decided there
	disagreements                           []disagreement
	shown, disagreed                        int
}

type disagreement struct {
	flow *flow
	pred *prediction
	fate fate
}

func (s *summary) add(o *summary) {
	s.flows += o.flows
	s.passed += o.passed
	s.dropped += o.dropped
	s.rejected += o.rejected
	s.mixed += o.mixed
	s.unknown += o.unknown
	s.disagreed += o.disagreed
	for hop, n := range o.by {
		s.count(hop, n)
	}
}

func (s *summary) count(hop string, n int) {
	if s.by == nil {
		s.by = map[string]int{}
	}
	s.by[hop] += n
}

// line is the summary in a few words.
func (s *summary) line() string {
	var hops []string
	for hop, n := range s.by {
		hops = append(hops, fmt.Sprintf("%s %d", hop, n))
	}
	slices.Sort(hops)
	return fmt.Sprintf("%d flows: %d pass, %d dropped, %d rejected, %d depend on the endpoint (%s), %d unknown, %d disagree",
		s.flows, s.passed, s.dropped, s.rejected, s.mixed, strings.Join(hops, ", "), s.unknown, s.disagreed)
}

// judge is the end of it.
func (s *summary) judge(o Options) error {
	if s.disagreed > 0 {
		return fmt.Errorf("%w about %d of %d connections", ErrDisagree, s.disagreed, s.flows)
	}
	if share := float64(s.unknown) / float64(max(s.flows, 1)); share > o.Unknown {
		return fmt.Errorf("podpath does not know %d of %d connections, more than %.0f %%", s.unknown, s.flows, o.Unknown*100)
	}
	return nil
}

// compare judges one connection.
func (s *summary) compare(f *flow, p *prediction, got fate) {
	s.flows++
	switch p.Verdict {
	case "pass":
		s.passed++
	case "drop":
		s.dropped++
	case "reject":
		s.rejected++
	case "mixed":
		s.mixed++
	}
	unknown := false
	for i := range p.Paths {
		if d := p.Paths[i].deciding(); d != nil && !unknown {
			s.count(d.Hop, 1)
			unknown = p.Paths[i].Verdict == "unknown"
			break
		}
	}
	unknown = slices.ContainsFunc(p.Paths, func(w way) bool { return w.Verdict == "unknown" })
	if unknown {
		s.unknown++
		return
	}
	if !agrees(f, p, got) {
		s.disagreed++
		s.disagreements = append(s.disagreements, disagreement{f, p, got})
	}
}

// agrees says whether a fate is that of one of the predicted ways.
func agrees(f *flow, p *prediction, got fate) bool {
	return slices.ContainsFunc(p.Paths, func(w way) bool {
		switch w.Verdict {
		case "drop":
			return got.Result == "timeout"
		case "reject":
			return got.Result == "refused" || got.Result == "unreachable"
		}
		if f.closed {
			return got.Result == "refused"
		}
		return got.Result == "ok" && (got.Who == "" || !strings.HasPrefix(got.Who, "par-") || strings.HasSuffix(w.target(), "/"+got.Who))
	})
}

// target is the pod that a way leads to.
func (w *way) target() string {
	for _, s := range slices.Backward(w.Steps) {
		if strings.HasPrefix(s.At, "pod/") {
			return s.At
		}
		if s.Out.To != "" {
			return s.Out.To
		}
	}
	return ""
}

// tell is everything that somebody needs who wants to know which of the two is wrong.
func (d *disagreement) tell(o Options, round int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nDISAGREE %s\n  packets: %s", d.flow, d.fate.Result)
	if d.fate.Who != "" {
		fmt.Fprintf(&b, ", answered by %s", d.fate.Who)
	}
	fmt.Fprintf(&b, " after %d ms %s\n", d.fate.Millis, d.fate.Detail)
	for _, w := range d.pred.Paths {
		fmt.Fprintf(&b, "  podpath: %s\n", w.Verdict)
		for _, s := range slices.Concat(w.Steps, w.Return) {
			fmt.Fprintf(&b, "    %-8s %-12s %s", s.Verdict, s.Hop, s.At)
			if s.Decided != "" {
				fmt.Fprintf(&b, " [%s]", s.Decided)
			}
			fmt.Fprintf(&b, ": %s\n", s.Reason)
			if s.Verdict != "pass" || s.Hop == "policy" {
				for _, t := range s.Trail {
					fmt.Fprintf(&b, "               · %s\n", t)
				}
			}
		}
	}
	fmt.Fprintf(&b, "  again: podpath-lab parity --name %s --seed %d --round %d\n\n", o.Lab, o.Seed, round)
	return b.String()
}
