package tracetest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Large is an overlay cluster of any size, the same for the same seed: pods in
// namespaces of 1,000 workloads' labels, and policies spread over the namespaces.
func Large(seed uint64, nodeCount, podCount, policyCount int) *model.World {
	w := Cluster("azure-overlay", "loadBalancer")
	r := rand.New(rand.NewPCG(seed, 1))
	c := w.Azure.Cluster
	c.PodCIDRs = []netip.Prefix{prefix("100.64.0.0/10")}
	base := addr("100.64.0.0").As4()
	start := uint32(base[0])<<24 | uint32(base[1])<<16
	at := func(v uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	}
	clear(w.Kube.Pods)
	clear(w.Kube.Nodes)
	clear(w.Azure.NICs)
	pool := ID("loadBalancers", "kubernetes") + "/backendaddresspools/egress"
	w.Azure.Subnets[subnetID("nodes")].Prefixes = []netip.Prefix{prefix("10.1.64.0/18")}
	for i := range nodeCount {
		name, ip := fmt.Sprintf("n%05d", i), at(10<<24|1<<16|64<<8+uint32(i)+4)
		w.Kube.Nodes[name] = &model.Node{
			Name: name, Labels: model.Labels{"kubernetes.azure.com/agentpool": "pool1"}, InternalIPs: []netip.Addr{ip}, Ready: true,
			PodCIDRs: []netip.Prefix{netip.PrefixFrom(at(start+uint32(i)<<8), 24)},
		}
		id := fmt.Sprintf("%s/microsoft.compute/virtualmachinescalesets/vmss%d/virtualmachines/%d/networkinterfaces/nic", strings.ToLower(nodes), i/1000, i%1000)
		w.Azure.NICs[id] = &model.NIC{ID: id, Name: "nic-" + name, IPConfigs: []model.IPConfig{{Name: "ipconfig1", Primary: true, Addr: ip, SubnetID: subnetID("nodes"), BackendPools: []string{pool}}}}
	}
	namespaces := max(1, policyCount/50)
	for i := range podCount {
		n := i % nodeCount
		ns := fmt.Sprintf("ns%04d", r.IntN(namespaces))
		app := fmt.Sprintf("app%03d", r.IntN(100))
		p := &model.Pod{
			Namespace: ns, Name: fmt.Sprintf("pod%06d", i), Node: fmt.Sprintf("n%05d", n), Phase: "Running", Ready: true,
			Labels: model.Labels{"app": app, "tier": []string{"web", "db", "job"}[r.IntN(3)], "pod-template-hash": fmt.Sprint(r.IntN(1 << 20))},
			IPs:    []netip.Addr{at(start + uint32(n)<<8 + 4 + uint32(i/nodeCount))},
		}
		w.Kube.Pods[p.Ref()] = p
	}
	w.Kube.Policies = map[model.Ref]*model.NetworkPolicy{}
	for i := range policyCount {
		ns := fmt.Sprintf("ns%04d", i%namespaces)
		if w.Kube.Namespaces[ns] == nil {
			w.Kube.Namespaces[ns] = &model.Namespace{Name: ns, Labels: model.Labels{"team": fmt.Sprint(i % 7)}}
		}
		p := randomPolicy(r, ns, fmt.Sprintf("policy%04d", i))
		w.Kube.Policies[p.Ref()] = p
	}
	return w
}

func randomPolicy(r *rand.Rand, ns, name string) *model.NetworkPolicy {
	p := &model.NetworkPolicy{Namespace: ns, Name: name, Ingress: r.IntN(2) == 0, Egress: true}
	if r.IntN(4) > 0 {
		p.PodSelector = randomSelector(r)
	}
	for range r.IntN(4) {
		p.EgressRules = append(p.EgressRules, randomRule(r))
		p.IngressRules = append(p.IngressRules, randomRule(r))
	}
	return p
}

func randomSelector(r *rand.Rand) model.Selector {
	s := model.Selector{MatchLabels: model.Labels{"app": fmt.Sprintf("app%03d", r.IntN(100))}}
	if r.IntN(3) == 0 {
		ops := []string{"In", "NotIn", "Exists", "DoesNotExist"}
		s.Expressions = []model.SelectorExpression{{Key: "tier", Operator: ops[r.IntN(4)], Values: []string{"web", "db"}}}
	}
	return s
}

func randomRule(r *rand.Rand) model.PolicyRule {
	var rule model.PolicyRule
	for range r.IntN(3) {
		var peer model.PolicyPeer
		switch s := randomSelector(r); r.IntN(4) {
		case 0:
			peer.PodSelector = &s
		case 1:
			peer.NamespaceSelector, peer.PodSelector = &model.Selector{MatchLabels: model.Labels{"team": fmt.Sprint(r.IntN(7))}}, &s
		case 2:
			peer.NamespaceSelector = &model.Selector{}
		case 3:
			peer.IPBlock = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(r.IntN(224)), byte(r.IntN(256))}), r.IntN(17))
			peer.Except = []netip.Prefix{prefix("10.0.0.0/8")}
		}
		rule.Peers = append(rule.Peers, peer)
	}
	for range r.IntN(3) {
		port := model.PolicyPort{Protocol: []string{"TCP", "UDP", "SCTP"}[r.IntN(3)], Port: fmt.Sprint(r.IntN(1024))}
		if r.IntN(4) == 0 {
			port.Port = "http"
		} else if r.IntN(4) == 0 {
			port.EndPort = 2048
		}
		rule.Ports = append(rule.Ports, port)
	}
	return rule
}
