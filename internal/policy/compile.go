package policy

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Compile brings the policies of a World into the neutral form, as the dialect
// reads them. It keeps no references that a later change of the World would
// make wrong, except to its labels' strings.
func Compile(w *model.World, d Dialect) *Rules {
	c := &compiler{w: w, rules: &Rules{Dialect: d, OwnNodeIngress: true, OwnNodeEgress: d == NPM}}
	if d == Cilium && c.ciliumConfig()["allow-localhost"] == "policy" {
		c.rules.OwnNodeIngress = false
	}
	c.prepare()
	tiers := []placed{{name: "networkpolicy", order: defaultOrder}}
	c.networkPolicies(&tiers[0])
	tiers = c.adminPolicies(tiers)
	switch {
	case d == Calico:
		tiers = c.calicoPolicies(tiers)
	case d == Cilium:
		tiers = c.ciliumPolicies(tiers)
	}
	c.foreign()
	c.rules.Tiers = arrange(tiers)
	slices.SortFunc(c.rules.Ignored, func(a, b Ignored) int { return cmp.Compare(a.Ref, b.Ref) })
	return c.rules
}

// compiler is one compilation.
type compiler struct {
	w     *model.World
	rules *Rules
	split map[string]bool // "NS/tcp/NAME": the name means different numbers on different pods of the namespace; "/tcp/NAME": of the cluster
	minor int             // Cilium's version: 17 is 1.17; 0: not known
	sets  []netSet        // Calico's network sets

	dnsSeen bool // Cilium sees lookups
	windows bool // there are Windows nodes, and Azure NPM
}

// foreign lists the policies of kinds that belong to another dataplane.
func (c *compiler) foreign() {
	if c.rules.Dialect != Calico {
		for _, p := range c.w.Kube.CalicoPolicies {
			if p != nil {
				c.ignore(p.Ref, "only Calico carries it out, and policies are judged as "+c.rules.Dialect.String()+" does")
			}
		}
	}
	if c.rules.Dialect != Cilium {
		for _, p := range c.w.Kube.CiliumPolicies {
			if p != nil {
				c.ignore(p.Ref, "only Cilium carries it out, and policies are judged as "+c.rules.Dialect.String()+" does")
			}
		}
	}
}

// defaultOrder is the place of Calico's default tier among its tiers, where NetworkPolicy is.
const defaultOrder = 1_000_000

// placed is a tier with its own order, and policies with theirs.
type placed struct {
	name     string
	order    float64
	policies []ordered
}

type ordered struct {
	*Policy
	order float64
	tie   string // decides between equal orders where that is defined; "" where not
}

// last is the order of what has none.
var last = math.Inf(1)

// arrange puts tiers and policies in the order in which they are asked.
func arrange(tiers []placed) []Tier {
	slices.SortStableFunc(tiers, func(a, b placed) int { return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.name, b.name)) })
	out := make([]Tier, 0, len(tiers))
	for _, t := range tiers {
		slices.SortFunc(t.policies, func(a, b ordered) int {
			return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.tie, b.tie), cmp.Compare(a.Ref, b.Ref))
		})
		tier := Tier{Name: t.name, Policies: make([]*Policy, len(t.policies))}
		rank := 0
		for i := range t.policies {
			p := &t.policies[i]
			if i > 0 && (p.order != t.policies[i-1].order || p.tie != "" && p.tie != t.policies[i-1].tie) {
				rank++
			}
			p.Rank, tier.Policies[i] = rank, p.Policy
		}
		out = append(out, tier)
	}
	return out
}

// networkPolicies compiles networking.k8s.io/v1: rules that allow, and a refusal
// for what no policy that selects the pod allows. Their order means nothing.
func (c *compiler) networkPolicies(t *placed) {
	for _, np := range c.w.Kube.Policies {
		if np == nil {
			continue
		}
		p := &Policy{Ref: np.Ref(), Kind: "NetworkPolicy"}
		p.Subject.Namespace = np.Namespace
		p.Subject.Pods, p.Subject.Unknown = fromLabels(&np.PodSelector)
		if np.Ingress {
			p.Ingress = &Side{Rules: c.networkRules(np.IngressRules, &p.Subject, true), Isolates: true}
		}
		if np.Egress {
			p.Egress = &Side{Rules: c.networkRules(np.EgressRules, &p.Subject, false), Isolates: true}
		}
		t.policies = append(t.policies, ordered{Policy: p, order: 1000, tie: "knp.default." + np.Name + "/" + np.Namespace})
	}
}

func (c *compiler) networkRules(rules []model.PolicyRule, subject *Selection, ingress bool) []Rule {
	out := make([]Rule, 0, len(rules))
	for i := range rules {
		r := Rule{Index: i, Action: Allow, Unknown: rules[i].Unknown}
		for j := range rules[i].Peers {
			r.Peers = append(r.Peers, c.networkPeer(&rules[i].Peers[j], subject.Namespace)...)
		}
		for _, one := range c.withPorts(r, rules[i].Ports, ingress) {
			c.forWindows(&one, subject)
			out = append(out, one)
		}
	}
	return out
}

func (c *compiler) networkPeer(p *model.PolicyPeer, ns string) []Peer {
	switch {
	case p.Unknown != "":
		return []Peer{{Kind: Mystery, Why: p.Unknown}}
	case p.IPBlock.IsValid() && c.rules.Dialect == Cilium:
		return c.ciliumRange(p)
	case p.IPBlock.IsValid():
		return []Peer{{Kind: Range, CIDRs: []netip.Prefix{p.IPBlock.Masked()}, Except: masked(p.Except)}}
	case p.PodSelector == nil && p.NamespaceSelector == nil:
		return []Peer{{Kind: Mystery, Why: "a peer that says nothing that is understood"}}
	}
	return []Peer{{Kind: Pods, Pods: selection(ns, p.NamespaceSelector, p.PodSelector)}}
}

// selection chooses pods by a namespace selector (nil: the own namespace) and a pod selector.
func selection(own string, namespaces, pods *model.Selector) Selection {
	var s Selection
	var why string
	if namespaces == nil {
		s.Namespace = own
	} else {
		s.Namespaces, s.Unknown = fromLabels(namespaces)
	}
	s.Pods, why = fromLabels(pods)
	s.Unknown = cmp.Or(s.Unknown, why)
	return s
}

func masked(list []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = p.Masked()
	}
	return out
}

// withPorts gives a rule its ports. A rule whose ports are carried out by some
// versions only becomes two: what is certain, and what is not.
func (c *compiler) withPorts(r Rule, ports []model.PolicyPort, ingress bool) []Rule {
	if len(ports) == 0 {
		return []Rule{r}
	}
	doubtful := r
	for i := range ports {
		p := c.port(&ports[i])
		if !ingress {
			c.ambiguous(&p, r.Peers)
		}
		if c.rules.Dialect == Cilium && p.Name == "" && ports[i].EndPort != 0 && c.minor < rangesSince {
			rest := p
			p.Last = p.First
			if rest.First++; c.minor == 0 && rest.First <= rest.Last {
				doubtful.Ports = append(doubtful.Ports, rest)
			}
		}
		r.Ports = append(r.Ports, p)
	}
	if len(doubtful.Ports) == 0 {
		return []Rule{r}
	}
	doubtful.Unknown = cmp.Or(doubtful.Unknown, "Cilium reads endPort from version 1.17 on, and which version this is was not told")
	return []Rule{r, doubtful}
}

// rangesSince is the version of Cilium (1.17) from which on it reads endPort;
// earlier ones take the first port alone.
const rangesSince = 17

func (c *compiler) port(p *model.PolicyPort) Port {
	out := Port{Protocol: protocol(p.Protocol), Last: math.MaxUint16}
	if p.Port == "" {
		return out
	}
	if n, err := strconv.ParseUint(p.Port, 10, 16); err == nil {
		out.First, out.Last = uint16(n), uint16(n)
		if p.EndPort != 0 {
			out.Last = p.EndPort
		}
		return out
	}
	out.Name, out.Last = p.Port, 0
	return out
}

// ambiguous marks a named port of an egress rule that means different numbers on
// the pods that the rule is about: Cilium may drop it (cilium#30003).
func (c *compiler) ambiguous(p *Port, peers []Peer) {
	if c.rules.Dialect != Cilium || p.Name == "" {
		return
	}
	split := len(peers) == 0 && c.split["/"+p.Protocol+"/"+p.Name]
	for i := range peers {
		if peers[i].Kind == Pods {
			split = split || c.split[peers[i].Pods.Namespace+"/"+p.Protocol+"/"+p.Name]
		}
	}
	if split {
		p.Unknown = "port name " + p.Name + " means different numbers on different pods, which Cilium may drop"
	}
}

// protocol fills in the API's default.
func protocol(p string) string { return lower(cmp.Or(p, "tcp")) }

func lower(s string) string { return strings.ToLower(s) }

// prepare looks through the World once for what single rules depend on.
func (c *compiler) prepare() {
	if c.rules.Dialect == NPM {
		for _, n := range c.w.Kube.Nodes {
			c.windows = c.windows || n != nil && onWindows(n)
		}
	}
	if c.rules.Dialect != Cilium {
		return
	}
	c.dnsSeen = seesDNS(c.w)
	c.minor = ciliumVersion(c.w)
	numbers := map[string]uint16{}
	c.split = map[string]bool{}
	for _, p := range c.w.Kube.Pods {
		if p == nil || terminated(p) || p.HostNetwork {
			continue
		}
		for i := range p.Containers {
			for _, port := range p.Containers[i].Ports {
				for _, ns := range []string{"", p.Namespace} {
					key := ns + "/" + protocol(port.Protocol) + "/" + port.Name
					if old, ok := numbers[key]; ok && old != port.Port {
						c.split[key] = true
					}
					numbers[key] = port.Port
				}
			}
		}
	}
}

func onWindows(n *model.Node) bool { return n.Labels["kubernetes.io/os"] == "windows" }

// forWindows marks what Azure NPM does not carry out on Windows nodes.
// Source: https://learn.microsoft.com/azure/aks/use-network-policies
func (c *compiler) forWindows(r *Rule, subject *Selection) {
	if !c.windows {
		return
	}
	negative := func(s *Selector) bool {
		return slices.ContainsFunc(s.Reqs, func(r Requirement) bool { return r.Op == NotIn || r.Op == NotExists })
	}
	what := ""
	for i := range r.Ports {
		switch {
		case r.Ports[i].Name != "":
			what = "named ports"
		case r.Ports[i].Protocol == "sctp":
			what = "SCTP"
		}
	}
	for i := range r.Peers {
		p := &r.Peers[i]
		switch {
		case len(p.Except) > 0:
			what = "except"
		case negative(&p.Pods.Pods) || negative(&p.Pods.Namespaces):
			what = "selectors that exclude"
		}
	}
	if negative(&subject.Pods) {
		what = "selectors that exclude"
	}
	if what != "" {
		r.Windows = "Azure NPM does not carry out " + what + " on Windows nodes"
	}
}
