package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// source judges the sender itself: whether it is there, and has an address that
// can talk to the destination at all.
func (t *tracer) source(*backends, *backend) {
	o := t.org
	s := model.Step{Hop: model.HopPod, At: o.ref, Title: string(o.ref)}
	switch {
	case o.pod != nil:
		t.podSource(&s, o.pod)
	case o.node != nil:
		s.Hop, s.Verdict, s.Reason = model.HopNodeKernel, model.Pass, fmt.Sprintf("node %s sends from %s", o.node.Name, o.addr)
		if !o.addr.IsValid() {
			s.Verdict, s.Reason = noAddress(t.flow.Dst, "node "+o.node.Name)
			s.Decided = s.At
		}
	default:
		s.Title = "the sender"
		if s.At == "" {
			s.At = "host/unknown"
			if o.addr.IsValid() {
				s.At = model.NewRef("host", o.addr.String())
			}
		}
		s.Reason = "the sender is no pod and no node of this cluster that was read: the way in is not traced"
		kind := o.ref.Kind()
		if kind == "pod" || kind == "node" {
			s.Gaps = []model.Gap{t.x.gap(kind, string(o.ref), o.ref, "get "+kind+"s")}
		}
		t.add(s)
		t.end()
		return
	}
	t.add(s)
	if t.dead {
		t.end() // no packet is ever sent
	}
}

// destination ends the way to a pod that was asked for by its name, or by what
// owns it, and has no address: no packet can be sent.
func (t *tracer) destination(*backends, *backend) {
	to := t.flow.To
	if t.flow.Dst.IsValid() || to == "" || to.Kind() == "node" || to.Kind() == "service" {
		return
	}
	s := model.Step{Hop: model.HopPod, At: to, Title: string(to), Verdict: model.Drop, Decided: to, Reason: "no pod of it has an address"}
	p := t.x.w.Kube.Pods[to]
	if p == nil {
		p = t.x.podOf[to]
	}
	switch {
	case p != nil:
		s.At, s.Title = p.Ref(), fmt.Sprintf("pod %s/%s", p.Namespace, p.Name)
		s.Reason = fmt.Sprintf("the pod has no address (%s)", strings.TrimSpace(p.Phase+" "+p.Reason))
	case !t.x.read("pod"):
		s.Verdict, s.Decided, s.Reason = model.Unknown, "", "its pods were not read"
		s.Gaps = []model.Gap{t.x.gap("pod", "pods of "+string(to), to, "list pods in namespace "+to.Part(0))}
	}
	t.add(s)
	t.end()
}

func (t *tracer) podSource(s *model.Step, p *model.Pod) {
	s.Title = fmt.Sprintf("pod %s/%s on %s", p.Namespace, p.Name, p.Node)
	addr := t.org.addr
	switch {
	case p.Phase == "Succeeded" || p.Phase == "Failed":
		s.Verdict, s.Decided = model.Drop, s.At
		s.Reason = fmt.Sprintf("the pod has ended (%s %s): nothing in it opens a connection", p.Phase, p.Reason)
	case len(p.IPs) == 0:
		s.Verdict, s.Decided = model.Drop, s.At
		s.Reason = strings.TrimSpace(fmt.Sprintf("the pod has no address (%s %s %s)", p.Phase, p.Reason, p.Message))
	case !addr.IsValid():
		s.Verdict, s.Reason = noAddress(t.flow.Dst, "the pod")
		s.Decided = s.At
	case p.HostNetwork:
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("host network: it sends from %s, its node's address", addr)
	default:
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("it sends from %s", addr)
	}
}

// noAddress is a sender without an address of the destination's family: its own
// kernel answers "network is unreachable".
func noAddress(dst netip.Addr, who string) (model.Verdict, string) {
	family := "IPv4"
	if dst.Is6() {
		family = "IPv6"
	}
	return model.Reject, fmt.Sprintf("%s has no %s address, and the destination is %s: the kernel answers \"network is unreachable\"", who, family, dst)
}

// egressPolicy judges NetworkPolicy on the pod's way out. Policies see the
// packet after a Service's address was translated.
func (t *tracer) egressPolicy(svc *backends, to *backend) {
	p := t.org.pod
	if p == nil || p.HostNetwork {
		return
	}
	f := t.flow
	if svc != nil && to == nil {
		return // a Service without endpoints: nothing to judge
	}
	if to != nil {
		f.Dst, f.DstPort, f.To = to.addr.Addr(), to.addr.Port(), to.target
	}
	d := t.x.policies.Egress(p, f)
	s := policyStep(p, d, "egress")
	if to != nil {
		s.Trail = append(s.Trail, fmt.Sprintf("judged on endpoint %s of %s", to.addr, svc.ref()))
	}
	t.add(s)
}

// ingressPolicy judges NetworkPolicy where the packet arrives.
func (t *tracer) ingressPolicy(p *model.Pod) {
	f := t.flow
	if t.org.pod != nil && f.Src != t.org.addr {
		f.From = "" // masqueraded: the policy sees a node
	}
	d := t.x.policies.Ingress(p, f)
	t.add(policyStep(p, d, "ingress"))
}

// policyStep is a decision as a step: its title names the kind of policy that
// decided, and its trail whose reading of the API was used where that is not the
// API's own.
func policyStep(p *model.Pod, d policy.Decision, direction string) model.Step {
	s := model.Step{
		Hop: model.HopPolicy, At: p.Ref(), Title: direction + " NetworkPolicy in namespace " + p.Namespace,
		Verdict: d.Verdict, Decided: d.Decided, Reason: d.Reason, Trail: d.Trail, Gaps: d.Gaps,
	}
	if d.Kind != "" && d.Kind != "NetworkPolicy" {
		s.Title = fmt.Sprintf("%s %s (tier %s) for namespace %s", direction, d.Kind, d.Tier, p.Namespace)
	}
	if d.Decided != "" && d.Dialect != policy.Upstream {
		s.Trail = append(s.Trail, "policies are judged as "+d.Dialect.Dataplane()+" carries them out")
	}
	return s
}

// arrivePod is the last step of a connection to a pod.
func (t *tracer) arrivePod(p *model.Pod) {
	bridged := t.hairpin(p)
	t.ingressPolicy(p)
	s := model.Step{Hop: model.HopPod, At: p.Ref(), Title: fmt.Sprintf("pod %s/%s on %s", p.Namespace, p.Name, p.Node)}
	switch {
	case p.Phase == "Running" && t.callsItself(p) && t.x.podNetOf(t.org.node, t.org.addr) == netKubenet && !bridged:
		s.Reason = "the pod talks to itself by a Service: whether the node's bridge gives it back what it sent itself (hairpin) was not read"
	case p.Phase == "Running":
		s.Verdict, s.Reason = model.Pass, fmt.Sprintf("the pod is there; whether it listens on port %d is for a probe to tell", t.flow.DstPort)
	default:
		s.Reason = fmt.Sprintf("the pod is %s %s", p.Phase, p.Reason)
	}
	t.add(s)
	t.end()
}
