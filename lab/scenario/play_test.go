package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// fakeLab keeps ARM documents and a record of what was done.
type fakeLab struct {
	docs map[string]map[string]any
	did  []string
	gone bool // the pod
	fail string
}

func (f *fakeLab) hands() *Hands {
	do := func(format string, args ...any) error {
		line := fmt.Sprintf(format, args...)
		f.did = append(f.did, line)
		if f.fail != "" && strings.Contains(line, f.fail) {
			return errors.New("it failed")
		}
		return nil
	}
	return &Hands{
		Kubectl: func(_ context.Context, stdin []byte, words ...string) ([]byte, error) {
			line := strings.Join(words, " ")
			switch {
			case strings.HasPrefix(line, "create --dry-run"):
				return []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new","namespace":"shop"}}{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"old","namespace":"shop"}}`), nil
			case strings.HasPrefix(line, "get") && strings.HasSuffix(line, "-o name -f -"):
				if strings.Contains(string(stdin), "deleted") {
					return nil, nil
				}
				return []byte("configmap/old"), nil
			case strings.HasPrefix(line, "get networkpolicy"):
				return []byte(`{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"deleted","namespace":"shop","uid":"1","resourceVersion":"5"}}`), nil
			case strings.HasPrefix(line, "get"):
				return []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"old","namespace":"shop","uid":"1"},"data":{"a":"1"}}`), nil
			}
			return nil, do("kubectl %s", line)
		},
		ARM: func(_ context.Context, method, id string, body any) (map[string]any, error) {
			doc, ok := f.docs[id]
			if method == "GET" {
				if !ok {
					return nil, errNotFound
				}
				return deepCopy(doc), nil
			}
			if err := do("%s %s", method, id); err != nil {
				return nil, err
			}
			switch method {
			case "DELETE":
				if !ok {
					return nil, errNotFound
				}
				delete(f.docs, id)
			default:
				f.docs[id] = deepCopy(body.(map[string]any))
			}
			return f.docs[id], nil
		},
		Place: func(_ context.Context, where, name string) (Place, error) {
			if where == "pod" && f.gone {
				return Place{}, fmt.Errorf("pod: %w", errGone)
			}
			return Place{Netns: where + " " + name, UID: "u1"}, nil
		},
		Shell: func(_ context.Context, at Place, group, line string) error { return do("sh %s: %s", at.Netns, line) },
		Load: func(_ context.Context, at Place, group string, l LoadStep) error {
			return do("load %s to %s", at.Netns, l.To)
		},
		Kill: func(group string) error { return do("kill %s", group) },
		Serve: func(_ context.Context, host string, _ map[string]any) (string, error) {
			return "h1", do("serve %s", host)
		},
		Unserve: func(_ context.Context, handle string) error { return do("unserve %s", handle) },
		Look:    func(kind, name, field string) (string, error) { return "10.1.1.1", nil },
		Settled: func(context.Context) error { return nil },
		Log:     func(string, ...any) {},
	}
}

const played = `name: x
inject:
  - arm: {method: PUT, id: /subscriptions/new, body: {a: "{{node n ip}}"}}
  - arm: {method: PUT, id: /subscriptions/old, body: {a: 2}}
  - arm: {id: /subscriptions/merged, merge: {p: {gone: null, b: 2}}}
  - arm: {method: DELETE, id: /subscriptions/deleted}
  - kubectl: {apply: "…"}
  - kubectl: {delete: networkpolicy deleted -n shop}
  - node: {name: n1, run: break it, heal: mend it}
  - pod: {name: shop/deploy/cart, run: break it, heal: mend it}
  - host: {name: h.example, serve: {status: 503}}
  - load: {from: shop/deploy/cart, to: "h:443"}
ask: {from: shop/deploy/a, to: b}
expect: {works: true}
`

func newFake(t *testing.T) (*fakeLab, *Scenario, *Journal) {
	t.Helper()
	s, err := Parse("x.yaml", []byte(played))
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeLab{docs: map[string]map[string]any{
		"/subscriptions/old": {"a": 1.0}, "/subscriptions/merged": {"p": map[string]any{"gone": 1.0, "kept": 1.0}}, "/subscriptions/deleted": {"a": 1.0},
	}}
	j, err := openJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return f, s, j
}

func TestPlayAndHeal(t *testing.T) {
	f, s, j := newFake(t)
	before := deepCopy(f.docs)
	h := f.hands()
	if err := h.play(t.Context(), s, j); err != nil {
		t.Fatal(err)
	}
	if f.docs["/subscriptions/new"]["a"] != "10.1.1.1" || f.docs["/subscriptions/deleted"] != nil {
		t.Errorf("after inject: %v", f.docs)
	}
	if p := f.docs["/subscriptions/merged"]["p"].(map[string]any); p["gone"] != nil || p["b"] != 2.0 || p["kept"] != 1.0 {
		t.Errorf("merge patch: %v", p)
	}
	if err := h.play(t.Context(), s, j); err == nil {
		t.Error("a second inject is let in")
	}
	// Another process heals from the file.
	again, err := openJournal(filepath.Dir(j.path))
	if err != nil || len(again.Entries) != 10 || again.Scenario != "x" {
		t.Fatalf("journal: %v, %d entries", err, len(again.Entries))
	}
	f.did = nil
	if err := h.heal(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(f.docs) != fmt.Sprint(before) {
		t.Errorf("after heal: %v, was %v", f.docs, before)
	}
	want := []string{
		"kill step-10", "unserve h1", "kill step-8", "sh pod uid:u1: mend it", "kill step-7", "sh node n1: mend it",
		"kubectl create --validate=false -f -",
		"kubectl delete configmap new --ignore-not-found --timeout=90s -n shop", "kubectl replace --validate=false -f -",
		"PUT /subscriptions/deleted", "PUT /subscriptions/merged", "PUT /subscriptions/old", "DELETE /subscriptions/new",
	}
	if !slices.Equal(f.did, want) {
		t.Errorf("healed by\n%s\nwant\n%s", strings.Join(f.did, "\n"), strings.Join(want, "\n"))
	}
	if left, _ := openJournal(filepath.Dir(j.path)); len(left.Entries) != 0 {
		t.Errorf("left in the journal: %v", left.Entries)
	}
}

// TestHealAfterFailure breaks a step in the middle: what was done before comes back.
func TestHealAfterFailure(t *testing.T) {
	f, s, j := newFake(t)
	before := slices.Sorted(maps.Keys(f.docs))
	f.fail = "break it"
	h := f.hands()
	err := h.play(t.Context(), s, j)
	if err == nil || !strings.Contains(err.Error(), "x.yaml:9: step 7") {
		t.Fatalf("play: %v", err)
	}
	if err := h.heal(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(f.docs)); !slices.Equal(got, before) {
		t.Errorf("after heal: %v", got)
	}
}

// TestHealGoesOn keeps what cannot be undone, and undoes the rest.
func TestHealGoesOn(t *testing.T) {
	f, s, j := newFake(t)
	h := f.hands()
	if err := h.play(t.Context(), s, j); err != nil {
		t.Fatal(err)
	}
	f.fail, f.gone = "unserve", true
	if err := h.heal(t.Context(), j); err == nil || !strings.Contains(err.Error(), "h.example serves") {
		t.Errorf("heal: %v", err)
	}
	if left, _ := openJournal(filepath.Dir(j.path)); len(left.Entries) != 1 || left.Entries[0].Unserve != "h1" {
		t.Errorf("left: %+v", left.Entries)
	}
	f.fail = ""
	if err := h.heal(t.Context(), j); err != nil {
		t.Error(err)
	}
}

// TestRunWithoutHeal is allowed, for what only runs, and said.
func TestRunWithoutHeal(t *testing.T) {
	f, s, j := newFake(t)
	s.Inject = s.Inject[6:9] // node and pod with heal, and a host that serves
	s.Inject[1].Heal = nil
	var told []string
	h := f.hands()
	h.Log = func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }
	if err := h.play(t.Context(), s, j); err != nil {
		t.Fatal(err)
	}
	minds := slices.DeleteFunc(told, func(s string) bool { return !strings.HasPrefix(s, "mind:") })
	if len(minds) != 1 || !strings.Contains(minds[0], "x.yaml:10: step 2 has no heal") || !strings.Contains(minds[0], "on pod shop/deploy/cart stays") {
		t.Errorf("said %q", minds)
	}
}

func TestSettledTwice(t *testing.T) {
	asked := 0
	h := &Hands{Settled: func(context.Context) error {
		asked++
		if asked == 2 || asked > 4 {
			return nil
		}
		return errors.New("moving")
	}}
	if err := h.untilSettled(t.Context(), 20*time.Second); err != nil || asked != 6 {
		t.Errorf("%v after %d", err, asked)
	}
}

func TestTargets(t *testing.T) {
	for _, c := range []struct{ words, positional, flags string }{
		{"deploy/cart -n shop -p {} --type=merge", "deploy/cart", "-n shop"},
		{"pod --grace-period 0 --force -l app=a -A x", "pod x", "-l app=a -A"},
		{"networkpolicy --all -nshop", "networkpolicy", "-nshop"},
		{"deploy/x --type merge --patch {} --namespace=a -- sh", "deploy/x", "--namespace=a"},
	} {
		p, f := targets(strings.Fields(c.words))
		if strings.Join(p, " ") != c.positional || strings.Join(f, " ") != c.flags {
			t.Errorf("%s: %v %v", c.words, p, f)
		}
	}
}

func TestMoving(t *testing.T) {
	node := kubeObject{"kind": "Node", "metadata": map[string]any{"name": "n"}, "status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}}
	service := kubeObject{"kind": "Service", "metadata": map[string]any{"name": "s", "namespace": "a"}, "spec": map[string]any{"selector": map[string]any{"app": "x"}}}
	pod := kubeObject{
		"kind": "Pod", "metadata": map[string]any{"name": "p", "namespace": "a", "labels": map[string]any{"app": "x"}},
		"status": map[string]any{"podIP": "10.0.0.1", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	}
	slice := kubeObject{
		"kind": "EndpointSlice", "addressType": "IPv4", "metadata": map[string]any{"name": "s-1", "namespace": "a", "labels": map[string]any{"kubernetes.io/service-name": "s"}},
		"endpoints": []any{map[string]any{"addresses": []any{"10.0.0.1"}, "conditions": map[string]any{"ready": true}}},
	}
	deployment := kubeObject{
		"kind": "Deployment", "metadata": map[string]any{"name": "d", "namespace": "a", "generation": 2.0}, "spec": map[string]any{"replicas": 1.0},
		"status": map[string]any{"observedGeneration": 2.0, "updatedReplicas": 1.0, "replicas": 2.0, "availableReplicas": 1.0},
	}
	left := kubeObject{"kind": "Namespace", "metadata": map[string]any{"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
	for _, c := range []struct {
		all  []kubeObject
		want string
	}{
		{[]kubeObject{node, service, pod, slice}, ""},
		{[]kubeObject{node, service, pod, slice, left}, "is on its way out, and Pod p is still in it"},
		{[]kubeObject{node, left}, ""},
		{[]kubeObject{service}, "0 of 1 nodes"},
		{[]kubeObject{node, service, pod}, "1 ready pods, 0 ready endpoints"},
		{[]kubeObject{node, service, slice}, "0 ready pods, 1 ready endpoints"},
		{[]kubeObject{node, deployment}, "1 of 1 pods are up to date, 2 in all"},
	} {
		err := moving(c.all, 1)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

func TestGoneFirst(t *testing.T) {
	var waited []string
	h := &Hands{Kubectl: func(_ context.Context, _ []byte, words ...string) ([]byte, error) {
		if words[0] == "wait" {
			waited = append(waited, words[1])
			return nil, nil
		}
		return []byte(`{"kind":"List","items":[{"kind":"Namespace","metadata":{"name":"stays"}},{"kind":"Namespace","metadata":{"name":"goes","deletionTimestamp":"x"}},{"kind":"Namespace","metadata":{"name":"other","deletionTimestamp":"x"}}]}`), nil
	}}
	if err := h.goneFirst(t.Context(), func(name string) bool { return name != "other" }); err != nil || strings.Join(waited, " ") != "namespace/goes" {
		t.Errorf("waited for %v, %v", waited, err)
	}
}

func TestGroups(t *testing.T) {
	var all []*Scenario
	for _, cni := range []string{"kubenet", "azure-overlay", "kubenet"} {
		s, err := Parse("x.yaml", []byte("name: x\ntopology: {cni: "+cni+"}\nask: {from: a/b, to: c}\nexpect: {works: true}"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	list := groups(all, all[1].Topology.Key())
	if len(list) != 2 || list[0].topology.CNI != "azure-overlay" || len(list[1].scenarios) != 2 {
		t.Errorf("%+v", list)
	}
}

func TestPartsOfGroups(t *testing.T) {
	of := func(cni string, n int) group {
		g := group{topology: plan.Topology{CNI: cni}}
		for range n {
			g.scenarios = append(g.scenarios, &Scenario{Topology: g.topology})
		}
		return g
	}
	list := []group{of("kubenet", 5), of("azure-overlay", 150), of("azure-podsubnet", 25)}
	given := list[2].topology.Key()
	sizes := func(parts []group) (out []int) {
		for _, p := range parts {
			out = append(out, len(p.scenarios))
		}
		return out
	}
	if got := sizes((&bench{labs: 3, repeat: 1}).parts(list, given)); !slices.Equal(got, []int{30, 30, 30, 30, 30, 25, 5}) {
		t.Errorf("parts of %v", got)
	}
	if got := sizes((&bench{labs: 3, repeat: 1}).parts(list, list[1].topology.Key())); !slices.Equal(got, []int{150, 25, 5}) {
		t.Errorf("the lab that was given is one: parts of %v", got)
	}
	if got := sizes((&bench{labs: 1, repeat: 1}).parts(list, given)); !slices.Equal(got, []int{5, 150, 25}) {
		t.Errorf("one lab at once: parts of %v", got)
	}
}
