package enforcer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/lab/nft"
)

const tableName = "network-policy"

// state is what the API server knows that policies speak of.
type state struct {
	namespaces map[string]labels.Set
	pods       []*corev1.Pod
	policies   []*networkingv1.NetworkPolicy
	versions   map[string]string // resource versions of all of it
}

// addr is a pod's own IPv4 address. Pods of the host's network have none, and
// what has ended holds its address no longer.
func addr(p *corev1.Pod) (netip.Addr, bool) {
	if p.Spec.HostNetwork || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(p.Status.PodIP)
	return a, err == nil && a.Is4()
}

// compile writes one node's table. A packet is judged after Service translation
// and before masquerading: leaving its pod on the pod's node, arriving on the
// other's. What a node itself sends to its own pods is not judged.
func (s state) compile(node string) (*nft.Table, error) {
	t := nft.NewTable("ip", tableName)
	t.Chain("forward", "type filter hook forward priority filter - 10; policy accept;")
	t.Chain("input", "type filter hook input priority filter - 10; policy accept;")
	for _, c := range []string{"forward", "input"} {
		t.Rule(c, "ct state established,related accept")
	}
	var egress, ingress, self []string
	for _, p := range s.pods {
		a, ok := addr(p)
		if !ok || p.Spec.NodeName != node {
			continue
		}
		for _, direction := range []networkingv1.PolicyType{networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress} {
			policies, err := s.selecting(p, direction)
			if err != nil {
				return nil, err
			}
			if len(policies) == 0 {
				continue
			}
			chain := strings.ToLower(string(direction)) + "_" + strings.ReplaceAll(a.String(), ".", "_")
			if err := s.compilePod(t, chain, p, policies, direction); err != nil {
				return nil, err
			}
			entry := fmt.Sprintf("%s : jump %s", a, chain)
			if direction == networkingv1.PolicyTypeEgress {
				egress = append(egress, entry)
			} else {
				ingress = append(ingress, entry)
			}
			self = append(self, fmt.Sprintf("%s . %s", a, a))
		}
	}
	slices.Sort(self)
	if self = slices.Compact(self); len(self) > 0 { // nothing keeps a pod from itself
		t.Rule("forward", "ip saddr . ip daddr { "+strings.Join(self, ", ")+" } accept")
	}
	if len(egress) > 0 {
		vmap := "ip saddr vmap { " + strings.Join(egress, ", ") + " }"
		t.Rule("forward", vmap)
		t.Rule("input", vmap)
	}
	if len(ingress) > 0 {
		t.Rule("forward", "ip daddr vmap { "+strings.Join(ingress, ", ")+" }")
	}
	return t, nil
}

// selecting are the policies that isolate a pod in a direction.
func (s state) selecting(p *corev1.Pod, direction networkingv1.PolicyType) ([]*networkingv1.NetworkPolicy, error) {
	var out []*networkingv1.NetworkPolicy
	for _, np := range s.policies {
		if np.Namespace != p.Namespace || !slices.Contains(types(np), direction) {
			continue
		}
		match, err := matches(&np.Spec.PodSelector, p.Labels)
		if err != nil {
			return nil, fmt.Errorf("network policy %s/%s: podSelector: %w", np.Namespace, np.Name, err)
		}
		if match {
			out = append(out, np)
		}
	}
	return out, nil
}

func types(np *networkingv1.NetworkPolicy) []networkingv1.PolicyType {
	if len(np.Spec.PolicyTypes) > 0 {
		return np.Spec.PolicyTypes
	}
	if len(np.Spec.Egress) > 0 {
		return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	}
	return []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
}

func matches(s *metav1.LabelSelector, set labels.Set) (bool, error) {
	sel, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return false, err
	}
	return sel.Matches(set), nil
}

// compilePod writes what one pod may do in one direction: the union of all its
// policies' rules, and then nothing.
func (s state) compilePod(t *nft.Table, chain string, pod *corev1.Pod, policies []*networkingv1.NetworkPolicy, direction networkingv1.PolicyType) error {
	t.Chain(chain, "")
	for _, np := range policies {
		var err error
		if direction == networkingv1.PolicyTypeIngress {
			for i, r := range np.Spec.Ingress {
				if err = s.rule(t, chain, "saddr", np.Namespace, r.From, r.Ports, pod); err != nil {
					err = fmt.Errorf("ingress[%d]: %w", i, err)
					break
				}
			}
		} else {
			for i, r := range np.Spec.Egress {
				if err = s.rule(t, chain, "daddr", np.Namespace, r.To, r.Ports, nil); err != nil {
					err = fmt.Errorf("egress[%d]: %w", i, err)
					break
				}
			}
		}
		if err != nil {
			return fmt.Errorf("network policy %s/%s: %w", np.Namespace, np.Name, err)
		}
	}
	t.Rules(chain, []string{""}, "denied/"+pod.Namespace+"/"+pod.Name+"/"+strings.ToLower(string(direction)), "drop")
	return nil
}

// rule writes one rule. server is the pod whose container ports a named port
// means; without one, those of the pods among the peers are meant, whether a
// selector or a block of addresses makes them peers.
func (s state) rule(t *nft.Table, chain, field, namespace string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, server *corev1.Pod) error {
	remote := "" // anybody
	pods := s.pods
	if len(peers) > 0 {
		set, err := s.peers(namespace, peers)
		if err != nil {
			return err
		}
		pods = slices.DeleteFunc(slices.Clone(s.pods), func(p *corev1.Pod) bool {
			a, ok := addr(p)
			return !ok || !set.Has(a)
		})
		if len(set) == 0 {
			return nil
		}
		remote = "ip " + field + " " + set.Text() + " "
	}
	if len(ports) == 0 {
		t.Rule(chain, remote+"return")
	}
	for _, port := range ports {
		proto := corev1.ProtocolTCP
		if port.Protocol != nil {
			proto = *port.Protocol
		}
		l4 := "meta l4proto " + strings.ToLower(string(proto)) + " "
		switch {
		case port.Port == nil:
			t.Rule(chain, remote+l4+"return")
		case port.Port.Type == intstr.Int:
			last := port.Port.IntVal
			if port.EndPort != nil {
				last = *port.EndPort
			}
			t.Rule(chain, fmt.Sprintf("%s%sth dport %d-%d return", remote, l4, port.Port.IntVal, last))
		case server != nil:
			for _, n := range named(server, port.Port.StrVal, proto) {
				t.Rule(chain, fmt.Sprintf("%s%sth dport %d return", remote, l4, n))
			}
		default:
			for _, peer := range pods {
				a, ok := addr(peer)
				if !ok {
					continue
				}
				for _, n := range named(peer, port.Port.StrVal, proto) {
					t.Rule(chain, fmt.Sprintf("ip daddr %s %sth dport %d return", a, l4, n))
				}
			}
		}
	}
	return nil
}

// peers are the addresses that a rule's peers stand for.
func (s state) peers(namespace string, peers []networkingv1.NetworkPolicyPeer) (nft.Set, error) {
	var set nft.Set
	for _, peer := range peers {
		if peer.IPBlock != nil {
			block, err := ipBlock(peer.IPBlock)
			if err != nil {
				return nil, err
			}
			set = append(set, block...)
			continue
		}
		for _, p := range s.pods {
			ok, err := s.isPeer(namespace, peer, p)
			if err != nil {
				return nil, err
			}
			if a, has := addr(p); ok && has {
				set = append(set, nft.AddrSpan(a))
			}
		}
	}
	return set.Merge(), nil
}

func (s state) isPeer(namespace string, peer networkingv1.NetworkPolicyPeer, p *corev1.Pod) (bool, error) {
	if peer.NamespaceSelector == nil {
		if p.Namespace != namespace {
			return false, nil
		}
	} else if ok, err := matches(peer.NamespaceSelector, s.namespaces[p.Namespace]); !ok {
		return false, err
	}
	if peer.PodSelector == nil {
		return peer.NamespaceSelector != nil, nil
	}
	return matches(peer.PodSelector, p.Labels)
}

func ipBlock(b *networkingv1.IPBlock) (nft.Set, error) {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return nil, fmt.Errorf("ipBlock: %w", err)
	}
	var except []netip.Prefix
	for _, e := range b.Except {
		p, err := netip.ParsePrefix(e)
		if err != nil {
			return nil, fmt.Errorf("ipBlock: except: %w", err)
		}
		except = append(except, p)
	}
	return nft.Prefixes(cidr).Minus(nft.Prefixes(except...)), nil
}

// named are the numbers that a port's name has on a pod.
func named(p *corev1.Pod, name string, proto corev1.Protocol) []int32 {
	var out []int32
	for _, c := range slices.Concat(p.Spec.Containers, sidecars(p)) {
		for _, port := range c.Ports {
			have := port.Protocol
			if have == "" {
				have = corev1.ProtocolTCP
			}
			if port.Name == name && have == proto && !slices.Contains(out, port.ContainerPort) {
				out = append(out, port.ContainerPort)
			}
		}
	}
	return out
}

// sidecars are init containers that stay.
func sidecars(p *corev1.Pod) []corev1.Container {
	var out []corev1.Container
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}
