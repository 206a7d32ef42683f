package enforcer

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the expected tables")

// TestCompile compiles testdata/NAME.yaml (pods, namespaces, policies) for node n0
// and compares with testdata/NAME.nft.
func TestCompile(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			table, err := load(t, file).compile("n0")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".yaml") + ".nft"
			got := table.Text(nil)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func load(t *testing.T, file string) state {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := state{namespaces: map[string]labels.Set{}}
	for _, part := range strings.Split(string(text), "\n---\n") {
		var kind struct{ Kind string }
		var into any
		if err := yaml.Unmarshal([]byte(part), &kind); err != nil {
			t.Fatal(err)
		}
		switch kind.Kind {
		case "Pod":
			p := &corev1.Pod{}
			into, s.pods = p, append(s.pods, p)
		case "NetworkPolicy":
			p := &networkingv1.NetworkPolicy{}
			into, s.policies = p, append(s.policies, p)
		case "Namespace":
			into = &corev1.Namespace{}
		default:
			t.Fatalf("%s: kind %q", file, kind.Kind)
		}
		if err := yaml.UnmarshalStrict([]byte(part), into); err != nil {
			t.Fatal(err)
		}
		if n, ok := into.(*corev1.Namespace); ok {
			s.namespaces[n.Name] = n.Labels
		}
	}
	return s
}

func TestSelectorThatIsNone(t *testing.T) {
	s := load(t, "testdata/peers.yaml")
	s.policies[0].Spec.PodSelector.MatchExpressions[0].Operator = "Perhaps"
	if _, err := s.compile("n0"); err == nil || !strings.Contains(err.Error(), "shop/web") {
		t.Errorf("error does not name the policy: %v", err)
	}
}
