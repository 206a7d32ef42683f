// Package trace predicts the way of one connection, hop by hop: which line of
// configuration lets it pass or drops it, and with which address it goes on.
//
// It is pure: a World in, a Path out; no I/O and no clock. One file holds one
// mechanism. A mechanism that lacks a document answers Unknown with the Gap
// that names the read, never Pass, and the trace goes on with what is known.
//
// Order of the steps, for a pod that opens a connection to the outside:
//
//	pod         the pod is there and has an address of the right family
//	policy      egress NetworkPolicy (judged on the backend when the destination is a Service)
//	cni         the destination is not shadowed by the pod, Service or another local network
//	service     ClusterIP, external address or node port → an endpoint
//	kube-proxy  what the node has of the Service, where its rules were read
//	node-kernel the node's packet filter, ip_forward, forwarding and rp_filter per device, the node's own routes
//	masquerade  which source address leaves the node
//	nsg         NIC, then subnet, outbound
//	route       longest prefix; then user-defined > BGP > system
//	gateway | appliance | (in the VNet: nsg inbound, policy ingress, pod)
//	snat        NAT gateway > instance address > load balancer outbound rule > default outbound
//	endpoint    what lies outside is for a probe to tell
//
// The way back is in Path.Return; what would come after the first drop is in Path.After.
package trace

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/netfilter"
)

// maxBackends bounds how many endpoints of a Service are followed one by one.
const maxBackends = 16

// Run predicts the way of one flow. From names the pod or node that opens it
// (or Src does); an unset Dst means "some address on the internet".
//
// A Service is followed to each of its endpoints, and the worst way is returned,
// because that is the one somebody will complain about.
func (x *Index) Run(f model.Flow) model.Path {
	paths, backends := x.ways(f)
	if len(paths) == 1 {
		return paths[0]
	}
	return worst(paths, backends)
}

// Ways predicts every way that one flow may take: one for each endpoint of a
// Service (up to a bound), in the order of their addresses; else the only one.
func (x *Index) Ways(f model.Flow) []model.Path {
	paths, _ := x.ways(f)
	return paths
}

func (x *Index) ways(f model.Flow) ([]model.Path, *backends) {
	f = x.normal(f)
	org := x.origin(f)
	f.Src, f.From = org.addr, org.ref
	svc, at := x.serviceAt(f, org)
	if svc == nil {
		return []model.Path{x.follow(f, org, nil, nil)}, nil
	}
	backends := x.backends(svc, f, org, at)
	if len(backends.list) == 0 {
		return []model.Path{x.follow(f, org, backends, nil)}, backends
	}
	var paths []model.Path
	for i := range min(len(backends.list), maxBackends) {
		paths = append(paths, x.follow(f, org, backends, &backends.list[i]))
	}
	return paths, backends
}

func (x *Index) normal(f model.Flow) model.Flow {
	f.Protocol = cmp.Or(strings.ToLower(f.Protocol), "tcp")
	f.Host = strings.TrimSuffix(strings.ToLower(f.Host), ".")
	f.Scheme = strings.ToLower(f.Scheme)
	f.Src, f.Dst = f.Src.Unmap(), f.Dst.Unmap()
	if !f.Dst.IsValid() {
		f.Dst = x.addrOf(f.To)
	}
	return f
}

// worst picks the way that fails first among the ways to a Service's endpoints.
func worst(paths []model.Path, b *backends) model.Path {
	rank := func(p model.Path) int {
		switch p.Verdict {
		case model.Drop, model.Reject:
			return 0
		case model.Unknown:
			return 1
		}
		return 2
	}
	best := 0
	for i := range paths {
		if rank(paths[i]) < rank(paths[best]) {
			best = i
		}
	}
	p := paths[best]
	if len(paths) > 1 {
		p.Spread = &model.Spread{Ways: len(paths)}
	}
	for i := range paths {
		if len(paths) > 1 && rank(paths[i]) == 0 {
			p.Spread.Blocked++
		}
	}
	for i := range p.Steps {
		if p.Steps[i].Hop != model.HopService || len(paths) < 2 {
			continue
		}
		for j := range paths {
			p.Steps[i].Trail = append(p.Steps[i].Trail, fmt.Sprintf("endpoint %s: %s", b.list[j].addr, paths[j].Verdict))
		}
		if n := len(b.list); n > maxBackends {
			p.Steps[i].Trail = append(p.Steps[i].Trail, fmt.Sprintf("%d further endpoints were not followed", n-maxBackends))
		}
	}
	return p
}

// tracer follows one flow to one destination.
type tracer struct {
	x      *Index
	org    origin
	flow   model.Flow // the packet as it is now
	orig   model.Flow // as the sender made it
	path   model.Path
	dead   bool   // something dropped it: what follows goes to After
	ended  bool   // nothing can follow
	unsure string // the route was a guess, and why: what follows is not certain either
	bare   *bareSource
	egress attachment        // where it leaves the node
	walk   *netfilter.Result // through the rules of the sender's node
	walked bool              // walk was tried

	wrapped *wrapped // the packet inside the one that is followed now
	tunnel  *wrapped // how it came to the far node

	far     *farService // translated on the node that it is sent to, not on the sender's
	through *firewall   // the firewall that it went through
	entered netip.Addr  // the source that the firewall saw
	kept    bool        // the firewall did not translate it
	sent    netip.Addr  // the source with which it was delivered in the VNet
	member  *attachment // where it was delivered in the VNet; nil: elsewhere
}

// bareSource says that a pod's own address leaves the node where nobody outside
// the pod network can answer it, and which configuration made it so.
type bareSource struct {
	decided model.Ref
	reason  string
}

// follow walks one flow through the steps in order.
func (x *Index) follow(f model.Flow, org origin, svc *backends, to *backend) model.Path {
	t := &tracer{x: x, org: org, flow: f, orig: f}
	t.path.Flow = f
	if svc != nil && org.node != nil && svc.node != "" && svc.node != org.node.Name {
		t.far, svc, to = &farService{svc, to}, nil, nil // translated where it arrives
	}
	for _, mechanism := range []func(*backends, *backend){
		t.source, t.destination, t.egressPolicy, t.localNetworks, t.service, t.kubeProxy, t.kernelOut, t.masquerade, t.leave,
	} {
		if t.ended {
			break
		}
		mechanism(svc, to)
	}
	if !t.dead {
		t.wayBack()
	}
	t.path.Verdict = verdictOf(t.path)
	return t.path
}

func verdictOf(p model.Path) model.Verdict {
	if b := p.Broken(); b != nil {
		return b.Verdict
	}
	if len(p.Steps) == 0 {
		return model.Unknown
	}
	for _, s := range slices.Concat(p.Steps, p.Return) {
		if s.Verdict == model.Unknown {
			return model.Unknown
		}
	}
	return model.Pass
}

// add records a step. The packet goes on as s.Out says, or unchanged.
func (t *tracer) add(s model.Step) {
	s.In, s.Outer = t.flow, t.wrapped != nil
	if s.Out.Protocol != "" {
		t.flow = s.Out
	}
	s.Out = t.flow
	blocked := s.Verdict == model.Drop || s.Verdict == model.Reject
	if blocked && t.unsure != "" {
		blocked, s.Verdict = false, model.Unknown
		s.Reason = fmt.Sprintf("probably blocked (%s), but %s", s.Reason, t.unsure)
	}
	if blocked {
		s.Out = model.Flow{}
	}
	if t.dead {
		t.path.After = append(t.path.After, s)
		return
	}
	t.path.Steps = append(t.path.Steps, s)
	t.dead = blocked
}

// end stops the trace: nothing that could follow is known or possible.
func (t *tracer) end() { t.ended = true }

// back records a step of the way back.
func (t *tracer) back(s model.Step) {
	if b := t.path.Broken(); b != nil {
		return
	}
	if (s.Verdict == model.Drop || s.Verdict == model.Reject) && t.unsure != "" {
		s.Verdict, s.Reason = model.Unknown, fmt.Sprintf("probably blocked (%s), but %s", s.Reason, t.unsure)
	}
	if s.In.Protocol == "" {
		s.In = reply(t.flow)
	}
	s.Out = s.In
	if s.Verdict == model.Drop || s.Verdict == model.Reject {
		s.Out = model.Flow{}
	}
	t.path.Return = append(t.path.Return, s)
}

func reply(f model.Flow) model.Flow {
	return model.Flow{
		Protocol: f.Protocol, Src: f.Dst, SrcPort: f.DstPort, Dst: f.Src, DstPort: f.SrcPort,
		Host: f.Host, Scheme: f.Scheme, From: f.To, To: f.From,
	}
}

// dstText names a destination for people, also when its address is not known.
func dstText(f model.Flow) string {
	switch {
	case f.Dst.IsValid() && f.DstPort != 0:
		return netip.AddrPortFrom(f.Dst, f.DstPort).String()
	case f.Dst.IsValid():
		return f.Dst.String()
	case f.Host != "":
		return fmt.Sprintf("%s:%d", f.Host, f.DstPort)
	}
	return fmt.Sprintf("the internet, port %d", f.DstPort)
}
