// Package reachtest makes clusters of any size for benchmarks and tests, the
// same for the same seed, as a World or as a directory of manifests.
package reachtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/podpath/podpath/internal/model"
)

// Size says how large a cluster is. Pods is the number of pods, in workloads of
// Replicas each, 50 workloads to a namespace; Policies are spread over the namespaces.
type Size struct{ Pods, Replicas, Policies int }

// perNamespace is how many workloads share a namespace.
const perNamespace = 50

// Cluster has in each namespace a default deny, a policy that lets all pods ask
// DNS, and policies with selectors of pods and namespaces, named ports, blocks
// with exceptions, port ranges, expressions, UDP and SCTP; and a Service for
// each workload.
func Cluster(seed uint64, s Size) *model.World {
	w := &model.World{Read: map[string]bool{}}
	for _, kind := range []string{"pod", "namespace", "service", "endpointslice", "networkpolicy", "daemonset", "deployment", "node"} {
		w.Read[kind] = true
	}
	k := &w.Kube
	k.Namespaces, k.Nodes = map[string]*model.Namespace{}, map[string]*model.Node{}
	k.Pods, k.Services = map[model.Ref]*model.Pod{}, map[model.Ref]*model.Service{}
	k.EndpointSlices, k.Policies = map[model.Ref]*model.EndpointSlice{}, map[model.Ref]*model.NetworkPolicy{}
	k.Workloads = map[model.Ref]*model.Workload{}
	g := &generator{r: rand.New(rand.NewPCG(seed, 3)), w: w, replicas: max(1, s.Replicas)}
	workloads := max(1, s.Pods/g.replicas)
	g.namespaces = max(1, workloads/perNamespace)
	g.nodes(max(3, s.Pods/100))
	g.system()
	for i := range g.namespaces {
		name := namespace(i)
		k.Namespaces[name] = &model.Namespace{Name: name, Labels: model.Labels{"kubernetes.io/metadata.name": name, "team": fmt.Sprintf("team-%d", i%17), "env": []string{"prod", "test", "dev"}[i%3]}}
	}
	for i := range workloads {
		g.workload(namespace(i%g.namespaces), i/g.namespaces)
	}
	for i := range s.Policies {
		g.policy(namespace(i%g.namespaces), i/g.namespaces)
	}
	return w
}

func namespace(i int) string { return fmt.Sprintf("ns-%04d", i) }

type generator struct {
	r                    *rand.Rand
	w                    *model.World
	replicas, namespaces int
	pods                 uint32
	names                []string
}

func (g *generator) nodes(n int) {
	for i := range n {
		name := fmt.Sprintf("node-%05d", i)
		g.names = append(g.names, name)
		g.w.Kube.Nodes[name] = &model.Node{Name: name, Labels: model.Labels{"kubernetes.io/hostname": name}, InternalIPs: []netip.Addr{address(172<<24|16<<16, uint32(i)+4)}}
	}
}

func address(base, n uint32) netip.Addr {
	n += base
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// pod adds one with an address of 10.0.0.0/8.
func (g *generator) pod(ns, name string, owner model.Ref, labels model.Labels) {
	g.pods++
	g.w.Kube.Pods[model.NewRef("pod", ns, name)] = &model.Pod{
		Namespace: ns, Name: name, Labels: labels, Owner: owner, Phase: "Running", Node: g.names[int(g.pods)%len(g.names)],
		IPs: []netip.Addr{address(10<<24, g.pods)}, ServiceAccount: "default",
		Containers: []model.Container{{Name: "app", Ports: []model.ContainerPort{
			{Name: "http", Port: 8080, Protocol: "TCP"}, {Name: "metrics", Port: 9090 + uint16(g.pods%2), Protocol: "TCP"},
		}}},
	}
}

func (g *generator) system() {
	g.w.Kube.Namespaces["kube-system"] = &model.Namespace{Name: "kube-system", Labels: model.Labels{"kubernetes.io/metadata.name": "kube-system"}}
	for i := range 2 {
		g.pod("kube-system", fmt.Sprintf("coredns-%d", i), "deployment/kube-system/coredns", model.Labels{"k8s-app": "kube-dns"})
	}
}

func (g *generator) workload(ns string, i int) {
	name := fmt.Sprintf("app-%03d", i)
	owner := model.NewRef("deployment", ns, name)
	tier := []string{"web", "api", "db", "job"}[i%4]
	for n := range g.replicas {
		g.pod(ns, fmt.Sprintf("%s-%05d", name, n), owner, model.Labels{"app": name, "tier": tier, "version": fmt.Sprintf("v%d", i%3)})
	}
	g.w.Kube.Services[model.NewRef("service", ns, name)] = &model.Service{
		Namespace: ns, Name: name, Type: "ClusterIP", Selector: model.Labels{"app": name},
		ClusterIPs: []netip.Addr{address(172<<24|20<<16, uint32(len(g.w.Kube.Services))+1)},
		Ports:      []model.ServicePort{{Name: "http", Protocol: "TCP", Port: 80, TargetPort: "http"}},
	}
}

func (g *generator) policy(ns string, i int) {
	p := &model.NetworkPolicy{Namespace: ns, Name: fmt.Sprintf("policy-%03d", i)}
	switch i {
	case 0:
		p.Name, p.Ingress, p.Egress = "default-deny", true, true
	case 1:
		p.Name, p.Egress = "allow-dns", true
		p.EgressRules = []model.PolicyRule{{
			Peers: []model.PolicyPeer{{
				NamespaceSelector: &model.Selector{MatchLabels: model.Labels{"kubernetes.io/metadata.name": "kube-system"}},
				PodSelector:       &model.Selector{MatchLabels: model.Labels{"k8s-app": "kube-dns"}},
			}},
			Ports: []model.PolicyPort{{Protocol: "UDP", Port: "53"}, {Protocol: "TCP", Port: "53"}},
		}}
	default:
		g.random(p)
	}
	g.w.Kube.Policies[p.Ref()] = p
}

func (g *generator) random(p *model.NetworkPolicy) {
	p.PodSelector = *g.selector()
	p.Ingress, p.Egress = true, g.r.IntN(2) == 0
	for range 1 + g.r.IntN(3) {
		p.IngressRules = append(p.IngressRules, g.rule())
		if p.Egress {
			p.EgressRules = append(p.EgressRules, g.rule())
		}
	}
}

func (g *generator) selector() *model.Selector {
	switch g.r.IntN(4) {
	case 0:
		return &model.Selector{MatchLabels: model.Labels{"tier": []string{"web", "api", "db", "job"}[g.r.IntN(4)]}}
	case 1:
		return &model.Selector{Expressions: []model.SelectorExpression{{Key: "app", Operator: "In", Values: []string{g.app(), g.app(), g.app()}}}}
	case 2:
		return &model.Selector{
			MatchLabels: model.Labels{"version": fmt.Sprintf("v%d", g.r.IntN(3))},
			Expressions: []model.SelectorExpression{{Key: "tier", Operator: "NotIn", Values: []string{"db", "job"}}},
		}
	}
	return &model.Selector{MatchLabels: model.Labels{"app": g.app()}}
}

func (g *generator) app() string { return fmt.Sprintf("app-%03d", g.r.IntN(perNamespace)) }

func (g *generator) rule() model.PolicyRule {
	var rule model.PolicyRule
	for range 1 + g.r.IntN(2) {
		rule.Peers = append(rule.Peers, g.peer())
	}
	for range 1 + g.r.IntN(2) {
		rule.Ports = append(rule.Ports, g.port())
	}
	return rule
}

func (g *generator) peer() model.PolicyPeer {
	switch g.r.IntN(6) {
	case 0:
		return model.PolicyPeer{NamespaceSelector: &model.Selector{MatchLabels: model.Labels{"team": fmt.Sprintf("team-%d", g.r.IntN(17))}}, PodSelector: g.selector()}
	case 1:
		return model.PolicyPeer{NamespaceSelector: &model.Selector{MatchLabels: model.Labels{"kubernetes.io/metadata.name": namespace(g.r.IntN(g.namespaces))}}}
	case 2: // outside of the cluster's own networks
		bits := 8 + g.r.IntN(17)
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + g.r.IntN(100)), byte(g.r.IntN(256)), byte(g.r.IntN(256))}), bits).Masked()
		return model.PolicyPeer{IPBlock: block, Except: []netip.Prefix{netip.PrefixFrom(block.Addr(), bits+2)}}
	}
	return model.PolicyPeer{PodSelector: g.selector()}
}

func (g *generator) port() model.PolicyPort {
	switch g.r.IntN(6) {
	case 0:
		return model.PolicyPort{Protocol: "TCP", Port: "http"}
	case 1:
		return model.PolicyPort{Protocol: "TCP", Port: "metrics"}
	case 2:
		first := 1024 + g.r.IntN(30000)
		return model.PolicyPort{Protocol: "TCP", Port: fmt.Sprint(first), EndPort: uint16(first + g.r.IntN(1000))}
	case 3:
		return model.PolicyPort{Protocol: "UDP", Port: fmt.Sprint(1 + g.r.IntN(9999))}
	case 4:
		return model.PolicyPort{Protocol: "SCTP", Port: fmt.Sprint(1 + g.r.IntN(9999))}
	}
	return model.PolicyPort{Protocol: "TCP", Port: fmt.Sprint([]int{80, 443, 5432, 8080}[g.r.IntN(4)])}
}
