package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// large is a cluster of 10,000 pods in 200 namespaces with 2,000 policies of all
// shapes, and a few of the cluster's administrators.
func large() (*model.World, []*model.Pod) {
	r := rand.New(rand.NewPCG(7, 7))
	w := emptyWorld()
	var pods []*model.Pod
	for i := range 10_000 {
		ns := fmt.Sprintf("ns%d", i%200)
		if w.Kube.Namespaces[ns] == nil {
			w.Kube.Namespaces[ns] = &model.Namespace{Name: ns, Labels: model.Labels{"team": fmt.Sprint(i % 17)}}
		}
		p := &model.Pod{
			Namespace: ns, Name: fmt.Sprintf("p%d", i), Phase: "Running", Node: fmt.Sprintf("n%d", i%100),
			Labels:     model.Labels{"app": fmt.Sprint("app", i/200%25), "tier": fmt.Sprint(i % 3), "pod-template-hash": fmt.Sprint(i)},
			IPs:        []netip.Addr{netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})},
			Containers: []model.Container{{Ports: []model.ContainerPort{{Name: "web", Port: 8080, Protocol: "TCP"}}}},
		}
		w.Kube.Pods[p.Ref()] = p
		pods = append(pods, p)
	}
	for i := range 2_000 {
		p := &model.NetworkPolicy{Namespace: fmt.Sprintf("ns%d", i%200), Name: fmt.Sprintf("np%d", i), Ingress: i%2 == 0, Egress: i%3 == 0}
		if i%10 != 0 {
			p.PodSelector = *sel("app", fmt.Sprint("app", r.IntN(25)))
		}
		peers := []model.PolicyPeer{{NamespaceSelector: sel("team", fmt.Sprint(r.IntN(17)))}, {PodSelector: sel("tier", "1")}, block("10.0.0.0/9", "10.0.4.0/24")}
		rules := []model.PolicyRule{{Peers: peers[:1+r.IntN(3)], Ports: []model.PolicyPort{{Protocol: "TCP", Port: "web"}, {Protocol: "TCP", Port: "80", EndPort: 90}}}, {Peers: peers[r.IntN(3):]}}
		p.IngressRules, p.EgressRules = rules, rules
		w.Kube.Policies[p.Ref()] = p
	}
	w.Kube.AdminPolicies = map[model.Ref]*model.AdminPolicy{}
	for i := range 50 {
		a := &model.AdminPolicy{Ref: model.NewRef("adminnetworkpolicy", fmt.Sprint("anp", i)), Tier: "admin", Priority: int32(i), Subject: model.AdminPods{Namespaces: sel("team", fmt.Sprint(i%17))}}
		a.Egress = []model.AdminRule{{Action: "Deny", Peers: []model.AdminPeer{{Networks: []netip.Prefix{netip.MustParsePrefix("8.8.8.0/24")}}}}}
		a.Ingress = []model.AdminRule{{Action: "Pass", Peers: []model.AdminPeer{{Pods: &model.AdminPods{Namespaces: sel("team", "3")}}}}}
		w.Kube.AdminPolicies[a.Ref] = a
	}
	return w, pods
}

// BenchmarkFlow judges one connection at both its ends, with the line that
// decides: the bar is 10 µs.
func BenchmarkFlow(b *testing.B) {
	w, pods := large()
	x := BuildAs(w, Upstream)
	r := rand.New(rand.NewPCG(1, 2))
	flows := make([]model.Flow, 4096)
	for i := range flows {
		from, to := pods[r.IntN(len(pods))], pods[r.IntN(len(pods))]
		flows[i] = model.Flow{Protocol: "tcp", From: from.Ref(), To: to.Ref(), Src: from.IPs[0], Dst: to.IPs[0], DstPort: 8080}
	}
	drops := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f := flows[i%len(flows)]
		d := x.Egress(w.Kube.Pods[f.From], f)
		if d.Verdict == model.Pass {
			d = x.Ingress(w.Kube.Pods[f.To], f)
		}
		if d.Verdict != model.Pass {
			drops++
		}
	}
	b.ReportMetric(float64(drops)/float64(b.N), "refused/op")
}

// BenchmarkBuild prepares that cluster.
func BenchmarkBuild(b *testing.B) {
	w, _ := large()
	b.ReportAllocs()
	for b.Loop() {
		BuildAs(w, Upstream)
	}
}
