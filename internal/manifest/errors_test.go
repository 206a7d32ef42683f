package manifest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/manifest"
	"github.com/podpath/podpath/internal/model"
)

// dir writes files; names and texts alternate.
func dir(t testing.TB, files ...string) string {
	t.Helper()
	root := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		name := filepath.Join(root, files[i])
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const np = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: a}\nspec:\n"

// TestErrors: what is wrong is said with file, document, field and reason.
func TestErrors(t *testing.T) {
	cases := []struct{ name, text, want string }{
		{"tab", "kind: Pod\n\tmetadata: {}\n", "x.yaml: line 2: found a tab"},
		{"second document", "kind: Pod\napiVersion: v1\nmetadata: {name: a}\n---\n- [\n", "x.yaml, document 2 (line 4): line 5"},
		{"no kind", "replicas: 3\n", "x.yaml: no kind: not a Kubernetes object"},
		{"a text", "hello\n", "x.yaml: line 1: not an object with apiVersion and kind"},
		{"no name", "apiVersion: v1\nkind: Pod\n", "x.yaml: Pod: metadata.name is missing"},
		{"hostile name", "apiVersion: v1\nkind: Pod\nmetadata: {name: \"a/b\"}\n", `metadata: "a/b" is no name`},
		{"terminal name", "apiVersion: v1\nkind: Pod\nmetadata: {name: \"a\\e[31m\"}\n", `is no name`},
		{"wrong type", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - ports:\n    - containerPort: http\n", "x.yaml: Pod: line 7: cannot unmarshal !!str `http` into int32"},
		{"port", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - ports:\n    - containerPort: 70000\n", "containers[0].ports[0].containerPort: 70000 is not between"},
		{"address", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.0.0.300}\n", `status.podIPs: "10.0.0.300" is not an address`},
		{"block", np + "  podSelector: {}\n  egress: [{to: [{ipBlock: {cidr: 10.0.0.0}}]}]\n", `spec.egress[0].to[0].ipBlock.cidr: "10.0.0.0" is not a network`},
		{"except", np + "  podSelector: {}\n  egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]\n", "11.0.0.0/16 does not lie in 10.0.0.0/8"},
		{"empty peer", np + "  podSelector: {}\n  ingress: [{from: [{}]}]\n", "spec.ingress[0].from[0]: names none of podSelector"},
		{"from in egress", np + "  podSelector: {}\n  egress: [{from: [{podSelector: {}}]}]\n", "an egress rule has 'to'"},
		{"operator", np + "  podSelector: {matchExpressions: [{key: a, operator: Is}]}\n", `spec.podSelector.matchExpressions[0].operator: "Is" is none of`},
		{"values", np + "  podSelector: {matchExpressions: [{key: a, operator: In}]}\n", "In needs values"},
		{"policy type", np + "  podSelector: {}\n  policyTypes: [ingress]\n", `"ingress" is neither Ingress nor Egress`},
		{"end port", np + "  podSelector: {}\n  ingress: [{ports: [{port: 90, endPort: 80}]}]\n", "endPort: 80 is not between port 90"},
		{"named end port", np + "  podSelector: {}\n  ingress: [{ports: [{port: web, endPort: 80}]}]\n", "endPort: needs a port that is a number"},
		{"protocol", np + "  podSelector: {}\n  ingress: [{ports: [{protocol: tcp}]}]\n", `"tcp" is none of TCP, UDP, SCTP`},
		{"unknown field", np + "  podSelecter: {}\n", "field spec.podSelecter is not known"},
		{"unknown field in a peer", np + "  podSelector: {}\n  ingress: [{from: [{podselector: {}}]}]\n", "field spec.ingress[0].from[0].podselector is not known"},
		{"template", "apiVersion: v1\nkind: Pod\nmetadata: {name: {{ .Values.name }} }\n", "x.yaml: "},
		{"item of a list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- {apiVersion: v1, kind: Pod}\n", "x.yaml, item 2: Pod: metadata.name is missing"},
		{"twice", "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {x: y}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n", "namespace/a is defined already, and differently, in x.yaml, document 1"},
		{"admin policy", "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\nmetadata: {name: 'a b'}\n", "AdminNetworkPolicy: metadata: \"a b\" is no name"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := manifest.Read(dir(t, "x.yaml", c.text), manifest.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
	if _, err := manifest.Read(dir(t, "x.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"a":true}}}`), manifest.Options{}); err == nil || !strings.Contains(err.Error(), "x.json: Pod: metadata.labels: a bool does not fit there") {
		t.Errorf("JSON: %v", err)
	}
	if _, err := manifest.Read(dir(t, "README.md", "x"), manifest.Options{}); err == nil || !strings.Contains(err.Error(), "no file in it ends in .yaml") {
		t.Errorf("nothing to read: %v", err)
	}
	if _, err := manifest.Read(filepath.Join(t.TempDir(), "none"), manifest.Options{}); err == nil {
		t.Error("a directory that is not there is read")
	}
	_, err := manifest.Read(dir(t, "b.yaml", "x", "a.yaml", "y", "c.yaml", "kind: List\nitems: 3\n"), manifest.Options{})
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.HasPrefix(err.Error(), "a.yaml") {
		t.Errorf("every bad file, in order: %v", err)
	}
}

// TestForms: the forms that manifests come in.
func TestForms(t *testing.T) {
	root := dir(t,
		"many.yaml", "# a comment\n---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: one\n  namespace: a\n  labels: {app: y, hash: 895e3553, on: true, empty: , quoted: \"no\"}\n---\n\n---\n# nothing\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: two}\n...\n",
		"sub/list.json", `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"three","namespace":"a"}}]}
{"apiVersion":"v1","kind":"PodList","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"four","namespace":"a"}}]}`,
		"array.json", `[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"five","namespace":"a"}}]`,
		"flow.yml", "{apiVersion: v1, kind: Pod, metadata: {name: six, namespace: a}}",
		"bom.yaml", "\xef\xbb\xbfapiVersion: v1\r\nkind: Pod\r\nmetadata:\r\n  name: seven\r\n  namespace: a\r\n",
		"literal.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  x: |\n    --- not a document\n    ---\n",
		".hidden/bad.yaml", "][", "notes.txt", "][", "intents.yaml", "- {from: a, to: b}\n",
		"again.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: two}\n",
	)
	r, err := manifest.Read(root, manifest.Options{Namespace: "here", Skip: []string{filepath.Join(root, "intents.yaml")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []model.Ref{"pod/a/one", "pod/here/two", "pod/a/three", "pod/a/four", "pod/a/five", "pod/a/six", "pod/a/seven"} {
		if r.World.Kube.Pods[ref] == nil {
			t.Errorf("%s is missing", ref)
		}
	}
	if len(r.World.Kube.Pods) != 7 {
		t.Errorf("%d pods", len(r.World.Kube.Pods))
	}
	l := r.World.Kube.Pods["pod/a/one"].Labels
	if l["app"] != "y" || l["hash"] != "895e3553" || l["on"] != "true" || l["quoted"] != "no" {
		t.Errorf("labels %v", l)
	}
	if v, ok := l["empty"]; !ok || v != "" {
		t.Errorf("labels %v", l)
	}
	if notes := r.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "1 v1 ConfigMap") {
		t.Errorf("notes %v", notes)
	}
}

// TestWorkloads: a workload stands for its replicas, unless they are there themselves.
func TestWorkloads(t *testing.T) {
	template := "template: {metadata: {labels: {app: x}}, spec: {containers: [{ports: [{name: http, containerPort: 80}]}]}}"
	root := dir(t, "w.yaml", strings.Join([]string{
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: a}\nspec: {replicas: 3, selector: {matchLabels: {app: x}}, " + template + "}",
		"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db, namespace: a}\nspec: {replicas: 2, selector: {matchLabels: {app: x}}, " + template + "}",
		"apiVersion: v1\nkind: ReplicationController\nmetadata: {name: old, namespace: a}\nspec: {selector: {app: x}, " + template + "}",
		"apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: night, namespace: a}\nspec: {jobTemplate: {spec: {" + template + "}}}",
		"apiVersion: batch/v1\nkind: Job\nmetadata: {name: once, namespace: a}\nspec: {" + template + "}",
		"apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: web, namespace: a}\nspec: {selector: {matchLabels: {app: x}}, " + template + "}",
		// One that runs: its ReplicaSet and its pod are there.
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: live, namespace: a}\nspec: {selector: {matchLabels: {app: x}}, " + template + "}",
		"apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: live-1, namespace: a, ownerReferences: [{kind: Deployment, name: live, controller: true}]}\nspec: {selector: {matchLabels: {app: x}}, " + template + "}",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: live-1-abc, namespace: a, ownerReferences: [{kind: ReplicaSet, name: live-1, controller: true}]}\nspec: {nodeName: n1}\nstatus: {hostIP: 192.168.0.1, podIP: 10.0.0.1}",
		// One whose ReplicaSet is not.
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: part, namespace: a}\nspec: {selector: {matchLabels: {app: x}}, " + template + "}",
		"apiVersion: v1\nkind: Pod\nmetadata: {name: part-77-x, namespace: a, labels: {pod-template-hash: \"77\"}, ownerReferences: [{kind: ReplicaSet, name: part-77, controller: true}]}",
	}, "\n---\n"))
	r, err := manifest.Read(root, manifest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for ref, p := range r.World.Kube.Pods {
		text := string(ref) + " " + string(p.Owner)
		if p.Standing {
			text += " standing"
		}
		got = append(got, text)
	}
	slices.Sort(got)
	want := []string{
		"pod/a/db-0 statefulset/a/db standing",
		"pod/a/db-1 statefulset/a/db standing",
		"pod/a/live-1-abc deployment/a/live",
		"pod/a/night cronjob/a/night standing",
		"pod/a/old replicationcontroller/a/old standing",
		"pod/a/once job/a/once standing",
		"pod/a/part-77-x deployment/a/part",
		"pod/a/web deployment/a/web standing",
		"pod/a/web~daemonset daemonset/a/web standing",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
	if l := r.World.Kube.Pods["pod/a/db-1"].Labels; l["statefulset.kubernetes.io/pod-name"] != "db-1" || l["app"] != "x" {
		t.Errorf("labels %v", l)
	}
	if l := r.World.Kube.Pods["pod/a/once"].Labels; l["batch.kubernetes.io/job-name"] != "once" {
		t.Errorf("labels %v", l)
	}
	if n := r.World.Kube.Nodes["n1"]; n == nil || n.InternalIPs[0].String() != "192.168.0.1" || r.World.Read["node"] {
		t.Errorf("the node that only its pod knows: %+v", n)
	}
	if w := r.World.Kube.Workloads["deployment/a/web"]; w.Replicas != 3 || w.Selector.MatchLabels["app"] != "x" {
		t.Errorf("%+v", w)
	}
}

// FuzzRead: whatever a file holds, it is read or refused.
func FuzzRead(f *testing.F) {
	f.Add([]byte(np+"  podSelector: {}\n  ingress: [{from: [{podSelector: {}}], ports: [{port: http}]}]\n"), false)
	f.Add([]byte("apiVersion: v1\nkind: List\nitems:\n- &a {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- *a\n"), false)
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}]}`), true)
	f.Add([]byte("apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: a}\nspec: {selector: all(), egress: [{action: Deny}]}\n---\n<<: {a: b}\n"), false)
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool) {
		name := "x.yaml"
		if asJSON {
			name = "x.json"
		}
		r, err := manifest.Read(dir(t, name, string(data)), manifest.Options{})
		if (r == nil) == (err == nil) {
			t.Fatalf("%v, %v", r, err)
		}
	})
}

// TestNoFolder: a folder that is not there is said in words that help.
func TestNoFolder(t *testing.T) {
	if _, err := manifest.Read(filepath.Join(t.TempDir(), "none"), manifest.Options{}); err == nil || !strings.Contains(err.Error(), "name a folder") {
		t.Errorf("%v", err)
	}
}
