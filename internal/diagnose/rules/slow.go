package rules

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/watch"
)

// phaseWords are what the time of a phase goes into.
var phaseWords = map[string]string{"dns": "the lookup of the name", "tcp": "the connection", "proxy": "the proxy", "tls": "the TLS handshake", "http": "the answer"}

// slowEvidence says what takes long, and how often.
func slowEvidence(s *watch.Slowness) diagnose.Evidence {
	if s.Phase == watch.Sender && s.Over > 0 {
		return probe(fmt.Sprintf("podpath's own prober there did not get to run for %s of %s", s.Held.Round(100*time.Millisecond), s.Over.Round(100*time.Millisecond)))
	}
	if s.Phase == watch.Sender {
		return probe(fmt.Sprintf("podpath's own prober there did not get to run in time in %d of %d tries, in half of them for more than %s", s.Rate.Count, s.Rate.Of, s.Took.Round(10*time.Millisecond)))
	}
	if s.Rate.Of < 2 {
		return probe(fmt.Sprintf("%s took %s", phaseWords[s.Phase], s.Took.Round(10*time.Millisecond)))
	}
	return probe(fmt.Sprintf("%s took long in %d of %d tries, half of them more than %s", phaseWords[s.Phase], s.Rate.Count, s.Rate.Of, s.Took.Round(10*time.Millisecond)))
}
