package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/podpath/podpath/internal/model"
)

// Resolve finds the objects that one side of a question names and reads them
// into w: the pods of a pod, a workload or a Service, best first (running and
// ready, then running, then the rest, by name), or the node. A workload that
// has no pods at all resolves to itself. What no object answers to (a host, a
// URL, the internet, an address that is nobody's) resolves to nothing.
//
// Errors are *NotFoundError, *AmbiguousError, *ForbiddenError,
// *UnauthorizedError or *UnreachableError.
func Resolve(ctx context.Context, cs kubernetes.Interface, w *model.World, e model.Endpoint, o Options) ([]model.Ref, error) {
	return newReader(cs, w, o).resolve(ctx, e, o.namespace(e))
}

func (r *reader) resolve(ctx context.Context, e model.Endpoint, namespace string) ([]model.Ref, error) {
	switch e.Kind {
	case "pod":
		return r.resolvePod(ctx, namespace, e.Name)
	case "node":
		return r.resolveNode(ctx, e.Name)
	case "deployment", "statefulset", "daemonset", "replicaset", "job", "cronjob", "service":
		return r.resolveWorkload(ctx, e.Kind, namespace, e.Name)
	case "ip":
		return r.resolveAddr(ctx, e)
	case "":
		return r.resolveAny(ctx, namespace, e.Name)
	}
	return nil, nil
}

func (r *reader) resolvePod(ctx context.Context, namespace, name string) ([]model.Ref, error) {
	var pod *corev1.Pod
	err := r.call(ctx, func(ctx context.Context) (err error) {
		pod, err = r.cs.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if err != nil {
		err = r.fatal("get", pods, namespace, name, err)
		return nil, r.withNear(ctx, err, "pod", namespace, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return []model.Ref{r.keepPod(pod).Ref()}, nil
}

func (r *reader) resolveNode(ctx context.Context, name string) ([]model.Ref, error) {
	var node *corev1.Node
	err := r.call(ctx, func(ctx context.Context) (err error) {
		node, err = r.cs.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		return err
	})
	if err != nil {
		err = r.fatal("get", nodes, "", name, err)
		return nil, r.withNear(ctx, err, "node", "", name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w.Kube.Nodes[name] = convertNode(node)
	return []model.Ref{model.NewRef("node", name)}, nil
}

// workloadOf reads one workload or Service and says how to find its pods.
func (r *reader) workloadOf(ctx context.Context, kind, namespace, name string) (*model.Workload, resource, error) {
	var w *model.Workload
	x := map[string]resource{
		"deployment": deployments, "statefulset": statefulSets, "daemonset": daemonSets, "replicaset": replicaSets,
		"job": jobs, "cronjob": cronJobs, "service": services,
	}[kind]
	err := r.call(ctx, func(ctx context.Context) error {
		keep := func(err error, f func() *model.Workload) error {
			if err == nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				w = f()
			}
			return err
		}
		apps, batch, get := r.cs.AppsV1(), r.cs.BatchV1(), metav1.GetOptions{}
		switch kind {
		case "deployment":
			o, err := apps.Deployments(namespace).Get(ctx, name, get)
			return keep(err, func() *model.Workload { return r.keepDeployment(o) })
		case "statefulset":
			o, err := apps.StatefulSets(namespace).Get(ctx, name, get)
			return keep(err, func() *model.Workload { return r.keepStatefulSet(o) })
		case "daemonset":
			o, err := apps.DaemonSets(namespace).Get(ctx, name, get)
			return keep(err, func() *model.Workload { return r.keepDaemonSet(o) })
		case "replicaset":
			o, err := apps.ReplicaSets(namespace).Get(ctx, name, get)
			return keep(err, func() *model.Workload { return r.keepReplicaSet(o) })
		case "job":
			o, err := batch.Jobs(namespace).Get(ctx, name, get)
			return keep(err, func() *model.Workload { return r.keepJob(o) })
		case "cronjob":
			o, err := batch.CronJobs(namespace).Get(ctx, name, get)
			return keep(err, func() *model.Workload { return r.keepCronJob(o) })
		}
		o, err := r.cs.CoreV1().Services(namespace).Get(ctx, name, get)
		return keep(err, func() *model.Workload {
			ref := model.NewRef("service", namespace, name)
			r.w.Kube.Services[ref] = convertService(o)
			var s *model.Selector
			if len(o.Spec.Selector) > 0 {
				s = &model.Selector{MatchLabels: o.Spec.Selector}
			}
			return &model.Workload{Ref: ref, Selector: s}
		})
	})
	return w, x, err
}

func (r *reader) resolveWorkload(ctx context.Context, kind, namespace, name string) ([]model.Ref, error) {
	w, x, err := r.workloadOf(ctx, kind, namespace, name)
	if err != nil {
		err = r.fatal("get", x, namespace, name, err)
		return nil, r.withNear(ctx, err, kind, namespace, name)
	}
	found, err := r.podsOf(ctx, w)
	if err != nil {
		return nil, r.fatal("list", pods, namespace, "", err)
	}
	if len(found) == 0 {
		return []model.Ref{w.Ref}, nil
	}
	return found, nil
}

// podsOf lists a workload's pods, best first.
func (r *reader) podsOf(ctx context.Context, w *model.Workload) ([]model.Ref, error) {
	namespace := w.Ref.Part(0)
	o := metav1.ListOptions{}
	switch {
	case w.Selector != nil:
		o.LabelSelector = labelText(w.Selector)
	case w.Ref.Kind() != "cronjob":
		return nil, nil // a Service without a selector has no pods of its own
	}
	var found []*model.Pod
	_, err := paged(ctx, r, namespace, o, false, r.listPods, func(l *corev1.PodList) {
		for i := range l.Items {
			p := &l.Items[i]
			if owns(w.Ref, p) && !model.Own(p.Labels) {
				found = append(found, r.keepPod(p))
			}
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b *model.Pod) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	var refs []model.Ref
	for _, p := range found {
		refs = append(refs, p.Ref())
	}
	return refs, nil
}

// owns says that a pod that a workload's selector matches is really the
// workload's: two workloads may have selectors that overlap.
func owns(w model.Ref, p *corev1.Pod) bool {
	owner := ownerOf(p.ObjectMeta)
	switch w.Kind() {
	case "service":
		return true
	case "deployment":
		return owner.Kind() == "replicaset" && strings.HasPrefix(owner.Name(), w.Name()+"-")
	case "cronjob":
		return owner.Kind() == "job" && strings.HasPrefix(owner.Name(), w.Name()+"-")
	}
	return owner == w
}

// rank sorts pods: the more they can tell about a connection, the lower.
func rank(p *model.Pod) int {
	switch {
	case p.Phase == "Succeeded" || p.Deleting:
		return 3
	case p.Phase != "Running":
		return 2
	case !p.Ready:
		return 1
	}
	return 0
}

// labelText writes a selector as the API takes it.
func labelText(s *model.Selector) string {
	out := labels.SelectorFromSet(labels.Set(s.MatchLabels)).String()
	var parts []string
	if out != "" {
		parts = append(parts, out)
	}
	for _, e := range s.Expressions {
		switch e.Operator {
		case "In":
			parts = append(parts, fmt.Sprintf("%s in (%s)", e.Key, strings.Join(e.Values, ",")))
		case "NotIn":
			parts = append(parts, fmt.Sprintf("%s notin (%s)", e.Key, strings.Join(e.Values, ",")))
		case "Exists":
			parts = append(parts, e.Key)
		case "DoesNotExist":
			parts = append(parts, "!"+e.Key)
		}
	}
	return strings.Join(parts, ",")
}

// resolveAddr finds the pod that has an address; nodes and Services are found among what is read later.
func (r *reader) resolveAddr(ctx context.Context, e model.Endpoint) ([]model.Ref, error) {
	if !e.Addr.IsValid() {
		return nil, nil
	}
	var found []model.Ref
	o := metav1.ListOptions{FieldSelector: "status.podIP=" + e.Addr.String()}
	_, err := paged(ctx, r, "", o, false, r.listPods, func(l *corev1.PodList) {
		for i := range l.Items {
			p := convertPod(&l.Items[i])
			if p.HostNetwork || !slices.Contains(p.IPs, e.Addr) || p.Phase == "Succeeded" || p.Phase == "Failed" {
				continue
			}
			found = append(found, r.keepPod(&l.Items[i]).Ref())
		}
	})
	if err != nil {
		if err := r.fatal("list", pods, "", "", err); away(err) || refusedLogin(err) {
			return nil, err
		}
		r.failed("list", pods, "", "", err)
		return nil, nil
	}
	slices.Sort(found)
	return found, nil
}

// anyKinds are what a bare name may mean.
var anyKinds = []string{"deployment", "statefulset", "daemonset", "service", "job", "cronjob"}

// resolveAny finds the one thing that has a name.
func (r *reader) resolveAny(ctx context.Context, namespace, name string) ([]model.Ref, error) {
	refs, err := r.resolvePod(ctx, namespace, name)
	if _, missing := err.(*NotFoundError); !missing {
		return refs, err
	}
	var mu sync.Mutex
	var work sync.WaitGroup
	var kinds []string
	for _, kind := range anyKinds {
		work.Go(func() {
			if _, _, err := r.workloadOf(ctx, kind, namespace, name); err == nil {
				mu.Lock()
				defer mu.Unlock()
				kinds = append(kinds, kind)
			}
		})
	}
	work.Wait()
	slices.Sort(kinds)
	// A Service that stands before a workload of the same name means the same pods.
	if len(kinds) == 2 && slices.Contains(kinds, "service") {
		kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == "service" })
	}
	switch len(kinds) {
	case 0:
		return nil, err
	case 1:
		return r.resolveWorkload(ctx, kinds[0], namespace, name)
	}
	choices := make([]string, len(kinds))
	for i, kind := range kinds {
		choices[i] = namespace + "/" + kind + "/" + name
	}
	return nil, &AmbiguousError{What: fmt.Sprintf("%q", name), Choices: choices}
}

// withNear adds to a NotFoundError what is called nearly so. Whatever fails on the way is no error of its own.
func (r *reader) withNear(ctx context.Context, err error, kind, namespace, name string) error {
	missing, ok := err.(*NotFoundError)
	if !ok {
		return err
	}
	var mu sync.Mutex
	var candidates []candidate
	add := func(kind, ns, name string) {
		mu.Lock()
		defer mu.Unlock()
		candidates = append(candidates, candidate{kind: kind, namespace: ns, name: name})
	}
	one := metav1.ListOptions{}
	var work sync.WaitGroup
	list := func(f func()) { work.Go(f) }
	if kind == "node" {
		list(func() {
			paged(ctx, r, "", one, true, r.listNodes, func(l *corev1.NodeList) {
				for i := range l.Items {
					add("node", "", l.Items[i].Name)
				}
			})
		})
		work.Wait()
		missing.Near = nearest(candidates, kind, namespace, name)
		return missing
	}
	namespaceMissing := false
	list(func() {
		err := r.call(ctx, func(ctx context.Context) error {
			_, err := r.cs.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
			return err
		})
		namespaceMissing = apierrors.IsNotFound(err)
	})
	for _, ns := range []string{namespace, ""} { // the namespace wholly, of the rest a page
		first := ns == ""
		list(func() {
			paged(ctx, r, ns, one, first, r.listPods, func(l *corev1.PodList) {
				for i := range l.Items {
					add("pod", l.Items[i].Namespace, l.Items[i].Name)
				}
			})
		})
		list(func() {
			paged(ctx, r, ns, one, first, r.listDeployments, func(l2 *deploymentList) {
				for i := range l2.Items {
					add("deploy", l2.Items[i].Namespace, l2.Items[i].Name)
				}
			})
		})
		list(func() {
			paged(ctx, r, ns, one, first, r.listServices, func(l *corev1.ServiceList) {
				for i := range l.Items {
					if kind == "service" {
						add("svc", l.Items[i].Namespace, l.Items[i].Name)
					}
				}
			})
		})
		list(func() {
			paged(ctx, r, ns, one, first, r.listStatefulSets, func(l *statefulSetList) {
				for i := range l.Items {
					add("sts", l.Items[i].Namespace, l.Items[i].Name)
				}
			})
		})
		list(func() {
			paged(ctx, r, ns, one, first, r.listDaemonSets, func(l *daemonSetList) {
				for i := range l.Items {
					add("ds", l.Items[i].Namespace, l.Items[i].Name)
				}
			})
		})
	}
	work.Wait()
	if namespaceMissing {
		missing.What = "namespace " + namespace + " (of " + kind + " " + name + ")"
	}
	missing.Near = nearest(candidates, kind, namespace, name)
	return missing
}
