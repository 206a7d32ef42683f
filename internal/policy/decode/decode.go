// Package decode reads custom resources that are policies, or that policies
// refer to, from untyped data: what a cluster's API server and a directory of
// manifests both give. NetworkPolicy itself has a type that everybody knows and
// is read by whoever reads the other built-in kinds.
//
// Fields that are not known are a newer version's: where they could change what
// a rule means, that rule says so in its Unknown and nothing else suffers.
package decode

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/podpath/podpath/internal/model"
)

// reader puts one kind of object into a World.
type reader func(w *model.World, o *object) error

// object is one object on its way.
type object struct {
	group, kind     string
	namespace, name string
	labels          model.Labels
	all             *fields
	spec            *fields
}

// readers are the kinds, by group and kind.
var readers = map[string]reader{
	"policy.networking.k8s.io/AdminNetworkPolicy":         adminPolicy,
	"policy.networking.k8s.io/BaselineAdminNetworkPolicy": adminPolicy,
	"policy.networking.k8s.io/ClusterNetworkPolicy":       adminPolicy,
	"projectcalico.org/NetworkPolicy":                     calicoPolicy,
	"projectcalico.org/GlobalNetworkPolicy":               calicoPolicy,
	"projectcalico.org/NetworkSet":                        networkSet,
	"projectcalico.org/GlobalNetworkSet":                  networkSet,
	"projectcalico.org/Tier":                              tier,
	"projectcalico.org/StagedNetworkPolicy":               nothing, // not in force until somebody enforces it
	"projectcalico.org/StagedGlobalNetworkPolicy":         nothing,
	"projectcalico.org/StagedKubernetesNetworkPolicy":     nothing,
	"cilium.io/CiliumNetworkPolicy":                       ciliumPolicy,
	"cilium.io/CiliumClusterwideNetworkPolicy":            ciliumPolicy,
	"/ServiceAccount":                                     serviceAccount,
}

// namespaced are the kinds whose objects live in a namespace.
var namespaced = map[string]bool{"NetworkPolicy": true, "NetworkSet": true, "CiliumNetworkPolicy": true, "ServiceAccount": true}

// Add reads one object into w. known says that it is of a kind that this
// package reads; the error, which names the object, that it cannot be read at all.
func Add(w *model.World, obj map[string]any) (known bool, err error) {
	f := fieldsOf(obj)
	group, _, ok := strings.Cut(f.text("apiVersion"), "/")
	if !ok {
		group = "" // "v1"
	}
	o := &object{group: strings.TrimPrefix(group, "crd."), kind: f.text("kind"), all: f, spec: f.object("spec")}
	read := readers[o.group+"/"+o.kind]
	if read == nil {
		return false, nil
	}
	meta := f.object("metadata")
	o.name, o.namespace = meta.text("name"), meta.text("namespace")
	o.labels, _ = labels(meta.get("labels"))
	if err := o.check(); err != nil {
		return true, fmt.Errorf("%s: %w", o.kind, err)
	}
	if err := read(w, o); err != nil {
		return true, fmt.Errorf("%s %s: %w", o.kind, o.name, err)
	}
	return true, nil
}

// check refuses names that a Ref cannot hold.
func (o *object) check() error {
	if !namespaced[o.kind] {
		o.namespace = ""
	} else if o.namespace == "" {
		o.namespace = "default"
	}
	for _, s := range []string{o.name, o.namespace} {
		if len(s) > 253 || strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r <= ' ' || r == unicode.ReplacementChar || unicode.IsControl(r) }) {
			return fmt.Errorf("metadata: %q is no name that Kubernetes takes", short(s))
		}
	}
	if o.name == "" {
		return errors.New("metadata.name is missing")
	}
	return nil
}

// ref is KIND/NS/NAME, or KIND/NAME for kinds without a namespace.
func (o *object) ref(kind string) model.Ref {
	if o.namespace == "" {
		return model.NewRef(kind, o.name)
	}
	return model.NewRef(kind, o.namespace, o.name)
}

// put keeps an object in a map that may not be there yet.
func put[K comparable, V any](m *map[K]V, key K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = v
}

func nothing(*model.World, *object) error { return nil }

func serviceAccount(w *model.World, o *object) error {
	put(&w.Kube.ServiceAccounts, o.ref("serviceaccount"), o.labels)
	return nil
}
