package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// A kubectl step's inverse is a copy of every object that it is about to touch,
// and the names of those that are not there yet.

// kubeObject is one object as `kubectl get -o json` prints it.
type kubeObject map[string]any

func (o kubeObject) meta() map[string]any { m, _ := o["metadata"].(map[string]any); return m }
func (o kubeObject) str(key string) string {
	s, _ := o[key].(string)
	return s
}
func (o kubeObject) name() string      { s, _ := o.meta()["name"].(string); return s }
func (o kubeObject) namespace() string { s, _ := o.meta()["namespace"].(string); return s }
func (o kubeObject) key() string {
	group, _, _ := strings.Cut(o.str("apiVersion"), "/")
	return strings.ToLower(o.str("kind")) + "|" + group + "|" + o.namespace() + "|" + o.name()
}

// controlled says whether a controller makes the object anew by itself.
func (o kubeObject) controlled() bool {
	owners, _ := o.meta()["ownerReferences"].([]any)
	for _, owner := range owners {
		if m, ok := owner.(map[string]any); ok && m["controller"] == true {
			return true
		}
	}
	return false
}

// clean drops what the API server fills in, so that the object can be written again.
func (o kubeObject) clean() kubeObject {
	c := deepCopy(o)
	delete(c, "status")
	for _, key := range []string{"resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"} {
		delete(c.meta(), key)
	}
	return c
}

// items reads what `kubectl get -o json` prints: nothing, an object or a list, several in a row.
func items(data []byte) ([]kubeObject, error) {
	var out []kubeObject
	dec := json.NewDecoder(bytes.NewReader(data))
	for dec.More() {
		var o kubeObject
		if err := dec.Decode(&o); err != nil {
			return nil, fmt.Errorf("kubectl's JSON: %w", err)
		}
		list, isList := o["items"].([]any)
		if !isList {
			out = append(out, o)
			continue
		}
		for _, item := range list {
			if m, ok := item.(map[string]any); ok {
				out = append(out, m)
			}
		}
	}
	return out, nil
}

// applyInverse finds out which objects of some YAML are there, and which are new.
func (h *Hands) applyInverse(ctx context.Context, text string) (Inverse, error) {
	inv := Inverse{}
	dry, err := h.Kubectl(ctx, []byte(text), "create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-")
	if err != nil {
		return inv, err
	}
	wanted, err := items(dry)
	if err != nil {
		return inv, err
	}
	there, err := h.Kubectl(ctx, []byte(text), "get", "--ignore-not-found", "-o", "json", "-f", "-")
	if err != nil {
		return inv, err
	}
	saved, err := items(there)
	if err != nil {
		return inv, err
	}
	known := map[string]bool{}
	for _, o := range saved {
		inv.KubeRestore = append(inv.KubeRestore, o.clean())
		known[o.key()] = true
	}
	for _, o := range wanted {
		if o.namespace() == "" && known[strings.Replace(o.key(), "||", "|default|", 1)] {
			continue
		}
		if !known[o.key()] {
			inv.KubeDelete = append(inv.KubeDelete, kubeObject{
				"apiVersion": o["apiVersion"], "kind": o["kind"],
				"metadata": map[string]any{"name": o.name(), "namespace": o.namespace()},
			})
		}
	}
	slices.Reverse(inv.KubeDelete)
	return inv, nil
}

// valueFlags are kubectl's flags that take their value as the next word, and say nothing about which objects are meant.
var valueFlags = []string{
	"-p", "--patch", "--type", "--patch-file", "--grace-period", "--timeout", "--replicas", "--current-replicas", "--resource-version",
	"-c", "--containers", "--subresource", "-o", "--output", "--field-manager", "--from", "--limits", "--requests", "-e", "--env", "--pod-selector", "--to-revision",
}

var (
	selectFlags    = []string{"-n", "--namespace", "-l", "--selector", "--field-selector"}
	selectSwitches = []string{"--all", "-A", "--all-namespaces"}
)

// targets cuts a kubectl command down to the words that say which objects it is about.
func targets(words []string) (positional, flags []string) {
	for i := 0; i < len(words); i++ {
		w := words[i]
		name, _, inline := strings.Cut(w, "=")
		switch {
		case w == "--":
			return positional, flags
		case !strings.HasPrefix(w, "-") || w == "-":
			positional = append(positional, w)
		case slices.Contains(selectFlags, name):
			flags = append(flags, w)
			if !inline && i+1 < len(words) {
				i++
				flags = append(flags, words[i])
			}
		case slices.Contains(selectSwitches, name):
			if name != "--all" {
				flags = append(flags, w)
			}
		case slices.Contains(valueFlags, name) && !inline:
			i++
		case strings.HasPrefix(w, "-n") && !strings.HasPrefix(w, "--") || strings.HasPrefix(w, "-l") && !strings.HasPrefix(w, "--"):
			flags = append(flags, w)
		}
	}
	return positional, flags
}

// noAssignments drops KEY=VALUE, KEY- and KEY:EFFECT words, which name no object.
func noAssignments(words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool {
		return strings.ContainsAny(w, "=:") || strings.HasSuffix(w, "-")
	})
}

// inverse works out how a kubectl step that is not apply is undone.
func (h *Hands) kubectlInverse(ctx context.Context, k *KubectlStep) (Inverse, error) {
	words := slices.Clone(k.Words)
	verb := k.Verb
	if verb == "run" {
		if len(words) > 0 && words[0] == "kubectl" {
			words = words[1:]
		}
		i := slices.IndexFunc(words, func(w string) bool { return !strings.HasPrefix(w, "-") })
		if i < 0 {
			return Inverse{}, nil
		}
		if i > 0 && slices.Contains(selectFlags, words[i-1]) { // kubectl -n shop scale …
			if i+1 >= len(words) {
				return Inverse{}, nil
			}
			i++
		}
		verb = words[i]
		words = append(slices.Clone(words[:i]), words[i+1:]...)
	}
	switch verb {
	case "create", "expose", "autoscale", "run":
		dry, err := h.Kubectl(ctx, nil, append(append([]string{verb}, words...), "--dry-run=client", "-o", "json")...)
		if err != nil {
			return Inverse{}, err
		}
		made, err := items(dry)
		if err != nil {
			return Inverse{}, err
		}
		inv := Inverse{}
		for _, o := range made {
			inv.KubeDelete = append(inv.KubeDelete, kubeObject{
				"apiVersion": o["apiVersion"], "kind": o["kind"],
				"metadata": map[string]any{"name": o.name(), "namespace": o.namespace()},
			})
		}
		return inv, nil
	}
	positional, flags := targets(words)
	switch verb {
	case "delete", "patch", "scale", "replace", "edit":
	case "label", "annotate", "taint":
		positional = noAssignments(positional)
	case "set":
		if len(positional) < 2 {
			return Inverse{}, nil
		}
		positional = noAssignments(positional[1:])
	case "rollout":
		if len(positional) < 2 || positional[0] == "restart" || positional[0] == "status" || positional[0] == "history" {
			return Inverse{}, nil
		}
		positional = positional[1:]
	case "cordon", "uncordon", "drain":
		positional = append([]string{"nodes"}, positional...)
	default:
		return Inverse{}, nil // reads, or does something in a container: heal says how it is undone
	}
	if len(positional) == 0 {
		return Inverse{}, nil
	}
	data, err := h.Kubectl(ctx, nil, append(append(append([]string{"get"}, positional...), flags...), "--ignore-not-found", "-o", "json")...)
	if err != nil {
		return Inverse{}, err
	}
	saved, err := items(data)
	if err != nil {
		return Inverse{}, err
	}
	inv := Inverse{}
	for _, o := range saved {
		if verb == "delete" && o.controlled() {
			continue
		}
		inv.KubeRestore = append(inv.KubeRestore, o.clean())
		if verb == "delete" && o.str("kind") == "Namespace" {
			inside, err := h.contents(ctx, o.name())
			if err != nil {
				return inv, err
			}
			inv.KubeRestore = append(inv.KubeRestore, inside...)
		}
	}
	return inv, nil
}

// contents are the objects that a namespace takes with it when it is deleted.
func (h *Hands) contents(ctx context.Context, namespace string) ([]kubeObject, error) {
	data, err := h.Kubectl(ctx, nil, "get", "serviceaccounts,configmaps,secrets,persistentvolumeclaims,roles,rolebindings,services,deployments,statefulsets,daemonsets,jobs,cronjobs,pods,ingresses,networkpolicies,poddisruptionbudgets",
		"-n", namespace, "--ignore-not-found", "-o", "json")
	if err != nil {
		return nil, err
	}
	all, err := items(data)
	if err != nil {
		return nil, err
	}
	var out []kubeObject
	for _, o := range all {
		made := o.str("kind") == "ServiceAccount" && o.name() == "default" || o.str("kind") == "ConfigMap" && o.name() == "kube-root-ca.crt"
		if !made && !o.controlled() {
			out = append(out, o.clean())
		}
	}
	return out, nil
}

// restore writes saved objects back: what is there is replaced, what is gone is made.
func (h *Hands) restore(ctx context.Context, objects []kubeObject) error {
	for _, o := range objects {
		data, err := json.Marshal(o)
		if err != nil {
			return err
		}
		there, err := h.Kubectl(ctx, data, "get", "--ignore-not-found", "-o", "name", "-f", "-")
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(there)) == 0 {
			if _, err := h.Kubectl(ctx, data, "create", "--validate=false", "-f", "-"); err != nil {
				return err
			}
			continue
		}
		if _, err := h.Kubectl(ctx, data, "replace", "--validate=false", "-f", "-"); err != nil {
			if _, err := h.Kubectl(ctx, data, "replace", "--validate=false", "--force", "--grace-period=1", "-f", "-"); err != nil {
				return err
			}
		}
	}
	return nil
}

// text is everything that the step says.
func (k *KubectlStep) text() string { return k.YAML + " " + strings.Join(k.Words, " ") }

// goneFirst waits until namespaces that are on their way out are gone: nothing
// can be made in one, and it looks as if it were there.
func (h *Hands) goneFirst(ctx context.Context, of func(name string) bool) error {
	data, err := h.Kubectl(ctx, nil, "get", "namespaces", "-o", "json")
	if err != nil {
		return err
	}
	all, err := items(data)
	if err != nil {
		return err
	}
	for _, ns := range all {
		if !leaving(ns) || !of(ns.name()) {
			continue
		}
		if _, err := h.Kubectl(ctx, nil, "wait", "namespace/"+ns.name(), "--for=delete", "--timeout=90s"); err != nil {
			return err
		}
	}
	return nil
}

func leaving(o kubeObject) bool { return o.meta()["deletionTimestamp"] != nil }

// remove deletes objects that a step made; what is gone already is fine. A
// namespace takes its time after all that is in it has gone: nobody waits for that.
func (h *Hands) remove(ctx context.Context, objects []kubeObject) error {
	for _, o := range objects {
		words := []string{"delete", strings.ToLower(o.str("kind")), o.name(), "--ignore-not-found", "--timeout=90s"}
		if group, version, ok := strings.Cut(o.str("apiVersion"), "/"); ok {
			words[1] += "." + version + "." + group
		}
		if o.namespace() != "" {
			words = append(words, "-n", o.namespace())
		}
		switch o.str("kind") {
		case "Pod":
			words = append(words, "--grace-period=1")
		case "Namespace":
			words = append(words, "--wait=false")
		}
		if _, err := h.Kubectl(ctx, nil, words...); err != nil && !strings.Contains(err.Error(), "the server doesn't have a resource type") {
			return err
		}
	}
	return nil
}
