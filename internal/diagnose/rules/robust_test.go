package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/podpath/podpath/internal/diagnose/rules/ruletest"
	"github.com/podpath/podpath/internal/model"
)

// cases are all cases of the folder.
func cases(t testing.TB) map[string]*ruletest.Spec {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*ruletest.Spec{}
	for _, path := range files {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var base *ruletest.Spec
		for _, f := range archive.Files {
			if !strings.HasSuffix(f.Name, ".yaml") {
				continue
			}
			s, err := ruletest.Parse(f.Data, base)
			if err != nil {
				t.Fatalf("%s %s: %v", path, f.Name, err)
			}
			if f.Name == "fires.yaml" {
				base = s
			}
			out[filepath.Base(path)+" "+f.Name] = s
		}
	}
	return out
}

// TestSameAnswer diagnoses every case several times: no answer may depend on
// the order of a map.
func TestSameAnswer(t *testing.T) {
	for name, s := range cases(t) {
		c, err := s.Case()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		first := ""
		for range 4 {
			data, err := json.Marshal(run(c))
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = string(data)
			}
			if string(data) != first {
				t.Errorf("%s: two runs differ:\n%s\n%s", name, first, data)
				break
			}
		}
	}
}

// TestCommandsQuoteNames gives every object of every firing case a name that a
// shell would obey, and looks for it unquoted in the commands.
func TestCommandsQuoteNames(t *testing.T) {
	const evil = "a$(id);b"
	for name, s := range cases(t) {
		if !strings.HasSuffix(name, "fires.yaml") {
			continue
		}
		c, err := s.Case()
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		for _, n := range []string{"nsg-aks", "rt-x", "rt-aks", "nat-prod", "fw-hub", "fwp-hub", "nic-nva", "snet-machines", "checkout", "lockdown", "aks-prod", "vgw", "DenyWeb", "partner.test", "aks-np-0"} {
			text = strings.ReplaceAll(text, n, n+evil)
		}
		var changed model.Case
		if err := json.Unmarshal([]byte(text), &changed); err != nil {
			t.Fatal(err)
		}
		res := run(&changed)
		for _, f := range append(res.Causes, res.Also...) {
			for _, fix := range f.Fix {
				for _, line := range []string{fix.Line, fix.Verify} {
					if at := strings.Index(line, evil); at >= 0 && strings.Count(line[:at], "'")%2 == 0 {
						t.Errorf("%s: a name is not quoted in: %s", name, line)
					}
				}
			}
		}
	}
}

// TestEveryFindingHelps holds every cause of every case to what a user needs.
func TestEveryFindingHelps(t *testing.T) {
	for name, s := range cases(t) {
		c, err := s.Case()
		if err != nil {
			t.Fatal(err)
		}
		res := run(c)
		for _, f := range res.Causes {
			switch {
			case f.Subject == "" || f.Hop == "" || f.Title == "" || f.Summary == "":
				t.Errorf("%s: %s lacks a subject, hop, title or summary: %+v", name, f.Rule, f)
			case len(f.Evidence) == 0 || len(f.Fix) == 0:
				t.Errorf("%s: %s has %d pieces of evidence and %d remedies", name, f.Rule, len(f.Evidence), len(f.Fix))
			}
			for _, e := range f.Evidence {
				if e.Text == "" || e.Source == "" {
					t.Errorf("%s: %s: evidence without text or source: %+v", name, f.Rule, e)
				}
			}
		}
	}
}

// FuzzCase diagnoses arbitrary cases, as a hostile snapshot may hold them.
func FuzzCase(f *testing.F) {
	for _, s := range cases(f) {
		c, err := s.Case()
		if err != nil {
			f.Fatal(err)
		}
		data, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c model.Case
		if json.Unmarshal(data, &c) != nil {
			return
		}
		res := run(&c)
		if _, err := json.Marshal(res); err != nil {
			t.Error(fmt.Errorf("the result cannot be written: %w", err))
		}
	})
}

// TestHolesAreNoPanics takes pieces out of every firing case, one or a few at a
// time: whatever is missing, a rule must not fall over it.
func TestHolesAreNoPanics(t *testing.T) {
	all := cases(t)
	for i, name := range slices.Sorted(maps.Keys(all)) {
		s, rng := all[name], rand.New(rand.NewPCG(1, uint64(i)))
		if !strings.HasSuffix(name, "fires.yaml") {
			continue
		}
		c, err := s.Case()
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		for range 60 {
			var doc any
			if err := json.Unmarshal(data, &doc); err != nil {
				t.Fatal(err)
			}
			for range 1 + rng.IntN(4) {
				hole(rng, doc)
			}
			holed, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			var changed model.Case
			if json.Unmarshal(holed, &changed) == nil {
				run(&changed)
			}
		}
	}
}

// hole empties one place of a document, chosen by a random walk.
func hole(rng *rand.Rand, doc any) {
	for depth := 0; ; depth++ {
		stop := depth > 1 && rng.IntN(4) == 0
		switch d := doc.(type) {
		case map[string]any:
			keys := slices.Sorted(maps.Keys(d))
			if len(keys) == 0 {
				return
			}
			k := keys[rng.IntN(len(keys))]
			if _, scalar := d[k].(string); stop || scalar {
				if rng.IntN(2) == 0 {
					d[k] = nil
				} else {
					delete(d, k)
				}
				return
			}
			doc = d[k]
		case []any:
			if len(d) == 0 {
				return
			}
			doc = d[rng.IntN(len(d))]
		default:
			return
		}
	}
}
