package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

var tlsSlow = diagnose.Rule{
	ID: "tls-slow",
	Doc: `The far side takes long for the TLS handshake

The connection stands at once, and then the handshake takes seconds, or never ends within the client's limit ("net/http: TLS handshake
timeout"). No packet is lost: the connection itself would have taken whole seconds, and the kernel would have sent something again in the
handshake, which it tells. The far side has too little CPU for its handshakes, waits for a key store or a revocation list, or is flooded with them.

Look-alikes: where packets of the handshake are sent again, the path loses them. A container that is stopped by its CPU limit is named where the far side is a pod whose kubelet tells. A path that loses large
packets stalls at the certificate every time. A firewall that terminates TLS is slow towards every name. One that decides by name takes the connection itself and opens its own when it has read the name: what the far side
loses of new connections shows as whole seconds of the handshake behind it, and as lost SYNs from this machine. A slow answer comes after the handshake.

Mend it at the far side: more CPU or replicas, sessions that are resumed, connections that are kept.
`,
	Hop:        model.HopTLS,
	Covers:     []string{"tls-handshake-slow"},
	Needs:      []string{"probe"},
	Under:      []string{"cpu-throttled", "path-mtu"},
	LastResort: true,
	Run: func(p *diagnose.Pass) {
		shakes := handshakes(p)
		if shakes.lossy*2 > shakes.slow {
			return // it is the path
		}
		if s := p.Slow(); s != nil && s.Phase == "tls" {
			reportSlowShakes(p, s, &shakes)
		} else if hangs(p) {
			reportHangingShakes(p, &shakes)
		}
	},
}

func reportSlowShakes(p *diagnose.Pass, s *watch.Slowness, shakes *shaken) {
	if direct := lostDirectly(p); direct != nil {
		reportHiddenLoss(p, s, direct)
		return
	}
	f := diagnose.Finding{
		Subject:    farSide(p),
		Confidence: diagnose.Likely,
		Title:      fmt.Sprintf("%s takes %s for the TLS handshake", p.Host(), s.Took.Round(100*time.Millisecond)),
		Summary:    "Connections stand at once; the time passes in the handshake, in which the far side computes.",
		Evidence:   append([]diagnose.Evidence{slowEvidence(s)}, shakes.evidence(p.Seen())...),
		Fix:        []diagnose.Command{{Text: askForCPU, Verify: again(p)}},
	}
	if s.Class == watch.Intermittent {
		f.Title, f.Sometimes = fmt.Sprintf("%s takes %s for some of its TLS handshakes", p.Host(), s.Took.Round(100*time.Millisecond)), true
	}
	if endsHere := decidesByName(p); slowElsewhere(p, "tls") && (endsHere == nil || slowFrom(p, model.VantageHere, "tls")) {
		f.Evidence = append(f.Evidence, probe("other places, too, wait for it"))
	} else if endsHere != nil {
		f.Confidence = diagnose.Possible
		f.Summary = "Connections stand at once because the firewall takes them itself; it opens its own when it has read the name. The time passes there: the far side computes, or new connections to it lose packets, or the firewall is short of something."
		f.Evidence = append(f.Evidence, diagnose.Evidence{Text: endsHere.Reason, Source: "trace"})
	} else if p.External() {
		f.Confidence = diagnose.Possible
	}
	p.Report(f)
}

// decidesByName is the step of the way out at which an application rule of a firewall
// lets the question pass: the firewall ends the connection itself there
// (https://learn.microsoft.com/azure/firewall/rule-processing); nil: there is none.
func decidesByName(p *diagnose.Pass) *model.Step {
	path := p.Question()
	for i := 0; path != nil && i < len(path.Steps); i++ {
		if s := &path.Steps[i]; s.Hop == model.HopAppliance && strings.Contains(s.Reason, "application rule") {
			return s
		}
	}
	return nil
}

// lostDirectly is what this machine, which asks the far side itself, loses of new
// connections where a firewall on the question's way opens the far side's connection
// in its stead, and this machine's handshakes are quick; nil: that is not so.
func lostDirectly(p *diagnose.Pass) *newLoss {
	here := newLosses(p)[model.VantageHere]
	if !p.External() || p.Origin() == model.VantageHere || decidesByName(p) == nil || here.of < fewestTries || here.hit() < 3 || slowFrom(p, model.VantageHere, "tls") {
		return nil
	}
	return &here
}

// reportHiddenLoss is a far side that loses new connections, behind a firewall that
// opens them.
func reportHiddenLoss(p *diagnose.Pass, s *watch.Slowness, here *newLoss) {
	step := decidesByName(p)
	f := diagnose.Finding{
		Subject: farSide(p), Hop: model.HopEndpoint, Confidence: diagnose.Likely, Sometimes: s.Class == watch.Intermittent,
		Title:   fmt.Sprintf("New connections to %s lose packets, behind a firewall that opens them", p.Host()),
		Summary: "The firewall takes the pod's connection itself, and opens its own when it has read the name. What that loses passes as whole seconds of the pod's TLS handshake. This machine's connections, which do not go through it, lose packets as well, so that it is at the far side, or close to it.",
		Evidence: []diagnose.Evidence{
			slowEvidence(s),
			probe(fmt.Sprintf("from this machine %d of %d new connections got no answer, and %d stood only after a SYN was sent again; its handshakes are quick", here.lost, here.of, here.late)),
			{Text: step.Reason, Source: "trace", Refs: []model.Ref{step.Decided}},
		},
		Fix: []diagnose.Command{{Text: fmt.Sprintf("Ask the owner of %s what drops new connections there: its own firewall, its queue of connections, its line", p.Host()), Verify: watchAgain(p)}},
	}
	p.Report(f)
}

const askForCPU = "Ask the service's owner for its CPU and its rate of handshakes; keep connections and use them again"

// hangs says that the far side took the connection and did not get through the
// handshake in time, from other places either: neither a firewall that ends the
// connection, nor a way that loses large packets, is between.
func hangs(p *diagnose.Pass) bool {
	seen := p.Seen()
	if seen == nil || seen.Failed != "tls" || seen.Result != model.TimedOut || p.Beyond() != seen || smallPasses(p) != nil {
		return false
	}
	if p.External() { // whose way shares nothing with the pod's but the far side
		for _, g := range p.Gaps([]string{"probe:here"}) {
			p.Skip(g)
		}
		return shaking(p, model.VantageHere)
	}
	return slowElsewhere(p, "tls")
}

// shaking says that a handshake hung for somebody at a vantage, too.
func shaking(p *diagnose.Pass, v model.Vantage) bool {
	return p.Same(v) || slices.ContainsFunc(p.Case.Tries, func(t model.Try) bool {
		return t.Vantage == v && t.Failed == "tls" && t.Result == model.TimedOut
	})
}

func reportHangingShakes(p *diagnose.Pass, shakes *shaken) {
	seen := p.Seen()
	took := seen.PhaseOf("tls").Duration.Round(100 * time.Millisecond)
	p.Report(diagnose.Finding{
		Subject: farSide(p), Confidence: diagnose.Likely, Sometimes: shakes.quick > 0,
		Title:    fmt.Sprintf("%s takes connections and does not finish the TLS handshake within %s", p.Host(), took),
		Summary:  "Connections stand at once, the client's first message is acknowledged, and then the far side, which has to compute, says nothing for long. Clients give up (\"TLS handshake timeout\").",
		Evidence: append([]diagnose.Evidence{probe(fmt.Sprintf("the TLS handshake did not end within %s, %s", took, seen.Detail)), probe("other places wait for it as well")}, shakes.evidence(seen)...),
		Fix:      []diagnose.Command{{Text: askForCPU, Verify: again(p)}},
	})
}

// shaken is what the question's tries tell of their connections and handshakes.
type shaken struct {
	stood       []time.Duration // how long connections took
	slow, lossy int             // handshakes that took long; of them, those in which packets got lost
	quick       int             // those that did not take long
}

func handshakes(p *diagnose.Pass) shaken {
	var s shaken
	phases := [][]model.Phase{}
	if seen := p.Seen(); seen != nil {
		phases = append(phases, seen.Phases)
	}
	for i := range p.Case.Tries {
		if t := &p.Case.Tries[i]; t.Vantage == p.Origin() && t.Idle == 0 {
			phases = append(phases, t.Phases)
		}
	}
	for _, all := range phases {
		s.count(all)
	}
	slices.Sort(s.stood)
	return s
}

func (s *shaken) count(phases []model.Phase) {
	for _, ph := range phases {
		switch {
		case ph.Name == "tcp" && ph.Result == model.OK:
			s.stood = append(s.stood, ph.Duration)
		case ph.Name == "tls" && ph.Duration >= time.Second:
			s.slow++
			if ph.Lost > 0 {
				s.lossy++
			}
		case ph.Name == "tls" && ph.Result == model.OK:
			s.quick++
		}
	}
}

func (s *shaken) evidence(seen *model.Observation) []diagnose.Evidence {
	if tcp := seen.PhaseOf("tcp"); len(s.stood) < 2 && tcp != nil {
		return []diagnose.Evidence{probe(fmt.Sprintf("the connection itself stood after %s: no packet was lost", tcp.Duration.Round(100*time.Microsecond)))}
	} else if len(s.stood) < 2 {
		return nil
	}
	text := fmt.Sprintf("the connections themselves stood after %s, half of %d: they lost no packet", s.stood[len(s.stood)/2].Round(100*time.Microsecond), len(s.stood))
	return []diagnose.Evidence{probe(text), probe(fmt.Sprintf("in %d of the %d handshakes that took long nothing was sent again: it is no loss on the way", s.slow-s.lossy, s.slow))}
}

// slowElsewhere says that another place met the same slow phase in its tries or its own probe.
func slowElsewhere(p *diagnose.Pass, phase string) bool {
	return slices.ContainsFunc([]model.Vantage{model.VantageHere, model.VantagePeer, model.VantageNode, model.VantageOtherNode}, func(v model.Vantage) bool {
		return v != p.Origin() && slowFrom(p, v, phase)
	})
}

// slowFrom says that a place met a slow phase in its tries or its own probe.
func slowFrom(p *diagnose.Pass, v model.Vantage, phase string) bool {
	if o := p.At(v); o != nil && o.PhaseOf(phase) != nil && o.PhaseOf(phase).Duration >= time.Second {
		return true
	}
	return slices.ContainsFunc(p.Case.Tries, func(t model.Try) bool {
		return t.Vantage == v && slices.ContainsFunc(t.Phases, func(ph model.Phase) bool { return ph.Name == phase && ph.Duration >= time.Second })
	})
}
