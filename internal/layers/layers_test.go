// Package layers is the drawing of who may import whom, as a test.
package layers

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/podpath/podpath/"

// allowed maps a package to those of the module that it may import. A package
// that is not here may not exist: drawing it in is part of adding it.
var allowed = map[string][]string{
	"cmd/podpath":            {"internal/cli"},
	"cmd/podpath-probe":      {"internal/probe", "internal/probe/probecmd", "internal/collect/node"},
	"internal/model":         {},
	"internal/policy":        {"internal/model"},
	"internal/netfilter":     {},
	"internal/corefile":      {},
	"internal/watch":         {"internal/model"},
	"internal/resource":      {"internal/model", "internal/diagnose", "internal/trace", "internal/watch"},
	"internal/cni":           {"internal/model"},
	"internal/trace":         {"internal/model", "internal/policy", "internal/trace", "internal/netfilter", "internal/corefile", "internal/cni"},
	"internal/diagnose":      {"internal/model", "internal/netfilter", "internal/trace", "internal/policy", "internal/diagnose", "internal/corefile", "internal/cni", "internal/watch", "internal/resource"},
	"internal/probe":         {"internal/model", "internal/probe", "internal/collect/node"},
	"internal/collect/kube":  {"internal/model", "internal/policy"},
	"internal/collect/azure": {"internal/model"},
	"internal/collect/node":  {"internal/model"},
	"internal/vantage":       {"internal/model", "internal/probe", "internal/watch"},
	"internal/snapshot":      {"internal/model"},
	"internal/examine":       {"internal/model", "internal/trace", "internal/policy", "internal/diagnose", "internal/probe", "internal/collect", "internal/vantage", "internal/check", "internal/cni", "internal/watch"},
	"internal/manifest":      {"internal/model", "internal/policy"},
	"internal/reach":         {"internal/model", "internal/policy", "internal/trace", "internal/reach"},
	"internal/check":         {"internal/model", "internal/trace", "internal/policy", "internal/cni", "internal/corefile", "internal/diagnose", "internal/resource"},
	"internal/report":        {"internal/model", "internal/diagnose", "internal/trace", "internal/check", "internal/watch", "internal/resource"},
	"internal/cli":           {"internal/model", "internal/examine", "internal/report", "internal/snapshot", "internal/diagnose", "internal/collect", "internal/vantage", "internal/trace", "internal/manifest", "internal/policy", "internal/reach", "internal/check", "internal/cni", "internal/watch", "internal/probe"},
	"internal/layers":        {},
}

// inTests are further imports that only a package's tests may have.
var inTests = map[string][]string{
	"internal/diagnose": {"internal/snapshot"},
	"internal/manifest": {"internal/reach/reachtest"},
}

// pure packages use neither the network nor the file system nor a clock of their own.
var pure = []string{"internal/model", "internal/netfilter", "internal/policy", "internal/trace", "internal/diagnose", "internal/check", "internal/cni", "internal/watch", "internal/resource"}

// owners says which package alone may import what lies under a path.
var owners = map[string][]string{
	"k8s.io/client-go/":                 {"internal/collect/kube", "internal/vantage", "internal/cli", "internal/examine"},
	"github.com/Azure/":                 {"internal/collect/azure"},
	"github.com/podpath/podpath/lab":    {},
	"github.com/charmbracelet/lipgloss": {"internal/report"},
}

func TestLayers(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			if !strings.HasSuffix(path, ".go") {
				return nil
			}
			checkFile(t, root, path)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkFile(t *testing.T, root, path string) {
	t.Helper()
	rel, err := filepath.Rel(root, path)
	if err != nil {
		t.Fatal(err)
	}
	pkg := filepath.ToSlash(filepath.Dir(rel))
	may, ok := lookup(allowed, pkg)
	if !ok {
		t.Errorf("%s: the package is not in the drawing", pkg)
		return
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	test := strings.HasSuffix(path, "_test.go")
	if more, ok := lookup(inTests, pkg); test && ok {
		may = slices.Concat(may, more)
	}
	for _, spec := range file.Imports {
		imp := strings.Trim(spec.Path.Value, `"`)
		if inside, ok := strings.CutPrefix(imp, module); ok && !within(inside, append(may, pkg)) {
			t.Errorf("%s imports %s: not drawn", rel, inside)
		}
		for owned, by := range owners {
			if strings.HasPrefix(imp, owned) && !within(pkg, by) {
				t.Errorf("%s imports %s, which only %v may", rel, imp, by)
			}
		}
		if !test && within(pkg, pure) && impure[imp] {
			t.Errorf("%s is pure and imports %s", rel, imp)
		}
	}
}

var impure = map[string]bool{"os": true, "net": true, "net/http": true, "os/exec": true, "io/ioutil": true, "syscall": true}

// lookup finds the entry of the package or of the nearest folder above it.
func lookup(drawing map[string][]string, pkg string) ([]string, bool) {
	for p := pkg; p != "."; p = filepath.ToSlash(filepath.Dir(p)) {
		if may, ok := drawing[p]; ok {
			return may, true
		}
	}
	return nil, false
}

// within says whether pkg is one of the folders or lies under one.
func within(pkg string, folders []string) bool {
	for _, f := range folders {
		if pkg == f || strings.HasPrefix(pkg, f+"/") {
			return true
		}
	}
	return false
}
