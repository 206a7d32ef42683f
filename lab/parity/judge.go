package parity

import (
	"fmt"
	"slices"
	"strings"
)

// summary counts what was compared.
type summary struct {
	about                                            string
	flows, passed, dropped, rejected, mixed, unknown int
	disagreed                                        int
	by                                               map[string]int // hop → how many were decided there
	disagreements, unknowns                          []disagreement
	shown                                            map[string]int // kind of disagreement → how many were told
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

// news says whether a disagreement is worth telling: a few of each kind are.
func (s *summary) news(d *disagreement) bool {
	if s.shown == nil {
		s.shown = map[string]int{}
	}
	s.shown[d.kind()]++
	return s.shown[d.kind()] <= maxShown
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
	for i := range p.Paths {
		if d := p.Paths[i].deciding(); d != nil {
			s.count(d.Hop, 1)
			break
		}
	}
	unknown := slices.ContainsFunc(p.Paths, func(w way) bool { return w.Verdict == "unknown" })
	if unknown {
		s.unknown++
		s.unknowns = append(s.unknowns, disagreement{f, p, got})
		return
	}
	if !agrees(f, p, got) {
		s.disagreed++
		s.disagreements = append(s.disagreements, disagreement{f, p, got})
	}
}

// prohibited is what a node's own datagram meets when its kernel drops or refuses
// it before it has left: which of the two the sender is not told.
const prohibited = "prohibited"

// agrees says whether a fate is that of one of the predicted ways.
func agrees(f *flow, p *prediction, got fate) bool {
	return slices.ContainsFunc(p.Paths, func(w way) bool {
		switch w.Verdict {
		case "drop":
			return got.Result == "timeout" || got.Result == prohibited
		case "reject":
			if w.deciding().Hop == "appliance" { // it speaks for the other side, and then refuses
				return got.Result == "reset" || got.Result == "http-470"
			}
			return got.Result == "refused" || got.Result == "unreachable" || got.Result == prohibited
		}
		if f.closed {
			return got.Result == "refused"
		}
		return got.Result == "ok" && w.answeredBy(got.Who)
	})
}

// answeredBy says whether a way leads to the pod that answered, where it goes by a Service.
func (w *way) answeredBy(who string) bool {
	for _, s := range w.Steps {
		if s.Hop == "service" && strings.HasPrefix(who, "par-") {
			return s.Out.To == "pod/"+who
		}
	}
	return true
}

// kind groups disagreements that are likely to be one.
func (d *disagreement) kind() string {
	k := d.pred.Verdict + " " + d.fate.Result + " " + d.flow.protocol
	for i := range d.pred.Paths {
		if s := d.pred.Paths[i].deciding(); s != nil {
			return k + " " + s.Hop
		}
	}
	return k
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
