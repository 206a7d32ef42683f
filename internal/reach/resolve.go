package reach

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// portRange is what an intent's port means: numbers, or a name.
type portRange struct {
	first, last uint16
	name        string
}

// parsePorts reads "", "80", "8000-8080" or the name of a port.
func parsePorts(s string) (portRange, error) {
	if s == "" {
		return portRange{first: 1, last: ports - 1}, nil
	}
	low, high, isRange := strings.Cut(s, "-")
	n, err := strconv.ParseUint(low, 10, 64)
	if err != nil {
		if len(s) > 15 || strings.ContainsFunc(s, func(r rune) bool {
			return !(r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
		}) {
			return portRange{}, fmt.Errorf("port: %q is neither a number, a range like 8000-8080, nor the name of a port", s)
		}
		return portRange{name: s}, nil
	}
	m := n
	if isRange {
		if m, err = strconv.ParseUint(high, 10, 64); err != nil {
			return portRange{name: s}, nil
		}
	}
	if n < 1 || m > ports-1 || n > m {
		return portRange{}, fmt.Errorf("port: %s is not between 1 and 65535", s)
	}
	return portRange{first: uint16(n), last: uint16(m)}, nil
}

// group is one end of an intent, found: parties that no rule tells apart
// together, and what is to be said about them.
type group struct {
	parties []Party // pods each at one address; addresses; atoms of a network
	service *model.Service
	host    string // a DNS name outside of the cluster
	single  bool   // it names one thing, not a choice
	all     bool   // atoms: every address, not only those that are known
	why     string // not empty: nothing can be said, and why
}

// resolve finds what a side means.
func (e *Engine) resolve(s Side, namespace string) (*group, error) {
	if s.Text == "" {
		return e.choose(s)
	}
	text := s.Text
	if strings.EqualFold(text, "internet") {
		g := &group{all: true}
		for _, a := range e.atoms.internet(e.x.PodNets()) {
			g.parties = append(g.parties, e.atomParty(a))
		}
		return g, nil
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		return e.network(p), nil
	}
	if side, ok, err := parseSelector(text); err != nil {
		return nil, fmt.Errorf("%q: %w", text, err)
	} else if ok {
		return e.choose(side)
	}
	if parts := strings.Split(text, "/"); len(parts) == 2 {
		if g := e.pod(parts[0], parts[1]); g != nil { // before a namespace that is called like a kind
			return g, nil
		}
	}
	end, err := model.ParseEndpoint(text, false)
	if err != nil {
		return nil, err
	}
	if end.Namespace == "" {
		end.Namespace = cmp.Or(namespace, "default")
	}
	return e.endpoint(end), nil
}

// atomParty stands for the addresses of an atom.
func (e *Engine) atomParty(a int32) Party {
	i := e.outside + a
	return Party{Addr: e.entries[i].ip, entry: i, atom: true}
}

// network is every address of a network: pods and nodes that have one, and the rest.
func (e *Engine) network(p netip.Prefix) *group {
	g := &group{all: true}
	from, to := e.atoms.within(p)
	for a := from; a < to; a++ {
		for _, i := range e.byAtom[a] {
			switch {
			case i < e.pods:
				u := &e.units[e.entries[i].unit]
				k := slices.Index(u.entries, i)
				for _, m := range u.members {
					if party, ok := e.PodParty(m, k); ok {
						g.parties = append(g.parties, party)
					}
				}
			case i < e.outside:
				g.parties = append(g.parties, Party{Addr: e.entries[i].ip, entry: i, Node: true})
			case !e.dead[i-e.outside]:
				g.parties = append(g.parties, e.atomParty(a))
			}
		}
	}
	if len(g.parties) == 0 {
		g.why = p.String() + " holds no address"
	}
	return g
}

// pod finds a pod, or a workload that stands for its replicas; nil: there is none.
func (e *Engine) pod(ns, name string) *group {
	p := e.x.World().Kube.Pods[model.NewRef("pod", ns, name)]
	if p == nil {
		return nil
	}
	g := &group{single: true}
	e.join(g, p)
	if len(g.parties) == 0 {
		g.why = e.unusable(p)
	}
	return g
}

func (e *Engine) unusable(p *model.Pod) string {
	if p.HostNetwork {
		return fmt.Sprintf("%s is in its node's network, and the node's address is not known", p.Ref())
	}
	return fmt.Sprintf("%s has ended (%s): it has no connections", p.Ref(), p.Phase)
}

// join adds a pod at each of its addresses.
func (e *Engine) join(g *group, p *model.Pod) {
	if p.HostNetwork && !ended(p) {
		list := p.IPs
		if n := e.x.World().Kube.Nodes[p.Node]; len(list) == 0 && n != nil {
			list = n.InternalIPs
		}
		for _, ip := range list {
			party := e.AddrParty(ip)
			party.Node = true
			g.parties = append(g.parties, party)
		}
		return
	}
	for i := range max(1, len(p.IPs)) {
		if party, ok := e.PodParty(p, i); ok {
			g.parties = append(g.parties, party)
		}
	}
}

func ended(p *model.Pod) bool { return p.Phase == "Succeeded" || p.Phase == "Failed" }

// endpoint finds what the words of the command line and of docs/reach.md mean.
func (e *Engine) endpoint(end model.Endpoint) *group {
	w := e.x.World()
	switch end.Kind {
	case "ip":
		party := e.AddrParty(end.Addr)
		if s := e.serviceAt(end.Addr); s != nil && party.Pod == nil {
			return &group{service: s, single: true}
		}
		_, party.Node = e.nodeEntry[end.Addr.Unmap()]
		return &group{parties: []Party{party}, single: true}
	case "node":
		g := &group{single: true}
		if n := w.Kube.Nodes[end.Name]; n != nil {
			for _, ip := range n.InternalIPs {
				party := e.AddrParty(ip)
				party.Node = true
				g.parties = append(g.parties, party)
			}
		}
		if len(g.parties) == 0 {
			g.why = fmt.Sprintf("node %s, or its address, is not known", end.Name)
		}
		return g
	case "pod":
		if g := e.pod(end.Namespace, end.Name); g != nil {
			return g
		}
		return &group{single: true, why: fmt.Sprintf("there is no pod %s/%s", end.Namespace, end.Name)}
	case "service":
		s := w.Kube.Services[model.NewRef("service", end.Namespace, end.Name)]
		if s == nil {
			return &group{single: true, why: fmt.Sprintf("there is no Service %s/%s", end.Namespace, end.Name)}
		}
		return &group{single: true, service: s}
	case "host", "url":
		return e.name(end.Host)
	}
	return e.workload(model.NewRef(end.Kind, end.Namespace, end.Name))
}

// workload is all pods of one.
func (e *Engine) workload(ref model.Ref) *group {
	g := &group{}
	e.ownerOnce.Do(e.indexOwners)
	for _, p := range e.byOwner[ref] {
		if policy.Lives(p) || p.HostNetwork {
			e.join(g, p)
		}
	}
	if len(g.parties) == 0 {
		g.why = fmt.Sprintf("%s has no pods, or does not exist", ref)
	}
	return g
}

func (e *Engine) indexOwners() {
	e.byOwner = map[model.Ref][]*model.Pod{}
	for _, p := range e.x.World().Kube.Pods {
		for ref, depth := p.Owner, 0; ref != "" && depth < 4; depth++ {
			e.byOwner[ref] = append(e.byOwner[ref], p)
			w := e.x.World().Kube.Workloads[ref]
			if w == nil {
				break
			}
			ref = w.Owner
		}
	}
	for _, list := range e.byOwner {
		slices.SortFunc(list, func(a, b *model.Pod) int { return cmp.Compare(a.Name, b.Name) })
	}
}

// name is a host name: a Service's inside, or somebody's outside.
func (e *Engine) name(host string) *group {
	parts := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	if i := slices.Index(parts, "svc"); i == 2 {
		parts = parts[:2]
	}
	if len(parts) == 2 {
		if s := e.x.World().Kube.Services[model.NewRef("service", parts[1], parts[0])]; s != nil {
			return &group{single: true, service: s}
		}
	}
	return &group{single: true, host: host}
}

// serviceAt is the Service that has an address.
func (e *Engine) serviceAt(ip netip.Addr) *model.Service {
	e.serviceOnce.Do(func() {
		e.byVIP = map[netip.Addr]*model.Service{}
		for _, s := range e.x.World().Kube.Services {
			for _, a := range slices.Concat(s.ClusterIPs, s.ExternalIPs, s.LoadBalancerIPs) {
				e.byVIP[a.Unmap()] = s
			}
		}
	})
	return e.byVIP[ip.Unmap()]
}

// parseSelector reads NAMESPACES/PODS, where either may be * or a label
// selector as kubectl takes it; that of namespaces stands in brackets. A text
// without any of that is no selector.
func parseSelector(text string) (Side, bool, error) {
	var s Side
	ns, pods := "", ""
	switch {
	case text == "*":
		ns, pods = "*", "*"
	case strings.HasPrefix(text, "["):
		if _, err := netip.ParseAddrPort(text); err == nil {
			return s, false, nil
		}
		inner, rest, ok := strings.Cut(text[1:], "]")
		if !ok || rest != "" && !strings.HasPrefix(rest, "/") {
			return s, false, nil
		}
		sel, err := labelSelector(inner)
		if err != nil {
			return s, false, err
		}
		s.NamespaceSelector, pods = sel, cmp.Or(strings.TrimPrefix(rest, "/"), "*")
	default:
		var ok bool
		if ns, pods, ok = cutSelector(text); !ok {
			return s, false, nil
		}
	}
	if ns == "*" {
		s.NamespaceSelector = &model.Selector{}
	} else if s.NamespaceSelector == nil {
		s.Namespace = ns
	}
	if pods != "*" {
		sel, err := labelSelector(pods)
		if err != nil {
			return s, false, err
		}
		s.PodSelector = sel
	}
	return s, true, nil
}

// cutSelector splits "ns/app=web", "*/app=web", "ns/*". A label's own slash
// comes after the first one.
func cutSelector(text string) (ns, pods string, ok bool) {
	ns, pods, ok = strings.Cut(text, "/")
	if !ok || ns == "" || strings.ContainsAny(ns, "=!,( :.") && ns != "*" {
		return "", "", false
	}
	return ns, pods, pods == "*" || ns == "*" || strings.ContainsAny(pods, "=!(,")
}

// labelSelector reads kubectl's own syntax.
func labelSelector(text string) (*model.Selector, error) {
	parsed, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("not a label selector: %w", err)
	}
	out := &model.Selector{}
	reqs, _ := parsed.Requirements()
	for _, r := range reqs {
		e := model.SelectorExpression{Key: r.Key(), Values: r.ValuesUnsorted()}
		slices.Sort(e.Values)
		switch r.Operator() {
		case selection.In, selection.Equals, selection.DoubleEquals:
			e.Operator = "In"
		case selection.NotIn, selection.NotEquals:
			e.Operator = "NotIn"
		case selection.Exists:
			e.Operator, e.Values = "Exists", nil
		case selection.DoesNotExist:
			e.Operator, e.Values = "DoesNotExist", nil
		default:
			return nil, fmt.Errorf("operator %s is not one of policies' selectors", r.Operator())
		}
		out.Expressions = append(out.Expressions, e)
	}
	return out, nil
}

// choose finds the pods of selectors, living ones with an address of their own.
func (e *Engine) choose(s Side) (*group, error) {
	sel := policy.NewSelection(s.Namespace, s.NamespaceSelector, s.PodSelector)
	g := &group{}
	maybe := 0
	for i := range e.units {
		if sel.Namespace != "" && e.units[i].ns != sel.Namespace {
			continue
		}
		for _, p := range e.units[i].members { // the engine's units know nothing of this selector
			switch m, _ := e.x.Selects(&sel, p); m {
			case policy.Yes:
				e.join(g, p)
			case policy.Maybe:
				maybe++
			}
		}
	}
	switch {
	case maybe > 0:
		g.why = fmt.Sprintf("whether it selects %s is not known: the labels of their namespaces were not read", plural(maybe, "more pod", "more pods"))
	case len(g.parties) == 0:
		g.why = "it selects no pods"
	}
	return g, nil
}

// selectorText writes a selector as kubectl takes it.
func selectorText(s *model.Selector) string {
	if s == nil {
		return ""
	}
	var parts []string
	for k, v := range s.MatchLabels {
		parts = append(parts, k+"="+v)
	}
	slices.Sort(parts)
	for _, x := range s.Expressions {
		switch x.Operator {
		case "In":
			if len(x.Values) == 1 {
				parts = append(parts, x.Key+"="+x.Values[0])
				continue
			}
			parts = append(parts, x.Key+" in ("+strings.Join(x.Values, ",")+")")
		case "NotIn":
			parts = append(parts, x.Key+" notin ("+strings.Join(x.Values, ",")+")")
		case "Exists":
			parts = append(parts, x.Key)
		default:
			parts = append(parts, "!"+x.Key)
		}
	}
	return strings.Join(parts, ",")
}
