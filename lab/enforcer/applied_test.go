package enforcer

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/podpath/podpath/lab/plan"
)

// TestApplied: an update is known by the versions of what it was made from, and
// nothing is said to be applied that was not loaded on every node.
func TestApplied(t *testing.T) {
	p, err := plan.New("nowhere", plan.Topology{Nodes: 1})
	if err != nil {
		t.Fatal(err)
	}
	meta := func(ns, name, version string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: ns, Name: name, ResourceVersion: version}
	}
	e := newEnforcer(p, fake.NewClientset(
		&corev1.Namespace{ObjectMeta: meta("", "shop", "3")}, &corev1.Pod{ObjectMeta: meta("shop", "web", "5")},
		&networkingv1.NetworkPolicy{ObjectMeta: meta("shop", "deny", "7")},
	))
	e.factory.Core().V1().Pods().Informer()
	e.factory.Core().V1().Namespaces().Informer()
	e.factory.Networking().V1().NetworkPolicies().Informer()
	e.factory.Start(t.Context().Done())
	e.factory.WaitForCacheSync(t.Context().Done())
	s, err := e.state()
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"namespace/shop": "3", "pod/shop/web": "5", "networkpolicy/shop/deny": "7"}; !maps.Equal(s.versions, want) {
		t.Errorf("versions %v", s.versions)
	}
	if err := e.sync(t.Context()); err == nil || len(e.Applied()) > 0 {
		t.Errorf("the lab has no node, and %v is said to be applied (%v)", e.Applied(), err)
	}
}
