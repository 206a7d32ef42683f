package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

// Pass is what a check works with: the World with a few indexes, and a place to
// report to.
type Pass struct {
	World *model.World

	now      time.Time
	opts     Options
	check    *Check
	findings []Finding
	skipped  []diagnose.Skip
	gaps     []model.Gap // that the World did not record
	notes    []string

	idx        *trace.Index
	pods       map[string][]*model.Pod              // by namespace, in order
	labelled   map[[3]string][]*model.Pod           // by namespace, label and its value: living pods, in order
	workloads  map[string][]*model.Workload         // by namespace, in order
	slices     map[model.Ref][]*model.EndpointSlice // by Service
	everywhere map[[2]string][]*model.Pod           // by label and its value; this and all are made when first asked for
	all        []*model.Pod
	onNode     map[string]*model.Pod // one running pod of each node; made when first asked for
}

func newPass(w *model.World, o Options) *Pass {
	p := &Pass{
		World: clean(w), now: o.Now, opts: o, pods: map[string][]*model.Pod{}, labelled: map[[3]string][]*model.Pod{},
		workloads: map[string][]*model.Workload{}, slices: map[model.Ref][]*model.EndpointSlice{},
	}
	for _, pod := range values(p.World.Kube.Pods) {
		p.pods[pod.Namespace] = append(p.pods[pod.Namespace], pod)
		if pod.Phase == "Succeeded" || pod.Phase == "Failed" {
			continue
		}
		for k, v := range pod.Labels {
			at := [3]string{pod.Namespace, k, v}
			p.labelled[at] = append(p.labelled[at], pod)
		}
	}
	for _, wl := range values(p.World.Kube.Workloads) {
		ns := wl.Ref.Part(0)
		p.workloads[ns] = append(p.workloads[ns], wl)
	}
	for _, s := range values(p.World.Kube.EndpointSlices) {
		ref := model.NewRef("service", s.Namespace, s.Service)
		p.slices[ref] = append(p.slices[ref], s)
	}
	return p
}

// clean is a World without empty entries: a snapshot comes from anybody, and may
// say null where an object belongs.
func clean(w *model.World) *model.World {
	out := diagnose.Pruned(*w)
	k := &out.Kube
	k.Ingresses = without(k.Ingresses)
	return &out
}

func without[K comparable, V any](m map[K]*V) map[K]*V {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(_ K, v *V) bool { return v == nil })
	return m
}

// values walks a map in the order of its keys: results never come in map order.
func values[K cmp.Ordered, V any](m map[K]V) []V {
	out := make([]V, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

// Report reports a finding. What it leaves out is filled in from the check; a
// confidence left out is Likely.
func (p *Pass) Report(f Finding) {
	c := p.check
	f.Rule, f.Group, f.Hop = cmp.Or(f.Rule, c.ID), cmp.Or(f.Group, c.Group), cmp.Or(f.Hop, c.Hop)
	f.Title, f.Docs = cmp.Or(f.Title, c.Title()), cmp.Or(f.Docs, c.Source)
	f.Confidence = cmp.Or(f.Confidence, diagnose.Likely)
	if f.Severity == Notice {
		f.Confidence = diagnose.Possible
	}
	if f.Evidence == nil {
		f.Evidence = []diagnose.Evidence{}
	}
	if f.Fix == nil {
		f.Fix = []diagnose.Command{}
	}
	for i := range p.findings {
		old := &p.findings[i]
		if old.Rule != f.Rule || old.Subject != f.Subject {
			continue
		}
		if f.traced && old.traced { // one line that stops connections of two kinds
			old.add(&f)
			return
		}
		if old.Title == f.Title {
			return
		}
	}
	p.findings = append(p.findings, f)
}

// add takes into a finding what another one about the same line saw.
func (f *Finding) add(g *Finding) {
	if g.Confidence > f.Confidence || g.Confidence == f.Confidence && g.Severity > f.Severity {
		g.Evidence, *f = append(g.Evidence, f.Evidence...), *g
		return
	}
	f.Severity = max(f.Severity, g.Severity)
	if n := len(g.Evidence); n > 0 && !slices.ContainsFunc(f.Evidence, func(e diagnose.Evidence) bool { return e.Text == g.Evidence[n-1].Text }) {
		f.Evidence = append(f.Evidence, g.Evidence[n-1])
	}
}

// reported says that something was found already about an object.
func (p *Pass) reported(subject model.Ref) bool {
	return slices.ContainsFunc(p.findings, func(f Finding) bool { return f.Subject == subject && f.Confidence >= diagnose.Likely })
}

// note tells the user something about the check itself: what was sampled.
func (p *Pass) note(text string) {
	if !slices.Contains(p.notes, text) {
		p.notes = append(p.notes, text)
	}
}

// azureKinds are the kinds that are read from Azure: where the cluster is on none, they do not apply.
var azureKinds = []string{"cluster", "subnet", "vnet", "nsg", "routetable", "nic", "vmss", "natgateway", "loadbalancer", "publicip", "firewall", "firewallpolicy", "vnetgateway"}

// missing are the gaps of the kinds that are not wholly read. applies is false
// where a check is about Azure and the cluster is not there.
func (p *Pass) missing(needs []string) (gaps []model.Gap, applies bool) {
	for _, kind := range needs {
		if p.World.Read[kind] {
			continue
		}
		arm := slices.Contains(azureKinds, kind)
		if arm && p.notAzure() {
			return nil, false
		}
		gaps = append(gaps, p.gapOf(kind, arm))
	}
	return gaps, true
}

// notAzure says that nothing speaks for a cluster on Azure: nothing was found there, nothing failed.
func (p *Pass) notAzure() bool {
	if p.World.Azure.Found {
		return false
	}
	for _, g := range p.World.Gaps {
		if aboutAzure(g) {
			return false
		}
	}
	for _, n := range p.World.Kube.Nodes {
		if strings.HasPrefix(n.ProviderID, "azure:") {
			return false
		}
	}
	return true
}

func aboutAzure(g model.Gap) bool {
	return g.What == "Azure" || strings.Contains(g.Permission, "Microsoft.") || slices.Contains(azureKinds, g.Ref.Kind())
}

// gapOf is why a kind was not read: what was noted about it, else that nobody did.
func (p *Pass) gapOf(kind string, arm bool) model.Gap {
	for _, g := range p.World.Gaps {
		named := g.Ref.Kind() == kind || strings.HasPrefix(g.What, kind+"s") || strings.HasPrefix(g.What, strings.TrimSuffix(kind, "y")+"ies")
		if named || arm && g.What == "Azure" {
			return g
		}
	}
	for _, g := range p.World.Gaps {
		if arm && aboutAzure(g) { // a kind is found through others: what hid them hides it
			return g
		}
	}
	return model.Gap{What: plural(kind), Reason: "not wholly read"}
}

func plural(kind string) string {
	switch {
	case strings.HasSuffix(kind, "y"):
		return strings.TrimSuffix(kind, "y") + "ies"
	case strings.HasSuffix(kind, "s"):
		return kind + "es"
	}
	return kind + "s"
}

func (p *Pass) skip(g model.Gap) {
	why := g.What
	if g.Reason != "" {
		why += ": " + g.Reason
	}
	s := diagnose.Skip{Rule: p.check.ID, Why: why, Permission: g.Permission, Ref: g.Ref}
	if !slices.Contains(p.skipped, s) {
		p.skipped = append(p.skipped, s)
	}
	if !slices.Contains(p.World.Gaps, g) && !slices.Contains(p.gaps, g) {
		p.gaps = append(p.gaps, g)
	}
}

// notChecked are all gaps, each once.
func (p *Pass) notChecked() []model.Gap {
	out := []model.Gap{}
	add := func(list []model.Gap) {
		for _, g := range list {
			if !slices.Contains(out, g) {
				out = append(out, g)
			}
		}
	}
	add(p.World.Gaps)
	for _, facts := range values(p.World.Nodes) {
		add(facts.Gaps)
	}
	add(p.gaps)
	return out
}

// subset says that labels hold all of a selector's pairs.
func subset(want, have model.Labels) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// selected are the living pods that a Service's selector means.
func (p *Pass) selected(s *model.Service) []*model.Pod {
	var best []*model.Pod
	first := true
	for k, v := range s.Selector {
		if list := p.labelled[[3]string{s.Namespace, k, v}]; first || len(list) < len(best) {
			best, first = list, false
		}
	}
	var out []*model.Pod
	for _, pod := range best {
		if subset(s.Selector, pod.Labels) {
			out = append(out, pod)
		}
	}
	return out
}

// endpoints are a Service's endpoints of all slices.
func (p *Pass) endpoints(ref model.Ref) []model.SliceEndpoint {
	var out []model.SliceEndpoint
	for _, s := range p.slices[ref] {
		out = append(out, s.Endpoints...)
	}
	return out
}

// answers says that a Service has somewhere to send a connection to.
func (p *Pass) answers(s *model.Service) bool {
	return slices.ContainsFunc(p.endpoints(serviceRef(s)), func(e model.SliceEndpoint) bool {
		return e.Ready || s.PublishNotReady || e.Serving && e.Terminating
	})
}

func serviceRef(s *model.Service) model.Ref { return model.NewRef("service", s.Namespace, s.Name) }

func ownerOf(pod *model.Pod) model.Ref { return cmp.Or(pod.Owner, pod.Ref()) }

func kube(text string, refs ...model.Ref) diagnose.Evidence {
	return diagnose.Evidence{Text: text, Refs: refs, Source: "kube"}
}

func arm(text string, refs ...model.Ref) diagnose.Evidence {
	return diagnose.Evidence{Text: text, Refs: refs, Source: "arm"}
}

func do(text, line string) diagnose.Command { return diagnose.Command{Text: text, Line: line} }

// labelText writes labels as kubectl takes them.
func labelText(labels model.Labels) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

// some names the first three of a list and counts the others.
func some(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// count is "1 pod", "3 pods".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %s", n, plural(noun))
}
