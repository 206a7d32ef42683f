package parity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podpath/podpath/lab/netns"
	"github.com/podpath/podpath/lab/plan"
)

// apply makes the lab what a world says, and waits until packets obey it: the
// policy engine says which objects its rules were made from, the resource
// manager answers when the network has followed, and kube-proxy is known to have
// all Services when it has the one that was written last.
func (s *stage) apply(ctx context.Context, w *world) error {
	if err := s.relabel(ctx, w); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, 3)
	wg.Go(func() { errs[0] = s.replacePolicies(ctx, w) })
	wg.Go(func() { errs[1] = s.replaceServices(ctx, w) })
	wg.Go(func() { errs[2] = s.azure.apply(ctx, w) })
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := until(ctx, "the policy engine", func() error { return s.enforced(ctx) }); err != nil {
		return err
	}
	return s.forget(ctx)
}

// relabel gives namespaces and pods the labels of the world.
func (s *stage) relabel(ctx context.Context, w *world) error {
	for name, want := range w.nsLabels {
		if _, err := s.kube.CoreV1().Namespaces().Patch(ctx, name, types.MergePatchType, patch(nsKeys, want), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	for _, p := range s.pods {
		if _, err := s.kube.CoreV1().Pods(p.namespace).Patch(ctx, p.name, types.MergePatchType, patch(podKeys, p.labels), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// patch sets the labels that are wanted and removes the others of the keys.
func patch(keys []key, want map[string]string) []byte {
	set := map[string]any{}
	for _, k := range keys {
		set[k.name] = nil
		if value, ok := want[k.name]; ok {
			set[k.name] = value
		}
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": set}})
	if err != nil {
		panic(err) // strings and nil
	}
	return data
}

func (s *stage) replacePolicies(ctx context.Context, w *world) error {
	for _, ns := range namespaces {
		if err := s.kube.NetworkingV1().NetworkPolicies(ns).DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			return err
		}
	}
	for _, np := range w.policies {
		if _, err := s.kube.NetworkingV1().NetworkPolicies(np.Namespace).Create(ctx, np, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("policy %s/%s: %w", np.Namespace, np.Name, err)
		}
	}
	return nil
}

// enforced compares what the policy engine has applied with what the API server has.
func (s *stage) enforced(ctx context.Context) error {
	want := map[string]string{}
	spaces, err := s.kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range spaces.Items {
		want["namespace/"+n.Name] = n.ResourceVersion
	}
	policies, err := s.kube.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, p := range policies.Items {
		want["networkpolicy/"+p.Namespace+"/"+p.Name] = p.ResourceVersion
	}
	pods, err := s.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{LabelSelector: ownedLabel + "=pod"})
	if err != nil {
		return err
	}
	for _, p := range pods.Items {
		want["pod/"+p.Namespace+"/"+p.Name] = p.ResourceVersion
	}
	have, err := s.daemon.Enforced(ctx)
	if err != nil {
		return err
	}
	for key, version := range want {
		if have[key] != version {
			return fmt.Errorf("%s is at version %s, its rules are of %q", key, version, have[key])
		}
	}
	for key := range have { // pods of others change nothing: no policy is in their namespaces
		if want[key] == "" && !strings.HasPrefix(key, "pod/") {
			return fmt.Errorf("%s is gone, its rules are not", key)
		}
	}
	return nil
}

func (s *stage) replaceServices(ctx context.Context, w *world) error {
	old, err := s.kube.CoreV1().Services("").List(ctx, metav1.ListOptions{LabelSelector: ownedLabel})
	if err != nil {
		return err
	}
	for _, svc := range old.Items {
		if err := s.kube.CoreV1().Services(svc.Namespace).Delete(ctx, svc.Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
	for i, svc := range w.services {
		if w.services[i], err = s.kube.CoreV1().Services(svc.Namespace).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("service %s/%s: %w", svc.Namespace, svc.Name, err)
		}
	}
	if err := until(ctx, "the endpoints", func() error { return s.endpoints(ctx, w) }); err != nil {
		return err
	}
	return s.proxied(ctx, w)
}

// endpoints compares every Service's endpoints with the pods that it selects.
func (s *stage) endpoints(ctx context.Context, w *world) error {
	list, err := s.kube.DiscoveryV1().EndpointSlices("").List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName})
	if err != nil {
		return err
	}
	have := map[string][]string{}
	for _, slice := range list.Items {
		key := slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready != nil && *e.Conditions.Ready {
				have[key] = append(have[key], e.Addresses...)
			}
		}
	}
	for _, svc := range w.services {
		key := svc.Namespace + "/" + svc.Name
		var want []string
		for _, p := range s.selected(svc) {
			want = append(want, p.addr.String())
		}
		slices.Sort(want)
		got := slices.Compact(slices.Sorted(slices.Values(have[key])))
		if !slices.Equal(got, want) {
			return fmt.Errorf("service %s has endpoints %v, not %v", key, got, want)
		}
	}
	return nil
}

// selected are the pods that a Service selects.
func (s *stage) selected(svc *corev1.Service) []*pod {
	var out []*pod
	for _, p := range s.pods {
		set := maps.Clone(p.labels)
		set[ownedLabel] = "pod"
		if p.namespace == svc.Namespace && labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(set)) {
			out = append(out, p)
		}
	}
	return out
}

// proxied writes one more Service, whose endpoint always answers, and waits until
// it does from every node: kube-proxy learns of changes in their order.
func (s *stage) proxied(ctx context.Context, w *world) error {
	ns, tcp, port, yes := namespaces[0], corev1.ProtocolTCP, int32(plan.APIServer.Port()), true
	svc, err := s.kube.CoreV1().Services(ns).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: w.canary, Labels: map[string]string{ownedLabel: "canary"}},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "api", Port: 443}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	name := "api"
	_, err = s.kube.DiscoveryV1().EndpointSlices(ns).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: w.canary, Labels: map[string]string{discoveryv1.LabelServiceName: w.canary}, OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "Service", Name: svc.Name, UID: svc.UID},
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{plan.APIServer.Addr().String()}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	for _, n := range s.lab.Plan.Nodes {
		err := until(ctx, "kube-proxy on "+n.Name, func() error {
			try, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
			conn, err := netns.Dial(try, s.nodeNS(n), "tcp", svc.Spec.ClusterIP+":443")
			if err != nil {
				return fmt.Errorf("its last Service does not answer: %v", err)
			}
			return conn.Close()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) nodeNS(n plan.Node) string { return netns.Name(s.lab.Plan.Lab, "node-"+n.Name) }

// forget removes what nodes and router know of datagrams: an answer to one of an
// earlier world, from the same port, would let one of this world pass.
func (s *stage) forget(ctx context.Context) error {
	spaces := []string{netns.Name(s.lab.Plan.Lab, "router"), netns.Name(s.lab.Plan.Lab, "fw")}
	for _, n := range s.lab.Plan.Nodes {
		spaces = append(spaces, s.nodeNS(n))
	}
	for _, name := range spaces {
		out, err := netns.Command(ctx, name, "conntrack", "-D", "-p", "udp").CombinedOutput()
		if err != nil && !strings.Contains(string(out), "0 flow entries") {
			return fmt.Errorf("conntrack in %s: %w: %s", name, err, out)
		}
	}
	return nil
}
