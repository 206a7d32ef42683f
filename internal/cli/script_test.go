package cli

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
)

func TestMain(m *testing.M) {
	run := func() { os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	testscript.Main(m, map[string]func(){"podpath": run, "kubectl-podpath": run})
}

// TestScripts runs podpath as a process of its own: testdata/script/*.txtar.
// $CASES holds the snapshots of testdata, $EXAMPLES those of docs; live.yaml leads to an API server.
func TestScripts(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := validator.NewCompiler().Compile(filepath.Join(here, "..", "..", "docs", "schema", "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	checkSchema, err := validator.NewCompiler().Compile(filepath.Join(here, "..", "..", "docs", "schema", "check.json"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("CASES", filepath.Join(here, "testdata"))
			e.Setenv("EXAMPLES", filepath.Join(here, "..", "..", "docs", "examples"))
			return live(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      exits,
			"valid":      func(ts *testscript.TestScript, _ bool, args []string) { valid(ts, schema, args[0]) },
			"validcheck": func(ts *testscript.TestScript, _ bool, args []string) { valid(ts, checkSchema, args[0]) },
			"fits":       fits,
		},
	})
}

// exits runs a command and compares its exit code: exits CODE COMMAND….
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

// valid holds a file to the published schema of reports.
func valid(ts *testscript.TestScript, schema *validator.Schema, file string) {
	doc, err := validator.UnmarshalJSON(strings.NewReader(ts.ReadFile(file)))
	ts.Check(err)
	ts.Check(schema.Validate(doc))
}

// fits says whether no line of a file, but for commands to paste, is wider than
// so many columns: fits COLUMNS FILE. With "ascii" it must be plain ASCII instead.
func fits(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[1])
	if args[0] == "ascii" {
		if i := bytes.IndexFunc([]byte(text), func(r rune) bool { return r > 0x7e }); i >= 0 {
			ts.Fatalf("%q is not ASCII", text[max(0, i-40):i+4])
		}
		return
	}
	width, err := strconv.Atoi(args[0])
	ts.Check(err)
	for line := range strings.Lines(text) {
		if !strings.Contains(line, " $ ") && utf8.RuneCountInString(strings.TrimRight(line, "\n")) > width {
			ts.Fatalf("wider than %d columns: %s", width, line)
		}
	}
}
