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
	split map[string]bool // names of ports that have different numbers on different pods
	sets  []netSet        // Calico's network sets

	dnsSeen bool // Cilium sees lookups
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
			p.Ingress = &Side{Rules: c.networkRules(np.IngressRules, np.Namespace, true), Isolates: true}
		}
		if np.Egress {
			p.Egress = &Side{Rules: c.networkRules(np.EgressRules, np.Namespace, false), Isolates: true}
		}
		t.policies = append(t.policies, ordered{Policy: p, order: 1000, tie: "knp.default." + np.Name + "/" + np.Namespace})
	}
}

func (c *compiler) networkRules(rules []model.PolicyRule, ns string, ingress bool) []Rule {
	out := make([]Rule, 0, len(rules))
	for i := range rules {
		r := Rule{Index: i, Action: Allow, Unknown: rules[i].Unknown}
		for j := range rules[i].Peers {
			r.Peers = append(r.Peers, c.networkPeer(&rules[i].Peers[j], ns))
		}
		out = append(out, c.withPorts(r, rules[i].Ports, ingress)...)
	}
	return out
}

func (c *compiler) networkPeer(p *model.PolicyPeer, ns string) Peer {
	if p.Unknown != "" {
		return Peer{Kind: Mystery, Why: p.Unknown}
	}
	if p.IPBlock.IsValid() {
		return Peer{Kind: Range, CIDRs: []netip.Prefix{p.IPBlock.Masked()}, Except: masked(p.Except), Beyond: c.rules.Dialect == Cilium}
	}
	if p.PodSelector == nil && p.NamespaceSelector == nil {
		return Peer{Kind: Mystery, Why: "a peer that says nothing that is understood"}
	}
	return Peer{Kind: Pods, Pods: selection(ns, p.NamespaceSelector, p.PodSelector)}
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
		p := c.port(&ports[i], ingress)
		if c.rules.Dialect == Cilium && p.First != p.Last && p.Last != math.MaxUint16 {
			sure, rest := p, p
			sure.Last, rest.First = p.First, p.First+1
			r.Ports, doubtful.Ports = append(r.Ports, sure), append(doubtful.Ports, rest)
			continue
		}
		r.Ports = append(r.Ports, p)
	}
	if len(doubtful.Ports) == 0 {
		return []Rule{r}
	}
	doubtful.Unknown = cmp.Or(doubtful.Unknown, "Cilium reads endPort from version 1.17 on, and which version this is was not told")
	return []Rule{r, doubtful}
}

func (c *compiler) port(p *model.PolicyPort, ingress bool) Port {
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
	if c.rules.Dialect == Cilium && !ingress && c.split[out.Protocol+"/"+out.Name] {
		out.Unknown = "port name " + p.Port + " means different numbers on different pods, which Cilium may drop"
	}
	return out
}

// protocol fills in the API's default.
func protocol(p string) string { return lower(cmp.Or(p, "tcp")) }

func lower(s string) string { return strings.ToLower(s) }

// prepare looks through the World once for what single rules depend on.
func (c *compiler) prepare() {
	numbers := map[string]uint16{}
	c.split = map[string]bool{}
	c.dnsSeen = c.rules.Dialect == Cilium && seesDNS(c.w)
	for _, p := range c.w.Kube.Pods {
		if p == nil || terminated(p) || p.HostNetwork {
			continue
		}
		for i := range p.Containers {
			for _, port := range p.Containers[i].Ports {
				key := protocol(port.Protocol) + "/" + port.Name
				if old, ok := numbers[key]; ok && old != port.Port {
					c.split[key] = true
				}
				numbers[key] = port.Port
			}
		}
	}
}
