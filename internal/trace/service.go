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
	none string // why there are none
	gaps []model.Gap
}

type backend struct {
	addr   netip.AddrPort
	node   string
	target model.Ref
}

func (b *backends) ref() model.Ref { return model.NewRef("service", b.svc.Namespace, b.svc.Name) }

// serviceAt is the Service whose address (or node port, on the sender's own
// node) a flow is sent to. kube-proxy translates load balancer addresses on the
// node already.
func (x *Index) serviceAt(f model.Flow) *model.Service {
	if !f.Dst.IsValid() {
		return nil
	}
	return x.svcByIP[f.Dst]
}

// backends picks what kube-proxy would: ready endpoints, else those that still
// serve while they end; only local ones under a Local traffic policy.
func (x *Index) backends(svc *model.Service, f model.Flow, org origin) *backends {
	b := &backends{svc: svc}
	for i := range svc.Ports {
		if p := &svc.Ports[i]; p.Port == f.DstPort && strings.EqualFold(cmp.Or(p.Protocol, "TCP"), f.Protocol) {
			b.port = p
		}
	}
	if b.port == nil {
		b.none = fmt.Sprintf("%s has no port %s/%d", b.ref(), strings.ToUpper(f.Protocol), f.DstPort)
		return b
	}
	list := x.slices[b.ref()]
	if len(list) == 0 && !x.read("endpointslice") {
		b.gaps = []model.Gap{x.gap("endpointslice", "endpoints of "+string(b.ref()), model.NewRef("endpointslice", svc.Namespace, svc.Name), "list endpointslices.discovery.k8s.io in namespace "+svc.Namespace)}
		b.none = "the endpoints were not read"
		return b
	}
	local := strings.EqualFold(svc.InternalTrafficPolicy, "Local")
	ready, ending := b.collect(list, f.Dst, func(e *model.SliceEndpoint) bool {
		return !local || org.node == nil || e.Node == "" || e.Node == org.node.Name
	})
	if b.list = ready; len(ready) == 0 {
		b.list = ending
	}
	if len(b.list) == 0 {
		b.none = fmt.Sprintf("%s has no ready endpoint", b.ref())
		if local {
			b.none += " on this node (internalTrafficPolicy: Local)"
		}
	}
	return b
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
	s := model.Step{Hop: model.HopService, At: svc.ref(), Title: fmt.Sprintf("Service %s/%s", svc.svc.Namespace, svc.svc.Name)}
	if to == nil {
		s.Reason, s.Gaps = svc.none, svc.gaps
		if len(svc.gaps) == 0 {
			s.Verdict, s.Decided = model.Reject, svc.ref()
		}
		t.add(s)
		t.end()
		return
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
	t.add(s)
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

// Endpoints are where a Service sends the connections to one of its ports, seen
// from any node; none when it has no such port or no ready endpoint.
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
	for _, b := range x.backends(svc, f, origin{}).list {
		out = append(out, b.addr)
	}
	return out
}
