package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the transcript in README.md")

// TestReadmeTranscript: what README.md shows is what its example prints today.
func TestReadmeTranscript(t *testing.T) {
	file, example := filepath.Join("..", "..", "README.md"), filepath.Join("..", "..", "docs", "examples", "nsg-denies.podpath")
	t.Setenv("COLUMNS", "")
	t.Setenv("LANG", "C.UTF-8")
	t.Setenv("LC_ALL", "")
	var out, errOut bytes.Buffer
	Main([]string{"podpath", "why", "--snapshot", example, "--color", "never"}, strings.NewReader(""), &out, &errOut)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const command = "$ podpath why shop/deploy/checkout https://api.payments.example\n"
	before, rest, ok := strings.Cut(string(data), "```\n"+command)
	shown, after, closed := strings.Cut(rest, "```\n")
	if !ok || !closed {
		t.Fatal("README.md shows no transcript")
	}
	if shown == out.String() {
		return
	}
	if !*update {
		t.Fatalf("README.md shows another report than docs/examples/nsg-denies.podpath gives; read it, then go test ./internal/cli -run Readme -update:\n%s%s", out.String(), errOut.String())
	}
	text := before + "```\n" + command + out.String() + "```\n" + after
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestExamples keeps what docs/examples promises.
func TestExamples(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "examples")
	for name, want := range map[string]struct {
		code int
		says string
	}{
		"healthy":       {0, "works"},
		"nsg-denies":    {1, "podpath explain nsg-denies"},
		"firewall-fqdn": {1, "podpath explain firewall-fqdn"},
		"tls-expired":   {1, "podpath explain cert-expired"},
	} {
		var out, errOut bytes.Buffer
		code := Main([]string{"podpath", "why", "--snapshot", filepath.Join(dir, name+".podpath")}, strings.NewReader(""), &out, &errOut)
		if code != want.code || !strings.Contains(out.String(), want.says) || errOut.Len() > 0 {
			t.Errorf("%s: exit code %d, not %d with %q\n%s%s", name, code, want.code, want.says, out.String(), errOut.String())
		}
	}
}
