package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var pathMTU = diagnose.Rule{
	ID: "path-mtu",
	Doc: `Large packets are lost on the way (path MTU)

A link on the way takes smaller packets than the ends believe (its MTU is smaller), and the message that would tell the sender is filtered. Small
exchanges pass: the connection stands, short answers come. As soon as a packet is full, it is lost without a word: the TLS
handshake stops when the certificate is sent, or an answer stalls after some bytes.

Look-alikes: a slow service takes its time before the first byte and then sends all. A filter that resets says so at once. What
proves it: the same request passes when the client announces small segments.

Mend it by clamping the segment size to the path on the device in front of that link, by allowing ICMP "fragmentation needed" on
the way, or by lowering the MTU of the nodes' interfaces.
`,
	Hop:    model.HopRoute,
	Covers: []string{"route-pmtud-blackhole"},
	Under:  []string{"pod-mtu-too-large"},
	Needs:  []string{"probe"},
	Sees: func(o *model.Observation) bool {
		return (o.Failed == "tls" || o.Failed == "http" || o.Failed == "body") && o.Result == model.TimedOut
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil {
			return
		}
		small := smallPasses(p)
		large := largeFails(p)
		stalled := (seen.Failed == "tls" || seen.Failed == "http" || seen.Failed == "body") && seen.Result == model.TimedOut
		if !(stalled && small != nil && !luck(p)) && large == nil {
			return // and a link that loses full packets loses them always
		}
		subject, name := p.Endpoint(), p.Host()
		appliance, text := applianceOnWay(p)
		if appliance != "" {
			subject, name = appliance, text
		}
		f := diagnose.Finding{
			Subject: subject,
			Title:   fmt.Sprintf("Large packets are lost on the way to %s (path MTU)", p.Host()),
			Summary: fmt.Sprintf("Small packets pass and full ones are lost without a word: a link behind %s has a smaller MTU, and the ICMP message that says so is filtered.", name),
			Fix: []diagnose.Command{
				{Text: fmt.Sprintf("On the device in front of the small link (%s, or behind it): clamp the TCP segment size to the path's MTU, or let ICMP \"fragmentation needed\" pass", name), Line: "nft add rule inet filter forward tcp flags syn tcp option maxseg size set rt mtu", Verify: again(p)},
			},
		}
		if small != nil {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s with small segments (MSS 536): %s", diagnose.PlaceOf(small), diagnose.OutcomeOf(small)), small.From))
		} else {
			f.Confidence = diagnose.Likely
		}
		if large != nil {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s with a large request: %s", diagnose.PlaceOf(large), diagnose.OutcomeOf(large)), large.From))
		}
		if seen.Bytes > 0 {
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("the answer stalled after %d bytes", seen.Bytes)))
		}
		if dark := p.Dark(); appliance == "" && len(dark) > 0 { // that it is so is proven, but not where
			f.Confidence = diagnose.Likely
			f.Summary = "Small packets pass and full ones are lost without a word: a link on the way has a smaller MTU, and the ICMP message that says so is filtered. Which device stands before it is in no document that was read."
			for _, s := range dark {
				f.Gaps = append(f.Gaps, s.Gaps...)
			}
		}
		if gaps := p.Gaps([]string{"node", "nodefacts"}); !p.External() && len(gaps) > 0 {
			f.Confidence = diagnose.Possible // between pods it may be the overlay of the nodes that were not read
			f.Gaps = append(f.Gaps, gaps...)
		}
		p.Report(f)
	},
}

// smallPasses is the same request with small segments that got further than the
// question did.
func smallPasses(p *diagnose.Pass) *model.Observation {
	for _, o := range p.Control(p.Origin(), "control:small-mss") {
		if o.Result != model.TimedOut && o.Failed != "tcp" && o.Failed != "dns" {
			return o
		}
	}
	return nil
}

// largeFails is a question that works and stalls as soon as its request fills packets.
func largeFails(p *diagnose.Pass) *model.Observation {
	seen := p.Seen()
	if seen == nil || seen.Result != model.OK {
		return nil
	}
	for _, o := range p.Control(p.Origin(), "control:large-request") {
		plain, full := seen.PhaseOf("http"), o.PhaseOf("http")
		if plain != nil && full != nil && full.Duration < 2*plain.Duration {
			continue // it did not wait long enough: the small request is slow too
		}
		if o.Result == model.TimedOut && o.Failed != "tcp" && o.Failed != "dns" && o.Failed != "tls" {
			return o
		}
	}
	return nil
}
