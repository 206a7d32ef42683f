package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
	"github.com/podpath/podpath/internal/resource"
)

// maxNear bounds how many rules of a policy are explained.
const maxNear = 4

// judgedFlow is the packet that a policy judges: after a Service's address was
// translated, which comes later on the way than the sender's own policy.
func judgedFlow(w diagnose.Way, step *model.Step) model.Flow {
	for _, steps := range [][]model.Step{w.Path.Steps, w.Path.After} {
		for i := range steps {
			s := &steps[i]
			if s.Hop == model.HopService && s.Verdict == model.Pass && s.In.Dst == step.In.Dst && s.In.DstPort == step.In.DstPort {
				return s.Out
			}
		}
	}
	return step.In
}

// nearMiss is a policy's rules held against the packet that they did not allow.
type nearMiss struct {
	p       *diagnose.Pass
	x       *policy.Index
	np      *model.NetworkPolicy
	flow    model.Flow
	ingress bool
	subject *model.Pod // whom the policy selects
	peer    *model.Pod // the other side; nil: no pod
	addr    netip.Addr // of the other side
}

// nearRules says of each rule that nearly allows the packet what keeps it from doing so.
func nearRules(p *diagnose.Pass, step *model.Step, judged model.Flow, ingress bool) []string {
	np := p.Case.World.Kube.Policies[step.Decided]
	if np == nil {
		return nil
	}
	n := nearMiss{p: p, x: policy.Build(&p.Case.World), np: np, flow: judged, ingress: ingress, subject: p.Case.World.Kube.Pods[step.At]}
	other := judged.To
	if n.addr = judged.Dst; ingress {
		n.addr, other = judged.Src, judged.From
	}
	if n.peer = p.Case.World.Kube.Pods[other]; n.peer == nil || n.peer.HostNetwork {
		n.peer = n.x.PodAt(n.addr)
	}
	rules := np.EgressRules
	if ingress {
		rules = np.IngressRules
	}
	var out []string
	for i := range rules {
		if text := n.rule(&rules[i]); text != "" && len(out) < maxNear {
			out = append(out, fmt.Sprintf("rule %d of %s/%s %s", i+1, np.Namespace, np.Name, text))
		}
	}
	return out
}

func (n *nearMiss) rule(r *model.PolicyRule) string {
	peers := len(r.Peers) == 0 || slices.ContainsFunc(r.Peers, func(p model.PolicyPeer) bool { return n.unmet(&p) == "" })
	ports := len(r.Ports) == 0 || slices.ContainsFunc(r.Ports, n.port)
	switch {
	case peers && !ports:
		return "is for this peer, but only for " + n.otherPorts(r.Ports)
	case ports && !peers:
		var why []string
		for i := range min(len(r.Peers), maxNear) {
			why = append(why, n.unmet(&r.Peers[i]))
		}
		return "is for this port, but not for this peer: " + strings.Join(why, "; ")
	}
	return ""
}

// port says whether an entry means the packet's port.
func (n *nearMiss) port(e model.PolicyPort) bool {
	if !strings.EqualFold(cmp.Or(e.Protocol, "TCP"), n.flow.Protocol) {
		return false
	}
	number, err := strconv.ParseUint(e.Port, 10, 16)
	switch {
	case e.Port == "":
		return true
	case err != nil:
		return slices.ContainsFunc(declaredPorts(n.target()), func(c model.ContainerPort) bool { return c.Name == e.Port && c.Port == n.flow.DstPort })
	}
	return n.flow.DstPort >= uint16(number) && n.flow.DstPort <= max(uint16(number), e.EndPort)
}

// target is the pod that is connected to, whose container ports a name means.
func (n *nearMiss) target() *model.Pod {
	if n.ingress {
		return n.subject
	}
	return n.peer
}

// otherPorts names the ports of a rule that is for others, and why people take them for this one.
func (n *nearMiss) otherPorts(list []model.PolicyPort) string {
	var words, notes []string
	for _, e := range list[:min(len(list), maxNear)] {
		name := upper(cmp.Or(e.Protocol, "TCP")) + "/" + e.Port
		if e.EndPort != 0 {
			name += fmt.Sprintf("-%d", e.EndPort)
		}
		words = append(words, name)
		if note := n.portNote(e); note != "" {
			notes = append(notes, note)
		}
	}
	return strings.Join(append([]string{strings.Join(words, ", ")}, notes...), "; ")
}

func (n *nearMiss) portNote(e model.PolicyPort) string {
	pod := n.target()
	if _, err := strconv.ParseUint(e.Port, 10, 16); err != nil && e.Port != "" && pod != nil {
		return fmt.Sprintf("pod %s/%s has no port named %s at %d (it declares %s)", pod.Namespace, pod.Name, e.Port, n.flow.DstPort, portNames(pod))
	}
	if svc := askedService(n.p); svc != nil && slices.ContainsFunc(svc.Ports, func(p model.ServicePort) bool { return strconv.Itoa(int(p.Port)) == e.Port }) {
		return fmt.Sprintf("%s is a port of the Service %s/%s, and policies see the pod's port, %d", e.Port, svc.Namespace, svc.Name, n.flow.DstPort)
	}
	return ""
}

func declaredPorts(pod *model.Pod) []model.ContainerPort {
	if pod == nil {
		return nil
	}
	var out []model.ContainerPort
	for _, c := range pod.Containers {
		if policy.Serves(&c) {
			out = append(out, c.Ports...)
		}
	}
	return out
}

func portNames(pod *model.Pod) string {
	var out []string
	for _, c := range declaredPorts(pod) {
		out = append(out, fmt.Sprintf("%s %d", cmp.Or(c.Name, "(without a name)"), c.Port))
	}
	return list(out)
}

// unmet is what keeps a peer of a rule from meaning the other side; "" when it means it.
func (n *nearMiss) unmet(peer *model.PolicyPeer) string {
	if peer.IPBlock.IsValid() {
		return n.unmetBlock(peer)
	}
	if n.peer == nil {
		return fmt.Sprintf("it selects pods, and %s is none", n.addr)
	}
	name := n.peer.Namespace + "/" + n.peer.Name
	if peer.NamespaceSelector == nil && n.peer.Namespace != n.np.Namespace {
		return fmt.Sprintf("a podSelector without namespaceSelector means pods of namespace %s, and %s is of another", n.np.Namespace, name)
	}
	if missing := requirements(peer.NamespaceSelector, n.namespaceLabels()); missing != "" {
		return fmt.Sprintf("namespace %s does not have %s (its labels: %s)", n.peer.Namespace, missing, shownLabels(n.namespaceLabels()))
	}
	if missing := requirements(peer.PodSelector, n.peer.Labels); missing != "" {
		return fmt.Sprintf("pod %s does not have %s (its labels: %s)", name, missing, shownLabels(n.peer.Labels))
	}
	return ""
}

func (n *nearMiss) unmetBlock(peer *model.PolicyPeer) string {
	if !peer.IPBlock.Contains(n.addr) {
		return fmt.Sprintf("%s does not hold %s", peer.IPBlock, n.addr)
	}
	for _, e := range peer.Except {
		if e.Contains(n.addr) {
			return fmt.Sprintf("%s holds %s, but its exception %s does too", peer.IPBlock, n.addr, e)
		}
	}
	return ""
}

// namespaceLabels are the labels of the peer's namespace; its name is always one.
func (n *nearMiss) namespaceLabels() model.Labels {
	out := model.Labels{}
	if ns := n.p.Case.World.Kube.Namespaces[n.peer.Namespace]; ns != nil {
		for k, v := range ns.Labels {
			out[k] = v
		}
	}
	out["kubernetes.io/metadata.name"] = n.peer.Namespace
	return out
}

// operators are those of a selector's expression.
var operators = map[string]policy.Op{"In": policy.In, "NotIn": policy.NotIn, "Exists": policy.Exists, "DoesNotExist": policy.NotExists}

// requirements are the conditions of a selector that labels do not fulfil, as kubectl writes them.
func requirements(s *model.Selector, labels model.Labels) string {
	if s == nil {
		return ""
	}
	var out []string
	for _, k := range sortedKeys(s.MatchLabels) {
		if v, ok := labels[k]; !ok || v != s.MatchLabels[k] {
			out = append(out, k+"="+s.MatchLabels[k])
		}
	}
	for _, e := range s.Expressions {
		r := policy.Requirement{Key: e.Key, Op: operators[e.Operator], Values: slices.Sorted(slices.Values(e.Values))}
		if !r.Holds(labels) {
			out = append(out, strings.TrimSpace(e.Key+" "+e.Operator+" "+strings.Join(e.Values, ",")))
		}
	}
	return strings.Join(out, " and ")
}

// shownLabels writes labels for a sentence, without those that every pod or node copies.
func shownLabels(labels model.Labels) string {
	var out []string
	for _, k := range sortedKeys(labels) {
		if k != "pod-template-hash" && !strings.HasPrefix(k, "topology.kubernetes.io/") {
			out = append(out, k+"="+labels[k])
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return oneLine(strings.Join(out, ", "))
}

// changing adds to a list's finding that the name's addresses change, so that one
// more address in it does not last.
func changing(p *diagnose.Pass, step *model.Step, f *diagnose.Finding) {
	u := resource.Changing(p.Case, step.In.Dst)
	if u == nil {
		return
	}
	for _, text := range u.Says {
		f.Evidence = append(f.Evidence, probe(text))
	}
	f.Fix = append(f.Fix, u.Remedy...)
}
