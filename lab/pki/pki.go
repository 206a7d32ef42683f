// Package pki makes the lab's certificates: the authority that its pods trust,
// the authorities inside Kubernetes, and the broken certificates of the hosts
// whose certificate is the fault.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// backdate is how long ago a certificate without NotBefore became valid: a
// clock-skew scenario sets a clock back, and must not invalidate healthy hosts.
const backdate = 30 * 24 * time.Hour

// CA is an authority that can issue. An intermediate knows its issuer.
type CA struct {
	Cert   *x509.Certificate
	Key    *ecdsa.PrivateKey
	Issuer *CA // nil for a root
}

// Options describe one certificate to issue.
type Options struct {
	CommonName   string
	Organization []string // groups, for a Kubernetes client
	DNSNames     []string
	IPs          []netip.Addr
	NotBefore    time.Time // zero: 30 days ago
	NotAfter     time.Time // zero: in ten years
	Client       bool      // client authentication beside server authentication
	Intermediate *CA       // issue from this one instead, and send it along in the chain
	OmitChain    bool      // issue from Intermediate but do not send it: an incomplete chain
}

// LoadOrCreate reads the authority kept in dir (ca.crt, ca.key), or makes one there.
func LoadOrCreate(dir string) (*CA, error) {
	certFile, keyFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key")
	certPEM, err := os.ReadFile(certFile)
	if errors.Is(err, fs.ErrNotExist) {
		return create(dir, certFile, keyFile)
	}
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w (remove the folder to have a new authority made)", dir, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T; the lab makes ECDSA keys only (remove the folder)", keyFile, pair.PrivateKey)
	}
	ca := &CA{Cert: pair.Leaf, Key: key}
	if ca.Cert.CheckSignatureFrom(ca.Cert) != nil {
		ca.Issuer = &CA{} // an intermediate, its issuer elsewhere: it goes along in the chains it makes
	}
	return ca, nil
}

func create(dir, certFile, keyFile string) (*CA, error) {
	ca, err := newAuthority("podpath lab CA "+filepath.Base(dir), nil)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	keyPEM, err := ca.KeyPEM()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(keyFile, keyPEM, 0o600); err != nil {
		return nil, err
	}
	return ca, os.WriteFile(certFile, ca.PEM(), 0o644)
}

// KeyPEM is the authority's private key.
func (c *CA) KeyPEM() ([]byte, error) { return encodeKey(c.Key) }

// NewIntermediate makes an authority signed by this one.
func (c *CA) NewIntermediate(name string) (*CA, error) { return newAuthority(name, c) }

func newAuthority(name string, issuer *CA) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-2 * backdate), NotAfter: time.Now().AddDate(20, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true,
	}
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.Cert, issuer.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &CA{Cert: cert, Key: key, Issuer: issuer}, nil
}

// PEM is the authority's certificate.
func (c *CA) PEM() []byte { return encodeCert(c.Cert.Raw) }

// Pool is a trust store that holds this authority only.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.Cert)
	return pool
}

// Issue makes a server certificate (a client's too, if asked) with a key of its own.
// certPEM holds the whole chain that the server sends, the leaf first.
func (c *CA) Issue(o Options) (pair tls.Certificate, certPEM, keyPEM []byte, err error) {
	signer := c
	if o.Intermediate != nil {
		signer = o.Intermediate
	}
	key, leaf, err := leafTemplate(o)
	if err != nil {
		return tls.Certificate{}, nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, signer.Cert, &key.PublicKey, signer.Key)
	if err != nil {
		return tls.Certificate{}, nil, nil, err
	}
	certPEM = encodeCert(der)
	for ca := signer; ca.Issuer != nil && !o.OmitChain; ca = ca.Issuer {
		certPEM = append(certPEM, ca.PEM()...)
	}
	return finish(key, certPEM)
}

// SelfSigned makes a certificate that is its own issuer.
func SelfSigned(o Options) (pair tls.Certificate, certPEM, keyPEM []byte, err error) {
	key, leaf, err := leafTemplate(o)
	if err != nil {
		return tls.Certificate{}, nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, nil, err
	}
	return finish(key, encodeCert(der))
}

func leafTemplate(o Options) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := serialNumber()
	if err != nil {
		return nil, nil, err
	}
	cert := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: o.CommonName, Organization: o.Organization},
		NotBefore: o.NotBefore, NotAfter: o.NotAfter, DNSNames: o.DNSNames,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if cert.NotBefore.IsZero() {
		cert.NotBefore = time.Now().Add(-backdate)
	}
	if cert.NotAfter.IsZero() {
		cert.NotAfter = time.Now().AddDate(10, 0, 0)
	}
	for _, ip := range o.IPs {
		cert.IPAddresses = append(cert.IPAddresses, net.IP(ip.AsSlice()))
	}
	if o.Client {
		cert.ExtKeyUsage = append(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	return key, cert, nil
}

func finish(key *ecdsa.PrivateKey, certPEM []byte) (tls.Certificate, []byte, []byte, error) {
	keyPEM, err := encodeKey(key)
	if err != nil {
		return tls.Certificate{}, nil, nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	return pair, certPEM, keyPEM, err
}

func serialNumber() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
