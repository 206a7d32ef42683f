// Package policy evaluates networking.k8s.io/v1 NetworkPolicy for one flow and
// says which line decided.
//
// It is pure: a World in, decisions out. What was not read makes the answer
// Unknown, never Pass; a selector that cannot be judged makes only its own rule
// unknown. Where real dataplanes differ from the API's text, a Dialect says
// whose reading is used.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Decision is what NetworkPolicy does to one flow at one pod.
type Decision struct {
	Verdict model.Verdict
	Decided model.Ref // networkpolicy/NS/NAME; empty when no policy selects the pod
	Rule    int       // index of the rule that let the flow pass, -1 when none did
	Reason  string    // one sentence
	Trail   []string  // the policies that select the pod, in order, each with what it said
	Gaps    []model.Gap
	Refuses bool // policies say no, whether or not anything enforces them
}

// Index is a World prepared for evaluation. It is read-only after Build.
type Index struct {
	w        *model.World
	dialect  Dialect
	enforced enforcement
	engine   string // what the last two were told from

	byNS    map[string]*nsPolicies
	podByIP map[netip.Addr]*model.Pod
	nodeOf  map[netip.Addr]string // node addresses → node name
	podNets []netip.Prefix
}

// nsPolicies finds the policies of one namespace that may select a pod without
// asking each of them: a policy with matchLabels is filed under one of its labels.
type nsPolicies struct {
	always  []*compiled
	byLabel map[[2]string][]*compiled
}

// compiled is a policy with what evaluation needs at hand.
type compiled struct {
	*model.NetworkPolicy
	ref   model.Ref
	order int // by name: trails and ties are in a defined order
}

// Build prepares a World, with the dialect that its dataplane speaks.
func Build(w *model.World) *Index {
	d, engine := Detect(w)
	x := BuildAs(w, d)
	x.enforced, x.engine = enforcementOf(w, engine)
	return x
}

// BuildAs prepares a World for a given dialect and takes enforcement for granted.
func BuildAs(w *model.World, d Dialect) *Index {
	x := &Index{w: w, dialect: d, enforced: isEnforced, byNS: map[string]*nsPolicies{}}
	refs := make([]model.Ref, 0, len(w.Kube.Policies))
	for ref, p := range w.Kube.Policies {
		if p != nil {
			refs = append(refs, ref)
		}
	}
	slices.Sort(refs)
	for i, ref := range refs {
		p := w.Kube.Policies[ref]
		ns := x.byNS[p.Namespace]
		if ns == nil {
			ns = &nsPolicies{byLabel: map[[2]string][]*compiled{}}
			x.byNS[p.Namespace] = ns
		}
		ns.file(&compiled{NetworkPolicy: p, ref: p.Ref(), order: i})
	}
	x.indexAddresses()
	return x
}

// file puts a policy where only pods that may match find it: under its least
// common kind of label would be ideal, the first in order is good enough.
func (n *nsPolicies) file(c *compiled) {
	if len(c.PodSelector.MatchLabels) == 0 {
		n.always = append(n.always, c)
		return
	}
	first := ""
	for k := range c.PodSelector.MatchLabels {
		if first == "" || k < first {
			first = k
		}
	}
	key := [2]string{first, c.PodSelector.MatchLabels[first]}
	n.byLabel[key] = append(n.byLabel[key], c)
}

func (x *Index) indexAddresses() {
	k := &x.w.Kube
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
}

// terminated pods keep their address in the API while another pod may have it already.
func terminated(p *model.Pod) bool { return p.Phase == "Succeeded" || p.Phase == "Failed" }

// Dialect is the reading of the API that is used.
func (x *Index) Dialect() Dialect { return x.dialect }

// Egress judges a connection that pod opens to f.Dst.
func (x *Index) Egress(pod *model.Pod, f model.Flow) Decision { return x.decide(pod, f, false) }

// Ingress judges a connection that arrives at pod from f.Src.
func (x *Index) Ingress(pod *model.Pod, f model.Flow) Decision { return x.decide(pod, f, true) }

// Selecting lists the policies that isolate a pod in one direction, in order of their names.
func (x *Index) Selecting(pod *model.Pod, ingress bool) []*model.NetworkPolicy {
	var out []*model.NetworkPolicy
	for _, c := range x.selecting(pod, ingress) {
		out = append(out, c.NetworkPolicy)
	}
	return out
}

func (x *Index) selecting(pod *model.Pod, ingress bool) []*compiled {
	ns := x.byNS[pod.Namespace]
	if ns == nil {
		return nil
	}
	var out []*compiled
	consider := func(list []*compiled) {
		for _, c := range list {
			if (ingress && c.NetworkPolicy.Ingress || !ingress && c.NetworkPolicy.Egress) && Matches(&c.PodSelector, pod.Labels) {
				out = append(out, c)
			}
		}
	}
	consider(ns.always)
	for k, v := range pod.Labels {
		consider(ns.byLabel[[2]string{k, v}])
	}
	if len(out) > 1 {
		slices.SortFunc(out, func(a, b *compiled) int { return a.order - b.order })
	}
	return out
}

func (x *Index) decide(pod *model.Pod, f model.Flow, ingress bool) Decision {
	d := Decision{Verdict: model.Pass, Rule: -1}
	if pod.HostNetwork {
		d.Reason = fmt.Sprintf("%s uses the host network: NetworkPolicy does not apply to it", pod.Ref())
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
		return d
	}
	if ok, why := x.implicit(pod, f, ingress); ok != no {
		d.Reason = why
		if ok == maybe {
			d.Verdict = model.Unknown
		}
		return d
	}
	return x.enforce(x.judge(pod, f, ingress, policies))
}

// judge is the API's own semantics: the union of the rules of every policy that selects the pod.
func (x *Index) judge(pod *model.Pod, f model.Flow, ingress bool, policies []*compiled) Decision {
	d := Decision{Rule: -1, Trail: make([]string, 0, len(policies))}
	q := question{x: x, f: f, ingress: ingress, ns: pod.Namespace}
	q.peer, q.peerIP = x.peer(f, ingress)
	q.target = q.peer
	if ingress {
		q.target = pod
	}
	var undecided *compiled
	var why string
	for _, c := range policies {
		rules := c.EgressRules
		if ingress {
			rules = c.IngressRules
		}
		for i := range rules {
			switch m, reason := q.rule(&rules[i]); m {
			case yes:
				d.Verdict, d.Decided, d.Rule = model.Pass, c.ref, i
				d.Reason = direction(ingress) + " rule " + strconv.Itoa(i+1) + " of " + string(c.ref) + " allows it"
				d.Trail = nil
				return d
			case maybe:
				if undecided == nil {
					undecided, why = c, fmt.Sprintf("rule %d of %s: %s", i+1, c.ref, reason)
				}
			}
		}
		// No Sprintf: most of the time of one decision would go there.
		d.Trail = append(d.Trail, string(c.ref)+": no "+direction(ingress)+" rule of "+strconv.Itoa(len(rules))+" allows it")
	}
	if undecided != nil {
		d.Verdict, d.Decided = model.Unknown, undecided.ref
		d.Reason, d.Gaps = "it cannot be told whether it is allowed: "+why, q.gaps
		return d
	}
	c := strictest(policies, ingress)
	d.Verdict, d.Decided, d.Refuses = model.Drop, c.ref, true
	d.Reason = string(c.ref) + " selects " + string(pod.Ref()) + " for " + direction(ingress) + ", and no rule of " +
		count(len(policies), "policy that does", "policies that do") + " allows " + q.peerText()
	return d
}

// strictest is the policy to name when none allows a flow: the one with the
// fewest rules, a default deny above all; then the first by name.
func strictest(policies []*compiled, ingress bool) *compiled {
	n := func(c *compiled) int {
		if ingress {
			return len(c.IngressRules)
		}
		return len(c.EgressRules)
	}
	return slices.MinFunc(policies, func(a, b *compiled) int { return n(a) - n(b) })
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
	if g.Ref != "" || !strings.Contains(text, "networkpolic") {
		return false
	}
	if _, of, ok := strings.Cut(text, "in namespace "); ok {
		of, _, _ = strings.Cut(of, "\n")
		return strings.TrimSpace(of) == strings.ToLower(ns)
	}
	return true
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
