package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Tri is a three-valued answer. Its zero value knows nothing.
type Tri uint8

// The answers.
const (
	Maybe Tri = iota
	No
	Yes
)

func triOf(b bool) Tri {
	if b {
		return Yes
	}
	return No
}

// either combines two alternatives: Yes if one is, else Maybe if one is.
func either(a, b Tri) Tri {
	if a == Yes || b == No {
		return a
	}
	if b == Yes || a == No {
		return b
	}
	return Maybe
}

// question is one flow at one pod while its rules are walked.
type question struct {
	x       *Index
	f       model.Flow
	ingress bool
	pod     *model.Pod // whose policies are asked
	peer    *model.Pod // the other side when it is a living pod with an address of its own
	peerIP  netip.Addr
	target  *model.Pod // whose container ports a named port means; nil: none
	gaps    []model.Gap
	hint    string // a range that holds the address, and does not count
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
	if p := x.w.Kube.Pods[ref]; ref.Kind() == "pod" && p != nil && !p.HostNetwork && !terminated(p) {
		if len(p.IPs) == 0 {
			return p, ip // of a manifest, before it is applied
		}
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
		who = string(q.peer.Ref())
		if q.peerIP.IsValid() {
			who += " (" + q.peerIP.String() + ")"
		}
	} else if q.peerIP.IsValid() {
		who = q.peerIP.String()
	}
	return strings.ToUpper(q.f.Protocol) + "/" + strconv.Itoa(int(q.f.DstPort)) + " " + to + " " + who
}

// matches says whether one rule matches the flow, and if it only may, why.
func (q *question) matches(r *Rule) (Tri, string) {
	result, why := q.ports(r)
	if result == No {
		return No, ""
	}
	for _, side := range [2]struct {
		list []Peer
		self bool
	}{{r.Peers, false}, {r.Self, true}} {
		if len(side.list) == 0 {
			continue
		}
		m, reason := q.anyOf(side.list, side.self)
		switch {
		case m == No:
			return No, ""
		case m == Maybe:
			result, why = Maybe, reason
		}
	}
	if r.Unknown != "" {
		return Maybe, r.Unknown
	}
	if r.Windows != "" && q.onWindows() {
		return Maybe, r.Windows
	}
	return result, why
}

// ports judges a rule's ports: any of those that are named, none of those that are excluded.
func (q *question) ports(r *Rule) (Tri, string) {
	result, why := triOf(len(r.Ports) == 0), ""
	for i := range r.Ports {
		m, reason := q.port(&r.Ports[i])
		if m == Yes {
			result, why = Yes, ""
			break
		}
		if m == Maybe {
			result, why = Maybe, reason
		}
	}
	for i := range r.NotPorts {
		switch m, reason := q.port(&r.NotPorts[i]); m {
		case Yes:
			return No, ""
		case Maybe:
			if result == Yes {
				result, why = Maybe, reason
			}
		}
	}
	return result, why
}

func (q *question) port(p *Port) (Tri, string) {
	if p.Protocol != "" && !strings.EqualFold(p.Protocol, q.f.Protocol) {
		return No, ""
	}
	m := triOf(q.f.DstPort >= p.First && q.f.DstPort <= p.Last)
	if p.Name != "" {
		m = q.namedPort(p.Name)
	}
	if m == Yes && p.Unknown != "" {
		return Maybe, p.Unknown
	}
	return m, "a named port of a pod that was not read"
}

// namedPort looks the name up on the pod that is connected to. An address that
// is no pod has no named ports.
func (q *question) namedPort(name string) Tri {
	if q.target == nil {
		return triMaybe(q.mayBePod())
	}
	for i := range q.target.Containers {
		c := &q.target.Containers[i]
		// A plain init container has ended before traffic comes; a sidecar keeps running.
		if c.Kind == "init" || c.Kind == "ephemeral" {
			continue
		}
		for _, p := range c.Ports {
			if p.Name == name && p.Port == q.f.DstPort && strings.EqualFold(cmp.Or(p.Protocol, "TCP"), q.f.Protocol) {
				return Yes
			}
		}
	}
	return No
}

func triMaybe(b bool) Tri {
	if b {
		return Maybe
	}
	return No
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

// mayBeNode says the same of a node.
func (q *question) mayBeNode() bool {
	return q.peer == nil && !q.x.w.Read["node"] && q.peerIP.IsValid()
}

func (q *question) onWindows() bool {
	n := q.x.nodes[q.pod.Node]
	return n != nil && onWindows(n)
}

// anyOf says whether a side of the flow is any of the peers: the pod that is
// asked about itself, or the other one.
func (q *question) anyOf(peers []Peer, self bool) (Tri, string) {
	match, why := No, ""
	for i := range peers {
		m, reason := q.peerMatches(&peers[i], self)
		if m == Yes {
			return Yes, ""
		}
		if m == Maybe && match == No {
			match, why = Maybe, reason
		}
	}
	return match, why
}

func (q *question) peerMatches(p *Peer, self bool) (Tri, string) {
	pod, ip := q.peer, q.peerIP
	if self {
		pod, ip = q.pod, q.ownIP()
	}
	m, why := q.who(p, pod, ip)
	if m == No || p.Kind == Names || p.Kind == Mystery || len(p.CIDRs) == 0 && len(p.Except) == 0 {
		return m, why
	}
	in, reason := Maybe, ""
	if pod != nil && !ip.IsValid() {
		in, reason = q.x.unplaced(p)
	} else {
		in, reason = inRange(p, ip)
	}
	if in == No || m == Yes {
		return in, reason
	}
	return m, why
}

// ownIP is the address that the pod itself has in this flow.
func (q *question) ownIP() netip.Addr {
	ip := q.f.Src
	if q.ingress {
		ip = q.f.Dst
	}
	if !ip.IsValid() && len(q.pod.IPs) > 0 {
		ip = q.pod.IPs[0]
	}
	return ip.Unmap()
}

// who judges what kind of thing a peer is, its address aside.
func (q *question) who(p *Peer, pod *model.Pod, ip netip.Addr) (Tri, string) {
	switch p.Kind {
	case Anyone:
		return Yes, ""
	case Mystery:
		return Maybe, p.Why
	case Pods:
		if pod == nil {
			if q.mayBePod() {
				q.note("pods of the cluster", "list pods (cluster scope)", "")
				return Maybe, fmt.Sprintf("%s may be a pod that was not read", ip)
			}
			return No, ""
		}
		m, why := q.x.Selects(&p.Pods, pod)
		if m == Maybe && q.x.w.Kube.Namespaces[pod.Namespace] == nil {
			q.note("namespace "+pod.Namespace, "get namespaces (cluster scope)", model.NewRef("namespace", pod.Namespace))
		}
		return m, why
	case Hosts:
		return q.host(p, pod, ip)
	case Range:
		return q.beyond(p, pod, ip)
	case Names:
		return q.names(p, pod, ip)
	}
	return No, ""
}

func (q *question) host(p *Peer, pod *model.Pod, ip netip.Addr) (Tri, string) {
	name, isNode := q.x.nodeOf[ip]
	if pod != nil || !isNode {
		if pod == nil && q.mayBeNode() && ip.IsPrivate() {
			q.note("nodes", "list nodes (cluster scope)", "")
			return Maybe, fmt.Sprintf("%s may be a node that was not read", ip)
		}
		return No, ""
	}
	if p.Own == OwnNode && name != q.pod.Node || p.Own == OtherNode && name == q.pod.Node {
		return No, ""
	}
	n := q.x.nodes[name]
	return triOf(n != nil && p.Nodes.Matches(n.Labels)), ""
}

// beyond says whether an address range can mean this side at all. Cilium matches
// pods and nodes by identity: a CIDR, even 0.0.0.0/0, never holds them.
func (q *question) beyond(p *Peer, pod *model.Pod, ip netip.Addr) (Tri, string) {
	if !p.Beyond || !ip.IsValid() && pod == nil {
		return Yes, ""
	}
	if _, node := q.x.nodeOf[ip]; node || pod != nil {
		if in, _ := inRange(p, ip); q.hint == "" && ip.IsValid() && in == Yes && len(p.CIDRs) > 0 {
			q.hint = p.CIDRs[0].String() + " holds " + ip.String() + ", but Cilium does not match pods and nodes by address"
		}
		return No, ""
	}
	if q.mayBePod() {
		return Maybe, fmt.Sprintf("%s may be a pod, which such a rule does not match by address", ip)
	}
	return Yes, ""
}

// names judges DNS names by the name that the connection is for. An address
// alone does not tell which names resolve to it.
func (q *question) names(p *Peer, pod *model.Pod, ip netip.Addr) (Tri, string) {
	if _, node := q.x.nodeOf[ip]; node || pod != nil {
		return No, "" // the names of such rules stand for addresses outside the cluster
	}
	if q.f.Host == "" {
		return Maybe, "it allows DNS names (" + strings.Join(p.Names[:min(3, len(p.Names))], ", ") + "), and which addresses those have is not configuration"
	}
	host := strings.ToLower(strings.TrimSuffix(q.f.Host, "."))
	return triOf(slices.ContainsFunc(p.Names, func(pattern string) bool { return nameMatches(pattern, host) })), ""
}

// nameMatches compares a DNS name with a pattern: * stands for characters of
// one label, **. at the front for one or more labels, * alone for every name.
func nameMatches(pattern, host string) bool {
	pattern = strings.ToLower(strings.TrimSuffix(pattern, "."))
	if rest, ok := strings.CutPrefix(pattern, "**."); ok {
		return strings.HasSuffix(host, "."+rest)
	}
	labels := strings.NewReplacer(".", "/")
	ok, err := path.Match(labels.Replace(pattern), labels.Replace(host))
	return pattern == "*" || err == nil && ok
}

// inRange judges the addresses of a peer. An unset address is "somewhere on the
// internet": only a block that holds everything is sure to hold it.
func inRange(p *Peer, ip netip.Addr) (Tri, string) {
	if !ip.IsValid() {
		return somewhere(p)
	}
	if len(p.CIDRs) > 0 && !slices.ContainsFunc(p.CIDRs, func(c netip.Prefix) bool { return c.Contains(ip) }) {
		return No, ""
	}
	return triOf(!slices.ContainsFunc(p.Except, func(c netip.Prefix) bool { return c.Contains(ip) })), ""
}

func somewhere(p *Peer) (Tri, string) {
	public := func(c netip.Prefix) bool { return !c.Addr().IsPrivate() }
	all := len(p.CIDRs) == 0 || slices.ContainsFunc(p.CIDRs, func(c netip.Prefix) bool { return c.Bits() == 0 })
	switch {
	case all && !slices.ContainsFunc(p.Except, public):
		return Yes, ""
	case len(p.CIDRs) > 0 && !slices.ContainsFunc(p.CIDRs, public):
		return No, ""
	}
	text := "the range"
	if len(p.CIDRs) > 0 {
		text = p.CIDRs[0].String()
	}
	return Maybe, "whether " + text + " holds the destination's address is not known"
}

// Selects says whether a selection chooses a pod, and if it only may, why.
func (x *Index) Selects(s *Selection, pod *model.Pod) (Tri, string) {
	if pod.HostNetwork || s.Namespace != "" && s.Namespace != pod.Namespace || !s.Pods.Matches(pod.Labels) {
		return No, ""
	}
	m, why := Yes, ""
	if !s.Namespaces.Everything() {
		if m, why = x.inNamespace(&s.Namespaces, pod.Namespace); m == No {
			return No, ""
		}
	}
	if len(s.ServiceAccounts) > 0 && !slices.Contains(s.ServiceAccounts, cmp.Or(pod.ServiceAccount, "default")) {
		return No, ""
	}
	if !s.Accounts.Everything() {
		switch a, reason := x.account(&s.Accounts, pod); a {
		case No:
			return No, ""
		case Maybe:
			m, why = Maybe, reason
		}
	}
	if s.Unknown != "" {
		return Maybe, s.Unknown
	}
	return m, why
}

func (x *Index) account(s *Selector, pod *model.Pod) (Tri, string) {
	ref := model.NewRef("serviceaccount", pod.Namespace, cmp.Or(pod.ServiceAccount, "default"))
	labels, ok := x.w.Kube.ServiceAccounts[ref]
	if !ok && !x.w.Read["serviceaccount"] {
		return Maybe, "the labels of " + string(ref) + " were not read"
	}
	return triOf(s.Matches(labels)), ""
}

// inNamespace matches a namespace selector, with what is known of a namespace
// that was not read: its name is always a label of it.
func (x *Index) inNamespace(s *Selector, name string) (Tri, string) {
	if s.Everything() {
		return Yes, ""
	}
	if labels, ok := x.nsLabels[name]; ok {
		return triOf(s.Matches(labels)), ""
	}
	known := model.Labels{nameLabel: name, calicoNameLabel: name}
	m, why := Yes, ""
	for i := range s.Reqs {
		if _, ok := known[s.Reqs[i].Key]; !ok {
			m, why = Maybe, "the labels of namespace "+name+" were not read"
		} else if !s.Reqs[i].Holds(known) {
			return No, ""
		}
	}
	if s.Expr != nil {
		return Maybe, "the labels of namespace " + name + " were not read"
	}
	return m, why
}

// calicoNameLabel is the label by which Calico knows a namespace's name.
const calicoNameLabel = "projectcalico.org/name"

// named adds the labels that every namespace has, where a manifest left them out.
func named(labels model.Labels, name string) model.Labels {
	out := make(model.Labels, len(labels)+2)
	for k, v := range labels {
		out[k] = v
	}
	out[nameLabel], out[calicoNameLabel] = name, name
	return out
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
