package enforcer

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

// TestTrial sends packets between two pods of a node, on a bridge as kubenet has
// it. It needs root, and runs only where PODPATH_LAB_ROOT says so.
func TestTrial(t *testing.T) {
	if os.Getenv("PODPATH_LAB_ROOT") != "1" || os.Geteuid() != 0 {
		return
	}
	p, err := plan.New("l2e", plan.Topology{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	node := netns.Name(p.Lab, "node-"+p.Nodes[0].Name)
	pods := map[string]string{"web": "10.244.0.5", "db": "10.244.0.6"}
	for _, n := range []string{node, "l2e-web", "l2e-db"} {
		if err := netns.Create(n); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { netns.Delete(n) })
	}
	sh := func(name, script string) {
		t.Helper()
		if out, err := netns.Command(t.Context(), name, "sh", "-ec", script).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
	}
	sh(node, "sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1; ip link add cbr0 type bridge; ip addr add 10.244.0.1/24 dev cbr0; ip link set cbr0 up")
	var objects []*corev1.Pod
	for name, addr := range pods {
		sh(node, fmt.Sprintf("ip link add %s type veth peer name eth0 netns l2e-%s; ip link set %s master cbr0 up", name, name, name))
		sh("l2e-"+name, fmt.Sprintf("ip addr add %s/24 dev eth0; ip link set eth0 up; ip route add default via 10.244.0.1", addr))
		objects = append(objects, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", Labels: map[string]string{"app": name}},
			Spec:       corev1.PodSpec{NodeName: p.Nodes[0].Name}, Status: corev1.PodStatus{PodIP: addr, Phase: corev1.PodRunning},
		})
	}
	sh(node, "nft add table ip svc; nft add chain ip svc pre '{ type nat hook prerouting priority dstnat; }'; nft add rule ip svc pre ip daddr 10.0.0.9 tcp dport 80 dnat to 10.244.0.6:5432")
	for name, addr := range map[string]string{"l2e-db": "10.244.0.6:5432", node: "10.244.0.1:7000"} {
		l, err := netns.Listen(name, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { b := make([]byte, 1); c.Read(b); c.Write(b); c.Close() }()
			}
		}()
	}
	client := fake.NewClientset(objects[0], objects[1], &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	e := newEnforcer(p, client)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	defer func() { stop(); <-done }()

	dial := func(from, to string) net.Conn {
		ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
		defer cancel()
		c, err := netns.Dial(ctx, from, "tcp", to)
		if err != nil {
			return nil
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	// become waits for a flow to work, or not, as policies take a moment to arrive.
	become := func(what, from, to string, want bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; {
			if (dial(from, to) != nil) == want {
				return
			}
			if time.Now().After(end) {
				t.Errorf("%s: %s → %s does not become %v", what, from, to, want)
				return
			}
		}
	}
	policy := func(name, pod string, spec networkingv1.NetworkPolicySpec) {
		t.Helper()
		spec.PodSelector = metav1.LabelSelector{MatchLabels: map[string]string{"app": pod}}
		np := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"}, Spec: spec}
		if _, err := client.NetworkingV1().NetworkPolicies("shop").Create(t.Context(), np, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	const db, service = "10.244.0.6:5432", "10.0.0.9:80"
	become("no policy", "l2e-web", db, true)
	become("no policy, by the Service", "l2e-web", service, true)
	old := dial("l2e-web", db)
	policy("deny", "web", networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}})
	become("default deny", "l2e-web", db, false)
	become("default deny, by the Service", "l2e-web", service, false)
	become("default deny, to its own node", "l2e-web", "10.244.0.1:7000", false)
	become("the node to its pod", node, db, true)
	old.SetDeadline(time.Now().Add(time.Second))
	old.Write([]byte("x"))
	if _, err := old.Read(make([]byte, 1)); err != nil {
		t.Errorf("a policy cut an established connection: %v", err)
	}
	port := intstr.FromInt32(5432)
	policy("allow", "web", networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress: []networkingv1.NetworkPolicyEgressRule{{
			To:    []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}},
			Ports: []networkingv1.NetworkPolicyPort{{Port: &port}},
		}},
	})
	become("allowed by pod and port", "l2e-web", db, true)
	become("allowed behind the Service, whose port is another", "l2e-web", service, true)
	policy("closed", "db", networkingv1.NetworkPolicySpec{})
	become("the other side's ingress", "l2e-web", db, false)
	if err := client.NetworkingV1().NetworkPolicies("shop").Delete(t.Context(), "closed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	become("taken back", "l2e-web", db, true)
}
