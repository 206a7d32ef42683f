package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/podpath/podpath/internal/model"
)

// pageSize is how many objects one call lists.
const pageSize = 500

// reader is one run of reads into one World.
type reader struct {
	cs      kubernetes.Interface
	server  string
	timeout time.Duration // of one call
	full    bool          // read whole clusters, however large
	slots   chan struct{}

	mu sync.Mutex // guards w
	w  *model.World
}

func newReader(cs kubernetes.Interface, w *model.World, o Options) *reader {
	if o.CallTimeout == 0 {
		o.CallTimeout = DefaultCallTimeout
	}
	if o.Server == "" {
		o.Server = w.Kube.Server
	}
	o.Server = model.PublicURL(o.Server) // a kubeconfig may hold a password there
	w.Kube.Server = o.Server
	k := &w.Kube
	if k.Namespaces == nil {
		k.Namespaces = map[string]*model.Namespace{}
	}
	if k.Pods == nil {
		k.Pods = map[model.Ref]*model.Pod{}
	}
	if k.Nodes == nil {
		k.Nodes = map[string]*model.Node{}
	}
	if k.Services == nil {
		k.Services = map[model.Ref]*model.Service{}
	}
	if k.EndpointSlices == nil {
		k.EndpointSlices = map[model.Ref]*model.EndpointSlice{}
	}
	if k.Policies == nil {
		k.Policies = map[model.Ref]*model.NetworkPolicy{}
	}
	if k.Workloads == nil {
		k.Workloads = map[model.Ref]*model.Workload{}
	}
	if k.ConfigMaps == nil {
		k.ConfigMaps = map[model.Ref]map[string]string{}
	}
	if w.Read == nil {
		w.Read = map[string]bool{}
	}
	return &reader{cs: cs, w: w, server: o.Server, timeout: o.CallTimeout, full: o.Full, slots: make(chan struct{}, 8)}
}

// call runs one request under its own deadline.
func (r *reader) call(ctx context.Context, f func(context.Context) error) error {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.slots }()
	own, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	err := f(own)
	if err != nil && errors.Is(own.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return &timeoutError{r.timeout}
	}
	return err
}

// resource is a kind of object as RBAC names it.
type resource struct {
	kind string // as in Ref
	name string // "networkpolicies.networking.k8s.io"
}

var (
	pods         = resource{"pod", "pods"}
	namespaces   = resource{"namespace", "namespaces"}
	nodes        = resource{"node", "nodes"}
	services     = resource{"service", "services"}
	slices_      = resource{"endpointslice", "endpointslices.discovery.k8s.io"}
	policies     = resource{"networkpolicy", "networkpolicies.networking.k8s.io"}
	deployments  = resource{"deployment", "deployments.apps"}
	replicaSets  = resource{"replicaset", "replicasets.apps"}
	daemonSets   = resource{"daemonset", "daemonsets.apps"}
	statefulSets = resource{"statefulset", "statefulsets.apps"}
	jobs         = resource{"job", "jobs.batch"}
	cronJobs     = resource{"cronjob", "cronjobs.batch"}
	configMaps   = resource{"configmap", "configmaps"}
	events       = resource{"event", "events"}
)

// plural is the resource without its group; with it where the group is none of
// Kubernetes' own, as other groups use the same words.
func (x resource) plural() string {
	name, group, _ := strings.Cut(x.name, ".")
	switch group {
	case "", "apps", "batch", "networking.k8s.io", "discovery.k8s.io":
		return name
	}
	return x.name
}

// permission is the RBAC rule that a read needs.
func permission(verb string, x resource, namespace, name string) string {
	what := verb + " " + x.name
	if name != "" {
		what += "/" + name
	}
	if namespace == "" {
		return what + " (cluster scope)"
	}
	return what + " in namespace " + namespace
}

// failed records a read that did not work.
func (r *reader) failed(verb string, x resource, namespace, name string, err error) {
	g := model.Gap{Reason: reason(err)}
	switch {
	case name == "" && namespace == "":
		g.What = x.plural()
	case name == "":
		g.What = x.plural() + " in namespace " + namespace
	default:
		g.What = x.kind + " " + name
		g.Ref = model.NewRef(x.kind, name)
		if namespace != "" {
			g.What += " in namespace " + namespace
			g.Ref = model.NewRef(x.kind, namespace, name)
		}
	}
	if apierrors.IsForbidden(err) {
		g.Permission = permission(verb, x, namespace, name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.w.Gaps, g) {
		r.w.Gaps = append(r.w.Gaps, g)
	}
}

// lister lists one kind in one namespace, or in all ("").
type lister[L metav1.ListInterface] func(ctx context.Context, namespace string, o metav1.ListOptions) (L, error)

// paged reads a list page by page and hands each page on; with first, only the
// first, and says whether there is more. A list whose continue token expired in
// the middle is read again from its beginning, once.
func paged[L metav1.ListInterface](ctx context.Context, r *reader, namespace string, o metav1.ListOptions, first bool, list lister[L], each func(L)) (more bool, err error) {
	o.Limit = pageSize
	again := false
	for {
		var page L
		err := r.call(ctx, func(ctx context.Context) (err error) {
			page, err = list(ctx, namespace, o)
			return err
		})
		if apierrors.IsResourceExpired(err) && o.Continue != "" && !again {
			again, o.Continue = true, ""
			continue
		}
		if err != nil {
			return false, err
		}
		r.mu.Lock()
		each(page)
		r.mu.Unlock()
		if o.Continue = page.GetContinue(); o.Continue == "" {
			return false, nil
		}
		if first {
			return true, nil
		}
	}
}

// around reads a kind of the whole cluster if that is one page, else of the
// namespaces that matter. What fails becomes a gap; complete says that nothing did.
func around[L metav1.ListInterface](ctx context.Context, r *reader, x resource, wanted []string, list lister[L], each func(L)) (complete bool) {
	more, err := paged(ctx, r, "", metav1.ListOptions{}, !r.full, list, each)
	if err == nil && !more {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.w.Read[x.kind] = true
		return true
	}
	if err != nil && r.full {
		r.failed("list", x, "", "", err)
		return false
	}
	complete = true
	var mu sync.Mutex
	var work sync.WaitGroup
	for _, namespace := range wanted {
		work.Go(func() {
			if _, err := paged(ctx, r, namespace, metav1.ListOptions{}, false, list, each); err != nil {
				r.failed("list", x, namespace, "", err)
				mu.Lock()
				defer mu.Unlock()
				complete = false
				return
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.w.Read[x.kind+"/"+namespace] = true // whole for this namespace, whatever becomes of the others
		})
	}
	work.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w.Read[x.kind] = complete
	return complete
}

// fatal turns an error without whose read nothing can be said into a typed one.
func (r *reader) fatal(verb string, x resource, namespace, name string, err error) error {
	what := x.kind + " " + name
	if name == "" {
		what = x.plural()
	}
	if namespace != "" {
		what += " in namespace " + namespace
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case refusedLogin(err):
		return &UnauthorizedError{Server: r.server, Err: err}
	case apierrors.IsForbidden(err):
		return &ForbiddenError{What: what, Permission: permission(verb, x, namespace, name), Err: err}
	case apierrors.IsNotFound(err):
		return &NotFoundError{What: what}
	case away(err), errors.Is(err, context.DeadlineExceeded):
		return &UnreachableError{Server: r.server, Err: err}
	}
	if text := err.Error(); strings.Contains(text, "serializer for text/html") || strings.Contains(text, "couldn't get version/kind") {
		return &UnreachableError{Server: r.server, Err: errors.New("what answers there is no Kubernetes API server: a proxy or a login page")}
	}
	return fmt.Errorf("reading %s: %s", what, reason(err))
}
