package vantage

import (
	"context"
	"sync"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/internal/model"
)

// Labels of everything that podpath creates.
const (
	labelManaged = "app.kubernetes.io/managed-by"
	labelName    = "app.kubernetes.io/name"
	labelRun     = model.LabelRun
	labelKind    = model.LabelKind
	ours         = "podpath"
)

// owner is an object that owns the probe pods of one namespace and expires by
// itself: a Job of no completions is complete at once, and its
// ttlSecondsAfterFinished takes it and, through garbage collection, our pods away
// even if podpath was killed. It never makes a pod of its own.
type owner struct {
	once sync.Once
	ref  *metav1.OwnerReference
	err  error
	done chan struct{}
}

// get waits for the owner to exist; nil if it could not be made.
func (o *owner) get() (*metav1.OwnerReference, error) {
	<-o.done
	return o.ref, o.err
}

// ownerIn returns the owner of this run in a namespace, made on first use.
func (s *session) ownerIn(ctx context.Context, namespace string) (*metav1.OwnerReference, error) {
	s.mu.Lock()
	o := s.owners[namespace]
	if o == nil {
		o = &owner{done: make(chan struct{})}
		s.owners[namespace] = o
	}
	s.mu.Unlock()
	o.once.Do(func() {
		defer close(o.done)
		o.ref, o.err = s.createOwner(ctx, namespace)
	})
	return o.get()
}

func (s *session) createOwner(ctx context.Context, namespace string) (*metav1.OwnerReference, error) {
	zero, none := int32(0), int32(0)
	ttl := int32((s.req.TTL + 30*time.Second) / time.Second)
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "podpath-" + s.id + "-", Namespace: namespace, Labels: s.labels("owner")},
		Spec: batchv1.JobSpec{
			Completions: &zero, Parallelism: &none, BackoffLimit: &none, TTLSecondsAfterFinished: &ttl,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: s.labels("owner")},
				Spec: corev1.PodSpec{
					RestartPolicy: corev1.RestartPolicyNever, SecurityContext: podSecurity(0),
					Containers: []corev1.Container{{Name: containerName, Image: s.req.Image, SecurityContext: containerSecurity()}},
				},
			},
		},
	}
	made, err := s.Kube.BatchV1().Jobs(namespace).Create(ctx, job, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	controller, block := true, false
	return &metav1.OwnerReference{
		APIVersion: "batch/v1", Kind: "Job", Name: made.Name, UID: made.UID, Controller: &controller, BlockOwnerDeletion: &block,
	}, nil
}

func (s *session) labels(kind string) map[string]string {
	return map[string]string{labelManaged: ours, labelName: "podpath-" + kind, labelRun: s.id, labelKind: kind}
}
