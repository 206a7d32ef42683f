package parity

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/podpath/podpath/lab/plan"
)

// policy is a random NetworkPolicy.
func (v *inventor) policy(name string) *networkingv1.NetworkPolicy {
	np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: one(v, namespaces...), Name: name}}
	if !v.chance(30) {
		np.Spec.PodSelector = v.selector(podKeys)
	}
	switch v.IntN(4) {
	case 0: // told from the rules
	case 1:
		np.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	case 2:
		np.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}
	case 3:
		np.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}
	}
	for range one(v, 0, 1, 1, 2, 3) {
		np.Spec.Ingress = append(np.Spec.Ingress, networkingv1.NetworkPolicyIngressRule{From: v.peers(), Ports: v.ports()})
	}
	for range one(v, 0, 1, 1, 2, 3) {
		np.Spec.Egress = append(np.Spec.Egress, networkingv1.NetworkPolicyEgressRule{To: v.peers(), Ports: v.ports()})
	}
	return np
}

// selector is a random label selector; an empty one selects everything.
func (v *inventor) selector(keys []key) metav1.LabelSelector {
	var s metav1.LabelSelector
	k := one(v, keys...)
	switch v.IntN(7) {
	case 0: // empty
	case 1, 2:
		s.MatchLabels = map[string]string{k.name: one(v, k.values...)}
	case 3:
		s.MatchLabels = v.labelled(keys, 60)
	case 4:
		op := one(v, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn)
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: k.name, Operator: op, Values: some(v, k.values...)}}
	case 5:
		op := one(v, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: k.name, Operator: op}}
	case 6:
		other := one(v, keys...)
		s.MatchLabels = map[string]string{k.name: one(v, k.values...)}
		s.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: other.name, Operator: metav1.LabelSelectorOpNotIn, Values: some(v, other.values...)}}
	}
	return s
}

func (v *inventor) peers() []networkingv1.NetworkPolicyPeer {
	var out []networkingv1.NetworkPolicyPeer
	for range one(v, 0, 1, 1, 1, 1, 2, 2, 3) { // none: everybody. Of many peers one is likely to let everybody in
		out = append(out, v.peer())
	}
	return out
}

func (v *inventor) peer() networkingv1.NetworkPolicyPeer {
	namespaces := append([]key{{"kubernetes.io/metadata.name", namespaces}}, nsKeys...)
	pods, spaces := v.selector(podKeys), v.selector(namespaces)
	switch v.IntN(6) {
	case 0, 1:
		return networkingv1.NetworkPolicyPeer{PodSelector: &pods}
	case 2:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: &spaces}
	case 3:
		return networkingv1.NetworkPolicyPeer{NamespaceSelector: &spaces, PodSelector: &pods}
	}
	return networkingv1.NetworkPolicyPeer{IPBlock: v.block()}
}

// block is a network, at times with exceptions inside it.
func (v *inventor) block() *networkingv1.IPBlock {
	p, node := one(v, v.s.pods[:podCount]...), one(v, v.s.lab.Plan.Nodes...) // the pod in a node's network has no address of its own
	host := one(v, outside...)
	pods := plan.PodCIDR.String()
	if v.s.lab.Plan.Topology.PodsInVNet() {
		pods = plan.VNetPrefix.String()
	}
	b := &networkingv1.IPBlock{}
	switch v.IntN(7) {
	case 0:
		b.CIDR = p.addr.String() + "/32"
	case 1:
		b.CIDR = node.PodCIDR.String()
	case 2:
		b.CIDR = pods
		b.Except = v.except(p.addr.String()+"/32", node.PodCIDR.String())
	case 3:
		b.CIDR = "0.0.0.0/0"
		b.Except = v.except(p.addr.String()+"/32", node.PodCIDR.String(), host.addr+"/32", node.Addr.String()+"/32", pods, "10.0.0.0/8")
	case 4:
		b.CIDR = one(v, host.addr+"/32", masked(host.addr, 31), masked(host.addr, 28), "203.0.113.0/24")
	case 5:
		b.CIDR = one(v, node.Addr.String()+"/32", plan.NodesPrefix.String(), plan.ServiceCIDR.String())
	case 6:
		b.CIDR = "10.0.0.0/8"
		b.Except = v.except(node.PodCIDR.String(), plan.NodesPrefix.String())
	}
	return b
}

// masked is the network of a length that holds an address.
func masked(addr string, bits int) string {
	return netip.PrefixFrom(netip.MustParseAddr(addr), bits).Masked().String()
}

func (v *inventor) except(list ...string) []string {
	if v.chance(25) {
		return nil
	}
	return some(v, list...)
}

func (v *inventor) ports() []networkingv1.NetworkPolicyPort {
	var out []networkingv1.NetworkPolicyPort
	for range one(v, 0, 0, 0, 1, 1, 2, 3) { // none: all
		out = append(out, v.port())
	}
	return out
}

func (v *inventor) port() networkingv1.NetworkPolicyPort {
	tcp, udp, sctp := corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP
	number := func(n int32) *intstr.IntOrString { i := intstr.FromInt32(n); return &i }
	name := func(s string) *intstr.IntOrString { i := intstr.FromString(s); return &i }
	switch v.IntN(10) {
	case 0:
		return networkingv1.NetworkPolicyPort{Protocol: one(v, &tcp, &udp, &sctp, nil)}
	case 1, 2:
		return networkingv1.NetworkPolicyPort{Port: name(one(v, "http", "alt", "db", "none"))}
	case 3:
		return networkingv1.NetworkPolicyPort{Protocol: &udp, Port: name(one(v, "dns", "http"))}
	case 4:
		last := one(v, int32(8081), 8082, 9090, 65535)
		return networkingv1.NetworkPolicyPort{Protocol: &tcp, Port: number(one(v, int32(8080), 8081, 1, 443)), EndPort: &last}
	case 5:
		last := one(v, int32(5353), 5399)
		return networkingv1.NetworkPolicyPort{Protocol: &udp, Port: number(one(v, int32(53), 5300, 5301)), EndPort: &last}
	case 6, 7:
		return networkingv1.NetworkPolicyPort{Protocol: &udp, Port: number(one(v, udpPorts...))}
	}
	return networkingv1.NetworkPolicyPort{Protocol: one(v, &tcp, nil), Port: number(one(v, append([]int32{443, 80, closedPort, kubeletPort}, tcpPorts...)...))}
}

// service is a random ClusterIP Service.
func (v *inventor) service(name string) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: one(v, namespaces...), Name: name, Labels: map[string]string{ownedLabel: "service"}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{ownedLabel: "pod"}},
	}
	k := one(v, podKeys...)
	if v.chance(70) {
		svc.Spec.Selector[k.name] = one(v, k.values...)
	}
	if v.chance(30) {
		local := corev1.ServiceInternalTrafficPolicyLocal
		svc.Spec.InternalTrafficPolicy = &local
	}
	if v.chance(15) {
		svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}
	tcp := []intstr.IntOrString{intstr.FromString("http"), intstr.FromString("alt"), intstr.FromString("db"), intstr.FromInt32(8080), intstr.FromInt32(9090), intstr.FromInt32(closedPort)}
	svc.Spec.Ports = []corev1.ServicePort{{Name: "web", Port: one(v, int32(80), 443, 8080), TargetPort: one(v, tcp...)}}
	if v.chance(50) {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
			Name: "names", Protocol: corev1.ProtocolUDP, Port: one(v, int32(53), 8080), TargetPort: one(v, intstr.FromString("dns"), intstr.FromInt32(5353)),
		})
	}
	if v.chance(30) {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "more", Port: 9000, TargetPort: one(v, tcp...)})
	}
	return svc
}
