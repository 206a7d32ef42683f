package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

var places = map[model.Vantage]string{
	model.VantagePod: "the pod", model.VantagePeer: "another pod on the same node", model.VantageNode: "the node itself",
	model.VantageOtherNode: "a pod on another node", model.VantageHere: "this machine",
}

// PlaceOf says from where a probe was sent: "another pod on the same node (shop/web-1)".
func PlaceOf(o *model.Observation) string {
	place := places[o.Vantage]
	if place == "" {
		place = string(o.Vantage)
	}
	if o.From == "" || o.Vantage == model.VantageHere {
		return place
	}
	name := o.From.Name()
	if parts := o.From.Parts(); len(parts) == 2 {
		name = parts[0] + "/" + parts[1]
	}
	if o.Vantage == model.VantagePod && o.Via == "twin" {
		place = "a twin of the pod"
	}
	return fmt.Sprintf("%s (%s)", place, clean(name))
}

var outcomes = map[model.Reason]string{
	model.OK: "worked", model.Refused: "was refused", model.Reset: "was reset", model.Closed: "was closed without an answer", model.TimedOut: "got no answer",
	model.Unreachable: "was answered \"unreachable\"", model.NoRoute: "had no route", model.AddrNotAvail: "found no free port of its own",
	model.NotPermitted: "was not permitted by the sender's own kernel", model.NXDomain: "was told that the name does not exist",
	model.NoData: "was told that the name has no address", model.ServFail: "was answered SERVFAIL", model.DNSRefused: "was answered REFUSED",
	model.CertExpired: "was shown a certificate that has expired", model.CertNotYetValid: "was shown a certificate that is not yet valid",
	model.CertSelfSigned: "was shown a self-signed certificate", model.CertUnknownCA: "was shown a certificate of an unknown authority",
	model.CertIncomplete: "was shown a certificate without its intermediate", model.CertWrongName: "was shown a certificate for another name",
	model.TLSAlert: "was turned away by a TLS alert", model.HTTPStatus: "was answered with an HTTP error", model.ProbeFailed: "could not be tried",
}

var attempts = map[string]string{
	"dns": "looking up the name", "tcp": "the TCP connection", "proxy": "the proxy's tunnel", "tls": "the TLS handshake", "http": "the HTTP request",
}

// OutcomeOf says in one clause what a probe saw.
func OutcomeOf(o *model.Observation) string {
	if o.Result == model.OK {
		return fmt.Sprintf("worked (%s)", round(o.Took))
	}
	attempt := attempts[o.Failed]
	if attempt == "" {
		attempt = "it"
	}
	outcome := outcomes[o.Result]
	if outcome == "" {
		outcome = "failed: " + clean(string(o.Result))
	}
	if s := Status(o); o.Result == model.HTTPStatus && s != 0 {
		outcome = fmt.Sprintf("was answered with status %d", s)
	}
	to := ""
	if o.Address.IsValid() && o.Failed == "tcp" {
		to = " to " + o.Address.String()
	}
	after := ""
	if ph := o.PhaseOf(o.Failed); ph != nil && ph.Duration > 0 {
		after = fmt.Sprintf(" after %s", round(ph.Duration))
	}
	return attempt + to + " " + outcome + after
}

func round(d time.Duration) time.Duration {
	switch {
	case d > time.Second:
		return d.Round(100 * time.Millisecond)
	case d > time.Millisecond:
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

// witness is what the probes saw, as evidence.
func (p *Pass) witness() []Evidence {
	var out []Evidence
	for _, v := range []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageNode, model.VantageOtherNode, model.VantageHere} {
		if o := p.At(v); o != nil && !p.nameOnly(o) {
			out = append(out, Evidence{Text: fmt.Sprintf("from %s: %s", PlaceOf(o), OutcomeOf(o)), Refs: refs(o.From), Source: "probe"})
		}
	}
	return out
}

// comparable is the question's probe from a vantage, when it went the way that
// the failing one went: one through a proxy and one past it lead to two places,
// and tell nothing about each other. Nor does one that lacked the name.
func (p *Pass) comparable(v model.Vantage) bool {
	o, seen := p.At(v), p.Seen()
	return o != nil && seen != nil && o.Proxy == seen.Proxy && !p.nameOnly(o)
}

// nameOnly says that a place knows nothing of a name that the question's own
// resolver knows: nodes and this machine ask other servers than pods do.
func (p *Pass) nameOnly(o *model.Observation) bool {
	seen := p.Seen()
	return seen != nil && seen.Failed != "dns" && o.Failed == "dns" && o.Vantage != p.Origin() && (o.Vantage == model.VantageNode || o.Vantage == model.VantageHere)
}

// Elsewhere is Fate, of places whose probe went the way of the failing one.
func (p *Pass) Elsewhere(v model.Vantage) Fate {
	if !p.comparable(v) {
		return Unseen
	}
	return p.Fate(v)
}

// farSide says that what was seen came from the network or from the far side
// (silence, a refusal, anything after the connection stood), not from the
// sender's own kernel or name servers.
func farSide(o *model.Observation) bool {
	if o == nil || o.Failed == "tcp" || o.Failed == "udp" {
		return o != nil && (o.Result == model.TimedOut || o.Result == model.Refused)
	}
	return passedTCP(o)
}

// narrowed says between which places the answers part, without naming a cause.
func (p *Pass) narrowed() []string {
	fate := p.Elsewhere
	if p.Origin() != model.VantagePod || fate(model.VantagePod) != Broken {
		return nil
	}
	const lead = "fails from the pod"
	switch {
	case fate(model.VantagePeer) == Works:
		return []string{lead + ", works from another pod on the same node: what differs is this pod (its settings, its labels and the policies that select them, its addresses)"}
	case fate(model.VantageNode) == Works && fate(model.VantageOtherNode) == Works:
		return []string{lead + "s of this node, works from the node itself and from a pod on another node: it is lost inside this node, between its pods and its network interface"}
	case fate(model.VantageNode) == Works && fate(model.VantageOtherNode) == Broken && p.Same(model.VantageOtherNode):
		return []string{lead + "s of this and of another node, works from the node itself: pods' packets are treated otherwise than their nodes' (policy, masquerading, pod ranges in NSGs and routes)"}
	case fate(model.VantageNode) == Works:
		return []string{lead + ", works from the node itself: it is lost between the pod and the node's network interface, or the pod's address is treated otherwise on the way"}
	case fate(model.VantageNode) == Broken && fate(model.VantageOtherNode) == Works:
		return []string{lead + " and from its node, works from a pod on another node: what differs is this node or its subnet"}
	case fate(model.VantageHere) == Works && fate(model.VantageNode) == Broken:
		return []string{lead + " and from its node, works from this machine: it is lost on the cluster's way out, or the far side turns the cluster's address away"}
	case p.comparable(model.VantageHere) && p.Farther(model.VantageHere) && p.Same(model.VantageNode):
		return []string{lead + " and from its node, gets further from this machine (" + OutcomeOf(p.At(model.VantageHere)) + "): it is lost on the cluster's way out, or the far side turns the cluster's address away"}
	case p.comparable(model.VantageHere) && p.Same(model.VantageHere) && p.Same(model.VantageNode) && farSide(p.Seen()):
		return []string{lead + ", from its node and from this machine alike: nothing that they share but the far side"}
	}
	return nil
}

// ruledOut are the causes that the configuration of the question's ways
// excludes: lines that were read, decided, and let it pass. That something is
// there excludes nothing; nor does an address whose ports nobody counted.
func (p *Pass) ruledOut() []string {
	var out []string
	for _, w := range p.Ways() {
		for i := range w.Path.Steps {
			if line := p.excludes(w.Path, i); line != "" && !slices.Contains(out, line) {
				out = append(out, line)
			}
		}
	}
	return out
}

// excludes says which cause a step of a way excludes, or "".
func (p *Pass) excludes(path *model.Path, i int) string {
	s := &path.Steps[i]
	if s.Verdict != model.Pass || s.Title == "" || s.Reason == "" {
		return ""
	}
	switch s.Hop {
	case model.HopPolicy, model.HopNSG, model.HopRoute, model.HopGateway, model.HopMasquerade:
	case model.HopNodeKernel:
		if i == 0 || p.Case.World.Nodes[s.At.Name()] == nil || halfRead(s) {
			return "" // the sender itself, or a node that nobody entered, or not all of it
		}
	case model.HopAppliance:
		if s.Decided == "" {
			return ""
		}
	case model.HopSNAT, model.HopNATGW:
		if len(path.Egress) == 0 {
			return ""
		}
		addrs := make([]string, len(path.Egress))
		for i, a := range path.Egress {
			addrs[i] = a.String()
		}
		return fmt.Sprintf("%s: there is a public address to send from (%s)", s.Title, strings.Join(addrs, ", "))
	default:
		return ""
	}
	return s.Title + ": " + s.Reason
}

// surprises are the places where prediction and observation differ.
func (p *Pass) surprises() []Finding {
	seen := p.Seen()
	path := p.Question()
	if seen == nil || path == nil || seen.Failed == "dns" {
		return nil
	}
	f := Finding{Rule: "prediction-differs", Confidence: Possible, Fix: []Command{}}
	step := path.Broken()
	switch {
	case step != nil && !Fails(seen):
		f.Subject, f.Hop = step.At, step.Hop
		if step.Decided != "" {
			f.Subject = step.Decided
		}
		f.Title = "It works, although the configuration says that it should not"
		f.Summary = "Either the change is not in force yet, the packets take another way than the one that was read, or podpath reads this line wrong."
		f.Evidence = []Evidence{
			{Text: step.Title + ": " + step.Reason, Refs: refs(step.At, step.Decided), Source: "trace"},
			{Text: fmt.Sprintf("from %s: %s", PlaceOf(seen), OutcomeOf(seen)), Refs: refs(seen.From), Source: "probe"},
		}
	case step != nil && step.Verdict == model.Drop && passed(path, step, seen):
		f.Subject, f.Hop = step.At, step.Hop
		f.Title = "The connection gets past a place that the prediction drops it at"
		f.Summary = "Either the packets take another way than the one that was read, or podpath reads this line wrong."
		f.Evidence = []Evidence{
			{Text: step.Title + ": " + step.Reason, Refs: refs(step.At, step.Decided), Source: "trace"},
			{Text: fmt.Sprintf("from %s: %s", PlaceOf(seen), OutcomeOf(seen)), Refs: refs(seen.From), Source: "probe"},
		}
	case path.Verdict == model.Pass && Unanswered(p.Beyond()):
		f.Subject, f.Hop = p.Endpoint(), model.HopEndpoint
		f.Title = "It fails, although everything that was read lets it pass"
		f.Summary = "The packets are lost at a place that podpath does not read, or beyond it at the far side."
		f.Evidence = []Evidence{{Text: fmt.Sprintf("from %s: %s", PlaceOf(seen), OutcomeOf(seen)), Refs: refs(seen.From), Source: "probe"}}
	default:
		return nil
	}
	return []Finding{f}
}
