package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestKubectlInverse says, for each command, what is looked up before it is run,
// and what its inverse then holds.
func TestKubectlInverse(t *testing.T) {
	object := func(kind, name, more string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":%q,"metadata":{"name":%q,"namespace":"shop","uid":"u","resourceVersion":"7","generation":3%s},"spec":{"a":1},"status":{"b":2}}`, kind, name, more)
	}
	answers := map[string]string{
		"get deploy/cart -n shop --ignore-not-found -o json":    object("Deployment", "cart", ""),
		"get ns shop --ignore-not-found -o json":                object("Namespace", "shop", ""),
		"get svc a --ignore-not-found -o json":                  object("Service", "a", ""),
		"get nodes n1 --ignore-not-found -o json":               object("Node", "n1", ""),
		"get pod -l app=a -n shop --ignore-not-found -o json":   `{"kind":"List","items":[` + object("Pod", "owned", `,"ownerReferences":[{"controller":true}]`) + "," + object("Pod", "bare", "") + "]}",
		"create configmap x -n shop --dry-run=client -o json":   object("ConfigMap", "x", ""),
		"get serviceaccounts,configmaps -n shop -o json of all": object("ConfigMap", "inside", ""),
	}
	for _, c := range []struct{ verb, words, restore, remove string }{
		{"patch", "deploy/cart -n shop -p {}", "cart", ""},
		{"run", "scale deploy/cart -n shop --replicas=0", "cart", ""},
		{"run", "kubectl -n shop scale deploy/cart --replicas 0", "cart", ""},
		{"run", "set env deploy/cart -n shop A=B C-", "cart", ""},
		{"run", "label ns shop team=x old-", "shop", ""},
		{"run", "set selector svc a app=b", "a", ""},
		{"run", "cordon n1", "n1", ""},
		{"run", "rollout restart deploy/cart -n shop", "", ""},
		{"run", "rollout pause deploy/cart -n shop", "cart", ""},
		{"run", "exec deploy/cart -n shop -- true", "", ""},
		{"run", "create configmap x -n shop", "", "x"},
		{"delete", "pod -l app=a -n shop --grace-period 0 --force", "bare", ""},
		{"delete", "ns shop", "shop,inside", ""},
	} {
		h := &Hands{Kubectl: func(_ context.Context, _ []byte, words ...string) ([]byte, error) {
			line := strings.Join(words, " ")
			if strings.HasPrefix(line, "get serviceaccounts,") {
				return []byte(answers["get serviceaccounts,configmaps -n shop -o json of all"]), nil
			}
			text, ok := answers[line]
			if !ok { // flags may come before or after
				slices.Sort(words)
				for key, value := range answers {
					k := strings.Fields(key)
					slices.Sort(k)
					if slices.Equal(k, words) {
						return []byte(value), nil
					}
				}
				return nil, fmt.Errorf("unexpected: kubectl %s", line)
			}
			return []byte(text), nil
		}}
		inv, err := h.kubectlInverse(t.Context(), &KubectlStep{Verb: c.verb, Words: strings.Fields(c.words)})
		if err != nil {
			t.Errorf("%s %s: %v", c.verb, c.words, err)
			continue
		}
		names := func(list []kubeObject) string {
			var out []string
			for _, o := range list {
				out = append(out, o.name())
				if o.meta()["resourceVersion"] != nil || o["status"] != nil {
					t.Errorf("%s: %v is not clean", c.words, o)
				}
			}
			return strings.Join(out, ",")
		}
		if got := names(inv.KubeRestore); got != c.restore {
			t.Errorf("%s %s restores %q, want %q", c.verb, c.words, got, c.restore)
		}
		if got := names(inv.KubeDelete); got != c.remove {
			t.Errorf("%s %s removes %q, want %q", c.verb, c.words, got, c.remove)
		}
	}
}
