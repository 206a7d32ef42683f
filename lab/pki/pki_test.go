package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"net/netip"
	"testing"
	"time"
)

func verify(t *testing.T, ca *CA, chain [][]byte, name string) error {
	t.Helper()
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	between := x509.NewCertPool()
	for _, der := range chain[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), Intermediates: between, DNSName: name})
	return err
}

func TestTheAuthorityIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := LoadOrCreate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.PEM(), second.PEM()) || !first.Key.Equal(second.Key) {
		t.Fatal("a second call made another authority")
	}
}

func TestEachFaultIsTheFaultItSays(t *testing.T) {
	ca, err := LoadOrCreate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	between, err := ca.NewIntermediate("between")
	if err != nil {
		t.Fatal(err)
	}
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var hostname x509.HostnameError
	good := Options{CommonName: "a.example", DNSNames: []string{"a.example"}, IPs: []netip.Addr{netip.MustParseAddr("203.0.113.1")}}
	with := func(change func(*Options)) Options { o := good; change(&o); return o }

	for _, c := range []struct {
		name    string
		options Options
		ask     string
		want    any
	}{
		{"good", good, "a.example", nil},
		{"good by address", good, "203.0.113.1", nil},
		{"chain sent", with(func(o *Options) { o.Intermediate = between }), "a.example", nil},
		{"chain not sent", with(func(o *Options) { o.Intermediate, o.OmitChain = between, true }), "a.example", &unknown},
		{"expired", with(func(o *Options) { o.NotAfter = time.Now().Add(-time.Hour) }), "a.example", &invalid},
		{"other name", good, "b.example", &hostname},
	} {
		pair, _, _, err := ca.Issue(c.options)
		if err != nil {
			t.Fatal(c.name, err)
		}
		got := verify(t, ca, pair.Certificate, c.ask)
		if c.want == nil && got != nil || c.want != nil && !errors.As(got, c.want) {
			t.Errorf("%s: %v", c.name, got)
		}
	}

	pair, _, _, err := SelfSigned(good)
	if err != nil {
		t.Fatal(err)
	}
	if got := verify(t, ca, pair.Certificate, "a.example"); !errors.As(got, &unknown) {
		t.Errorf("self-signed: %v", got)
	}
}
