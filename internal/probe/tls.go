package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// handshake is the tls phase. The certificate is judged here and not by
// crypto/tls, so that every fault of it is told, and so that what answers behind
// a faulty one is still seen: the request carries no credentials. It returns nil
// if no TLS connection stands, and whether the certificate holds.
func (a *attempt) handshake(ctx context.Context, conn *wire) (*tls.Conn, bool) {
	t := &a.target
	conn.restart()
	conn.SetDeadline(time.Now().Add(t.Timeouts.TLS))
	c, before := tls.Client(conn, a.tlsConfig()), lost(conn.Conn)
	ok := a.phase("tls", func() (model.Reason, string) {
		if err := c.HandshakeContext(ctx); err != nil {
			reason, detail := handshakeReason(err, conn)
			c = nil
			return reason, detail
		}
		return a.judge(c.ConnectionState().PeerCertificates)
	})
	a.obs.Phases[len(a.obs.Phases)-1].Lost = lost(conn.Conn) - before
	conn.SetDeadline(time.Time{})
	return c, ok && a.trust.pool != nil
}

func (a *attempt) tlsConfig() *tls.Config {
	name := strings.TrimSuffix(a.target.ServerName, ".")
	if a.target.NoSNI || net.ParseIP(strings.Trim(name, "[]")) != nil {
		name = ""
	}
	return &tls.Config{
		ServerName:         name,
		InsecureSkipVerify: true, // judged in judge
		MinVersion:         tls.VersionTLS10,
		NextProtos:         []string{"http/1.1"},
		// The ClientHello of most clients fits one packet; a post-quantum key
		// share would not, and some filters only read the first.
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
	}
}

// handshakeReason types the end of a handshake and says how far it had come.
func handshakeReason(err error, w *wire) (model.Reason, string) {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		return model.TLSAlert, clean(strings.TrimPrefix(op.Err.Error(), "tls: "), 120) + ", after " + handshakeStep(w)
	}
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		if len(w.head) == 0 {
			return model.Closed, "after " + handshakeStep(w)
		}
		return model.BadAnswer, fmt.Sprintf("not TLS; it begins %q", clean(string(w.head[:min(len(w.head), 80)]), 80))
	}
	reason := reasonOf(err)
	if reason == model.ProbeFailed {
		// crypto/tls refuses what the server sent: the far side's fault, not the socket's.
		return model.TLSAlert, "the handshake cannot go on, after " + handshakeStep(w) + ": " + clean(strings.TrimPrefix(err.Error(), "tls: "), 160)
	}
	return reason, "after " + handshakeStep(w)
}

// handshakeStep names the last message that passed, from the bytes themselves.
func handshakeStep(w *wire) string {
	if w.received == 0 {
		if w.sent == 0 {
			return "the TCP handshake, before ClientHello"
		}
		return fmt.Sprintf("ClientHello (%d bytes sent, nothing received)", w.sent)
	}
	step := "something that is not a TLS record"
	switch {
	case len(w.head) >= 1 && w.head[0] == 21:
		step = "an alert"
	case len(w.head) >= 6 && w.head[0] == 22 && w.head[5] == 2:
		step = "ServerHello"
	case len(w.head) >= 1 && w.head[0] == 22:
		step = "the first handshake record"
	}
	return fmt.Sprintf("%s (%d bytes sent, %d received)", step, w.sent, w.received)
}

// judge verifies a chain as the application's library would, and tells its
// faults apart. The first of the list is the reason; the detail names all.
func (a *attempt) judge(chain []*x509.Certificate) (model.Reason, string) {
	for _, c := range chain[:min(len(chain), 10)] {
		a.obs.Certs = append(a.obs.Certs, keep(c))
	}
	a.obs.Trust = a.trust.from
	name := a.target.ServerName
	if a.target.NoSNI {
		name = ""
	}
	faults := certFaults(chain, name, &a.trust, time.Now())
	if len(faults) == 0 {
		if a.trust.pool == nil {
			return model.OK, "the issuer was not judged: no CA bundle here"
		}
		return model.OK, ""
	}
	var text []string
	for _, f := range faults {
		text = append(text, f.detail)
	}
	return faults[0].reason, strings.Join(text, "; ")
}

type certFault struct {
	reason model.Reason
	detail string
}

// certFaults lists what is wrong with a chain, the gravest and surest first.
func certFaults(chain []*x509.Certificate, host string, t *trust, now time.Time) []certFault {
	if len(chain) == 0 {
		return []certFault{{model.CertIncomplete, "no certificate was shown"}}
	}
	leaf := chain[0]
	var faults []certFault
	add := func(r model.Reason, format string, args ...any) {
		faults = append(faults, certFault{r, clean(fmt.Sprintf(format, args...), 300)})
	}
	for i, c := range chain[:min(len(chain), 10)] {
		whose := "the certificate"
		if i > 0 {
			if c.IsCA && t.subjects[string(c.RawSubject)] {
				continue // a root that is sent along: clients use their own copy
			}
			whose = "the issuer's certificate " + c.Subject.CommonName
		}
		if now.After(c.NotAfter) {
			add(model.CertExpired, "%s ran out at %s", whose, c.NotAfter.UTC().Format(time.RFC3339))
		}
		if now.Before(c.NotBefore) {
			add(model.CertNotYetValid, "%s is valid from %s; the clock here says %s", whose, c.NotBefore.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	}
	chainFault := chainReason(chain, t, now)
	if chainFault != nil && chainFault.reason == model.CertSelfSigned {
		faults = append(faults, *chainFault)
	}
	if host != "" {
		if err := verifyHost(leaf, host); err != nil {
			add(model.CertWrongName, "not issued for %s but for %s", host, names(leaf))
		}
	}
	if chainFault != nil && chainFault.reason != model.CertSelfSigned {
		faults = append(faults, *chainFault)
	}
	return faults
}

func verifyHost(leaf *x509.Certificate, host string) error {
	host = strings.TrimSuffix(strings.Trim(host, "[]"), ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		host = addr.WithZone("").String()
	}
	return leaf.VerifyHostname(host)
}

func names(c *x509.Certificate) string {
	var out []string
	out = append(out, c.DNSNames[:min(len(c.DNSNames), 5)]...)
	for _, ip := range c.IPAddresses[:min(len(c.IPAddresses), 5)] {
		out = append(out, ip.String())
	}
	if len(out) == 0 {
		return "nothing (subject " + c.Subject.String() + ")"
	}
	return strings.Join(out, ", ")
}

// chainReason says why no chain leads to a trusted root, or nil if one does.
// Time is left out: it has been judged, and would hide the rest.
func chainReason(chain []*x509.Certificate, t *trust, now time.Time) *certFault {
	leaf := chain[0]
	if t.pool == nil {
		if selfSigned(leaf) && !leaf.IsCA {
			return &certFault{model.CertSelfSigned, clean("the certificate is signed by itself: "+leaf.Subject.String(), 300)}
		}
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:min(len(chain), 10)] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: t.pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		CurrentTime: within(chain, now),
	})
	var invalid x509.CertificateInvalidError
	if err == nil || (errors.As(err, &invalid) && invalid.Reason == x509.Expired) {
		return nil
	}
	if selfSigned(leaf) {
		return &certFault{model.CertSelfSigned, clean("the certificate is signed by itself: "+leaf.Subject.String(), 300)}
	}
	last := highest(chain)
	top := last.Issuer.String()
	if selfSigned(last) {
		top = last.Subject.String()
	} else if why, missing := issuerMissing(last, last == leaf, t); missing {
		return &certFault{model.CertIncomplete, clean(fmt.Sprintf("the certificate of the issuer %s is not sent%s", top, why), 300)}
	}
	return &certFault{model.CertUnknownCA, clean(fmt.Sprintf("issued by %s, which %s does not hold (%v)", top, t.from, err), 300)}
}

// highest follows a chain as it was sent up to the last certificate that signs the one before.
func highest(chain []*x509.Certificate) *x509.Certificate {
	c := chain[0]
	for _, next := range chain[1:min(len(chain), 10)] {
		if c.CheckSignatureFrom(next) == nil {
			c = next
		}
	}
	return c
}

// issuerMissing tells a server that forgot an intermediate from a CA that is not
// trusted here. A CA that says where its certificate can be had, or of whose
// organisation a root is trusted, points at the server. Without more to go by, a
// server's certificate that came alone was most often left alone by mistake.
func issuerMissing(last *x509.Certificate, alone bool, t *trust) (why string, missing bool) {
	if t.subjects[string(last.RawIssuer)] {
		return "", false // the issuer is known by name, yet did not sign this
	}
	if len(last.IssuingCertificateURL) > 0 {
		return " (to be had at " + last.IssuingCertificateURL[0] + ")", true
	}
	for _, o := range last.Issuer.Organization {
		if t.orgs[o] {
			return " (a root of the same organisation is trusted)", true
		}
	}
	return "", alone
}

// within is an instant at which the whole chain is valid, the nearest to now.
func within(chain []*x509.Certificate, now time.Time) time.Time {
	at := now
	for _, c := range chain {
		if at.After(c.NotAfter) {
			at = c.NotAfter
		}
	}
	for _, c := range chain {
		if at.Before(c.NotBefore) {
			at = c.NotBefore
		}
	}
	return at
}
