package kube

import (
	"cmp"
	"context"
	"slices"
	"strconv"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/internal/model"
)

var ingresses = resource{"ingress", "ingresses.networking.k8s.io"}

func (r *reader) listIngresses(ctx context.Context, ns string, o metav1.ListOptions) (*networkingv1.IngressList, error) {
	return r.cs.NetworkingV1().Ingresses(ns).List(ctx, o)
}

// keepIngresses is called with the lock held, as all keepers of pages are.
func (r *reader) keepIngresses(l *networkingv1.IngressList) {
	if r.w.Kube.Ingresses == nil {
		r.w.Kube.Ingresses = map[model.Ref]*model.Ingress{}
	}
	for i := range l.Items {
		in := convertIngress(&l.Items[i])
		r.w.Kube.Ingresses[in.Ref()] = in
	}
}

func convertIngress(in *networkingv1.Ingress) *model.Ingress {
	out := &model.Ingress{Namespace: in.Namespace, Name: in.Name, Class: in.Annotations["kubernetes.io/ingress.class"]}
	if c := in.Spec.IngressClassName; c != nil {
		out.Class = *c
	}
	add := func(b *networkingv1.IngressBackend) {
		if b == nil || b.Service == nil {
			return
		}
		back := model.IngressBackend{Service: b.Service.Name, Port: b.Service.Port.Name}
		if n := b.Service.Port.Number; n != 0 {
			back.Port = strconv.Itoa(int(n))
		}
		if !slices.Contains(out.Backends, back) {
			out.Backends = append(out.Backends, back)
		}
	}
	add(in.Spec.DefaultBackend)
	for _, rule := range in.Spec.Rules {
		if host := cmp.Or(rule.Host, "*"); !slices.Contains(out.Hosts, host) {
			out.Hosts = append(out.Hosts, host)
		}
		if rule.HTTP != nil {
			for i := range rule.HTTP.Paths {
				add(&rule.HTTP.Paths[i].Backend)
			}
		}
	}
	for _, i := range in.Status.LoadBalancer.Ingress {
		if a, ok := addr(i.IP); ok {
			out.Addresses = append(out.Addresses, a)
		}
	}
	return out
}
