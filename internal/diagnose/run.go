package diagnose

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/watch"
)

// hopOrder is the order in which a connection meets the hops; an earlier broken
// hop comes first among findings that are equally sure.
var hopOrder = []model.Hop{
	model.HopApp, model.HopPod, model.HopDNS, model.HopPolicy, model.HopService, model.HopKubeProxy, model.HopCNI,
	model.HopNodeResource, model.HopNodeKernel, model.HopMasquerade, model.HopNSG, model.HopRoute, model.HopGateway,
	model.HopAppliance, model.HopNATGW, model.HopSNAT, model.HopLB, model.HopControlPlane, model.HopTLS, model.HopHTTP, model.HopEndpoint,
}

// RunWith diagnoses a case with a catalogue; predict traces further flows in the
// case's world and may be nil, which leaves the case's own paths.
func RunWith(c *model.Case, catalogue []Rule, predict func(model.Flow) model.Path) Result {
	whole := *c
	whole.World = Pruned(c.World)
	c = &whole
	p := &Pass{Case: c, Trace: predict, view: &view{watched: watched(c)}}
	p.Required = func() []model.RequiredEndpoint { return trace.RequiredEndpoints(&c.World) }
	p.view.seen = p.At(p.Origin())
	p.lostFirst()
	p.view.ways = p.ways(p.view.seen)
	for _, last := range []bool{false, true} {
		for i := range catalogue {
			if r := &catalogue[i]; r.LastResort == last {
				p.apply(r)
			}
		}
		p.weigh(catalogue)
		if slices.ContainsFunc(p.view.findings, func(f Finding) bool { return f.Explains && f.Confidence >= Likely }) {
			break
		}
	}
	return p.result(catalogue)
}

func (p *Pass) apply(r *Rule) {
	p.rule = r
	before := len(p.view.findings)
	p.try(r)
	seen := p.Seen()
	explains := seen == nil || r.EvenIfItWorks || Fails(seen) && (r.Sees == nil || r.Sees(seen) || r.Sees(p.Beyond()))
	if len(p.view.findings) > before {
		return // it spoke
	}
	var hidden []model.Gap
	if !explains {
		if hidden = p.hiddenEnd(); len(hidden) == 0 || !Fails(seen) || !r.Sees(beyond(seen)) {
			return // it would not explain what was seen whatever it could read
		}
	}
	gaps := p.Gaps(r.Needs)
	if len(gaps) == 0 {
		gaps = hidden
	}
	if len(gaps) == 0 {
		gaps = p.nameless()
	}
	if len(gaps) == 0 && seen == nil && !r.EvenIfItWorks {
		gaps = []model.Gap{p.probeGap(p.Origin())}
	}
	for _, g := range gaps {
		p.Skip(g)
	}
}

// Broke begins what is said of a rule that fell over the case: podpath's own
// error, which takes nothing from what the other rules find.
const Broke = "podpath's own error in this rule"

func (p *Pass) try(r *Rule) {
	defer func() {
		if e := recover(); e != nil {
			p.Skip(model.Gap{What: Broke, Reason: fmt.Sprint(e)})
		}
	}()
	r.Run(p)
}

// weigh decides for each finding whether it explains what was seen, and how
// sure it may be.
func (p *Pass) weigh(catalogue []Rule) {
	for i := range p.view.findings {
		f := &p.view.findings[i]
		if f.rank != 0 {
			continue // weighed in the first round
		}
		f.rank = 1 + slices.Index(hopOrder, f.Hop)
		p.judge(f, ruleOf(catalogue, f.Rule))
	}
}

func (p *Pass) judge(f *Finding, r *Rule) {
	seen := p.Seen()
	switch {
	case f.step != nil && f.way == "question" && !f.later && f.step.Verdict == model.Drop && p.refutes(f):
		f.refuted, f.Confidence = true, Possible
		return
	case f.later:
		f.Confidence = min(f.Confidence, Likely)
		f.Evidence = append(f.Evidence, Evidence{Text: "something before it stops the packet first; this would stop it next", Source: "trace"})
		return
	case r.EvenIfItWorks:
		f.Explains = true
	case seen == nil:
		f.Explains = true // nothing was observed; the configuration alone speaks
		f.Confidence = min(f.Confidence, Likely)
		if r.Sees == nil { // judged something else that it saw: a pod's state, an event
			f.Confidence = max(f.Confidence, Likely)
		}
	case r.Sees == nil:
		f.Explains = Fails(seen) || p.Slow() != nil
	default:
		f.Explains = Fails(seen) && p.sees(r, f)
		if !f.Explains {
			f.Confidence = min(f.Confidence, Likely)
		}
	}
	if f.step != nil {
		p.doubt(f)
	}
	if f.Explains {
		f.Evidence = append(f.Evidence, p.witness()...)
	}
}

// refutes says that what the probe saw cannot be where a finding's step drops.
func (p *Pass) refutes(f *Finding) bool {
	if p.mayBeBeyond(f) && !passedTCP(beyond(p.Seen())) {
		return false
	}
	if w := p.wayOf(f); w != nil {
		return passed(w.Path, f.step, p.Seen())
	}
	return passedTCP(p.Seen())
}

// passedTCP says that a connection stood, so nothing on the way drops its packets.
func passedTCP(o *model.Observation) bool {
	return o != nil && Fails(o) && o.Failed != "dns" && o.Failed != "tcp" && o.Failed != "udp"
}

// doubt lowers a finding about a step when something before the step could not
// be read, or when a probe got through where the same line should have stopped it.
func (p *Pass) doubt(f *Finding) {
	for _, w := range p.Ways() {
		if w.Kind != f.way {
			continue
		}
		for _, s := range w.Path.Steps {
			if s.Decided == f.step.Decided && s.Hop == f.step.Hop {
				break
			}
			if s.Verdict == model.Unknown && len(s.Gaps) > 0 {
				f.Gaps = append(f.Gaps, s.Gaps...)
				f.Confidence = min(f.Confidence, Likely)
			}
		}
	}
	if f.way != "question" {
		return
	}
	for _, o := range p.through(f.step.Decided) {
		f.Confidence = min(f.Confidence, Possible)
		f.Evidence = append(f.Evidence, Evidence{
			Text: fmt.Sprintf("against it: the same line should have stopped the probe from %s, which got through", PlaceOf(o)), Source: "probe", Refs: refs(o.From),
		})
	}
	if n, of := p.letThrough(f); n >= fewestThrough {
		f.Confidence = min(f.Confidence, Possible)
		f.Evidence = append(f.Evidence, Evidence{
			Text: fmt.Sprintf("against it: since the first failure %d of %d tries from the same place to the same address got through; the line stops all of them while it is there", n, of), Source: "probe",
		})
	}
}

// through are the probes that got through although the prediction for them breaks
// at the same line: the question's own from other places, and those of other
// destinations from anywhere.
func (p *Pass) through(decided model.Ref) []*model.Observation {
	if p.Trace == nil || decided == "" {
		return nil
	}
	var out []*model.Observation
	for _, v := range []model.Vantage{model.VantagePod, model.VantagePeer, model.VantageNode, model.VantageOtherNode} {
		for _, o := range slices.Concat(p.Asked(v), p.Control(v, "control:other-host"), p.Control(v, "control:other-port")) {
			if p.contradicts(o, decided) {
				out = append(out, o)
				break // one of each place says it
			}
		}
	}
	return out
}

func (p *Pass) contradicts(o *model.Observation, decided model.Ref) bool {
	asked := cmp.Or(o.Purpose, "question") == "question"
	if o.Result != model.OK || !o.Address.IsValid() || o.From == "" || o.Proxy != "" || asked && o.Vantage == p.Origin() {
		return false
	}
	flow := p.flowFrom(o.From)
	flow.Dst, flow.DstPort, flow.Host = o.Address.Addr(), o.Address.Port(), p.Host()
	if !asked {
		flow.Host, flow.Scheme = "", ""
		if to, err := model.ParseEndpoint(o.Target, false); err == nil {
			flow.Host, flow.Scheme = to.Host, to.Scheme
		}
	}
	if p.several(flow.Dst) {
		return false // it may have come to another endpoint, or to one on its own node, which policies let it reach
	}
	path := p.Trace(flow)
	step := path.Broken()
	// A control may end with its TCP connection, which a firewall that judges names takes itself.
	return step != nil && step.Decided == decided && (asked || step.Verdict == model.Drop)
}

// several says that an address is that of a Service with more than one endpoint.
func (p *Pass) several(a netip.Addr) bool {
	k := &p.Case.World.Kube
	for ref, svc := range k.Services {
		if svc == nil || !slices.Contains(svc.ClusterIPs, a) && !slices.Contains(svc.LoadBalancerIPs, a) && !slices.Contains(svc.ExternalIPs, a) {
			continue
		}
		n := 0
		for _, s := range k.EndpointSlices {
			if s != nil && s.Service == ref.Name() && s.Namespace == svc.Namespace {
				n += len(s.Endpoints)
			}
		}
		return n > 1
	}
	return false
}

// result ranks.
func (p *Pass) result(catalogue []Rule) Result {
	res := Result{Works: p.works(), Persistence: p.persistence(), Skipped: p.view.skipped, Causes: []Finding{}, Watched: p.view.watched}
	found := p.view.findings
	if res.Works == "true" {
		res.Persistence = "none"
		found = slices.DeleteFunc(slices.Clone(found), func(f Finding) bool { return !ruleOf(catalogue, f.Rule).EvenIfItWorks })
		res.Disagreements = p.surprises()
	}
	for i := range found {
		f := found[i]
		switch {
		case f.refuted || hidden(&f, found, catalogue):
		case f.Explains:
			res.Causes = append(res.Causes, f)
		default:
			res.Also = append(res.Also, f)
		}
	}
	byRank := func(a, b Finding) int {
		return cmp.Or(-cmp.Compare(a.Confidence, b.Confidence), cmp.Compare(a.rank, b.rank), strings.Compare(a.Rule, b.Rule), compareRefs(a.Subject, b.Subject))
	}
	slices.SortStableFunc(res.Causes, byRank)
	slices.SortStableFunc(res.Also, byRank)
	if len(res.Causes) > 0 && res.Causes[0].Confidence >= Likely {
		switch {
		case res.Works == "unknown", res.Works == "true":
			res.Works = "false"
		case res.Works == "slow" && ruleOf(catalogue, res.Causes[0].Rule).EvenIfItWorks:
			res.Works = "false" // what fails is not what was seen to be slow
		}
	}
	if res.Works == "true" && len(res.Causes) == 0 && forgotten(res.Watched) && p.hidesSomething() {
		res.Works = "unknown"
	}
	if res.Works == "false" || res.Works == "slow" {
		res.Disagreements = p.surprises()
		if len(res.Causes) > 0 && len(res.Disagreements) > 0 && (res.Disagreements[0].Hop == model.HopEndpoint || res.Causes[0].Sometimes && !Fails(p.Seen())) {
			res.Disagreements = nil // a cause beyond what is predicted is no surprise, nor is luck with one that hits a share
		}
		res.Narrowed = p.narrowed()
		res.RuledOut = p.ruledOut()
	}
	if res.Persistence != "intermittent" && res.Works == "false" {
		res.Persistence = "persistent"
		if sometimes(res.Causes) {
			res.Persistence = "intermittent"
		}
	}
	res.measured(p.Case.More)
	if res.Persistence == string(watch.Recovered) && len(res.Causes) > 0 && res.Causes[0].Returns && res.Causes[0].Confidence >= Likely {
		res.Persistence, res.Works = "intermittent", "false"
	}
	res.told()
	res.verifyByWatch(p.Case)
	if d := p.view.delays; d != nil {
		res.Works, res.Persistence = "slow", cmp.Or(string(d.Class), "intermittent")
	}
	return res
}

// forgotten says that connections that were kept ended after a silence, without a
// word of the far side.
func forgotten(s *watch.Summary) bool {
	return s != nil && s.Idle != nil && s.Idle.Ends > 0 && !s.Idle.Mixed
}

// hidesSomething says that a part of the question's way was not read.
func (p *Pass) hidesSomething() bool {
	path := p.Question()
	return path != nil && slices.ContainsFunc(path.Steps, func(s model.Step) bool { return s.Verdict == model.Unknown })
}

// watched is what a series of tries tells; nil: there was none. Of one that was asked
// for, and of which nothing could be sent, it tells that.
func watched(c *model.Case) *watch.Summary {
	if len(c.Tries) == 0 && !c.Watched {
		return nil
	}
	s := watch.Summarise(slices.Concat(c.Tries, c.Beside), c.Noise, OriginOf(&c.Question), c.Happened)
	if c.More && s.Slow != nil && s.Slow.Phase == watch.Sender {
		s.Slow = nil // two seconds of a late prober say nothing of the application
	}
	return s
}

// measured lets a series decide how lasting a failure is, where there was one.
// What has recovered works; its causes are told as what they were. more: the tries
// only stand beside a single question, and where too few of them count they decide nothing.
func (r *Result) measured(more bool) {
	if r.Watched == nil {
		return
	}
	switch r.Watched.Class {
	case watch.Never:
		// The question itself did not fail; an endpoint behind it that does is a failure of some connections.
		if r.Works == "true" || r.Works == "slow" {
			r.Works, r.Persistence = "true", "none"
			if r.Watched.Slow != nil {
				r.Works = "slow"
				if !more { // of a single question nothing fails
					r.Persistence = string(r.Watched.Slow.Class)
				}
			}
		}
	case watch.Recovered:
		r.Persistence, r.Works = string(watch.Recovered), "true"
	case watch.Persistent, watch.Intermittent:
		r.Persistence, r.Works = string(r.Watched.Class), "false"
	default:
		if r.Works == "slow" && r.Watched.Slow != nil {
			r.Persistence = string(r.Watched.Slow.Class)
			return
		}
		if (r.Persistence != "intermittent" || r.Watched.Starved()) && !more { // answers that vary are more than too few tries
			r.Persistence = "unknown"
		}
	}
}

// sometimes says that the first cause hits a share of the connections, and that
// none stops all of them on the question's own way: a name that resolves now and
// then helps nobody whom a rule keeps from the address.
func sometimes(causes []Finding) bool {
	return len(causes) > 0 && causes[0].Sometimes && !slices.ContainsFunc(causes, func(f Finding) bool {
		return !f.Sometimes && f.way == "question" && f.Confidence >= Likely
	})
}

// hidden says that a finding is but a consequence of another that explains, on
// the same way. What keeps the asking side from running at all stands above
// every way.
func hidden(f *Finding, all []Finding, catalogue []Rule) bool {
	under := ruleOf(catalogue, f.Rule).Under
	for i := range all {
		g := &all[i]
		if !g.Explains || g.Confidence < Likely || !slices.Contains(under, g.Rule) {
			continue
		}
		if lookup(g.way) == lookup(f.way) || ruleOf(catalogue, g.Rule).EvenIfItWorks {
			return true
		}
	}
	return false
}

// lookup says that a way is one of a name's lookup, whose parts stand and fall together.
func lookup(way string) bool { return strings.HasPrefix(way, "dns") }

func ruleOf(catalogue []Rule, id string) *Rule {
	return &catalogue[slices.IndexFunc(catalogue, func(r Rule) bool { return r.ID == id })]
}

func (p *Pass) works() string {
	seen := p.Seen()
	switch {
	case seen == nil:
		return "unknown"
	case Fails(seen), p.endpointFails():
		return "false"
	case p.Slow() != nil:
		return "slow"
	}
	return "true"
}

func (p *Pass) persistence() string {
	asked := p.Asked(p.Origin())
	good := 0
	for _, o := range asked {
		if !Fails(o) {
			good++
		}
	}
	switch {
	case len(asked) == 0:
		return "unknown"
	case good == len(asked) && p.endpointFails():
		return "intermittent"
	case good == len(asked):
		return "none"
	case good > 0 && sameAddress(asked):
		return "intermittent"
	}
	return "persistent"
}

// sameAddress says that all tries went to one address: one that works and one
// that does not are then a matter of time, not of place.
func sameAddress(obs []*model.Observation) bool {
	for _, o := range obs {
		if o.Address.IsValid() && obs[0].Address.IsValid() && o.Address.Addr() != obs[0].Address.Addr() {
			return false
		}
	}
	return true
}

// endpointFails says that an endpoint of the Service that was asked for does not
// take connections: the next one may be sent to it.
func (p *Pass) endpointFails() bool {
	return slices.ContainsFunc(p.Control(p.Origin(), "control:endpoint"), func(o *model.Observation) bool { return Fails(o) && o.Failed == "tcp" })
}
