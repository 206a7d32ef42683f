package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// tri is a three-valued answer; the zero value knows nothing.
type tri uint8

const (
	maybe tri = iota
	no
	yes
)

func triOf(b bool) tri {
	if b {
		return yes
	}
	return no
}

// question is one flow at one pod while its rules are walked.
type question struct {
	x       *Index
	f       model.Flow
	ingress bool
	ns      string     // the namespace of the policies
	peer    *model.Pod // the other side when it is a living pod with an address of its own
	peerIP  netip.Addr
	target  *model.Pod // whose container ports a named port means; nil: none
	gaps    []model.Gap
}

// peer finds the other side of a flow.
func (x *Index) peer(f model.Flow, ingress bool) (*model.Pod, netip.Addr) {
	ip, ref := f.Dst.Unmap(), f.To
	if ingress {
		ip, ref = f.Src.Unmap(), f.From
	}
	if ip.IsValid() {
		return x.podByIP[ip], ip
	}
	if p := x.w.Kube.Pods[ref]; ref.Kind() == "pod" && p != nil && !p.HostNetwork && !terminated(p) && len(p.IPs) > 0 {
		return p, p.IPs[0].Unmap()
	}
	return nil, ip
}

func (q *question) peerText() string {
	to := "to"
	if q.ingress {
		to = "from"
	}
	who := "an address that is not known"
	if q.peer != nil {
		who = string(q.peer.Ref()) + " (" + q.peerIP.String() + ")"
	} else if q.peerIP.IsValid() {
		who = q.peerIP.String()
	}
	return strings.ToUpper(q.f.Protocol) + "/" + strconv.Itoa(int(q.f.DstPort)) + " " + to + " " + who
}

// rule says whether one rule allows the flow: any of its ports and any of its peers.
func (q *question) rule(r *model.PolicyRule) (tri, string) {
	port := triOf(len(r.Ports) == 0)
	for i := range r.Ports {
		port = max(port, q.port(&r.Ports[i]))
	}
	if port == no {
		return no, ""
	}
	if len(r.Peers) == 0 {
		return port, "a named port of a pod that was not read"
	}
	match, why := no, ""
	for i := range r.Peers {
		m, reason := q.peerMatches(&r.Peers[i])
		if m == yes {
			match = yes
			break
		}
		if m == maybe && match == no {
			match, why = maybe, reason
		}
	}
	if match == yes && port == maybe {
		return maybe, "a named port of a pod that was not read"
	}
	return match, why
}

// max orders no < maybe < yes.
func max(a, b tri) tri {
	if a == yes || b == yes {
		return yes
	}
	if a == maybe || b == maybe {
		return maybe
	}
	return no
}

func (q *question) port(p *model.PolicyPort) tri {
	protocol := p.Protocol
	if protocol == "" {
		protocol = "TCP"
	}
	if !strings.EqualFold(protocol, q.f.Protocol) {
		return no
	}
	if p.Port == "" {
		return yes
	}
	if n, err := strconv.ParseUint(p.Port, 10, 16); err == nil {
		first, last := uint16(n), uint16(n)
		if p.EndPort != 0 {
			last = p.EndPort
		}
		return triOf(q.f.DstPort >= first && q.f.DstPort <= last)
	}
	return q.namedPort(p.Port, protocol)
}

// namedPort looks the name up on the pod that is connected to. An address that
// is no pod has no named ports.
func (q *question) namedPort(name, protocol string) tri {
	if q.target == nil {
		if q.mayBePod() {
			return maybe
		}
		return no
	}
	for i := range q.target.Containers {
		c := &q.target.Containers[i]
		// A plain init container has ended before traffic comes; a sidecar keeps running.
		if c.Kind == "init" || c.Kind == "ephemeral" {
			continue
		}
		for _, p := range c.Ports {
			if p.Name == name && strings.EqualFold(p.Protocol, protocol) && p.Port == q.f.DstPort {
				return yes
			}
		}
	}
	return no
}

// mayBePod says whether the other side could be a pod that the World does not hold.
func (q *question) mayBePod() bool {
	if q.peer != nil || q.x.w.Read["pod"] {
		return false
	}
	if !q.peerIP.IsValid() {
		return false // "somewhere on the internet"
	}
	if _, node := q.x.nodeOf[q.peerIP]; node {
		return false
	}
	if len(q.x.podNets) > 0 && slices.ContainsFunc(q.x.podNets, func(p netip.Prefix) bool { return p.Contains(q.peerIP) }) {
		return true
	}
	return q.peerIP.IsPrivate() || q.peerIP.IsLinkLocalUnicast()
}

func (q *question) peerMatches(p *model.PolicyPeer) (tri, string) {
	if p.IPBlock.IsValid() {
		return q.blockMatches(p)
	}
	if q.peer == nil {
		if q.mayBePod() {
			q.note("pods of the cluster", "list pods (cluster scope)", "")
			return maybe, fmt.Sprintf("%s may be a pod that was not read", q.peerIP)
		}
		return no, ""
	}
	if p.NamespaceSelector == nil {
		if q.peer.Namespace != q.ns {
			return no, ""
		}
	} else if m := q.namespace(p.NamespaceSelector); m != yes {
		if m == maybe && (p.PodSelector == nil || Matches(p.PodSelector, q.peer.Labels)) {
			q.note("namespace "+q.peer.Namespace, "get namespaces (cluster scope)", model.NewRef("namespace", q.peer.Namespace))
			return maybe, fmt.Sprintf("the labels of namespace %s were not read", q.peer.Namespace)
		}
		return no, ""
	}
	return triOf(p.PodSelector == nil || Matches(p.PodSelector, q.peer.Labels)), ""
}

// blockMatches judges an ipBlock. An unset address is "somewhere on the
// internet": only a block that holds everything is sure to hold it.
func (q *question) blockMatches(p *model.PolicyPeer) (tri, string) {
	if !q.peerIP.IsValid() {
		if p.IPBlock.Bits() == 0 && !slices.ContainsFunc(p.Except, func(e netip.Prefix) bool { return !e.Addr().IsPrivate() }) {
			return yes, ""
		}
		if p.IPBlock.Addr().IsPrivate() {
			return no, ""
		}
		return maybe, fmt.Sprintf("whether %s holds the destination's address is not known", p.IPBlock)
	}
	if q.x.dialect == Cilium {
		// Cilium matches pods and nodes by identity: a CIDR, even 0.0.0.0/0, never holds them.
		if _, node := q.x.nodeOf[q.peerIP]; node || q.peer != nil {
			return no, ""
		}
		if q.mayBePod() {
			return maybe, fmt.Sprintf("%s may be a pod, which Cilium does not match by address", q.peerIP)
		}
	}
	if !p.IPBlock.Masked().Contains(q.peerIP) {
		return no, ""
	}
	for _, e := range p.Except {
		if e.Masked().Contains(q.peerIP) {
			return no, ""
		}
	}
	return yes, ""
}

// namespace matches a namespace selector, with what is known of a namespace
// that was not read: its name is always a label of it.
func (q *question) namespace(s *model.Selector) tri {
	if len(s.MatchLabels) == 0 && len(s.Expressions) == 0 {
		return yes
	}
	const nameLabel = "kubernetes.io/metadata.name"
	ns := q.x.w.Kube.Namespaces[q.peer.Namespace]
	if ns != nil {
		labels := ns.Labels
		if _, ok := labels[nameLabel]; !ok && names(s, nameLabel) {
			labels = model.Labels{nameLabel: ns.Name}
			for k, v := range ns.Labels {
				labels[k] = v
			}
		}
		return triOf(Matches(s, labels))
	}
	known := model.Labels{nameLabel: q.peer.Namespace}
	result := yes
	for k, v := range s.MatchLabels {
		if k != nameLabel {
			result = maybe
		} else if known[k] != v {
			return no
		}
	}
	for i := range s.Expressions {
		if s.Expressions[i].Key != nameLabel {
			result = maybe
		} else if !holds(&s.Expressions[i], known) {
			return no
		}
	}
	return result
}

func names(s *model.Selector, key string) bool {
	if _, ok := s.MatchLabels[key]; ok {
		return true
	}
	return slices.ContainsFunc(s.Expressions, func(e model.SelectorExpression) bool { return e.Key == key })
}

func (q *question) note(what, permission string, ref model.Ref) {
	for _, g := range q.gaps {
		if g.What == what {
			return
		}
	}
	for _, g := range q.x.w.Gaps {
		if ref != "" && g.Ref == ref || g.Permission == permission {
			q.gaps = append(q.gaps, g)
			return
		}
	}
	q.gaps = append(q.gaps, model.Gap{What: what, Ref: ref, Reason: "not read", Permission: permission})
}

// Matches says whether a selector selects an object with these labels, as the
// API server does: NotIn also matches where the key is missing, and a label
// that must be empty must still be there.
func Matches(s *model.Selector, labels model.Labels) bool {
	for k, v := range s.MatchLabels {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	for i := range s.Expressions {
		if !holds(&s.Expressions[i], labels) {
			return false
		}
	}
	return true
}

func holds(e *model.SelectorExpression, labels model.Labels) bool {
	value, ok := labels[e.Key]
	switch e.Operator {
	case "In":
		return ok && slices.Contains(e.Values, value)
	case "NotIn":
		return !ok || !slices.Contains(e.Values, value)
	case "Exists":
		return ok
	case "DoesNotExist":
		return !ok
	}
	return false // an operator of a later API version selects nothing here
}
