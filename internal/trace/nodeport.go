package trace

import (
	"fmt"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/netfilter"
)

// farService is a Service that is asked by the port of a node other than the
// sender's: that node translates.
type farService struct {
	svc *backends
	to  *backend // nil: there is none
}

// nodePort is the arrival at a node whose port is a Service's: it sends the
// packet on to an endpoint, with its own address as the source unless the
// Service's externalTrafficPolicy is Local.
func (t *tracer) nodePort(n *model.Node) {
	svc, to := t.far.svc, t.far.to
	t.far = nil
	ref, f := model.NewRef("node", n.Name), t.x.filters[n.Name]
	walk := t.portWalk(n, f)
	if to == nil {
		svc, to = t.shortCircuit(svc, walk)
	}
	s := t.serviceStep(svc, to)
	s.Title += fmt.Sprintf(", port %d of %s", t.flow.DstPort, ref)
	if to == nil {
		t.doubtLocal(&s, svc, walk != nil)
		t.add(s)
		t.end()
		return
	}
	if svc.masq {
		s.Out.Src, s.Out.From = t.flow.Dst, ref
		s.Trail = append(s.Trail, fmt.Sprintf("the endpoint sees %s as the client: kube-proxy masquerades what comes by a node port", t.flow.Dst))
	}
	entry := t.flow
	t.add(s)
	if walk != nil {
		t.addProxyStep(ref, f, *walk, svc, entry)
		t.unmasqueraded(ref, f, *walk, svc, to)
	}
	t.org = origin{ref: ref, addr: t.flow.Src, node: n}
	t.walked, t.walk, t.member = true, nil, nil
	t.leave(nil, nil)
}

// unmasqueraded judges a node that sends the packet on to another node's endpoint
// without masquerading it, although the Service wants that: the endpoint answers the
// client past this node, from an address that the client does not know.
func (t *tracer) unmasqueraded(at model.Ref, f *nodeFilter, r netfilter.Result, svc *backends, to *backend) {
	if !svc.masq || to.node == "" || to.node == svc.node || t.dead {
		return
	}
	there := 0
	for _, o := range r.Outcomes {
		if !o.Packet.DNAT || addrPort(o.Packet) != to.addr {
			continue
		}
		if there++; o.Packet.SNAT || o.Verdict != netfilter.Accept || len(o.If) > 0 {
			return
		}
	}
	if there == 0 {
		return
	}
	t.add(model.Step{
		Hop: model.HopKubeProxy, At: at, Title: "masquerading on " + string(at), Verdict: model.Drop, Decided: at,
		Proxy:  &model.ProxyState{Mode: proxyMode(f.rules), Bare: true},
		Reason: fmt.Sprintf("no rule of %s masquerades what it sends on to %s on node %s: the endpoint answers the client from its own address, which the client does not know", at, to.addr, to.node),
	})
}

// portWalk walks the packet through the rules of the node that it comes to; nil: they were not read.
func (t *tracer) portWalk(n *model.Node, f *nodeFilter) *netfilter.Result {
	if f == nil || t.x.cilium || !t.flow.Src.IsValid() || len(f.gaps) > 0 || hasIPVS(f.facts) {
		return nil
	}
	p := packetOf(t.flow)
	p.In = uplink(f.facts, n)
	r := f.rules.Incoming(p, f.machine(n))
	return &r
}

// shortCircuit is the Service with all of its endpoints, and the one to which the
// node's own rules send a packet that externalTrafficPolicy: Local leaves without:
// they treat senders that kube-proxy takes for pods of the cluster (--cluster-cidr)
// as if they were local.
func (t *tracer) shortCircuit(svc *backends, walk *netfilter.Result) (*backends, *backend) {
	if walk == nil || svc.choice == nil || svc.choice.By != "externalTrafficPolicy" {
		return svc, nil
	}
	for _, o := range walk.Outcomes {
		for i := range svc.all {
			if o.Packet.DNAT && addrPort(o.Packet) == svc.all[i].addr {
				open := *svc
				open.list, open.choice = svc.all, nil
				open.notes = []string{fmt.Sprintf("externalTrafficPolicy: Local does not apply: kube-proxy on node/%s takes %s for a pod of the cluster", svc.node, t.flow.Src)}
				return &open, &open.list[i]
			}
		}
	}
	return svc, nil
}

// doubtLocal turns the refusal of externalTrafficPolicy: Local into Unknown where
// it depends on what kube-proxy takes for the cluster's own addresses, and the
// node's rules, which would tell, were not read.
func (t *tracer) doubtLocal(s *model.Step, svc *backends, walked bool) {
	if walked || svc.choice == nil || svc.choice.By != "externalTrafficPolicy" {
		return
	}
	_, pods := holder(t.x.podCIDRs, t.flow.Src)
	if !pods && !t.x.podNetOf(t.org.node, t.org.addr).inVNet() {
		return // a node's own address, in no range of pods
	}
	ref := model.NewRef("node", svc.node)
	s.Verdict = model.Unknown
	s.Reason = "probably dropped: " + s.Reason + fmt.Sprintf("; but if kube-proxy there takes %s for an address of the cluster (--cluster-cidr), the policy does not apply", t.flow.Src)
	s.Gaps = append(s.Gaps, t.x.gap("node", "packet filter of "+string(ref), ref, "create pods (a host-network pod that reads the node)"))
}
