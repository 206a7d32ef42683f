package kube

import (
	"context"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podpath/podpath/internal/model"
)

// The lists, one of each kind, and where their elements go. The keep functions
// are called with the reader's lock held.

func (r *reader) listPods(ctx context.Context, ns string, o metav1.ListOptions) (*corev1.PodList, error) {
	return r.cs.CoreV1().Pods(ns).List(ctx, o)
}

func (r *reader) keepPods(l *corev1.PodList) {
	for i := range l.Items {
		if !model.Own(l.Items[i].Labels) {
			r.keepPod(&l.Items[i])
		}
	}
}

func (r *reader) keepPod(p *corev1.Pod) *model.Pod {
	ref := model.NewRef("pod", p.Namespace, p.Name)
	// A pod that is asked about is read twice; the first reading has its variables resolved.
	if old := r.w.Kube.Pods[ref]; old != nil {
		return old
	}
	out := convertPod(p)
	r.w.Kube.Pods[ref] = out
	return out
}

func (r *reader) listNamespaces(ctx context.Context, _ string, o metav1.ListOptions) (*corev1.NamespaceList, error) {
	return r.cs.CoreV1().Namespaces().List(ctx, o)
}

func (r *reader) keepNamespaces(l *corev1.NamespaceList) {
	for i := range l.Items {
		r.w.Kube.Namespaces[l.Items[i].Name] = convertNamespace(&l.Items[i])
	}
}

func (r *reader) listNodes(ctx context.Context, _ string, o metav1.ListOptions) (*corev1.NodeList, error) {
	return r.cs.CoreV1().Nodes().List(ctx, o)
}

func (r *reader) keepNodes(l *corev1.NodeList) {
	for i := range l.Items {
		r.w.Kube.Nodes[l.Items[i].Name] = convertNode(&l.Items[i])
	}
}

func (r *reader) listServices(ctx context.Context, ns string, o metav1.ListOptions) (*corev1.ServiceList, error) {
	return r.cs.CoreV1().Services(ns).List(ctx, o)
}

func (r *reader) keepServices(l *corev1.ServiceList) {
	for i := range l.Items {
		s := &l.Items[i]
		r.w.Kube.Services[model.NewRef("service", s.Namespace, s.Name)] = convertService(s)
	}
}

func (r *reader) listSlices(ctx context.Context, ns string, o metav1.ListOptions) (*discoveryv1.EndpointSliceList, error) {
	return r.cs.DiscoveryV1().EndpointSlices(ns).List(ctx, o)
}

func (r *reader) keepSlices(l *discoveryv1.EndpointSliceList) {
	for i := range l.Items {
		s := &l.Items[i]
		r.w.Kube.EndpointSlices[model.NewRef("endpointslice", s.Namespace, s.Name)] = convertSlice(s)
	}
}

func (r *reader) listPolicies(ctx context.Context, ns string, o metav1.ListOptions) (*networkingv1.NetworkPolicyList, error) {
	return r.cs.NetworkingV1().NetworkPolicies(ns).List(ctx, o)
}

func (r *reader) keepPolicies(l *networkingv1.NetworkPolicyList) {
	for i := range l.Items {
		p := convertPolicy(&l.Items[i])
		r.w.Kube.Policies[p.Ref()] = p
	}
}

func (r *reader) listDeployments(ctx context.Context, ns string, o metav1.ListOptions) (*appsv1.DeploymentList, error) {
	return r.cs.AppsV1().Deployments(ns).List(ctx, o)
}

func (r *reader) keepDeployments(l *appsv1.DeploymentList) {
	for i := range l.Items {
		r.keepDeployment(&l.Items[i])
	}
}

func (r *reader) keepDeployment(d *appsv1.Deployment) *model.Workload {
	return r.workload("deployment", d.ObjectMeta, d.Spec.Selector, wanted(d.Spec.Replicas), d.Status.ReadyReplicas)
}

func (r *reader) listDaemonSets(ctx context.Context, ns string, o metav1.ListOptions) (*appsv1.DaemonSetList, error) {
	return r.cs.AppsV1().DaemonSets(ns).List(ctx, o)
}

func (r *reader) keepDaemonSets(l *appsv1.DaemonSetList) {
	for i := range l.Items {
		r.keepDaemonSet(&l.Items[i])
	}
}

func (r *reader) keepDaemonSet(d *appsv1.DaemonSet) *model.Workload {
	return r.workload("daemonset", d.ObjectMeta, d.Spec.Selector, d.Status.DesiredNumberScheduled, d.Status.NumberReady)
}

func (r *reader) keepStatefulSet(s *appsv1.StatefulSet) *model.Workload {
	return r.workload("statefulset", s.ObjectMeta, s.Spec.Selector, wanted(s.Spec.Replicas), s.Status.ReadyReplicas)
}

func (r *reader) keepReplicaSet(s *appsv1.ReplicaSet) *model.Workload {
	return r.workload("replicaset", s.ObjectMeta, s.Spec.Selector, wanted(s.Spec.Replicas), s.Status.ReadyReplicas)
}

func (r *reader) keepJob(j *batchv1.Job) *model.Workload {
	ready := int32(0)
	if j.Status.Ready != nil {
		ready = *j.Status.Ready
	}
	return r.workload("job", j.ObjectMeta, j.Spec.Selector, wanted(j.Spec.Parallelism), ready)
}

func (r *reader) keepCronJob(j *batchv1.CronJob) *model.Workload {
	return r.workload("cronjob", j.ObjectMeta, nil, int32(len(j.Status.Active)), 0)
}

// workload keeps a workload. The lock is held.
func (r *reader) workload(kind string, m metav1.ObjectMeta, s *metav1.LabelSelector, replicas, ready int32) *model.Workload {
	w := &model.Workload{
		Ref: model.NewRef(kind, m.Namespace, m.Name), Selector: selector(s), Owner: ownerOf(m),
		Replicas: replicas, Ready: ready, Labels: m.Labels,
	}
	r.w.Kube.Workloads[w.Ref] = w
	return w
}

// wanted fills in the API's default of one.
func wanted(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// lift makes every pod's owner the workload that people edit: the Deployment
// and not its ReplicaSet, the CronJob and not its Job, where those are known.
func lift(w *model.World) {
	for _, p := range w.Kube.Pods {
		for range 3 {
			owner := w.Kube.Workloads[p.Owner]
			if owner != nil && owner.Owner != "" {
				p.Owner = owner.Owner
				continue
			}
			// A Deployment names its ReplicaSets after itself and the hash that it also puts on their pods.
			hash := p.Labels["pod-template-hash"]
			name, ok := strings.CutSuffix(p.Owner.Name(), "-"+hash)
			if owner != nil || p.Owner.Kind() != "replicaset" || hash == "" || !ok {
				break
			}
			deployment := model.NewRef("deployment", p.Namespace, name)
			if w.Kube.Workloads[deployment] == nil {
				break
			}
			p.Owner = deployment
		}
	}
}

type (
	deploymentList  = appsv1.DeploymentList
	statefulSetList = appsv1.StatefulSetList
	daemonSetList   = appsv1.DaemonSetList
)

func (r *reader) listStatefulSets(ctx context.Context, ns string, o metav1.ListOptions) (*appsv1.StatefulSetList, error) {
	return r.cs.AppsV1().StatefulSets(ns).List(ctx, o)
}

func (r *reader) keepStatefulSets(l *appsv1.StatefulSetList) {
	for i := range l.Items {
		r.keepStatefulSet(&l.Items[i])
	}
}
