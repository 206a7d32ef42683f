package rules

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var tlsSlow = diagnose.Rule{
	ID: "tls-slow",
	Doc: `The far side takes long for the TLS handshake

The connection stands at once, and then the handshake takes seconds, or never ends within the client's limit ("net/http: TLS handshake
timeout"). No packet is lost, or the connection itself would have taken whole seconds. The far side has too little CPU for its handshakes, waits
for a key store or a revocation list, or is flooded with them.

Look-alikes: a container that is stopped by its CPU limit is named where the far side is a pod whose kubelet tells. A path that loses large
packets stalls at the certificate every time. A firewall that terminates TLS is slow towards every name. A slow answer comes after the handshake.

Mend it at the far side: more CPU or replicas, sessions that are resumed, connections that are kept.
`,
	Hop:        model.HopTLS,
	Covers:     []string{"tls-handshake-slow"},
	Needs:      []string{"probe"},
	Under:      []string{"cpu-throttled", "path-mtu"},
	LastResort: true,
	Run: func(p *diagnose.Pass) {
		s, seen := p.Slow(), p.Seen()
		if s == nil || s.Phase != "tls" {
			return
		}
		f := diagnose.Finding{
			Subject:    farSide(p),
			Confidence: diagnose.Likely,
			Title:      fmt.Sprintf("%s takes %s for the TLS handshake", p.Host(), s.Took.Round(100*time.Millisecond)),
			Summary:    "Connections stand at once; the time passes in the handshake, in which the far side computes.",
			Evidence:   []diagnose.Evidence{slowEvidence(s)},
			Fix:        []diagnose.Command{{Text: "Ask the service's owner for its CPU and its rate of handshakes; keep connections and use them again", Verify: again(p)}},
		}
		if tcp := seen.PhaseOf("tcp"); tcp != nil {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("the connection itself stood after %s: no packet was lost", tcp.Duration.Round(100*time.Microsecond))))
		}
		if !slowElsewhere(p, "tls") && p.External() {
			f.Confidence = diagnose.Possible
		}
		p.Report(f)
	},
}

// slowElsewhere says that another place met the same slow phase in its tries or its own probe.
func slowElsewhere(p *diagnose.Pass, phase string) bool {
	for _, v := range []model.Vantage{model.VantageHere, model.VantagePeer, model.VantageNode, model.VantageOtherNode} {
		if o := p.At(v); v != p.Origin() && o != nil && o.PhaseOf(phase) != nil && o.PhaseOf(phase).Duration >= time.Second {
			return true
		}
	}
	for _, t := range p.Case.Tries {
		for _, ph := range t.Phases {
			if t.Vantage != p.Origin() && ph.Name == phase && ph.Duration >= time.Second {
				return true
			}
		}
	}
	return false
}
