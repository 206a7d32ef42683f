package layers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestRatchets holds the code to what keeps it readable: short functions, few
// parameters, small interfaces, documentation, nothing that runs by being imported.
func TestRatchets(t *testing.T) {
	fset := token.NewFileSet()
	documented := map[string]bool{}
	var lengths []int
	for _, file := range sources(t) {
		f, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Dir(file)
		documented[dir] = documented[dir] || f.Doc != nil
		complain := func(n ast.Node, format string, args ...any) {
			t.Errorf("%s: "+format, append([]any{fset.Position(n.Pos())}, args...)...)
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				lengths = append(lengths, fset.Position(d.End()).Line-fset.Position(d.Pos()).Line+1)
				function(d, complain)
			case *ast.GenDecl:
				declaration(d, complain)
			}
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: the package is not documented", dir)
		}
	}
	slices.Sort(lengths)
	if median, p95 := lengths[len(lengths)/2], lengths[len(lengths)*95/100]; median > 12 || p95 > 55 {
		t.Errorf("functions are %d lines long at the median and %d at the 95th percentile; 12 and 55 are the bars", median, p95)
	}
}

func sources(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join("..", "..", top), func(path string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				out = append(out, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func function(d *ast.FuncDecl, complain func(ast.Node, string, ...any)) {
	if n := d.Type.Params.NumFields(); n > 7 { // five is the aim; more than there is today is no way
		complain(d, "%s has %d parameters", d.Name.Name, n)
	}
	if d.Name.Name == "init" && d.Recv == nil {
		complain(d, "init runs by being imported: call a function instead")
	}
	if d.Recv == nil && d.Name.IsExported() && d.Doc == nil {
		complain(d, "%s is not documented", d.Name.Name)
	}
}

func declaration(d *ast.GenDecl, complain func(ast.Node, string, ...any)) {
	for _, spec := range d.Specs {
		typ, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		if typ.Name.IsExported() && d.Doc == nil && typ.Doc == nil {
			complain(typ, "%s is not documented", typ.Name.Name)
		}
		if i, ok := typ.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > 3 {
			complain(typ, "interface %s has %d methods", typ.Name.Name, i.Methods.NumFields())
		}
	}
}
