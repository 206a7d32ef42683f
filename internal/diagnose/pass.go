package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// Way is one path that matters to the question.
type Way struct {
	Kind string // question, dns (the pod's query to its name server), dns-upstream (the cluster's name server to its own)
	Path *model.Path
}

// Pass is what a rule works with: the case, and a place to report to.
type Pass struct {
	Case  *model.Case
	Trace func(model.Flow) model.Path // predicts any further flow in the same world

	// Required are the endpoints that AKS itself needs, what was read merged with what is known.
	Required func() []model.RequiredEndpoint

	view *view
	rule *Rule
}

// view is what all rules of one run share.
type view struct {
	seen     *model.Observation
	watched  *watch.Summary
	delays   *watch.Delays // seen waited for a packet that was lost, and got through
	ways     []Way
	external *bool // worked out once: it looks through all pods
	findings []Finding
	skipped  []Skip
}

// Origin is the vantage that stands for the question's FROM.
func (p *Pass) Origin() model.Vantage { return OriginOf(&p.Case.Question) }

// OriginOf is the place from which a question is asked.
func OriginOf(q *model.Question) model.Vantage {
	switch q.From.Kind {
	case "node":
		return model.VantageNode
	case "internet", "host", "url", "ip":
		return model.VantageHere
	}
	return model.VantagePod
}

// Seen is what the question's own probe saw, or nil when none could be sent.
// Of several tries the first that failed.
func (p *Pass) Seen() *model.Observation { return p.view.seen }

// At is what the question's probe saw from another vantage, or nil.
// Where a series was sent, what failed once does not stand for a place that mostly
// fails in another way.
func (p *Pass) At(v model.Vantage) *model.Observation { return p.usual(v, worst(p.Asked(v))) }

// Asked are the question's own probes from a vantage, without those that could not be sent.
func (p *Pass) Asked(v model.Vantage) []*model.Observation { return p.observations(v, "question") }

// Control are the control probes of a purpose ("control:other-port"), from a vantage.
func (p *Pass) Control(v model.Vantage, purpose string) []*model.Observation {
	return p.observations(v, purpose)
}

func (p *Pass) observations(v model.Vantage, purpose string) []*model.Observation {
	var out []*model.Observation
	for i := range p.Case.Observations {
		o := &p.Case.Observations[i]
		if o.Vantage == v && cmp.Or(o.Purpose, "question") == purpose && o.Result != model.ProbeFailed && o.Result != "" {
			out = append(out, o)
		}
	}
	return out
}

// worst is the first that failed. An IPv6 address that fails beside an IPv4 one
// that works is passed over, as a client would.
func worst(obs []*model.Observation) *model.Observation {
	four := slices.ContainsFunc(obs, func(o *model.Observation) bool { return !Fails(o) && o.Address.Addr().Is4() })
	for _, o := range obs {
		if Fails(o) && !(four && o.Address.Addr().Is6()) {
			return o
		}
	}
	for _, o := range obs {
		if !Fails(o) {
			return o
		}
	}
	return nil
}

// Fate is how the question's probe fared from a vantage.
type Fate uint8

// The fates. Unseen is the zero value: no probe, no statement.
const (
	Unseen Fate = iota
	Works
	Broken
)

// Fate says how the question's probe fared from a vantage.
func (p *Pass) Fate(v model.Vantage) Fate {
	o := p.At(v)
	switch {
	case o == nil:
		return Unseen
	case Fails(o):
		return Broken
	}
	return Works
}

// Same says that the question's probe failed in the same way from a vantage as
// it did where it was asked.
func (p *Pass) Same(v model.Vantage) bool {
	o, seen := p.At(v), p.Seen()
	if o == nil || seen == nil || !Fails(o) {
		return false
	}
	if v == model.VantageHere && p.Origin() != v && o.Failed == "tcp" {
		seen = p.Beyond() // this machine's way does not go by the firewall that ends the other's
	}
	return o.Failed == seen.Failed && o.Result == seen.Result && Status(o) == Status(seen)
}

// Ways are the paths that can have caused what was seen: those of the name's
// lookup when that is what failed, the question's own otherwise.
func (p *Pass) Ways() []Way { return p.view.ways }

// Question is the question's own path, or nil when it has no known address.
func (p *Pass) Question() *model.Path {
	for _, w := range p.Ways() {
		if w.Kind == "question" {
			return w.Path
		}
	}
	if len(p.Case.Paths) > 0 {
		return &p.Case.Paths[0]
	}
	return nil
}

// Broken calls f for the step at a hop at which a way breaks, and for those
// that would break it next, were the first one mended.
func (p *Pass) Broken(hop model.Hop, f func(Way, *model.Step)) {
	for _, w := range p.Ways() {
		if step := w.Path.Broken(); step != nil && step.Hop == hop {
			f(w, step)
		}
		for i := range w.Path.After {
			if step := &w.Path.After[i]; step.Hop == hop && blocks(step) {
				f(w, step)
			}
		}
	}
}

func blocks(s *model.Step) bool { return s.Verdict == model.Drop || s.Verdict == model.Reject }

// later says that a step lies beyond the one at which the way breaks.
func later(w Way, step *model.Step) bool {
	for i := range w.Path.After {
		if &w.Path.After[i] == step {
			return true
		}
	}
	return false
}

// ReportAt reports a finding about a step of a way. It inherits what the step says.
func (p *Pass) ReportAt(w Way, step *model.Step, f Finding) {
	f.way, f.step, f.later = w.Kind, step, later(w, step)
	if f.Hop == "" {
		f.Hop = cmp.Or(p.rule.Hop, step.Hop)
	}
	if f.Subject == "" {
		f.Subject = cmp.Or(step.Decided, step.At)
	}
	p.share(w, step, &f)
	if step.Reason != "" {
		f.Evidence = append(f.Evidence, Evidence{Text: step.Title + ": " + step.Reason, Refs: refs(step.At, step.Decided), Source: "trace"})
	}
	p.Report(f)
}

// share says of a finding about a step that it hits a part of the connections:
// those to some of a Service's endpoints, or those that a node sends astray.
func (p *Pass) share(w Way, step *model.Step, f *Finding) {
	if w.Path.Share(step) > 0.999 {
		return
	}
	f.Sometimes = true
	if s := w.Path.Spread; s != nil && s.Blocked > 0 && s.Blocked < s.Ways {
		f.Evidence = append(f.Evidence, Evidence{Text: fmt.Sprintf("%d of the Service's %d endpoints cannot be reached for it: about %.0f %% of the connections", s.Blocked, s.Ways, 100*w.Path.Share(step)), Source: "trace"})
	}
}

// ReportOn reports a finding that belongs to a way.
func (p *Pass) ReportOn(w Way, f Finding) {
	f.way = w.Kind
	p.Report(f)
}

// Report reports a finding. What it leaves out is filled in from the rule; a
// confidence left out is Proven, which the ranking lowers to what the reads and
// the probes allow.
func (p *Pass) Report(f Finding) {
	f.Rule = p.rule.ID
	f.Hop = cmp.Or(f.Hop, p.rule.Hop)
	f.Title = cmp.Or(f.Title, p.rule.Title())
	f.Confidence = cmp.Or(f.Confidence, Proven)
	f.way = cmp.Or(f.way, "question")
	for i := range p.view.findings {
		old := &p.view.findings[i]
		if old.Rule == f.Rule && old.Subject == f.Subject { // two addresses of one name, two name servers
			if f.Confidence > old.Confidence {
				*old = f
			}
			return
		}
	}
	p.view.findings = append(p.view.findings, f)
}

// Skip says that the rule cannot speak, and what would let it.
func (p *Pass) Skip(g model.Gap) {
	why := g.What
	if g.Reason != "" {
		why += ": " + g.Reason
	}
	s := Skip{Rule: p.rule.ID, Why: why, Permission: g.Permission, Ref: g.Ref}
	if !slices.Contains(p.view.skipped, s) {
		p.view.skipped = append(p.view.skipped, s)
	}
}

func refs(all ...model.Ref) []model.Ref {
	var out []model.Ref
	for _, r := range all {
		if r != "" && !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return out
}

// Gaps are what this question lacks of the kinds, as Rule.Needs writes them.
func (p *Pass) Gaps(needs []string) []model.Gap {
	var out []model.Gap
	for _, need := range needs {
		switch {
		case need == "nodefacts":
			out = append(out, p.nodeGap()...)
		case need == "probe":
			if p.Seen() == nil {
				out = append(out, p.probeGap(p.Origin()))
			}
		case strings.HasPrefix(need, "probe:"):
			v := model.Vantage(strings.TrimPrefix(need, "probe:"))
			if len(p.Asked(v)) == 0 {
				out = append(out, p.probeGap(v))
			}
		default:
			out = append(out, p.kindGap(need)...)
		}
	}
	return out
}

// nameless are the gaps for which a lookup that failed has no ways: nobody knows
// which pods answer for the cluster's names.
func (p *Pass) nameless() []model.Gap {
	if seen := p.Seen(); seen == nil || seen.Failed != "dns" {
		return nil
	}
	if svc, pods := p.NameServers(); svc != nil && len(pods) > 0 {
		return nil
	}
	return append(p.kindGap("service"), p.kindGap("pod")...)
}

// probeGap is why nobody probed from a place: what was noted about it, else that nobody did.
func (p *Pass) probeGap(v model.Vantage) model.Gap {
	for _, g := range p.Case.World.Gaps {
		for _, words := range placeWords[v] {
			if strings.HasPrefix(g.What, "probe from "+words) {
				return g
			}
		}
	}
	return model.Gap{What: "a probe from " + places[v], Reason: "none was sent"}
}

// placeWords are how gaps name the places.
var placeWords = map[model.Vantage][]string{
	model.VantagePod: {"pod ", "pod/"}, model.VantagePeer: {"another pod "}, model.VantageNode: {"node "},
	model.VantageOtherNode: {"a pod of ", "another node"}, model.VantageHere: {"this machine", "here"},
}

func (p *Pass) nodeGap() []model.Gap {
	if node := p.Node(); node != "" {
		return p.InsideGaps(node)
	}
	return nil
}

// InsideGaps is what was not read inside a node, and why.
func (p *Pass) InsideGaps(node string) []model.Gap {
	facts := p.Case.World.Nodes[node]
	if facts != nil {
		return facts.Gaps
	}
	for _, g := range p.Case.World.Gaps {
		if g.Ref == model.NewRef("node", node) {
			return []model.Gap{g}
		}
	}
	return []model.Gap{{What: "the inside of node " + node, Ref: model.NewRef("node", node), Reason: "nobody entered it"}}
}

// kindGap finds gaps of a kind on this question's ways: in their steps, or a
// list of the kind that could not be read at all.
func (p *Pass) kindGap(kind string) []model.Gap {
	var out []model.Gap
	add := func(g model.Gap) {
		if !slices.Contains(out, g) {
			out = append(out, g)
		}
	}
	for _, w := range p.Ways() {
		for _, s := range slices.Concat(w.Path.Steps, w.Path.Return) {
			for _, g := range s.Gaps {
				if g.Ref.Kind() == kind {
					add(g)
				}
			}
		}
	}
	for _, g := range p.Case.World.Gaps {
		switch {
		case g.Ref.Kind() == kind && (g.Ref.Name() == "" || wide(g.Ref) || p.passes(g.Ref)), g.Ref == "" && permits(g, kind):
			add(g)
		}
	}
	if len(out) == 0 && action[kind] != "" { // a hop before it could not be read, so nobody got as far as this kind
		for _, w := range p.Ways() {
			for _, s := range slices.Concat(w.Path.Steps, w.Path.Return) {
				if s.Verdict == model.Unknown {
					for _, g := range s.Gaps {
						add(g)
					}
				}
			}
		}
	}
	return out
}

// wide says that an object matters to every question, also where no step names it.
func wide(ref model.Ref) bool {
	switch ref.Kind() {
	case "cluster", "vnet", "vnetgateway", "vmss":
		return true
	case "configmap":
		return ref.Part(0) == "kube-system"
	}
	return false
}

// action is what a gap's permission says of a kind.
var action = map[string]string{
	"nsg": "networksecuritygroups/read", "subnet": "virtualnetworks/subnets/read", "vnet": "virtualnetworks/read", "routetable": "routetables/read",
	"nic": "networkinterfaces/read", "natgateway": "natgateways/read", "loadbalancer": "loadbalancers/read", "publicip": "publicipaddresses/read",
	"firewall": "azurefirewalls/read", "firewallpolicy": "firewallpolicies/", "vnetgateway": "virtualnetworkgateways/", "vmss": "virtualmachinescalesets/read",
	"cluster": "managedclusters/read",
}

// permits says that what filled a gap without an object would let a kind be
// read: the gap of all of Azure, or of the kind's list.
func permits(g model.Gap, kind string) bool {
	if want := action[kind]; want != "" {
		return g.What == "Azure" || g.What == "managed cluster" || strings.Contains(strings.ToLower(g.Permission), want)
	}
	_, rest, _ := strings.Cut(g.Permission, " ") // "list pods in namespace shop", "list networkpolicies.networking.k8s.io (cluster scope)"
	what, _, _ := strings.Cut(rest, " ")
	what, _, _ = strings.Cut(what, ".")
	return what == kind+"s" || what == strings.TrimSuffix(kind, "y")+"ies"
}

// passes says whether a way goes through the object.
func (p *Pass) passes(ref model.Ref) bool {
	for _, w := range p.Ways() {
		for _, s := range w.Path.Steps {
			if s.At == ref || strings.HasPrefix(string(s.Decided), string(ref)) {
				return true
			}
		}
	}
	return false
}
