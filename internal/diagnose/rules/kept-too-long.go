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

var keptTooLong = diagnose.Rule{
	ID: "kept-too-long",
	Doc: `The workload keeps connections longer than the way remembers them

The workload keeps connections open and uses them again (a pool), asks for no keepalive or a rare one, and a device on the way forgets what is
silent for a while. The first request after such a pause goes into a connection that only the workload still believes in: it is reset at
once, or hangs for up to 15 minutes while its kernel sends again and again. New connections work, which is why everything that is tried by
hand works.

podpath reads the pod's own sockets: a connection on which data is sent again and again without an answer, while new ones to the same
destination are answered; or one without keepalive that has been silent for longer than the way remembers.

Look-alikes: a destination that is down answers new connections neither. A connection that is idle and kept alive is well. Data sent again
now and then, and answered, is loss.

Mend it in the workload: keepalive more often than the time-out of the device, or a pool that closes what has been silent for less than that.
Linux asks after two hours unless told otherwise, and only where the program wants it.

Sources: https://learn.microsoft.com/azure/aks/improve-network-fault-tolerance-in-aks-using-tcp-keepalive, tcp(7)
`,
	Hop:           model.HopApp,
	Needs:         []string{"probe"},
	Covers:        []string{"app-keepalive-exceeds-idle-timeout"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		unreadSockets(p)
		found := watch.IdleOf(p.Case.Tries, p.Origin())
		keepers := keepersOf(p)
		if k := nearestKeeper(keepers, found); k.ref != "" || len(keepers) == 0 && p.External() {
			reportKept(p, &k, found)
		}
	},
}

// unreadSockets says why the pod's own connections are not known, where somebody asked for them.
func unreadSockets(p *diagnose.Pass) {
	for _, g := range p.Case.World.Gaps {
		if strings.HasPrefix(g.What, "own connections of ") {
			p.Skip(g)
		}
	}
}

// nearestKeeper is the device that was found to forget, else the nearest one.
func nearestKeeper(all []keeper, found *watch.Idle) keeper {
	if len(all) == 0 {
		return keeper{name: "something on the way"} // which was not read
	}
	if found == nil || found.Ends == 0 || found.Mixed || len(found.As) == 0 {
		return all[0]
	}
	return keeperThatFits(all, found)
}

// limitOf is after how long a device forgets: as was found, else as it is told.
// 0: nobody knows.
func limitOf(k *keeper, found *watch.Idle) time.Duration {
	if found != nil && found.Ends > 0 && !found.Mixed {
		return found.Ends
	}
	return k.told
}

func reportKept(p *diagnose.Pass, k *keeper, found *watch.Idle) {
	hit := hitBy(p, limitOf(k, found))
	if len(hit.stuck)+len(hit.lost) == 0 {
		return
	}
	f := diagnose.Finding{
		Subject: p.Client(), Sometimes: true, Confidence: diagnose.Likely,
		Title:   fmt.Sprintf("%s keeps connections to %s longer than the way remembers them", p.Client(), p.Target()),
		Summary: fmt.Sprintf("%s forgets what is silent for a while; the workload does not notice, and its next request over such a connection is lost. New connections work.", upperFirst(k.name)),
	}
	if k.ref == "" {
		f.Gaps = append(f.Gaps, p.Gaps(wayKinds)...)
	} else if found != nil && found.Ends > 0 || len(hit.stuck) > 0 && k.told > 0 && hit.stuck[0].Heard >= k.told {
		f.Confidence = diagnose.Proven
	}
	f.Evidence = append(hit.evidence(p), limitText(k, found))
	f.Fix = append(aliveFix(p, limitOf(k, found)), k.fix...)
	p.Report(f)
}

// hits are the workload's own connections that the way has forgotten.
type hits struct {
	all   int
	stuck []model.Connection // data is sent again and again, and nobody answers
	lost  []model.Connection // silent for longer than the way remembers, and nobody will notice before they are used
}

// stuckAfter is how often something is sent again before it is more than loss:
// after three times the far side has been asked for more than a second.
const stuckAfter = 3

// hitBy sorts the workload's connections. Where new ones fail as well, what the old
// ones do says nothing of its own.
func hitBy(p *diagnose.Pass, limit time.Duration) hits {
	out := hits{}
	seen := p.Seen()
	if seen == nil || diagnose.Fails(seen) {
		return out
	}
	for _, c := range ownKept(p) {
		out.all++
		switch {
		case c.Retries >= stuckAfter:
			out.stuck = append(out.stuck, c)
		case endangered(&c, limit) && limit > 0 && c.Idle >= limit:
			out.lost = append(out.lost, c)
		}
	}
	longestFirst := func(a, b model.Connection) int { return int(b.Heard - a.Heard) }
	slices.SortStableFunc(out.stuck, longestFirst)
	slices.SortStableFunc(out.lost, longestFirst)
	return out
}

func (h *hits) evidence(p *diagnose.Pass) []diagnose.Evidence {
	pod := p.Client()
	if own := p.Pod(); own != nil {
		pod = own.Ref()
	}
	var out []diagnose.Evidence
	if n := len(h.stuck); n > 0 {
		c := h.stuck[0]
		text := fmt.Sprintf("%d of the %d connections that %s has to %s send again and again without an answer (retransmits: %d)", n, h.all, pod, c.Remote, c.Retries)
		if c.Told {
			text += fmt.Sprintf("; the far side was last heard %s ago", gapText(c.Heard))
		}
		out = append(out, node(text, pod))
	}
	if n := len(h.lost); n > 0 {
		c := h.lost[0]
		out = append(out, node(fmt.Sprintf("%d of the %d connections that %s has to %s are silent for up to %s and %s", n, h.all, pod, c.Remote, gapText(c.Idle), aliveText(&c)), pod))
	}
	return append(out, probe(fmt.Sprintf("a new connection from the same pod to %s works", p.Target()), pod))
}

func aliveText(c *model.Connection) string {
	if c.KeepAlive == 0 {
		return "ask for no keepalive"
	}
	return "are kept alive only every " + gapText(c.KeepAlive)
}

func limitText(k *keeper, found *watch.Idle) diagnose.Evidence {
	if found != nil && found.Ends > 0 && !found.Mixed {
		return probe(fmt.Sprintf("a connection of podpath's own, silent for %s, was forgotten on the way (%s); one silent for %s was not", gapText(found.Ends), reasonText(found.As[0]), gapText(found.Holds)))
	}
	if k.read {
		return arm(fmt.Sprintf("%s is on the way: %s, so it forgets after %s; what it really is, 'podpath watch --idle-search' finds", k.ref, k.source, gapText(k.told)), k.ref)
	}
	if k.ref == "" {
		return arm("which device that is was not read; its time-out is found by 'podpath watch --idle-search'")
	}
	return arm(fmt.Sprintf("%s is on the way; its time-out stands in nothing that was read ('podpath watch --idle-search' finds it)", k.ref), k.ref)
}

// ownKept are the connections that the asking pod's own programs keep to the destination.
func ownKept(p *diagnose.Pass) []model.Connection {
	pod := p.Pod()
	if pod == nil {
		return nil
	}
	var out []model.Connection
	for _, c := range p.Case.World.Sockets[pod.Ref()] {
		if c.State == "ESTABLISHED" && leadsThere(p, &c) {
			out = append(out, c)
		}
	}
	return out
}

func leadsThere(p *diagnose.Pass, c *model.Connection) bool {
	return c.Remote == p.Target() || slices.ContainsFunc(p.Case.Paths, func(path model.Path) bool {
		return path.Flow.Dst == c.Remote.Addr() && path.Flow.DstPort == c.Remote.Port()
	})
}

// endangered says that nothing keeps a connection from being forgotten.
func endangered(c *model.Connection, limit time.Duration) bool {
	return !c.Told || c.KeepAlive == 0 || c.KeepAlive >= limit
}

// appIsTold says that the workload is what to change: its own connections prove
// it, and the device does what such devices do.
func appIsTold(p *diagnose.Pass, k *keeper, found *watch.Idle) bool {
	hit := hitBy(p, limitOf(k, found))
	return len(hit.stuck)+len(hit.lost) > 0 && !k.own
}
