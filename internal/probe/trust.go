package probe

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/podpath/podpath/internal/model"
)

// trust is a set of root certificates and where it was found.
type trust struct {
	pool     *x509.CertPool
	subjects map[string]bool // raw subjects of the roots
	orgs     map[string]bool // their organisations
	from     string
}

// TrustNone is Observation.Trust where no bundle was found.
const TrustNone = "none"

// bundles are where distributions keep what their programs trust.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Alpine, distroless
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Fedora, RHEL
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // RHEL, Azure Linux
	"/etc/ssl/ca-bundle.pem",                            // SUSE
	"/etc/ssl/cert.pem",                                 // Alpine, BSD
}

const maxBundle = 8 << 20

// findTrust looks for what the application trusts: its own file system first
// (the process namespace is shared with it, and its user allows it), then the
// one that this process sees.
func findTrust(p *Plan) trust {
	return findTrustIn(p, "/proc/1/root", "/", os.Getenv("SSL_CERT_FILE"))
}

func findTrustIn(p *Plan, app, own, env string) trust {
	t := trust{subjects: map[string]bool{}, orgs: map[string]bool{}, from: TrustNone}
	if p.NoTrust {
		return t
	}
	switch {
	case !sameRoot(app, own) && t.load(app, append(p.CAFiles, bundles...), "the application's "):
	case env != "" && t.load("", []string{env}, ""):
	case t.load(own, append(p.CAFiles, bundles...), "the probe's own "):
	}
	if p.ExtraRoots != "" && t.add([]byte(p.ExtraRoots)) > 0 {
		if t.from == TrustNone {
			t.from = "the given CA file"
		} else {
			t.from += " and the given CA file"
		}
	}
	return t
}

// sameRoot says whether both are one file system root: then process 1 is not the application.
func sameRoot(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return true
	}
	y, err := os.Stat(b)
	return err != nil || os.SameFile(x, y)
}

// load adds the first of files that holds a certificate. Files are opened below
// root only: a link of the application's image must not lead out of it.
func (t *trust) load(root string, files []string, whose string) bool {
	for _, name := range files {
		data, err := readBelow(root, name)
		if err != nil {
			continue
		}
		if t.add(data) > 0 {
			t.from = whose + clean(name, 200)
			return true
		}
	}
	return false
}

func readBelow(root, name string) ([]byte, error) {
	var f *os.File
	if root == "" || root == "/" {
		g, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		f = g
	} else {
		r, err := os.OpenRoot(root)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		rel, err := filepath.Rel("/", filepath.Clean("/"+name))
		if err != nil {
			return nil, err
		}
		if f, err = openLinked(r, rel); err != nil {
			return nil, err
		}
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	return io.ReadAll(io.LimitReader(f, maxBundle))
}

// openLinked opens a file whose links may be absolute: they mean the root's own tree.
func openLinked(r *os.Root, name string) (*os.File, error) {
	for range 8 {
		f, err := r.Open(name)
		if err == nil {
			return f, nil
		}
		target, e := r.Readlink(name)
		if e != nil {
			return nil, err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(name), target)
		}
		if name, e = filepath.Rel("/", filepath.Clean("/"+target)); e != nil {
			return nil, e
		}
	}
	return nil, fmt.Errorf("%s: too many links", name)
}

// add parses PEM and says how many certificates it held.
func (t *trust) add(data []byte) int {
	n := 0
	for len(data) > 0 {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			continue
		}
		if t.pool == nil {
			t.pool = x509.NewCertPool()
		}
		t.pool.AddCert(cert)
		t.subjects[string(cert.RawSubject)] = true
		for _, o := range cert.Subject.Organization {
			t.orgs[o] = true
		}
		n++
	}
	return n
}

// keep is what podpath keeps of a certificate.
func keep(c *x509.Certificate) model.Cert {
	out := model.Cert{
		Subject: clean(c.Subject.String(), 256), Issuer: clean(c.Issuer.String(), 256),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, SelfSigned: selfSigned(c),
	}
	for _, n := range c.DNSNames[:min(len(c.DNSNames), 50)] {
		out.Names = append(out.Names, clean(n, 255))
	}
	for _, ip := range c.IPAddresses[:min(len(c.IPAddresses), 50)] {
		out.Names = append(out.Names, ip.String())
	}
	return out
}

func selfSigned(c *x509.Certificate) bool {
	if !bytes.Equal(c.RawSubject, c.RawIssuer) {
		return false
	}
	return c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}
