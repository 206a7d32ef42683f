package check

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

// large is a healthy cluster of that size with CoreDNS and a Service for each 20 pods.
func large(nodes, pods, policies int) *model.World {
	w := tracetest.Large(1, nodes, pods, policies)
	for _, kind := range []string{"ingress", "deployment", "statefulset", "daemonset", "webhook", "apiservice", "deprecatedapi"} {
		w.Read[kind] = true
	}
	// Pods need owners: one workload for each namespace and app.
	w.Kube.Workloads = map[model.Ref]*model.Workload{}
	byApp := map[model.Ref][]*model.Pod{}
	for _, pod := range values(w.Kube.Pods) {
		pod.Owner = model.NewRef("deployment", pod.Namespace, pod.Labels["app"])
		byApp[pod.Owner] = append(byApp[pod.Owner], pod)
	}
	i := 0
	for ref, list := range byApp {
		w.Kube.Workloads[ref] = &model.Workload{Ref: ref, Replicas: int32(len(list)), Ready: int32(len(list)), Selector: &model.Selector{MatchLabels: model.Labels{"app": ref.Name()}}}
		s := &model.Service{
			Namespace: ref.Part(0), Name: ref.Name(), Type: "ClusterIP", Selector: model.Labels{"app": ref.Name()},
			ClusterIPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 2, byte(1 + i/250), byte(1 + i%250)})}, Ports: []model.ServicePort{{Port: 80, TargetPort: "8080", Protocol: "TCP"}},
		}
		i++
		slice := &model.EndpointSlice{Namespace: s.Namespace, Name: s.Name + "-x", Service: s.Name, AddressType: "IPv4", Ports: []model.EndpointPort{{Port: 8080, Protocol: "TCP"}}}
		for _, pod := range list {
			slice.Endpoints = append(slice.Endpoints, model.SliceEndpoint{Addresses: []string{pod.IPs[0].String()}, Ready: true, Serving: true, Node: pod.Node, Target: pod.Ref()})
		}
		w.Kube.Services[serviceRef(s)] = s
		w.Kube.EndpointSlices[model.NewRef("endpointslice", s.Namespace, slice.Name)] = slice
	}
	slice := w.Kube.EndpointSlices["endpointslice/kube-system/kube-dns-1"]
	slice.Endpoints = nil
	for i := range 2 {
		pod := &model.Pod{Namespace: "kube-system", Name: fmt.Sprintf("dns%d", i), Node: fmt.Sprintf("n%05d", i), Phase: "Running", Ready: true, Labels: model.Labels{"app": "dns"}, IPs: []netip.Addr{netip.AddrFrom4([4]byte{100, 64, byte(i), 250})}}
		w.Kube.Pods[pod.Ref()] = pod
		slice.Endpoints = append(slice.Endpoints, model.SliceEndpoint{Addresses: []string{pod.IPs[0].String()}, Ready: true, Serving: true, Node: pod.Node, Target: pod.Ref()})
	}
	return w
}

// BenchmarkCheck is everything from a World of 1,000 nodes and 30,000 pods to the report.
func BenchmarkCheck(b *testing.B) {
	w := large(1000, 30000, 300)
	b.ReportAllocs()
	var r *Report
	for b.Loop() {
		r = Run(w, Options{Now: now})
	}
	b.ReportMetric(float64(len(r.Causes)), "causes")
}

// TestLarge: a large healthy cluster gives an answer that a person can read.
func TestLarge(t *testing.T) {
	r := Run(large(60, 1800, 0), Options{Now: now})
	if len(r.Causes) > 0 {
		t.Errorf("%d causes, the first: %+v", len(r.Causes), r.Causes[0])
	}
	if len(r.NotChecked) > 0 {
		t.Errorf("%v", r.NotChecked)
	}
}
