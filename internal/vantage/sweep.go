package vantage

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// sweep removes what earlier runs left behind when they were killed: only pods
// with podpath's labels that have ended or are past their deadline. Their owners
// expire by themselves.
func (s *session) sweep(ctx context.Context) {
	namespaces := []string{s.req.ProbeNamespace}
	if s.req.Pod != nil && s.req.Pod.Namespace != s.req.ProbeNamespace {
		namespaces = append(namespaces, s.req.Pod.Namespace)
	}
	now := int64(0)
	var wg sync.WaitGroup
	for _, ns := range namespaces {
		list, err := s.Kube.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: labelRun, Limit: 100})
		if err != nil {
			continue // who may not list leaves it to the owners' expiry
		}
		for _, p := range list.Items {
			if p.Labels[labelRun] == s.id || p.Labels[labelKind] == "" || !over(&p, time.Now()) {
				continue
			}
			wg.Go(func() {
				_ = s.Kube.CoreV1().Pods(ns).Delete(ctx, p.Name, metav1.DeleteOptions{
					GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.UID},
				})
			})
		}
	}
	wg.Wait()
}

// over says whether a probe pod has ended or should have.
func over(p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return true
	}
	if p.Spec.ActiveDeadlineSeconds == nil {
		return false
	}
	return now.After(p.CreationTimestamp.Add(time.Duration(*p.Spec.ActiveDeadlineSeconds)*time.Second + time.Minute))
}
