package rules

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
	"github.com/podpath/podpath/internal/watch"
)

var endpointDown = diagnose.Rule{
	ID: "endpoint-down",
	Doc: `The far side does not answer anybody

The host refuses connections, or does not answer at all, from the cluster and from outside alike, while everything on the cluster's way
out lets the packets pass. The service is stopped, its host is off, or a firewall in front of it drops everybody.

A firewall that decides by name answers the client itself, and only then calls the far side: a far side that is silent or refuses
shows as a TLS handshake that hangs or is broken off there.

Look-alikes: a wrong port is refused too, and the usual port answers then. An allow-list at the far side drops the
cluster's address and answers others. Anything in the cluster's own network that drops shows in the configuration, or lets other
places through.

Mend it with the owner of the host. Nothing in the cluster's network will help.
`,
	Hop:        model.HopEndpoint,
	Covers:     []string{"endpoint-down"},
	Needs:      []string{"probe", "probe:here"},
	Under:      []string{"wrong-port", "hardcoded-address"},
	LastResort: true,
	Sees: func(o *model.Observation) bool {
		return diagnose.Unanswered(o) && o.Failed != "dns" || o.Failed == "tcp" && o.Result == model.Refused
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Beyond()
		if seen == nil || seen.Failed != "tcp" || seen.Proxy != "" || !p.External() || brokenAnywhere(p) {
			return
		}
		f := diagnose.Finding{
			Subject:    p.Endpoint(),
			Confidence: diagnose.Likely,
			Title:      fmt.Sprintf("%s does not answer %s port %d", whichHost(p, seen), howMany(p), seen.Address.Port()),
			Fix: []diagnose.Command{
				{Text: fmt.Sprintf("Ask the owner of %s; and try it from somewhere else", p.Host()), Line: "nc -vz -w 5 " + diagnose.Quote(seen.Address.Addr().String()) + " " + fmt.Sprint(seen.Address.Port())},
			},
		}
		others := p.Control(p.Origin(), "control:other-host")
		reached := firstGood(others)
		if reached != nil {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s: %s answers, so the way out works", diagnose.PlaceOf(reached), reached.Target), reached.From))
		}
		here := p.At(model.VantageHere)
		switch {
		case p.Farther(model.VantageHere):
			return // it answers somebody
		case someoneInside(p):
			return // it answers another place of this cluster
		case p.Same(model.VantageHere):
			f.Confidence = diagnose.Proven
			f.Summary = "From outside the cluster it fails in the same way, so nothing of the cluster's network is at fault."
			if seen.Result == model.TimedOut && answersAtTimes(p, seen) {
				f.Summary += " It answers at other times, so that it is neither down nor closed to this cluster: new connections are lost there, or close to it (too much load, its own firewall, a line that loses packets)."
				break
			}
			if seen.Result == model.TimedOut {
				f.Summary += " " + eitherAllowList(p)
				break
			}
			if apart(p) {
				p.Report(f)
				return
			}
		case here != nil && here.Failed == "tcp":
			f.Summary = "It fails from outside the cluster as well, so nothing of the cluster's network alone is at fault."
		case seen.Result == model.Refused && seen != p.Seen():
			return // the firewall broke it off; it, or the far side, may have wanted to
		case seen.Result == model.Refused:
			f.Summary = "It was refused at once, by a reset: the packets arrive, and nothing listens there. Nothing of Azure's network answers with resets."
			f.Gaps = p.Gaps([]string{"probe:here"})
		case reached != nil && allPass(p):
			f.Summary = "Everything that was read lets the packets pass, and another host answers by the same way."
			f.Gaps = p.Gaps([]string{"probe:here"})
			if luck(p) {
				f.Confidence = diagnose.Possible // it answers at times: source ports that run out look like this too
			}
		default:
			return // silence, and nobody outside was asked: the network may be at fault
		}
		if gaps := p.Gaps([]string{"probe:node"}); p.Origin() == model.VantagePod && diagnose.Silence(seen) && len(gaps) > 0 {
			f.Confidence = diagnose.Possible // the node may get through where its pods do not
			f.Gaps = append(f.Gaps, gaps...)
		}
		p.ReportByExclusion(f)
	},
}

// answersAtTimes says that the address that failed was reached from the question's own
// place at other times.
func answersAtTimes(p *diagnose.Pass, seen *model.Observation) bool {
	well := 0
	for i := range p.Case.Tries {
		if t := &p.Case.Tries[i]; t.Vantage == p.Origin() && t.Address == seen.Address && watch.Counts(t) && t.Result == model.OK {
			well++
		}
	}
	return well >= 3
}

// howMany is what a far side leaves without an answer: everything on its port, or so
// many of the connections to it.
func howMany(p *diagnose.Pass) string {
	if own := watch.Failures(p.Case.Tries)[p.Origin()]; own.Enough() && own.Count > 0 && own.Count < own.Of {
		return fmt.Sprintf("%d of %d connections to", own.Count, own.Of)
	}
	return "on"
}

// whichHost is the destination, or the one of its addresses that fails where others answer.
func whichHost(p *diagnose.Pass, seen *model.Observation) string {
	all, well := map[netip.Addr]bool{}, 0
	for _, o := range p.Control(p.Origin(), "question") {
		a := o.Address.Addr()
		if a.IsValid() && !all[a] && !diagnose.Fails(o) {
			well++
		}
		all[a] = true
	}
	if u := resource.Changing(p.Case, seen.Address.Addr()); u != nil {
		return fmt.Sprintf("%s, one of the %.0f addresses that %s had by turns,", seen.Address.Addr(), u.Used, p.Host())
	}
	if well == 0 || len(all) < 2 || p.Host() == seen.Address.Addr().String() {
		return p.Host()
	}
	return fmt.Sprintf("%s, one of the %d addresses of %s,", seen.Address.Addr(), len(all), p.Host())
}

// apart says that the way from this machine shares nothing with the pod's but
// the far side, so that the same refusal on both is the far side's: a public
// address, and no hop that drops answers with a reset. A private address may be
// somebody else's from here.
func apart(p *diagnose.Pass) bool {
	addr := p.Target().Addr()
	return p.Beyond().Result == model.Refused && p.Same(model.VantageHere) && addr.IsValid() && !addr.IsPrivate()
}

// eitherAllowList is the other reason for silence towards everybody who was
// asked: nobody of them is on a list.
func eitherAllowList(p *diagnose.Pass) string {
	who := "neither the cluster's address"
	if path := p.Question(); path != nil && len(path.Egress) > 0 {
		who += " " + list(addrs(path.Egress))
	}
	return "It is down, or its firewall accepts only addresses on an allow-list, and " + who + " nor this machine's is on it."
}

func firstGood(obs []*model.Observation) *model.Observation {
	for _, o := range obs {
		if !diagnose.Fails(o) || o.Failed == "http" || o.Failed == "tls" {
			return o
		}
	}
	return nil
}

// someoneInside says that the question's probe got through from another place of the cluster.
func someoneInside(p *diagnose.Pass) bool {
	for _, v := range []model.Vantage{model.VantagePeer, model.VantageNode, model.VantageOtherNode} {
		if v != p.Origin() && (p.Fate(v) == diagnose.Works || p.Farther(v)) {
			return true
		}
	}
	return false
}

// allPass says that every step of the question's way was read and passes.
func allPass(p *diagnose.Pass) bool {
	path := p.Question()
	return path != nil && path.Verdict == model.Pass && !p.HalfRead()
}
