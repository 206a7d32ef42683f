package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

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
