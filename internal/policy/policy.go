// Package policy evaluates the policies of a cluster for one flow and says
// which line decided: NetworkPolicy, AdminNetworkPolicy and what replaces it,
// Calico's and Cilium's own kinds. Each kind compiles to one neutral form
// (Rules), which the engine of all pairs reads too.
//
// It is pure: a World in, decisions out. What was not read makes the answer
// Unknown, never Pass; what cannot be judged makes only its own rule unknown.
// Where real dataplanes differ from the API's text, a Dialect says whose
// reading is used. docs/policies.md tells users the same.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/podpath/podpath/internal/model"
)

// Decision is what policies do to one flow at one pod.
type Decision struct {
	Verdict  model.Verdict
	Decided  model.Ref // networkpolicy/NS/NAME, adminnetworkpolicy/NAME, …; empty when no policy selects the pod
	Rule     int       // index of the rule that decided, -1 when none did (a default deny, or no policy)
	RuleName string    // its name, for kinds whose rules have names
	Kind     string    // of what decided, as people write it: "NetworkPolicy", "AdminNetworkPolicy", …
	Tier     string    // the tier that decided
	Dialect  Dialect   // whose reading was used
	Reason   string    // one sentence
	Trail    []string  // the policies that select the pod, in order, each with what it said
	Gaps     []model.Gap
	List     string // of the policy's own, in which that rule stands: ingress, egress, ingressDeny, egressDeny
	Own      bool   // it passes whatever policies say, as the pod and its own node may talk
	Refuses  bool   // policies say no, whether or not anything enforces them
}

// Index is a World prepared for evaluation. It does not change after Build and
// may be used by several goroutines at once.
type Index struct {
	w        *model.World
	rules    *Rules
	dialect  Dialect
	enforced enforcement
	engine   string // what the last two were told from

	ambiguous bool // there are policies of more than one dataplane
	guess     bool // the dialect was told from policies alone

	own   map[string][]*filed // policies that are for pods of one namespace, by it
	wide  []*filed            // the others
	byNS  sync.Map            // namespace → *nsPolicies, made when first asked for
	nodes map[string]*model.Node

	nsLabels map[string]model.Labels // of the namespaces that were read, with those that all have
	podByIP  map[netip.Addr]*model.Pod
	nodeOf   map[netip.Addr]string // node addresses → node name
	podNets  []netip.Prefix
}

// filed is a policy with its place in the order of everything.
type filed struct {
	*Policy
	tier, order int
}

// nsPolicies finds the policies that may select a pod of one namespace without
// asking each of them: a policy that demands a label is filed under it.
type nsPolicies struct {
	always  []*filed
	byLabel map[[2]string][]*filed
}

// Build prepares a World, with the dialect that its dataplane speaks.
func Build(w *model.World) *Index {
	d, engine := Detect(w)
	x := BuildAs(w, d)
	x.rules.Engine = engine
	x.enforced, x.engine = enforcementOf(w, engine)
	if d == Cilium && w.Kube.ConfigMaps[ciliumConfig]["enable-policy"] == "never" {
		x.enforced, x.engine = notEnforced, string(ciliumConfig)+" says enable-policy: never"
	}
	x.ambiguous, x.guess = ambiguous(w, engine), guessed(w, engine)
	return x
}

// BuildAs prepares a World for a given dialect and takes enforcement for granted.
func BuildAs(w *model.World, d Dialect) *Index {
	x := &Index{w: w, rules: Compile(w, d), dialect: d, enforced: isEnforced, own: map[string][]*filed{}, nodes: w.Kube.Nodes}
	order := 0
	for i := range x.rules.Tiers {
		for _, p := range x.rules.Tiers[i].Policies {
			f := &filed{Policy: p, tier: i, order: order}
			order++
			if ns := p.Subject.Namespace; ns != "" {
				x.own[ns] = append(x.own[ns], f)
			} else {
				x.wide = append(x.wide, f)
			}
		}
	}
	x.indexAddresses()
	return x
}

// Rules is the neutral form of the World's policies.
func (x *Index) Rules() *Rules { return x.rules }

// namespaced are the policies that may select pods of a namespace.
func (x *Index) namespaced(ns string) *nsPolicies {
	if n, ok := x.byNS.Load(ns); ok {
		return n.(*nsPolicies)
	}
	n := &nsPolicies{byLabel: map[[2]string][]*filed{}}
	for _, f := range x.own[ns] {
		n.file(f)
	}
	for _, f := range x.wide {
		if m, _ := x.inNamespace(&f.Subject.Namespaces, ns); m != No {
			n.file(f)
		}
	}
	x.byNS.Store(ns, n)
	return n
}

// file puts a policy where only pods that may match find it: under its least
// common label would be ideal, the first in order is good enough.
func (n *nsPolicies) file(f *filed) {
	for i := range f.Subject.Pods.Reqs {
		if r := &f.Subject.Pods.Reqs[i]; r.Op == In && len(r.Values) == 1 {
			key := [2]string{r.Key, r.Values[0]}
			n.byLabel[key] = append(n.byLabel[key], f)
			return
		}
	}
	n.always = append(n.always, f)
}

func (x *Index) indexAddresses() {
	k := &x.w.Kube
	x.nsLabels = make(map[string]model.Labels, len(k.Namespaces))
	for name, ns := range k.Namespaces {
		if ns != nil {
			x.nsLabels[name] = named(ns.Labels, name)
		}
	}
	x.podByIP = make(map[netip.Addr]*model.Pod, len(k.Pods))
	for _, p := range k.Pods {
		if p == nil || p.HostNetwork || terminated(p) {
			continue
		}
		for _, ip := range p.IPs {
			if old := x.podByIP[ip.Unmap()]; old == nil || p.Ref() < old.Ref() {
				x.podByIP[ip.Unmap()] = p
			}
		}
	}
	x.nodeOf = make(map[netip.Addr]string, len(k.Nodes))
	for name, n := range k.Nodes {
		if n == nil {
			continue
		}
		for _, ip := range slices.Concat(n.InternalIPs, n.ExternalIPs) {
			x.nodeOf[ip.Unmap()] = name
		}
		x.podNets = append(x.podNets, n.PodCIDRs...)
	}
	if c := x.w.Azure.Cluster; c != nil {
		x.podNets = slices.Concat(c.PodCIDRs, x.podNets)
	}
	x.podNets = slices.Concat(k.PodCIDRs, x.podNets)
}

// terminated pods keep their address in the API while another pod may have it already.
func terminated(p *model.Pod) bool { return p.Phase == "Succeeded" || p.Phase == "Failed" }

// Dialect is the reading of the API that is used.
func (x *Index) Dialect() Dialect { return x.dialect }

// Egress judges a connection that pod opens to f.Dst.
func (x *Index) Egress(pod *model.Pod, f model.Flow) Decision { return x.decide(pod, f, false) }

// Ingress judges a connection that arrives at pod from f.Src.
func (x *Index) Ingress(pod *model.Pod, f model.Flow) Decision { return x.decide(pod, f, true) }

// Selecting lists the policies that have a say about a pod in one direction, in the order in which they are asked.
func (x *Index) Selecting(pod *model.Pod, ingress bool) []*Policy {
	var out []*Policy
	for _, s := range x.selecting(pod, ingress) {
		out = append(out, s.Policy)
	}
	return out
}

// selected is a policy that selects a pod, or may.
type selected struct {
	*filed
	side *Side
	sure Tri
	why  string
}

func (x *Index) selecting(pod *model.Pod, ingress bool) []selected {
	ns := x.namespaced(pod.Namespace)
	out := make([]selected, 0, 8)
	consider := func(list []*filed) {
		for _, f := range list {
			side := f.Egress
			if ingress {
				side = f.Ingress
			}
			if side == nil {
				continue
			}
			if m, why := x.Selects(&f.Subject, pod); m != No {
				out = append(out, selected{f, side, m, why})
			}
		}
	}
	consider(ns.always)
	for k, v := range pod.Labels {
		consider(ns.byLabel[[2]string{k, v}])
	}
	if len(out) > 1 {
		slices.SortFunc(out, func(a, b selected) int { return a.order - b.order })
	}
	return out
}

func (x *Index) decide(pod *model.Pod, f model.Flow, ingress bool) Decision {
	d := Decision{Verdict: model.Pass, Rule: -1, Dialect: x.dialect}
	if pod.HostNetwork {
		d.Reason = fmt.Sprintf("%s uses the host network: NetworkPolicy does not apply to it", pod.Ref())
		return d
	}
	if x.ambiguous {
		d.Verdict = model.Unknown
		d.Reason = "there are policies of Calico's and of Cilium's own kinds, and nothing says which of the two carries policies out"
		return d
	}
	if gap, missing := x.unread(pod.Namespace); missing {
		d.Verdict, d.Gaps = model.Unknown, []model.Gap{gap}
		d.Reason = fmt.Sprintf("the NetworkPolicies of namespace %s were not read", pod.Namespace)
		return d
	}
	policies := x.selecting(pod, ingress)
	if len(policies) == 0 {
		d.Reason = fmt.Sprintf("no NetworkPolicy selects %s for %s", pod.Ref(), direction(ingress))
		return x.uncovered(d, pod.Namespace)
	}
	if ok, why := x.implicit(pod, f, ingress); ok != No {
		d.Reason, d.Own = why, ok == Yes
		if ok == Maybe {
			d.Verdict = model.Unknown
		}
		return d
	}
	return x.uncovered(x.masqueraded(x.enforce(x.judge(pod, f, ingress, policies)), f, ingress), pod.Namespace)
}

// unread says whether the policies of a namespace may be more than those in the World.
func (x *Index) unread(ns string) (model.Gap, bool) {
	for _, g := range x.w.Gaps {
		if about(g, ns) {
			return g, true
		}
	}
	// Read may hold one namespace alone: half the permissions give half the answer.
	if x.w.Read["networkpolicy"] || x.w.Read["networkpolicy/"+ns] {
		return model.Gap{}, false
	}
	return model.Gap{
		What: "NetworkPolicies of namespace " + ns, Ref: model.NewRef("networkpolicy", ns), Reason: "they were not read",
		Permission: "list networkpolicies.networking.k8s.io in namespace " + ns,
	}, true
}

// about says whether a gap is about the policies of a namespace (or of all).
func about(g model.Gap, ns string) bool {
	if g.Ref.Kind() == "networkpolicy" {
		of := g.Ref.Part(0)
		return of == "" || of == ns
	}
	text := strings.ToLower(g.What + "\n" + g.Permission)
	builtIn := strings.Contains(text, "networkpolicies.networking.k8s.io") ||
		strings.HasPrefix(text, "networkpolicies ") || strings.HasPrefix(text, "networkpolicies\n") || strings.HasPrefix(text, "networkpolicy ")
	return g.Ref == "" && builtIn && concerns(text, ns)
}

// concerns says whether the text of a gap is about a namespace, or about all.
func concerns(text, ns string) bool {
	_, of, ok := strings.Cut(strings.ToLower(text), "in namespace ")
	of, _, _ = strings.Cut(of, "\n")
	return !ok || strings.TrimSpace(of) == strings.ToLower(ns)
}

// uncovered takes a Pass back when policies of a kind that the dataplane carries
// out exist and could not be read: one of them may refuse it. A refusal stands:
// only an admin tier could lift it, and that is said.
func (x *Index) uncovered(d Decision, ns string) Decision {
	if d.Verdict != model.Pass && d.Verdict != model.Drop {
		return d
	}
	for _, g := range x.w.Gaps {
		kind := unreadKind(g)
		if kind == "" || !concerns(g.What+"\n"+g.Permission, ns) || !carriesOut(x.dialect, kind) || d.Verdict == model.Drop && !overrides(kind) {
			continue
		}
		d.Gaps = append(d.Gaps, g)
	}
	if len(d.Gaps) > 0 {
		d.Trail = append(d.Trail, d.Reason)
		d.Reason = fmt.Sprintf("by what was read it would be a %s, but there are policies that could not be read: %s", d.Verdict, d.Gaps[0].What)
		d.Verdict = model.Unknown
	}
	return d
}

func direction(ingress bool) string {
	if ingress {
		return "ingress"
	}
	return "egress"
}

func count(n int, one, many string) string {
	if n == 1 {
		return "the " + one
	}
	return fmt.Sprintf("the %d %s", n, many)
}
