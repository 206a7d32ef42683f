package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// backends are the endpoints that a Service would send a flow to.
type backends struct {
	svc  *model.Service
	port *model.ServicePort // nil: the Service has no such port
	list []backend
	all  []backend // ready ones, wherever they are
	none string    // why there are none
	lost bool      // none, and packets are dropped: there are endpoints, not for this one
	gaps []model.Gap

	node     string // that translates; "": not known
	external bool   // asked by a node port or an address from outside, not by its own
	masq     bool   // the endpoint sees a node's address
	choice   *model.ServiceChoice
	notes    []string
}

type backend struct {
	addr   netip.AddrPort
	node   string
	target model.Ref
}

func (b *backends) ref() model.Ref { return model.NewRef("service", b.svc.Namespace, b.svc.Name) }

// serviceAt is the Service whose address or node port a flow is sent to, and the
// node that translates it: kube-proxy translates a Service's addresses, those of
// load balancers too, on the sender's node, and a node port on the node that has
// the address.
func (x *Index) serviceAt(f model.Flow, org origin) (*model.Service, *model.Node) {
	if !f.Dst.IsValid() {
		return nil, nil
	}
	if svc := x.svcByIP[f.Dst]; svc != nil {
		return svc, org.node
	}
	if n := x.nodeByIP[f.Dst]; n != nil {
		return x.portSvc[portKey(f.Protocol, f.DstPort)], n
	}
	return nil, nil
}

// addressed says how a flow names the Service: by an address of its own, or of
// elsewhere (a load balancer's, an external one, a node's).
func (b *backends) addressed(f model.Flow) {
	b.external = f.Dst.IsValid() && !slices.Contains(b.svc.ClusterIPs, f.Dst)
	nodePort := b.external && !slices.Contains(b.svc.ExternalIPs, f.Dst) && !slices.Contains(b.svc.LoadBalancerIPs, f.Dst)
	for i := range b.svc.Ports {
		p := &b.svc.Ports[i]
		number := p.Port
		if nodePort {
			number = p.NodePort
		}
		if number == f.DstPort && number != 0 && strings.EqualFold(cmp.Or(p.Protocol, "TCP"), f.Protocol) {
			b.port = p
		}
	}
}

// backends picks what kube-proxy would: ready endpoints, else those that still
// serve while they end; only local ones under a Local traffic policy; those that
// topology hints keep. Source: pkg/proxy/topology.go of Kubernetes.
func (x *Index) backends(svc *model.Service, f model.Flow, org origin, at *model.Node) *backends {
	b := &backends{svc: svc}
	if at != nil {
		b.node = at.Name
	}
	if b.addressed(f); b.port == nil {
		b.none = fmt.Sprintf("%s has no port %s/%d", b.ref(), strings.ToUpper(f.Protocol), f.DstPort)
		return b
	}
	list := x.slices[b.ref()]
	if len(list) == 0 && !x.read("endpointslice") {
		b.gaps = []model.Gap{x.gap("endpointslice", "endpoints of "+string(b.ref()), model.NewRef("endpointslice", svc.Namespace, svc.Name), "list endpointslices.discovery.k8s.io in namespace "+svc.Namespace)}
		b.none = "the endpoints were not read"
		return b
	}
	local := at != nil && b.localOnly(org, at)
	b.masq = b.external && (org.node != at || !strings.EqualFold(svc.ExternalTrafficPolicy, "Local")) && !local
	ready, ending := b.collect(list, f.Dst, func(*model.SliceEndpoint) bool { return true })
	if len(ready) == 0 {
		ready = ending
	}
	b.list, b.all = ready, ready
	switch {
	case x.sourceRefused(b, f, org):
	case len(ready) == 0:
		b.none = fmt.Sprintf("%s has no ready endpoint", b.ref())
		b.otherFamily(list, f.Dst)
	case local:
		b.keepLocal(list, f.Dst)
	default:
		b.byTopology(x, list, at)
	}
	if strings.EqualFold(svc.SessionAffinity, "ClientIP") {
		b.notes = append(b.notes, "sessionAffinity ClientIP: a client stays with the endpoint that it got first")
	}
	return b
}

// localOnly says whether only endpoints on the translating node count. What a
// node, or a pod on it, sends to an external address of a Service goes to all
// endpoints whatever externalTrafficPolicy says (the "short-circuit" of
// pkg/proxy/iptables/proxier.go).
func (b *backends) localOnly(org origin, at *model.Node) bool {
	if b.external {
		return strings.EqualFold(b.svc.ExternalTrafficPolicy, "Local") && org.node != at
	}
	return strings.EqualFold(b.svc.InternalTrafficPolicy, "Local") && org.node != nil
}

// keepLocal leaves the endpoints on the translating node. Where others have the
// only ones, kube-proxy drops the packet instead of refusing it.
func (b *backends) keepLocal(list []*model.EndpointSlice, vip netip.Addr) {
	all := b.all
	field := "internalTrafficPolicy"
	if b.external {
		field = "externalTrafficPolicy"
	}
	here := func(e *model.SliceEndpoint) bool { return e.Node == "" || e.Node == b.node }
	if b.list, _ = b.collect(list, vip, here); len(b.list) == 0 {
		_, b.list = b.collect(list, vip, here)
	}
	b.notes = append(b.notes, fmt.Sprintf("%s: Local leaves %d of %s, those on node/%s", field, len(b.list), plural(len(all), "endpoint"), b.node))
	if len(b.list) > 0 {
		return
	}
	b.choice = &model.ServiceChoice{By: field, Node: b.node, All: len(all)}
	for _, e := range all {
		if e.node != "" && !slices.Contains(b.choice.Elsewhere, e.node) {
			b.choice.Elsewhere = append(b.choice.Elsewhere, e.node)
		}
	}
	b.lost = true
	b.none = fmt.Sprintf("%s has no ready endpoint on node/%s (%s: Local), and %s elsewhere: on %s", b.ref(), b.node, field, plural(len(all), "endpoint"), strings.Join(b.choice.Elsewhere, ", "))
}

// sourceRefused is loadBalancerSourceRanges, which kube-proxy enforces on every
// node for the load balancer's address, also for pods: it drops what comes from elsewhere.
func (x *Index) sourceRefused(b *backends, f model.Flow, org origin) bool {
	if len(b.svc.SourceRanges) == 0 || !slices.Contains(b.svc.LoadBalancerIPs, f.Dst) || !org.addr.IsValid() {
		return false
	}
	if _, in := holder(b.svc.SourceRanges, org.addr); in {
		return false
	}
	words := make([]string, len(b.svc.SourceRanges))
	for i, p := range b.svc.SourceRanges {
		words[i] = p.String()
	}
	b.choice = &model.ServiceChoice{By: "loadBalancerSourceRanges", Node: b.node, All: len(b.list)}
	b.lost, b.list = true, nil
	b.none = fmt.Sprintf("loadBalancerSourceRanges of %s (%s) leave out %s: kube-proxy drops what it sends to %s", b.ref(), strings.Join(words, ", "), org.addr, f.Dst)
	return true
}

// otherFamily says that the endpoints have addresses of the other family, which
// kube-proxy does not use for this one.
func (b *backends) otherFamily(list []*model.EndpointSlice, vip netip.Addr) {
	other, have, want := netip.IPv6Unspecified(), "IPv6", "IPv4"
	if !vip.Is4() {
		other, have, want = netip.IPv4Unspecified(), "IPv4", "IPv6"
	}
	all := func(*model.SliceEndpoint) bool { return true }
	if ready, _ := b.collect(list, other, all); len(ready) > 0 && vip.IsValid() {
		b.choice = &model.ServiceChoice{By: "addressType", Node: b.node, All: len(ready)}
		b.none += fmt.Sprintf(" for %s: it has %s with %s addresses, and what comes to an %s address goes to %s endpoints only", vip, plural(len(ready), "endpoint"), have, want, want)
	}
}

// byTopology leaves the endpoints that hints give to the translating node or its
// zone: where each ready one has a hint, and one is for here.
func (b *backends) byTopology(x *Index, list []*model.EndpointSlice, at *model.Node) {
	if b.svc.TrafficDistribution != "" {
		b.notes = append(b.notes, "trafficDistribution: "+b.svc.TrafficDistribution)
	}
	if at == nil {
		return
	}
	hints := map[netip.Addr]*model.SliceEndpoint{}
	for _, s := range list {
		for i := range s.Endpoints {
			for _, text := range s.Endpoints[i].Addresses {
				if a, err := netip.ParseAddr(text); err == nil {
					hints[a.Unmap()] = &s.Endpoints[i]
				}
			}
		}
	}
	for _, by := range []struct {
		what, here string
		hint       func(*model.SliceEndpoint) []string
	}{
		{"node", at.Name, func(e *model.SliceEndpoint) []string { return e.ForNodes }},
		{"zone", at.Labels["topology.kubernetes.io/zone"], func(e *model.SliceEndpoint) []string { return e.Zones }},
	} {
		hinted := func(e backend) []string { return by.hint(hints[e.addr.Addr()]) }
		if by.here == "" || slices.ContainsFunc(b.list, func(e backend) bool { return len(hinted(e)) == 0 }) {
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(b.list), func(e backend) bool { return !slices.Contains(hinted(e), by.here) })
		if len(kept) > 0 {
			b.notes = append(b.notes, fmt.Sprintf("topology hints leave %d of %s, those for %s %s", len(kept), plural(len(b.list), "endpoint"), by.what, by.here))
			b.list = kept
			return
		}
	}
}

func (b *backends) collect(list []*model.EndpointSlice, vip netip.Addr, use func(*model.SliceEndpoint) bool) (ready, ending []backend) {
	for _, s := range list {
		port := b.slicePort(s)
		if port == 0 {
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if !use(e) || len(e.Addresses) == 0 {
				continue
			}
			a, err := netip.ParseAddr(e.Addresses[0])
			if err != nil || a.Is4() != vip.Is4() {
				continue
			}
			one := backend{addr: netip.AddrPortFrom(a.Unmap(), port), node: e.Node, target: e.Target}
			if e.Ready || b.svc.PublishNotReady {
				ready = append(ready, one)
			} else if e.Serving && e.Terminating {
				ending = append(ending, one)
			}
		}
	}
	byAddr := func(a, b backend) int { return a.addr.Compare(b.addr) }
	slices.SortFunc(ready, byAddr)
	slices.SortFunc(ending, byAddr)
	return slices.Compact(ready), slices.Compact(ending)
}

// slicePort is the number that a Service's port has in one slice: matched by
// name, as kube-proxy does.
func (b *backends) slicePort(s *model.EndpointSlice) uint16 {
	for _, p := range s.Ports {
		if p.Name == b.port.Name && strings.EqualFold(cmp.Or(p.Protocol, "TCP"), cmp.Or(b.port.Protocol, "TCP")) {
			return p.Port
		}
	}
	return 0
}

// service translates a Service's address to one endpoint.
func (t *tracer) service(svc *backends, to *backend) {
	if svc == nil {
		return
	}
	s := t.serviceStep(svc, to)
	t.add(s)
	if to == nil {
		t.end()
	}
}

// serviceStep is the choice of an endpoint, or why there is none.
func (t *tracer) serviceStep(svc *backends, to *backend) model.Step {
	s := model.Step{Hop: model.HopService, At: svc.ref(), Title: fmt.Sprintf("Service %s/%s", svc.svc.Namespace, svc.svc.Name), Trail: svc.notes, Service: svc.choice}
	if to == nil {
		s.Reason, s.Gaps = svc.none, svc.gaps
		if len(svc.gaps) == 0 {
			s.Verdict, s.Decided = model.Reject, svc.ref()
		}
		t.withoutEndpoint(&s, svc)
		return s
	}
	s.Verdict = model.Pass
	s.Reason = fmt.Sprintf("port %d goes to %s, one of %s", t.flow.DstPort, to.addr, plural(len(svc.list), "endpoint"))
	s.Out = t.flow
	s.Out.Dst, s.Out.DstPort, s.Out.To = to.addr.Addr(), to.addr.Port(), to.target
	if s.Out.To == "" {
		if p := t.x.podByIP[s.Out.Dst]; p != nil {
			s.Out.To = p.Ref()
		}
	}
	return s
}

// withoutEndpoint tells silence from refusal where a Service leads nowhere: what
// has no endpoint is refused, what has them elsewhere is dropped, and of a port
// that the Service does not have kube-proxy in iptables mode knows nothing: the
// packet leaves the node with the Service's address, which no network has.
func (t *tracer) withoutEndpoint(s *model.Step, svc *backends) {
	switch mode := t.x.ProxyMode(t.nodeRef().Name()); {
	case svc.lost:
		s.Verdict = model.Drop
	case svc.port == nil && mode == "iptables" && !t.x.cilium:
		s.Verdict = model.Drop
		s.Trail = append(s.Trail, "kube-proxy in iptables mode has no rule for it: the packet leaves the node with the Service's address")
	}
	t.policyFirst(s)
}

// policyFirst turns a refusal by kube-proxy into silence where a policy drops the
// packet before: policy engines put their chains ahead of kube-proxy's, and the
// packet to a Service without endpoints still has the Service's own address. What
// has to be mended is the Service all the same.
// Source: chainInsertMode in https://docs.tigera.io/calico/latest/reference/felix/configuration
func (t *tracer) policyFirst(s *model.Step) {
	p := t.org.pod
	if s.Verdict != model.Reject || p == nil || p.HostNetwork || t.x.cilium {
		return
	}
	if d := t.x.policies.Egress(p, t.flow); d.Verdict == model.Drop {
		s.Verdict = model.Drop
		s.Trail = append(s.Trail, fmt.Sprintf("kube-proxy would refuse it, but %s drops what goes to the Service's own address before", d.Decided))
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	suffix := "s"
	if strings.HasSuffix(noun, "s") {
		suffix = "es"
	}
	return strconv.Itoa(n) + " " + noun + suffix
}

// portKey files a node port: "tcp/30080".
func portKey(protocol string, port uint16) string {
	return strings.ToLower(cmp.Or(protocol, "tcp")) + "/" + strconv.Itoa(int(port))
}

// Endpoints are where a Service sends the connections to one of its ports (or
// node ports, where the flow goes to none of its addresses), seen from any node; none when it has no such port or no ready endpoint.
func Endpoints(w *model.World, svc *model.Service, f model.Flow) []netip.AddrPort {
	ref := model.NewRef("service", svc.Namespace, svc.Name)
	x := &Index{w: w, slices: map[model.Ref][]*model.EndpointSlice{}}
	for _, key := range sorted(w.Kube.EndpointSlices) {
		if s := w.Kube.EndpointSlices[key]; s.Namespace == svc.Namespace && s.Service == svc.Name {
			x.slices[ref] = append(x.slices[ref], s)
		}
	}
	if !f.Dst.IsValid() && len(svc.ClusterIPs) > 0 {
		f.Dst = svc.ClusterIPs[0]
	}
	var out []netip.AddrPort
	for _, b := range x.backends(svc, f, origin{}, nil).list {
		out = append(out, b.addr)
	}
	return out
}
