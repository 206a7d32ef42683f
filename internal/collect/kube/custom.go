package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	corev1 "k8s.io/api/core/v1"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
	"github.com/podpath/podpath/internal/policy/decode"
)

var serviceAccounts = resource{"serviceaccount", "serviceaccounts"}

// served is where a kind of policy is to be had.
type served struct {
	resource
	version  string // "policy.networking.k8s.io/v1alpha1"
	plural   string // "adminnetworkpolicies"
	inSpaces bool
}

// customPolicies reads the policies that are custom resources. A kind that the
// API server does not serve is no gap: there can be none of it.
func (r *reader) customPolicies(ctx context.Context, near []string) {
	client := r.raw()
	if client == nil {
		return
	}
	kinds, err := r.servedKinds(ctx, client)
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		g := model.Gap{What: "which kinds of policies the API server serves", Ref: policy.Discovery, Reason: reason(err)}
		if apierrors.IsForbidden(err) {
			g.Permission = "get /apis and /apis/* (nonResourceURLs)"
		}
		r.w.Gaps = append(r.w.Gaps, g)
		return
	}
	for _, k := range kinds {
		list := func(ctx context.Context, ns string, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
			return rawList(ctx, client, k, ns, o)
		}
		keep := func(l *unstructured.UnstructuredList) { r.keepCustom(l, k.resource) }
		if k.inSpaces {
			around(ctx, r, k.resource, near, list, keep)
			continue
		}
		_, err := paged(ctx, r, "", metav1.ListOptions{}, false, list, keep)
		if err != nil {
			r.failed("list", k.resource, "", "", err)
		}
		r.complete(k.kind, err == nil)
	}
	if r.asksForAccounts() {
		around(ctx, r, serviceAccounts, near, func(ctx context.Context, ns string, o metav1.ListOptions) (*corev1.ServiceAccountList, error) {
			return r.cs.CoreV1().ServiceAccounts(ns).List(ctx, o)
		}, r.keepAccounts)
	}
}

// raw is a client that speaks of any path; nil where there is none (a double in tests).
func (r *reader) raw() rest.Interface {
	client := r.cs.Discovery().RESTClient()
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil
	}
	return client
}

// get reads one document as JSON.
func (r *reader) get(ctx context.Context, client rest.Interface, path string, into any) error {
	return r.call(ctx, func(ctx context.Context) error {
		data, err := client.Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx).Raw()
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, into); err != nil {
			return fmt.Errorf("%s is no JSON that was expected: %w", path, err)
		}
		return nil
	})
}

// servedKinds finds which kinds of policies there are, and in which version.
func (r *reader) servedKinds(ctx context.Context, client rest.Interface) ([]served, error) {
	var groups metav1.APIGroupList
	if err := r.get(ctx, client, "/apis", &groups); err != nil {
		return nil, err
	}
	byGroup := map[string]metav1.APIGroup{}
	for _, g := range groups.Groups {
		byGroup[g.Name] = g
	}
	lists := map[string]*metav1.APIResourceList{}
	var out []served
	for i := range policy.Kinds {
		k := &policy.Kinds[i]
		for _, as := range k.Resources() {
			name, group := as[0], as[1]
			s, err := r.servedBy(ctx, client, byGroup[group], name, lists)
			if err != nil {
				return nil, err
			}
			if s != "" {
				out = append(out, served{resource{k.Kind, name + "." + group}, s, name, k.InSpaces})
				break
			}
		}
		if len(out) == 0 || out[len(out)-1].kind != k.Kind {
			r.complete(k.Kind, true) // none can exist
		}
	}
	return out, nil
}

// servedBy is the version of a group that serves a resource: the preferred one
// if it does; "" when none does.
func (r *reader) servedBy(ctx context.Context, client rest.Interface, g metav1.APIGroup, name string, lists map[string]*metav1.APIResourceList) (string, error) {
	versions := []string{}
	for _, v := range append([]metav1.GroupVersionForDiscovery{g.PreferredVersion}, g.Versions...) {
		if v.GroupVersion != "" && !slices.Contains(versions, v.GroupVersion) {
			versions = append(versions, v.GroupVersion)
		}
	}
	for _, v := range versions {
		if lists[v] == nil {
			lists[v] = &metav1.APIResourceList{}
			if err := r.get(ctx, client, "/apis/"+v, lists[v]); err != nil {
				return "", err
			}
		}
		if slices.ContainsFunc(lists[v].APIResources, func(x metav1.APIResource) bool { return x.Name == name }) {
			return v, nil
		}
	}
	return "", nil
}

// rawList lists a kind for which there are no types here.
func rawList(ctx context.Context, client rest.Interface, k served, namespace string, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	path := "/apis/" + k.version + "/"
	if namespace != "" {
		path += "namespaces/" + namespace + "/"
	}
	q := client.Get().AbsPath(path+k.plural).SetHeader("Accept", "application/json").Param("limit", fmt.Sprint(o.Limit))
	if o.Continue != "" {
		q = q.Param("continue", o.Continue)
	}
	data, err := q.Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	list := &unstructured.UnstructuredList{}
	if err := list.UnmarshalJSON(data); err != nil {
		return nil, fmt.Errorf("the list of %s cannot be read: %w", k.name, err)
	}
	return list, nil
}

// keepCustom keeps the policies of a page. The lock is held.
func (r *reader) keepCustom(l *unstructured.UnstructuredList, x resource) {
	for i := range l.Items {
		if _, err := decode.Add(r.w, l.Items[i].Object); err != nil {
			r.w.Gaps = append(r.w.Gaps, model.Gap{What: "one of " + x.name, Reason: err.Error()})
		}
	}
}

// asksForAccounts says whether a policy chooses by the labels of service accounts.
func (r *reader) asksForAccounts() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.w.Kube.CalicoPolicies {
		if p.AsksForAccounts() {
			return true
		}
	}
	return false
}

// keepAccounts keeps service accounts' labels. The lock is held.
func (r *reader) keepAccounts(l *corev1.ServiceAccountList) {
	if r.w.Kube.ServiceAccounts == nil {
		r.w.Kube.ServiceAccounts = map[model.Ref]model.Labels{}
	}
	for i := range l.Items {
		r.w.Kube.ServiceAccounts[model.NewRef("serviceaccount", l.Items[i].Namespace, l.Items[i].Name)] = l.Items[i].Labels
	}
}
