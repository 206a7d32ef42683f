package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReachStandard runs the 22 cases on which other tools were measured
// through the verb, from manifests to exit code.
func TestReachStandard(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "policy", "testdata", "standard.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cluster []json.RawMessage
		Cases   []struct {
			Name, Src, Dst string
			Port           int
			Allowed        bool
			Policies       []json.RawMessage
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != 22 {
		t.Fatalf("%d cases", len(file.Cases))
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			root := t.TempDir()
			for i, o := range append(file.Cluster[:len(file.Cluster):len(file.Cluster)], c.Policies...) {
				if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("%02d.yaml", i)), o, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for expect, code := range map[string]int{"allow": 0, "deny": 1} {
				if !c.Allowed {
					code = 1 - code
				}
				intents := filepath.Join(root, "intents.yaml")
				text := fmt.Sprintf("- {from: %s, to: %s, port: %d, protocol: TCP, expect: %s}\n", c.Src, c.Dst, c.Port, expect)
				if err := os.WriteFile(intents, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				var out, errOut bytes.Buffer
				if got := Main([]string{"podpath", "reach", "--dir", root, "-f", intents, "-o", "json"}, strings.NewReader(""), &out, &errOut); got != code {
					t.Errorf("expect %s: exit code %d, want %d\n%s%s", expect, got, code, out.String(), errOut.String())
				}
			}
		})
	}
}
