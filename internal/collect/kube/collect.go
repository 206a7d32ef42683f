package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/podpath/podpath/internal/model"
)

// DefaultCallTimeout is how long one call may take where Options say nothing.
const DefaultCallTimeout = 5 * time.Second

// Options say how to read.
type Options struct {
	Namespace   string        // of names that have none; "" means default
	Server      string        // URL of the API server, for messages
	CallTimeout time.Duration // of one call; default 5 s
	Full        bool          // read the whole cluster, however large
	Control     bool          // read what surrounds the API server too: webhooks, aggregated APIs, deprecated versions that are in use
}

func (o Options) namespace(e model.Endpoint) string {
	switch {
	case e.Namespace != "":
		return e.Namespace
	case o.Namespace != "":
		return o.Namespace
	}
	return metav1.NamespaceDefault
}

// From is who asks: a pod, or a node, or neither when FROM is outside the cluster.
type From struct {
	Pod  *model.Pod
	Node string      // the pod's, or the one that was named
	Addr netip.Addr  // what it sends from, when it has one
	Pods []model.Ref // all pods that FROM means, best first; Pod is the first
	Idle model.Ref   // a workload that has no pods at all, and so cannot connect
	To   []model.Ref // the Service, pods or node inside the cluster that TO means; empty: outside
}

// Ref names who asks.
func (f From) Ref() model.Ref {
	switch {
	case f.Pod != nil:
		return f.Pod.Ref()
	case f.Idle != "":
		return f.Idle
	case f.Node != "":
		return model.NewRef("node", f.Node)
	}
	return ""
}

// maxFrom bounds how many pods of FROM are looked into one by one.
const maxFrom = 5

// Collect reads what the question needs into w, and fills in the namespaces
// that the question left out. The error is about FROM, or a TO that names an
// object: one that does not exist, that is ambiguous, or that cannot be read at
// all (see Resolve). Everything else that fails is a Gap.
func Collect(ctx context.Context, cs kubernetes.Interface, o Options, q *model.Question, w *model.World) (From, error) {
	r := newReader(cs, w, o)
	var found found
	var err error
	for _, side := range []struct {
		e    *model.Endpoint
		refs *[]model.Ref
	}{{&q.From, &found.from}, {&q.To, &found.to}} {
		switch side.e.Kind {
		case "host", "url", "internet":
			continue
		case "ip":
			if side.e == &q.To {
				continue // looked up among what is read anyway
			}
		case "node":
		default:
			side.e.Namespace = o.namespace(*side.e)
		}
		if side.e.Kind == "" && side.e.Name == "" {
			continue
		}
		if *side.refs, err = r.resolve(ctx, *side.e, side.e.Namespace); err != nil {
			return From{}, err
		}
	}
	if err := r.resolveBeside(ctx, q, o); err != nil {
		return From{}, err
	}
	if q.To.Kind == "service" {
		found.to = []model.Ref{model.NewRef("service", q.To.Namespace, q.To.Name)}
	}

	near := namespacesOf(q, found, o)
	if ns := r.noNamespace(ctx, q.To.Host); ns != "" && !slices.Contains(namespacesOf(&model.Question{From: q.From}, found, o), ns) {
		near = slices.DeleteFunc(near, func(n string) bool { return n == ns })
	}
	var work sync.WaitGroup
	work.Go(func() { r.version(ctx) })
	work.Go(func() { r.namespaces(ctx, near) })
	work.Go(func() { r.nodes(ctx, found) })
	work.Go(func() { r.pods(ctx, near, found, q.To.Addr) })
	work.Go(func() { around(ctx, r, policies, near, r.listPolicies, r.keepPolicies) })
	work.Go(func() { r.customPolicies(ctx, near) })
	work.Go(func() { r.services(ctx, near, q.To.Addr.IsValid() || q.To.Kind == "node") })
	work.Go(func() { around(ctx, r, slices_, near, r.listSlices, r.keepSlices) })
	if r.full {
		work.Go(func() { around(ctx, r, ingresses, near, r.listIngresses, r.keepIngresses) })
		work.Go(func() { around(ctx, r, statefulSets, near, r.listStatefulSets, r.keepStatefulSets) })
	}
	if o.Control {
		work.Go(func() { r.webhooks(ctx) })
		work.Go(func() { r.apiServices(ctx) })
		work.Go(func() { r.deprecated(ctx) })
	}
	work.Go(func() { around(ctx, r, deployments, near, r.listDeployments, r.keepDeployments) })
	work.Go(func() {
		around(ctx, r, daemonSets, append([]string{"calico-system"}, near...), r.listDaemonSets, r.keepDaemonSets)
	})
	work.Go(func() { r.configuration(ctx) })
	for _, ref := range found.from[:min(maxFrom, len(found.from))] {
		if ref.Kind() == "pod" {
			work.Go(func() { r.environment(ctx, ref) })
			work.Go(func() { r.owners(ctx, ref) })
		}
		work.Go(func() { r.events(ctx, ref) })
	}
	work.Wait()
	r.eventsOfDestinations(ctx, q, found, o)
	r.network(ctx)
	lift(w)
	arrange(w)
	if len(found.to) == 0 {
		found.to = inCluster(w, q.To, o.namespace(q.From))
	}
	if len(found.from) == 0 && q.From.Addr.IsValid() { // no pod has this address; a node may
		found.from = slices.DeleteFunc(inCluster(w, model.Endpoint{Addr: q.From.Addr}, ""), func(r model.Ref) bool { return r.Kind() == "service" })
	}
	if q.From.Kind == "ip" && len(found.from) == 0 && ctx.Err() == nil {
		return From{}, &NotFoundError{What: "a running pod or node with the address " + q.From.Addr.String() + hidden(w)}
	}
	if q.From.Kind == "ip" && len(found.from) > 0 {
		named(&q.From, found.from[0])
	}
	return found.who(w), ctx.Err()
}

// resolveBeside reads the objects that are watched beside TO; like TO they have to be there.
func (r *reader) resolveBeside(ctx context.Context, q *model.Question, o Options) error {
	for i := range q.Beside {
		e := &q.Beside[i]
		switch e.Kind {
		case "host", "url", "internet", "ip":
			continue
		case "node":
		default:
			e.Namespace = o.namespace(*e)
		}
		if _, err := r.resolve(ctx, *e, e.Namespace); err != nil {
			return fmt.Errorf("--beside: %w", err)
		}
	}
	return nil
}

// Nodes reads the nodes alone, for whoever needs no more to begin with.
func Nodes(ctx context.Context, cs kubernetes.Interface, o Options, w *model.World) error {
	r := newReader(cs, w, o)
	_, err := paged(ctx, r, "", metav1.ListOptions{}, false, r.listNodes, r.keepNodes)
	return r.fatal("list", nodes, "", "", err)
}

// Mute says that an error is that of an API server of which nothing can be had:
// away, no API server, or one that does not accept who asks.
func Mute(err error) bool {
	var away *UnreachableError
	var refused *UnauthorizedError
	return errors.As(err, &away) || errors.As(err, &refused)
}

// named makes the pod or node that has an address the one that is asked about.
func named(e *model.Endpoint, ref model.Ref) {
	e.Kind, e.Name, e.Addr = ref.Kind(), ref.Name(), netip.Addr{}
	if parts := ref.Parts(); len(parts) == 2 {
		e.Namespace = parts[0]
	}
}

// hidden says that something may exist that was not readable.
func hidden(w *model.World) string {
	if w.Read["pod"] && w.Read["node"] {
		return ""
	}
	return ", among those that may be read (see `kubectl auth can-i list pods -A` and `kubectl auth can-i list nodes`),"
}

// arrange puts into order what came in the order of the answers, so that two
// readings of the same cluster are the same.
func arrange(w *model.World) {
	slices.SortStableFunc(w.Gaps, func(a, b model.Gap) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.Reason, b.Reason)) })
	slices.SortStableFunc(w.Kube.Events, func(a, b model.Event) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.About, b.About), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
}

// found is what the two sides of a question resolved to.
type found struct{ from, to []model.Ref }

// who turns the references into the asking side.
func (f found) who(w *model.World) From {
	out := From{To: f.to}
	for _, ref := range f.from {
		switch p := w.Kube.Pods[ref]; {
		case ref.Kind() == "node":
			out.Node = ref.Name()
		case p == nil:
			out.Idle = ref
		default:
			out.Pods = append(out.Pods, ref)
			if out.Pod == nil {
				out.Pod, out.Node = p, p.Node
			}
		}
	}
	switch n := w.Kube.Nodes[out.Node]; {
	case out.Pod != nil && len(out.Pod.IPs) > 0:
		out.Addr = out.Pod.IPs[0]
	case out.Pod == nil && n != nil && len(n.InternalIPs) > 0:
		out.Addr = n.InternalIPs[0]
	}
	return out
}

// namespacesOf are the namespaces that the question is about, and kube-system,
// where name service and network agents live.
func namespacesOf(q *model.Question, found found, o Options) []string {
	out := []string{metav1.NamespaceSystem}
	add := func(ns string) {
		if ns != "" && !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	for _, ref := range append(found.from, found.to...) {
		if ref.Kind() != "node" {
			add(ref.Part(0))
		}
	}
	if q.From.Kind != "node" {
		add(o.namespace(q.From))
	}
	for _, name := range serviceNames(q.To.Host, o.namespace(q.From)) {
		add(name.Part(0))
	}
	return out
}

// serviceNames are the Services that a host name could mean inside the cluster.
func serviceNames(host, namespace string) []model.Ref {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(host); host == "" || err == nil {
		return nil
	}
	parts := strings.Split(host, ".")
	if i := slices.Index(parts, "svc"); i >= 2 {
		parts = parts[i-2 : i] // a pod's name may stand before the Service's
	}
	switch len(parts) {
	case 1:
		return []model.Ref{model.NewRef("service", namespace, parts[0])}
	case 2:
		return []model.Ref{model.NewRef("service", parts[1], parts[0])}
	}
	return nil
}

// noNamespace is the second word of a host of two, where it is no namespace:
// api.example is a host of the internet unless the cluster has a namespace
// "example". Where that must not be looked up, a Service that may be read there
// is the other proof; without either nothing of that namespace is asked for, as
// each read would only be refused.
func (r *reader) noNamespace(ctx context.Context, host string) string {
	names := serviceNames(host, "")
	if len(names) == 0 || strings.Contains(host, ".svc") || names[0].Part(0) == "" {
		return ""
	}
	service, ns := names[0].Name(), names[0].Part(0)
	err := r.call(ctx, func(ctx context.Context) error {
		_, err := r.cs.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		return err
	})
	if apierrors.IsForbidden(err) {
		err = r.call(ctx, func(ctx context.Context) error {
			_, err := r.cs.CoreV1().Services(ns).Get(ctx, service, metav1.GetOptions{})
			return err
		})
	}
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return ns
	}
	return ""
}

// inCluster finds who a host name or an address means inside the cluster.
func inCluster(w *model.World, e model.Endpoint, namespace string) []model.Ref {
	for _, name := range serviceNames(e.Host, namespace) {
		if w.Kube.Services[name] != nil {
			return []model.Ref{name}
		}
	}
	if !e.Addr.IsValid() {
		return nil
	}
	var out []model.Ref
	for ref, s := range w.Kube.Services {
		if slices.Contains(s.ClusterIPs, e.Addr) || slices.Contains(s.ExternalIPs, e.Addr) || slices.Contains(s.LoadBalancerIPs, e.Addr) {
			out = append(out, ref)
		}
	}
	for ref, p := range w.Kube.Pods {
		if !p.HostNetwork && slices.Contains(p.IPs, e.Addr) && p.Phase != "Succeeded" && p.Phase != "Failed" {
			out = append(out, ref)
		}
	}
	for name, n := range w.Kube.Nodes {
		if slices.Contains(n.InternalIPs, e.Addr) || slices.Contains(n.ExternalIPs, e.Addr) {
			out = append(out, model.NewRef("node", name))
		}
	}
	slices.Sort(out)
	return out
}

// version asks the API server what it is. client-go gives this call no context,
// so it is left behind when it takes too long; nothing depends on its answer.
func (r *reader) version(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	answer := make(chan string, 1)
	go func() {
		if v, err := r.cs.Discovery().ServerVersion(); err == nil {
			answer <- v.GitVersion
		}
		close(answer)
	}()
	select {
	case v := <-answer:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.w.Kube.Version = v
	case <-ctx.Done():
	}
}

func (r *reader) namespaces(ctx context.Context, near []string) {
	_, err := paged(ctx, r, "", metav1.ListOptions{}, false, r.listNamespaces, r.keepNamespaces)
	if err == nil {
		r.complete("namespace", true)
		return
	}
	all := true
	for _, name := range near {
		err := r.call(ctx, func(ctx context.Context) error {
			n, err := r.cs.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			if err == nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.w.Kube.Namespaces[name] = convertNamespace(n)
			}
			return err
		})
		if err != nil && !apierrors.IsNotFound(err) {
			r.failed("get", namespaces, "", name, err)
			all = false
		}
	}
	r.complete("namespace", all)
}

func (r *reader) complete(kind string, all bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w.Read[kind] = all
}

// nodes reads all nodes, or where that is not allowed those of FROM and TO.
func (r *reader) nodes(ctx context.Context, found found) {
	_, err := paged(ctx, r, "", metav1.ListOptions{}, false, r.listNodes, r.keepNodes)
	if err == nil {
		r.complete("node", true)
		return
	}
	r.failed("list", nodes, "", "", err)
	r.mu.Lock()
	var names []string
	for _, ref := range append(slices.Clone(found.from), found.to...) {
		if p := r.w.Kube.Pods[ref]; p != nil && p.Node != "" && !slices.Contains(names, p.Node) {
			names = append(names, p.Node)
		}
	}
	r.mu.Unlock()
	for _, name := range names[:min(len(names), maxFrom)] {
		err := r.call(ctx, func(ctx context.Context) error {
			n, err := r.cs.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
			if err == nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.w.Kube.Nodes[name] = convertNode(n)
			}
			return err
		})
		if err != nil {
			r.failed("get", nodes, "", name, err)
		}
	}
}

// pods reads the pods around the question; in a large cluster those that share
// FROM's nodes too (one of them is a vantage point), and whoever has TO's address.
func (r *reader) pods(ctx context.Context, near []string, found found, to netip.Addr) {
	all := around(ctx, r, pods, near, r.listPods, r.keepPods)
	r.mu.Lock()
	known := len(r.w.Kube.Pods)
	var names []string
	for _, ref := range found.from[:min(maxFrom, len(found.from))] {
		if p := r.w.Kube.Pods[ref]; p != nil && p.Node != "" && !slices.Contains(names, p.Node) {
			names = append(names, p.Node)
		}
	}
	r.mu.Unlock()
	if all && known < pageSize || r.full {
		return // the whole cluster was one page
	}
	for _, name := range names {
		// Nice to have: not being allowed to is no gap of the question's.
		_, _ = paged(ctx, r, "", metav1.ListOptions{FieldSelector: "spec.nodeName=" + name}, true, r.listPods, r.keepPods)
	}
	if to.IsValid() {
		o := metav1.ListOptions{FieldSelector: "status.podIP=" + to.String()}
		if _, err := paged(ctx, r, "", o, false, r.listPods, r.keepPods); err != nil {
			r.failed("list", pods, "", "", err)
			r.complete("pod", false)
		}
	}
}

// services reads the Services around the question; all of them when TO is an
// address or a node, whose port could be one's.
func (r *reader) services(ctx context.Context, near []string, whole bool) {
	if !whole {
		around(ctx, r, services, near, r.listServices, r.keepServices)
		return
	}
	if _, err := paged(ctx, r, "", metav1.ListOptions{}, false, r.listServices, r.keepServices); err == nil {
		r.complete("service", true)
		return
	} else {
		r.failed("list", services, "", "", err)
	}
	for _, ns := range near {
		_, _ = paged(ctx, r, ns, metav1.ListOptions{}, false, r.listServices, r.keepServices)
	}
}

// networkMaps are the ConfigMaps of kube-system that shape name service and masquerading.
var networkMaps = []string{
	"coredns", "coredns-custom", "node-local-dns", "kube-proxy", "cilium-config",
	"azure-ip-masq-agent-config", "azure-ip-masq-agent-config-reconciled", "ip-masq-agent",
}

func (r *reader) configuration(ctx context.Context) {
	var mu sync.Mutex
	all := true
	var work sync.WaitGroup
	for _, name := range networkMaps {
		work.Go(func() {
			data, err := r.configMap(ctx, metav1.NamespaceSystem, name)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				all = false
				return
			}
			if data != nil {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.w.Kube.ConfigMaps[model.NewRef("configmap", metav1.NamespaceSystem, name)] = data
			}
		})
	}
	work.Wait()
	r.complete("configmap", all)
}

// owners reads a pod's controllers, step by step upwards.
func (r *reader) owners(ctx context.Context, pod model.Ref) {
	r.mu.Lock()
	owner := r.w.Kube.Pods[pod].Owner
	r.mu.Unlock()
	for range 3 {
		kind := owner.Kind()
		switch kind {
		case "deployment", "statefulset", "daemonset", "replicaset", "job", "cronjob":
		default:
			return // a custom controller, or none
		}
		w, x, err := r.workloadOf(ctx, kind, owner.Part(0), owner.Part(1))
		if err != nil {
			if !apierrors.IsNotFound(err) {
				r.failed("get", x, owner.Part(0), owner.Part(1), err)
			}
			return
		}
		owner = w.Owner
	}
}

// eventsOfDestinations reads what happened to pods that were asked for, or that a
// Service selects, and are not ready: a few of them, and nothing where all is well.
func (r *reader) eventsOfDestinations(ctx context.Context, q *model.Question, f found, o Options) {
	refs := f.to
	if len(refs) == 0 {
		refs = inCluster(r.w, q.To, o.namespace(q.From))
	}
	var about []model.Ref
	for ref, p := range r.w.Kube.Pods {
		if !p.Ready && p.Phase != "Succeeded" && meant(r.w, refs, p) {
			about = append(about, ref)
		}
	}
	slices.Sort(about)
	var work sync.WaitGroup
	for _, ref := range about[:min(len(about), maxFrom)] {
		work.Go(func() { r.events(ctx, ref) })
	}
	work.Wait()
}

// meant says that a pod is one of the objects, or selected by one that is a Service.
func meant(w *model.World, refs []model.Ref, p *model.Pod) bool {
	return slices.ContainsFunc(refs, func(ref model.Ref) bool {
		s := w.Kube.Services[ref]
		if s == nil || s.Namespace != p.Namespace || len(s.Selector) == 0 {
			return ref == p.Ref()
		}
		for k, v := range s.Selector {
			if p.Labels[k] != v {
				return false
			}
		}
		return true
	})
}

// events reads the events about an object, and about the node that it runs on.
func (r *reader) events(ctx context.Context, ref model.Ref) {
	type about struct{ kind, namespace, name string }
	var objects []about
	switch ref.Kind() {
	case "node":
		objects = []about{{"Node", metav1.NamespaceDefault, ref.Name()}}
	case "pod":
		objects = []about{{"Pod", ref.Part(0), ref.Part(1)}}
		r.mu.Lock()
		if node := r.w.Kube.Pods[ref].Node; node != "" {
			objects = append(objects, about{"Node", metav1.NamespaceDefault, node})
		}
		r.mu.Unlock()
	default: // a workload without pods: it says why it has none
		objects = []about{{"", ref.Part(0), ref.Part(1)}}
	}
	for _, a := range objects {
		selector := "involvedObject.name=" + a.name
		if a.kind != "" {
			selector += ",involvedObject.kind=" + a.kind
		}
		list := func(ctx context.Context, ns string, o metav1.ListOptions) (*corev1.EventList, error) {
			return r.cs.CoreV1().Events(ns).List(ctx, o)
		}
		_, err := paged(ctx, r, a.namespace, metav1.ListOptions{FieldSelector: selector}, true, list, func(l *corev1.EventList) {
			for i := range l.Items {
				e := convertEvent(&l.Items[i])
				if l.Items[i].InvolvedObject.Name == a.name && !slices.Contains(r.w.Kube.Events, e) {
					r.w.Kube.Events = append(r.w.Kube.Events, e)
				}
			}
		})
		if err != nil {
			r.failed("list", events, a.namespace, "", err)
		}
	}
}
