package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Labels by which Cilium knows where a pod is from. Their sources (k8s:, any:)
// are optional in a policy.
const (
	ciliumNamespace       = "io.kubernetes.pod.namespace"
	ciliumNamespaceLabels = "io.cilium.k8s.namespace.labels."
	ciliumServiceAccount  = "io.cilium.k8s.policy.serviceaccount"
	ciliumCluster         = "io.cilium.k8s.policy.cluster"
)

// ciliumPolicies compiles Cilium's kinds beside NetworkPolicy. All policies of
// an endpoint are one set: what any rule denies is denied, then what any rule
// allows is allowed, and the rest is denied as soon as one policy asks for that.
// Source: https://docs.cilium.io/en/stable/security/policy/
func (c *compiler) ciliumPolicies(tiers []placed) []placed {
	deny := placed{name: "cilium deny", order: 0}
	for _, cp := range c.w.Kube.CiliumPolicies {
		if cp == nil {
			continue
		}
		kind := "CiliumNetworkPolicy"
		if cp.Namespace == "" {
			kind = "CiliumClusterwideNetworkPolicy"
		}
		for i := range cp.Specs {
			s := &cp.Specs[i]
			if s.Hosts {
				c.ignore(cp.Ref, "it is for nodes (nodeSelector), not for pods")
				continue
			}
			denies, allows := c.ciliumSpec(s, cp.Namespace)
			for _, p := range []*Policy{denies, allows} {
				p.Ref, p.Kind = cp.Ref, kind
			}
			if denies.Ingress != nil || denies.Egress != nil {
				deny.policies = append(deny.policies, ordered{Policy: denies, tie: string(cp.Ref)})
			}
			if allows.Ingress != nil || allows.Egress != nil {
				tiers[0].policies = append(tiers[0].policies, ordered{Policy: allows, order: 1000, tie: string(cp.Ref)})
			}
		}
	}
	if c.ciliumConfig()["enable-policy"] == "always" {
		always := &Side{Isolates: true}
		p := &Policy{Ref: ciliumConfig, Kind: "ConfigMap", Order: "enable-policy: always", Ingress: always, Egress: always}
		tiers[0].policies = append(tiers[0].policies, ordered{Policy: p, order: last})
	}
	if len(deny.policies) > 0 {
		tiers = append(tiers, deny)
	}
	return tiers
}

// ciliumConfig is where Cilium is configured.
const ciliumConfig model.Ref = "configmap/kube-system/cilium-config"

func (c *compiler) ciliumConfig() map[string]string { return c.w.Kube.ConfigMaps[ciliumConfig] }

func (c *compiler) ciliumSpec(s *model.CiliumSpec, ns string) (denies, allows *Policy) {
	subject, why := ciliumPods(s.Endpoints, "")
	subject.Unknown = cmp.Or(s.Unknown, why)
	if ns != "" {
		subject.Namespace = ns // whatever else it says of namespaces, it is for its own
	}
	denies, allows = &Policy{Subject: subject}, &Policy{Subject: subject}
	for _, d := range []struct {
		allow, deny []model.CiliumRule
		isolates    *bool
		ingress     bool
		a, d        **Side
	}{{s.Ingress, s.IngressDeny, s.DenyIngress, true, &allows.Ingress, &denies.Ingress}, {s.Egress, s.EgressDeny, s.DenyEgress, false, &allows.Egress, &denies.Egress}} {
		has := len(d.allow)+len(d.deny) > 0
		isolates := has
		if d.isolates != nil {
			isolates = *d.isolates
		}
		if len(d.deny) > 0 {
			*d.d = &Side{Rules: c.ciliumRules(d.deny, ns, d.ingress, Deny)}
		}
		if has || isolates {
			*d.a = &Side{Rules: c.ciliumRules(d.allow, ns, d.ingress, Allow), Isolates: isolates}
		}
	}
	return denies, allows
}

func (c *compiler) ciliumRules(rules []model.CiliumRule, ns string, ingress bool, action Action) []Rule {
	out := make([]Rule, 0, len(rules))
	for i := range rules {
		m := &rules[i]
		r := Rule{Index: i, Action: action, Unknown: m.Unknown}
		if len(m.Requires) > 0 {
			r.Unknown = cmp.Or(r.Unknown, "it sets requirements that hold for other rules too (fromRequires, toRequires)")
		}
		switch {
		case m.Peered:
			r.Peers = c.ciliumPeers(m, ns)
		case !m.Ported && m.Unknown == "":
			r.Peers = []Peer{{Kind: Nobody}} // "- {}" allows nothing; it is how default deny is written
		}
		out = append(out, c.ciliumPorts(r, m, ingress)...)
	}
	return out
}

// ciliumPorts gives a rule its ports: those that need nothing else, and as rules
// of their own those on which Cilium also looks into what is said.
func (c *compiler) ciliumPorts(r Rule, m *model.CiliumRule, ingress bool) []Rule {
	if !m.Ported {
		return []Rule{r}
	}
	var out []Rule
	for i := range m.Ports {
		p := m.Ports[i].PolicyPort
		if p.Port == "0" {
			p.Port = ""
		}
		for _, one := range c.withPorts(r, []model.PolicyPort{p}, ingress) {
			for j := range one.Ports {
				one.Ports[j].Protocol = lower(p.Protocol) // where none is given, every one
			}
			if l7 := m.Ports[i].L7; l7 != "" {
				one.Unknown = cmp.Or(one.Unknown, "on this port it allows only some of what is said ("+l7+" rules), which is not judged")
			}
			out = append(out, one)
		}
	}
	return out // none: only ICMP, which no flow here is
}

func (c *compiler) ciliumPeers(m *model.CiliumRule, ns string) []Peer {
	out := []Peer{}
	for i := range m.Endpoints {
		s := &m.Endpoints[i]
		if reserved, ok := reservedLabel(s); ok {
			out = append(out, c.entity(reserved)...)
			continue
		}
		pods, why := ciliumPods(s, ns)
		if pods.Unknown = why; why != "" {
			out = append(out, Peer{Kind: Mystery, Why: why})
			continue
		}
		out = append(out, Peer{Kind: Pods, Pods: pods})
	}
	for _, e := range m.Entities {
		out = append(out, c.entity(e)...)
	}
	for i := range m.CIDRs {
		out = append(out, c.ciliumRange(&m.CIDRs[i])...)
	}
	if len(m.Names) > 0 {
		out = append(out, c.ciliumNames(m.Names))
	}
	for i := range m.Nodes {
		nodes, why := fromLabels(withoutSources(&m.Nodes[i]))
		if why != "" {
			out = append(out, Peer{Kind: Mystery, Why: why})
			continue
		}
		out = append(out, Peer{Kind: Hosts, Nodes: nodes})
	}
	for _, s := range m.Services {
		out = append(out, Peer{Kind: Mystery, Why: "it allows " + string(s) + ", whose endpoints Cilium follows (toServices)"})
	}
	if len(out) == 0 {
		out = append(out, Peer{Kind: Nobody})
	}
	return out
}

// everywhere is all addresses of both families.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

func (c *compiler) entity(name string) []Peer {
	switch name {
	case "all":
		return []Peer{{Kind: Anyone}}
	case "world":
		return []Peer{{Kind: Range, CIDRs: everywhere, Beyond: true}}
	case "world-ipv4":
		return []Peer{{Kind: Range, CIDRs: everywhere[:1], Beyond: true}}
	case "world-ipv6":
		return []Peer{{Kind: Range, CIDRs: everywhere[1:], Beyond: true}}
	case "cluster":
		return append([]Peer{{Kind: Pods}, {Kind: Hosts}}, c.apiServer()...)
	case "host":
		return []Peer{{Kind: Hosts, Own: OwnNode}}
	case "remote-node":
		return []Peer{{Kind: Hosts, Own: OtherNode}}
	case "kube-apiserver":
		return c.apiServer()
	case "init", "health", "none":
		return []Peer{{Kind: Nobody}} // no pod that is asked about is one
	}
	return []Peer{{Kind: Mystery, Why: "Cilium's entity " + name + " is not known here"}}
}

// apiServer is where the API server is, by the endpoints of its Service.
func (c *compiler) apiServer() []Peer {
	out := Peer{Kind: Range}
	for _, s := range c.w.Kube.EndpointSlices {
		if s == nil || s.Namespace != "default" || s.Service != "kubernetes" {
			continue
		}
		for _, e := range s.Endpoints {
			for _, a := range e.Addresses {
				if ip, err := netip.ParseAddr(a); err == nil {
					out.CIDRs = append(out.CIDRs, netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()))
				}
			}
		}
	}
	if len(out.CIDRs) == 0 {
		return []Peer{{Kind: Mystery, Why: "it allows the API server, and the endpoints of service/default/kubernetes were not read"}}
	}
	slices.SortFunc(out.CIDRs, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) })
	return []Peer{out}
}

func (c *compiler) ciliumRange(p *model.PolicyPeer) []Peer {
	if p.Unknown != "" || !p.IPBlock.IsValid() {
		return []Peer{{Kind: Mystery, Why: cmp.Or(p.Unknown, "a range of addresses could not be read")}}
	}
	out := []Peer{{Kind: Range, CIDRs: []netip.Prefix{p.IPBlock.Masked()}, Except: masked(p.Except), Beyond: true}}
	if strings.Contains(c.ciliumConfig()["policy-cidr-match-mode"], "nodes") {
		out = append(out, Peer{Kind: Hosts, CIDRs: out[0].CIDRs, Except: out[0].Except})
	}
	return out
}

// ciliumNames are DNS names. Cilium learns their addresses from the lookups that
// its proxy sees, which takes a rule with DNS rules.
func (c *compiler) ciliumNames(names []string) Peer {
	if !c.dnsSeen {
		return Peer{Kind: Mystery, Why: "it allows DNS names, but no policy has a rule with DNS rules, without which Cilium learns no addresses (toFQDNs)"}
	}
	return Peer{Kind: Names, Names: slices.Clone(names)}
}

// seesDNS says whether any policy makes Cilium look at lookups.
func seesDNS(w *model.World) bool {
	for _, p := range w.Kube.CiliumPolicies {
		if p == nil {
			continue
		}
		for i := range p.Specs {
			for _, r := range p.Specs[i].Egress {
				if slices.ContainsFunc(r.Ports, func(p model.CiliumPort) bool { return p.L7 == "dns" }) {
					return true
				}
			}
		}
	}
	return false
}

// reservedLabel is the entity that an endpoint selector means by a label of source "reserved".
func reservedLabel(s *model.Selector) (string, bool) {
	if len(s.MatchLabels) != 1 || len(s.Expressions) > 0 {
		return "", false
	}
	for k := range s.MatchLabels {
		for _, sep := range []string{"reserved:", "reserved."} {
			if name, ok := strings.CutPrefix(k, sep); ok {
				return name, true
			}
		}
	}
	return "", false
}

// ciliumPods brings an endpoint selector into the neutral form: Cilium keeps a
// pod's namespace, the namespace's labels and the service account among its
// labels. Where a selector says nothing of the namespace, it means own ("": any).
func ciliumPods(s *model.Selector, own string) (Selection, string) {
	var out Selection
	if s == nil {
		out.Namespace = own
		return out, ""
	}
	all, why := fromLabels(withoutSources(s))
	var pods, spaces []Requirement
	placed := false
	for _, r := range all.Reqs {
		switch {
		case r.Key == ciliumNamespace:
			placed = true
			r.Key = nameLabel
			spaces = append(spaces, r)
		case strings.HasPrefix(r.Key, ciliumNamespaceLabels):
			placed = true
			r.Key = r.Key[len(ciliumNamespaceLabels):]
			spaces = append(spaces, r)
		case r.Key == ciliumServiceAccount && r.Op == In:
			out.ServiceAccounts = r.Values
		case r.Key == ciliumServiceAccount:
			why = cmp.Or(why, "it chooses by what the service account is not")
		case r.Key == ciliumCluster:
			why = cmp.Or(why, "it chooses by cluster, and which name this one has was not read")
		case strings.HasPrefix(r.Key, "reserved:"), strings.HasPrefix(r.Key, "cidr:"):
			why = cmp.Or(why, "it mixes labels of pods with "+r.Key)
		default:
			pods = append(pods, r)
		}
	}
	out.Pods, out.Namespaces = newSelector(pods, nil), newSelector(spaces, nil)
	if !placed {
		out.Namespace = own
	}
	return out, why
}

// withoutSources takes the source of a label's name, k8s: or any:, away.
func withoutSources(s *model.Selector) *model.Selector {
	cut := func(key string) string {
		for _, source := range []string{"k8s:", "any:", "k8s.", "any."} {
			if rest, ok := strings.CutPrefix(key, source); ok && (source[3] == ':' || strings.HasPrefix(rest, "io.kubernetes.pod.namespace")) {
				return rest
			}
		}
		return key
	}
	out := &model.Selector{MatchLabels: model.Labels{}}
	for k, v := range s.MatchLabels {
		out.MatchLabels[cut(k)] = v
	}
	for _, e := range s.Expressions {
		e.Key = cut(e.Key)
		out.Expressions = append(out.Expressions, e)
	}
	return out
}

// ciliumVersion is the agents' version, by their image: 17 is 1.17, 0 not known.
// While an upgrade goes on it is the oldest.
func ciliumVersion(w *model.World) int {
	oldest := 0
	for _, p := range w.Kube.Pods {
		if p == nil || p.Owner.Kind() != "daemonset" || p.Owner.Name() != "cilium" {
			continue
		}
		for i := range p.Containers {
			if minor := imageMinor(p.Containers[i].Image); minor > 0 && (oldest == 0 || minor < oldest) {
				oldest = minor
			}
		}
	}
	return oldest
}

// imageMinor reads REGISTRY/…/cilium:v1.17.2, with whatever follows.
func imageMinor(image string) int {
	name, tag, ok := strings.Cut(image[strings.LastIndexByte(image, '/')+1:], ":")
	rest, ok2 := strings.CutPrefix(strings.TrimPrefix(tag, "v"), "1.")
	if !ok || !ok2 || !strings.HasPrefix(name, "cilium") {
		return 0
	}
	digits, _, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return n
}
