package reachtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/podpath/podpath/internal/model"
)

// Random is a small World full of what is easy to get wrong: few labels that
// many pods share, blocks that hold pods and nodes, pods of the host's network,
// pods that have ended, pods without an address, two address families,
// namespaces and lists that nobody has read.
func Random(seed uint64) *model.World {
	r := rand.New(rand.NewPCG(seed, 17))
	w := Cluster(seed, Size{Pods: 0, Replicas: 1, Policies: 0})
	clear(w.Kube.Pods)
	clear(w.Kube.Services)
	clear(w.Kube.Nodes)
	clear(w.Kube.Namespaces)
	clear(w.Kube.Policies)
	for i := range 3 {
		n := &model.Node{Name: fmt.Sprintf("n%d", i), Labels: model.Labels{"zone": fmt.Sprint(i % 2)}, InternalIPs: []netip.Addr{address(192<<24|168<<16, uint32(i)+1)}}
		if r.IntN(4) == 0 {
			n.Labels["kubernetes.io/os"] = "windows"
		}
		w.Kube.Nodes[n.Name] = n
	}
	for i := range 3 {
		if name := fmt.Sprintf("ns%d", i); r.IntN(8) > 0 {
			w.Kube.Namespaces[name] = &model.Namespace{Name: name, Labels: model.Labels{"team": fmt.Sprint(i % 2)}}
		}
	}
	for i := range 14 {
		p := randomPod(r, i)
		w.Kube.Pods[p.Ref()] = p
	}
	for i := range r.IntN(7) {
		p := randomPolicy(r, i)
		w.Kube.Policies[p.Ref()] = p
	}
	addKinds(r, w)
	switch r.IntN(10) {
	case 0:
		w.Read["pod"] = false
	case 1:
		w.Read["node"] = false
	case 2:
		w.Read["networkpolicy"], w.Read["networkpolicy/ns0"] = false, true
	case 3:
		w.Kube.Nodes["n0"].PodCIDRs = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}
	}
	return w
}

func randomLabels(r *rand.Rand) model.Labels {
	l := model.Labels{}
	if r.IntN(5) > 0 {
		l["app"] = []string{"a", "b", "c"}[r.IntN(3)]
	}
	if r.IntN(2) == 0 {
		l["tier"] = []string{"x", "y", ""}[r.IntN(3)]
	}
	return l
}

func randomPod(r *rand.Rand, i int) *model.Pod {
	p := &model.Pod{
		Namespace: fmt.Sprintf("ns%d", r.IntN(3)), Name: fmt.Sprintf("pod%02d", i), Phase: "Running", Labels: randomLabels(r),
		Node: fmt.Sprintf("n%d", r.IntN(3)), IPs: []netip.Addr{address(10<<24, uint32(i)*16+1)}, ServiceAccount: []string{"default", "sa"}[r.IntN(2)],
	}
	for c := range 1 + r.IntN(2) {
		ct := model.Container{Name: fmt.Sprint(c), Kind: []string{"", "", "sidecar", "init"}[r.IntN(4)]}
		ct.Ports = []model.ContainerPort{{Name: []string{"http", "dns", ""}[r.IntN(3)], Port: []uint16{80, 8080, 53}[r.IntN(3)], Protocol: []string{"TCP", "UDP", "SCTP"}[r.IntN(3)]}}
		p.Containers = append(p.Containers, ct)
	}
	switch r.IntN(9) {
	case 0:
		p.HostNetwork, p.IPs = true, []netip.Addr{address(192<<24|168<<16, uint32(p.Node[1]-'0')+1)}
	case 1:
		p.Phase = "Succeeded"
	case 2:
		p.IPs = nil
	case 3:
		p.IPs = append(p.IPs, netip.MustParseAddr(fmt.Sprintf("fd00::%x", i+1)))
	}
	return p
}

func randomSelector(r *rand.Rand) *model.Selector {
	s := &model.Selector{}
	if r.IntN(3) == 0 {
		return s
	}
	if r.IntN(2) == 0 {
		s.MatchLabels = model.Labels{"app": []string{"a", "b", "c", "z"}[r.IntN(4)]}
	}
	if r.IntN(2) == 0 {
		op := []string{"In", "NotIn", "Exists", "DoesNotExist"}[r.IntN(4)]
		e := model.SelectorExpression{Key: []string{"tier", "app", "other"}[r.IntN(3)], Operator: op}
		if op == "In" || op == "NotIn" {
			e.Values = []string{[]string{"x", "a", ""}[r.IntN(3)], "y"}
		}
		s.Expressions = append(s.Expressions, e)
	}
	return s
}

func randomPolicy(r *rand.Rand, i int) *model.NetworkPolicy {
	p := &model.NetworkPolicy{Namespace: fmt.Sprintf("ns%d", r.IntN(3)), Name: fmt.Sprintf("p%d", i), PodSelector: *randomSelector(r), Ingress: r.IntN(2) == 0, Egress: r.IntN(2) == 0}
	for range r.IntN(3) {
		p.IngressRules = append(p.IngressRules, randomRule(r))
	}
	for range r.IntN(3) {
		p.EgressRules = append(p.EgressRules, randomRule(r))
	}
	return p
}

// Blocks are the networks that random rules name.
var Blocks = []string{"0.0.0.0/0", "10.0.0.0/24", "10.0.0.32/27", "10.0.0.17/32", "192.168.0.0/16", "192.168.0.2/32", "8.8.0.0/16", "8.8.8.0/24", "8.8.8.8/32", "::/0", "fd00::/120"}

func randomRule(r *rand.Rand) model.PolicyRule {
	var rule model.PolicyRule
	for range r.IntN(3) {
		var peer model.PolicyPeer
		switch r.IntN(4) {
		case 0:
			peer.PodSelector = randomSelector(r)
		case 1:
			peer.PodSelector = randomSelector(r)
			fallthrough
		case 2:
			peer.NamespaceSelector = &model.Selector{}
			if r.IntN(3) > 0 {
				peer.NamespaceSelector.MatchLabels = model.Labels{"team": fmt.Sprint(r.IntN(2))}
			}
		case 3:
			peer.IPBlock = netip.MustParsePrefix(Blocks[r.IntN(len(Blocks))])
			if e := netip.MustParsePrefix(Blocks[r.IntN(len(Blocks))]); r.IntN(2) == 0 && peer.IPBlock.Bits() < e.Bits() && peer.IPBlock.Contains(e.Addr()) {
				peer.Except = []netip.Prefix{e}
			}
		}
		rule.Peers = append(rule.Peers, peer)
	}
	for range r.IntN(3) {
		port := model.PolicyPort{Protocol: []string{"TCP", "UDP", "SCTP"}[r.IntN(3)], Port: []string{"80", "53", "8080", "http", "dns", ""}[r.IntN(6)]}
		if port.Port == "53" && r.IntN(2) == 0 {
			port.EndPort = 100
		}
		rule.Ports = append(rule.Ports, port)
	}
	return rule
}
