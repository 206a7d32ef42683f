package parity

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// flow is one connection to predict and to open.
type flow struct {
	from     place
	protocol string // tcp, udp
	to       netip.AddrPort
	url      string // where the name counts: of a host outside
	host     string
	tls      bool
	closed   bool // nothing listens there: who gets through is refused
	what     string
}

// place is where a connection comes from.
type place struct {
	name  string // as podpath takes it
	netns string // a path
}

func (f *flow) String() string {
	to := f.to.String()
	if f.url != "" {
		to = f.url + " at " + f.to.Addr().String()
	}
	return fmt.Sprintf("%s %s → %s (%s)", f.protocol, f.from.name, to, f.what)
}

// picker chooses connections.
type picker struct {
	inventor
}

// pickFlows draws connections: mostly between pods, by address and by Service,
// and to and from nodes and the outside.
func (s *stage) pickFlows(r *rand.Rand, w *world, n int) []flow {
	k := &picker{inventor{r, s, w}}
	out := make([]flow, 0, n)
	for len(out) < n {
		f := flow{from: k.sender()}
		switch x := k.IntN(100); {
		case x < 50:
			k.toPod(&f)
		case x < 80:
			k.toService(&f)
		case x < 92:
			k.outside(&f)
		default:
			k.toNode(&f)
		}
		if f.what != "" {
			out = append(out, f)
		}
	}
	return out
}

func (k *picker) sender() place {
	if k.chance(8) {
		n := one(&k.inventor, k.s.lab.Plan.Nodes...)
		return place{"node/" + n.Name, "/run/netns/" + k.s.nodeNS(n)}
	}
	p := one(&k.inventor, k.s.pods...)
	return place{name: p.namespace + "/" + p.name}
}

func (k *picker) toPod(f *flow) {
	p := one(&k.inventor, k.s.pods...)
	if p.id() == f.from.name {
		return // what a pod says to itself is nobody's business
	}
	port := int32(closedPort)
	switch x := k.IntN(10); {
	case x < 6:
		f.protocol, port = "tcp", one(&k.inventor, tcpPorts...)
	case x < 9:
		f.protocol, port = "udp", one(&k.inventor, udpPorts...)
	default:
		f.protocol, f.closed = "tcp", true
	}
	f.what, f.to = "pod "+p.id(), netip.AddrPortFrom(p.addr, uint16(port))
}

func (k *picker) toService(f *flow) {
	svc := one(&k.inventor, k.w.services...)
	port := one(&k.inventor, svc.Spec.Ports...)
	f.protocol = "tcp"
	if port.Protocol == corev1.ProtocolUDP {
		f.protocol = "udp"
	}
	number := uint16(port.Port)
	if k.chance(4) {
		number = closedPort // the Service has no such port
	}
	f.closed = port.TargetPort.IntVal == closedPort
	f.what = fmt.Sprintf("service %s/%s", svc.Namespace, svc.Name)
	f.to = netip.AddrPortFrom(netip.MustParseAddr(svc.Spec.ClusterIP), number)
}

func (k *picker) outside(f *flow) {
	h := one(&k.inventor, outside...)
	port := one(&k.inventor, h.ports...)
	f.protocol, f.what, f.host, f.tls = "tcp", h.name, h.name, port == 443
	f.to = netip.AddrPortFrom(netip.MustParseAddr(h.addr), uint16(port))
	f.url = "http://" + h.name
	if f.tls {
		f.url = "https://" + h.name
	}
}

func (k *picker) toNode(f *flow) {
	n := one(&k.inventor, k.s.lab.Plan.Nodes...)
	if f.from.name == "node/"+n.Name {
		return
	}
	port := uint16(kubeletPort)
	if k.chance(30) {
		port, f.closed = closedPort, true
	}
	f.protocol, f.what, f.to = "tcp", "node "+n.Name, netip.AddrPortFrom(n.Addr, port)
	f.tls = port == kubeletPort
}
