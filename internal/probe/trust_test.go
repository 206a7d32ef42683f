package probe

import (
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, root, name, text string) {
	t.Helper()
	p := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFindTrust(t *testing.T) {
	app, own, none := t.TempDir(), t.TempDir(), t.TempDir()
	a, b := newAuthority(t, "App", nil), newAuthority(t, "Own", nil)
	write(t, app, "usr/ca.pem", a.pem())
	write(t, app, "own/ca.pem", a.pem())
	write(t, own, "etc/ssl/cert.pem", b.pem())
	if err := os.MkdirAll(filepath.Join(app, "etc/ssl/certs"), 0o755); err != nil {
		t.Fatal(err)
	}
	// An absolute link means the application's tree, not the probe's.
	if err := os.Symlink("/usr/ca.pem", filepath.Join(app, "etc/ssl/certs/ca-certificates.crt")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		plan     Plan
		app, own string
		want     string
	}{
		"application":         {Plan{}, app, own, "the application's /etc/ssl/certs/ca-certificates.crt"},
		"named by a variable": {Plan{CAFiles: []string{"/own/ca.pem"}}, app, own, "the application's /own/ca.pem"},
		"same root":           {Plan{}, own, own, "the probe's own /etc/ssl/cert.pem"},
		"application hidden":  {Plan{}, filepath.Join(none, "absent"), own, "the probe's own /etc/ssl/cert.pem"},
		"nothing":             {Plan{}, none, none, TrustNone},
		"given":               {Plan{ExtraRoots: a.pem()}, none, none, "the given CA file"},
		"both":                {Plan{ExtraRoots: a.pem()}, own, own, "the probe's own /etc/ssl/cert.pem and the given CA file"},
		"not judged":          {Plan{NoTrust: true, ExtraRoots: a.pem()}, own, own, TrustNone},
		"no way out of it":    {Plan{CAFiles: []string{"/../../../../../../etc/passwd", "etc"}}, none, none, TrustNone},
	} {
		got := findTrustIn(&c.plan, c.app, c.own, "")
		if got.from != c.want || (got.pool == nil) != (c.want == TrustNone) {
			t.Errorf("%s: %q, want %q", name, got.from, c.want)
		}
	}
	if got := findTrustIn(&Plan{}, none, none, filepath.Join(app, "usr/ca.pem")); got.pool == nil {
		t.Error("SSL_CERT_FILE is not read")
	}
}

func FuzzTrust(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr := trust{subjects: map[string]bool{}, orgs: map[string]bool{}}
		if n := tr.add(b); (n > 0) != (tr.pool != nil) {
			t.Error("a count without a pool")
		}
	})
}
