package probe

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// short are limits for tests: nothing here is farther than loopback.
var short = Timeouts{
	DNS: 800 * time.Millisecond, TCP: 800 * time.Millisecond, TLS: 300 * time.Millisecond,
	HTTP: 300 * time.Millisecond, Body: 200 * time.Millisecond, UDP: 200 * time.Millisecond,
}

// authority issues certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, org string, parent *authority) *authority {
	t.Helper()
	cert, key := issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: fmt.Sprint(org, " CA ", serial.Load()), Organization: []string{org}}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, parent)
	return &authority{cert, key}
}

var serial atomic.Int64

func issue(t *testing.T, tmpl *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber = big.NewInt(serial.Add(1))
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func (a *authority) leaf(t *testing.T, change func(*x509.Certificate), more ...*authority) tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		Subject: pkix.Name{CommonName: "shop.test"}, DNSNames: []string{"shop.test"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	if change != nil {
		change(tmpl)
	}
	cert, key := issue(t, tmpl, a)
	out := tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
	for _, m := range more {
		out.Certificate = append(out.Certificate, m.cert.Raw)
	}
	return out
}

// listen runs handle for every connection.
func listen(t *testing.T, handle func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c)
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// rst ends a connection by RST.
func rst(c net.Conn) {
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

func hang(c net.Conn) { io.Copy(io.Discard, c) }

func readSome(c net.Conn) { c.Read(make([]byte, 4096)) }

func serveTLS(cert tls.Certificate, handle func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
		if s.Handshake() != nil {
			return
		}
		handle(s)
	}
}

func reply(text string) func(net.Conn) {
	return func(c net.Conn) {
		readSome(c)
		io.WriteString(c, text)
	}
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: test\r\n\r\nok"

func target(to netip.AddrPort, scheme string) Target {
	return Target{Label: "q", Purpose: PurposeQuestion, Host: "shop.test", Address: to.Addr(), Port: to.Port(), Scheme: scheme}
}

func one(t *testing.T, p Plan) model.Observation {
	t.Helper()
	p.Timeouts = p.Timeouts.or(short)
	obs := Run(context.Background(), p)
	if len(obs) != 1 {
		t.Fatalf("%d observations, want one: %+v", len(obs), obs)
	}
	return obs[0]
}

func check(t *testing.T, o model.Observation, failed string, result model.Reason, detail string) {
	t.Helper()
	if o.Failed != failed || o.Result != result || !strings.Contains(o.Detail, detail) {
		t.Errorf("got %q in %q (%s), want %q in %q (…%s…)\nphases %+v", o.Result, o.Failed, o.Detail, result, failed, detail, o.Phases)
	}
}

func TestConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	open := listen(t, hang)
	v6 := target(netip.MustParseAddrPort("[2001:db8::1]:443"), "")
	for name, c := range map[string]struct {
		target         Target
		failed, detail string
		result         model.Reason
	}{
		"refused": {target(closed, ""), "tcp", "refused", model.Refused},
		"open":    {target(open, ""), "", "", model.OK},
	} {
		t.Run(name, func(t *testing.T) {
			o := one(t, Plan{Targets: []Target{c.target}})
			check(t, o, c.failed, c.result, c.detail)
			if c.result == model.OK && !o.Local.IsValid() {
				t.Error("the local address is not told")
			}
		})
	}
	if localRoute(v6.Address) != nil {
		check(t, one(t, Plan{Targets: []Target{v6}}), "tcp", model.NoRoute, "")
	}
}

func TestTLS(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	middle := newAuthority(t, "Root", root)
	stranger := newAuthority(t, "Stranger", nil)
	between := newAuthority(t, "Stranger2", stranger)
	own := func(c *x509.Certificate) {}
	good := root.leaf(t, own)
	for name, c := range map[string]struct {
		handle         func(net.Conn)
		failed, detail string
		result         model.Reason
	}{
		"good":                  {serveTLS(good, reply(fine)), "", "", model.OK},
		"good chain":            {serveTLS(middle.leaf(t, own, middle), reply(fine)), "", "", model.OK},
		"expired":               {serveTLS(root.leaf(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }), reply(fine)), "tls", "ran out", model.CertExpired},
		"too early":             {serveTLS(root.leaf(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }), reply(fine)), "tls", "valid from", model.CertNotYetValid},
		"wrong name":            {serveTLS(root.leaf(t, func(c *x509.Certificate) { c.DNSNames = []string{"other.test"} }), reply(fine)), "tls", "not issued for shop.test but for other.test", model.CertWrongName},
		"self-signed":           {serveTLS((*authority)(nil).leaf(t, own), reply(fine)), "tls", "signed by itself", model.CertSelfSigned},
		"incomplete":            {serveTLS(middle.leaf(t, own), reply(fine)), "tls", "is not sent", model.CertIncomplete},
		"unknown root":          {serveTLS(between.leaf(t, own, between, stranger), reply(fine)), "tls", "Stranger", model.CertUnknownCA},
		"unknown, no root sent": {serveTLS(between.leaf(t, own, between), reply(fine)), "tls", "Stranger", model.CertUnknownCA},
		"expired and wrong name": {serveTLS(root.leaf(t, func(c *x509.Certificate) {
			c.NotAfter, c.DNSNames = time.Now().Add(-time.Hour), []string{"other.test"}
		}), reply(fine)), "tls", "other.test", model.CertExpired},
		"reset on ClientHello":  {func(c net.Conn) { readSome(c); rst(c) }, "tls", "nothing received", model.Reset},
		"closed on ClientHello": {readSome, "tls", "nothing received", model.Closed},
		"silent":                {hang, "tls", "nothing received", model.TimedOut},
		"not TLS":               {reply("HTTP/1.1 400 Bad Request\r\n\r\n"), "tls", "HTTP/1.1 400", model.BadAnswer},
		"alert": {func(c net.Conn) {
			readSome(c)
			c.Write([]byte{21, 3, 3, 0, 2, 2, 112})
		}, "tls", "unrecognized name", model.TLSAlert},
		"wants a client certificate": {func(c net.Conn) {
			s := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12})
			s.Handshake()
		}, "tls", "", model.TLSAlert},
		"stalls after ServerHello": {func(c net.Conn) {
			readSome(c)
			c.Write([]byte{22, 3, 3, 0, 80, 2, 0, 0, 76, 3, 3})
			hang(c)
		}, "tls", "ServerHello", model.TimedOut},
	} {
		t.Run(name, func(t *testing.T) {
			o := one(t, Plan{ExtraRoots: root.pem(), Targets: []Target{target(listen(t, c.handle), "https")}})
			check(t, o, c.failed, c.result, c.detail)
			if strings.HasPrefix(string(c.result), "cert-") {
				if len(o.Certs) == 0 || o.HTTP == nil || o.HTTP.Status != 200 || o.HTTP.Answered != AnsweredUnknown {
					t.Errorf("what answers behind the certificate is not told: %+v", o.HTTP)
				}
			}
		})
	}
}

func TestNoBundleJudgesNothing(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	to := listen(t, serveTLS(root.leaf(t, nil), reply(fine)))
	o := one(t, Plan{NoTrust: true, Targets: []Target{target(to, "https")}})
	check(t, o, "", model.OK, "")
	if o.Trust != TrustNone || o.HTTP.Answered != AnsweredUnknown {
		t.Errorf("trust %q, answered %q", o.Trust, o.HTTP.Answered)
	}
}

func TestHTTP(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	for name, c := range map[string]struct {
		handle         func(net.Conn)
		failed, detail string
		result         model.Reason
		answered       string
	}{
		"200":            {reply(fine), "", "", model.OK, AnsweredOrigin},
		"100 then 200":   {reply("HTTP/1.1 100 Continue\r\n\r\n" + fine), "", "", model.OK, AnsweredOrigin},
		"redirect":       {reply("HTTP/1.1 302 Found\r\nLocation: https://elsewhere.test/\r\nContent-Length: 0\r\n\r\n"), "", "", model.OK, AnsweredOrigin},
		"404":            {reply("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "http", "404", model.HTTPStatus, AnsweredOrigin},
		"403 bare":       {reply("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "http", "403", model.HTTPStatus, AnsweredUnknown},
		"403 by nginx":   {reply("HTTP/1.1 403 Forbidden\r\nServer: nginx\r\nContent-Length: 0\r\n\r\n"), "http", "403", model.HTTPStatus, AnsweredOrigin},
		"403 by squid":   {reply("HTTP/1.1 403 Forbidden\r\nServer: squid/6.1\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\nContent-Length: 0\r\n\r\n"), "http", "403", model.HTTPStatus, AnsweredProxy},
		"502 with Via":   {reply("HTTP/1.1 502 Bad Gateway\r\nVia: 1.1 gate\r\nContent-Length: 0\r\n\r\n"), "http", "502", model.HTTPStatus, AnsweredProxy},
		"407":            {reply("HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"), "http", "407", model.HTTPStatus, AnsweredProxy},
		"470":            {reply("HTTP/1.1 470 status code 470\r\nContent-Type: text/plain\r\nContent-Length: 70\r\n\r\nAction: Deny. Reason: No rule matched. Proceeding with default action."), "http", "470", model.HTTPStatus, AnsweredFirewall},
		"503 of a block": {reply("HTTP/1.1 503 Blocked\r\nContent-Length: 21\r\n\r\nFortiGuard Intrusion!"), "http", "503", model.HTTPStatus, AnsweredFirewall},
		"reset":          {func(c net.Conn) { readSome(c); rst(c) }, "http", "after the request", model.Reset, ""},
		"closed":         {readSome, "http", "after the request", model.Closed, ""},
		"silent":         {hang, "http", "no answer", model.TimedOut, ""},
		"not HTTP":       {reply("SSH-2.0-OpenSSH\x1b[31m\r\n"), "http", "SSH-2.0-OpenSSH·[31m", model.BadAnswer, ""},
		"endless header": {reply("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+big[:1000]+"\r\n", 100)), "http", "64 KiB", model.BadAnswer, ""},
		"broken header":  {reply("HTTP/1.1 abc OK\r\n\r\n"), "http", "malformed", model.BadAnswer, ""},
		"body stalls": {func(c net.Conn) {
			readSome(c)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"+big[:5000])
			hang(c)
		}, "http", "after 5000 bytes", model.TimedOut, AnsweredOrigin},
		"body cut short": {reply("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nxx"), "http", "after 2 bytes", model.Closed, AnsweredOrigin},
		"body too long":  {reply("HTTP/1.1 200 OK\r\n\r\n" + big), "", "", model.OK, AnsweredOrigin},
	} {
		t.Run(name, func(t *testing.T) {
			o := one(t, Plan{Targets: []Target{target(listen(t, c.handle), "http")}})
			check(t, o, c.failed, c.result, c.detail)
			got := ""
			if o.HTTP != nil {
				got = o.HTTP.Answered
			}
			if got != c.answered {
				t.Errorf("answered by %q, want %q", got, c.answered)
			}
			if o.Bytes > defaultMaxBody {
				t.Errorf("read %d bytes", o.Bytes)
			}
		})
	}
}

// TestLocationIsKeptWithoutItsSecrets: where a redirect leads is told, its state and tokens are not.
func TestLocationIsKeptWithoutItsSecrets(t *testing.T) {
	h := http.Header{"Location": {"https://u:secret@login.test/authorize?state=secret&x#access_token=secret"}}
	if got := keepHeaders(h)["Location"]; got != "https://login.test/authorize?state=[redacted]&[redacted]" {
		t.Error(got)
	}
	if got := keepHeaders(http.Header{"Location": {"/a/b"}})["Location"]; got != "/a/b" {
		t.Error(got)
	}
}

func TestRequestAndClock(t *testing.T) {
	var got *http.Request
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
	}))
	defer s.Close()
	tg := target(netip.MustParseAddrPort(s.Listener.Addr().String()), "http")
	tg.Path, tg.Padding = "/a?b=c", 3000
	o := one(t, Plan{Targets: []Target{tg}})
	check(t, o, "", model.OK, "")
	if got == nil || got.URL.String() != "/a?b=c" || !strings.HasPrefix(got.Host, "shop.test:") || len(got.Header.Get("X-Podpath-Padding-1")) != 1024 {
		t.Errorf("request %+v", got)
	}
	if d := o.Clock - time.Hour; d < -2*time.Second || d > 2*time.Second {
		t.Errorf("clock %v, want about an hour", o.Clock)
	}
}

func TestClockSkew(t *testing.T) {
	sent := time.Date(2026, 3, 1, 12, 0, 0, 900e6, time.UTC)
	received := sent.Add(3 * time.Second)
	for date, want := range map[string]time.Duration{
		"Sun, 01 Mar 2026 12:00:00 GMT": 0, "Sun, 01 Mar 2026 12:00:03 GMT": 0, "Sun, 01 Mar 2026 13:00:03 GMT": -time.Hour + 900*time.Millisecond,
		"Sun, 01 Mar 2026 11:00:00 GMT": time.Hour + 400*time.Millisecond, "": 0, "yesterday": 0,
	} {
		if got := clockSkew(http.Header{"Date": {date}}, sent, received); got != want {
			t.Errorf("%s: %v, want %v", date, got, want)
		}
	}
	if got := clockSkew(http.Header{"Date": {"Sun, 01 Mar 2026 11:00:00 GMT"}, "Age": {"3600"}}, sent, received); got != 0 {
		t.Errorf("from a cache: %v", got)
	}
}

// forward is a proxy for tests: CONNECT to one place, or a refusal.
func forward(t *testing.T, to netip.AddrPort, refuse string) string {
	at := listen(t, func(c net.Conn) {
		buf := make([]byte, 4096)
		n, _ := c.Read(buf)
		if refuse != "" || !strings.HasPrefix(string(buf[:n]), "CONNECT shop.test:") {
			io.WriteString(c, refuse)
			return
		}
		up, err := net.Dial("tcp", to.String())
		if err != nil {
			return
		}
		defer up.Close()
		io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		go io.Copy(up, c)
		io.Copy(c, up)
	})
	return "http://user:secret@" + at.String()
}

func TestProxy(t *testing.T) {
	root := newAuthority(t, "Root", nil)
	to := listen(t, serveTLS(root.leaf(t, nil), reply(fine)))
	probe := func(proxy, scheme string) model.Observation {
		tg := target(to, scheme)
		tg.Proxy = proxy
		return one(t, Plan{ExtraRoots: root.pem(), Targets: []Target{tg}})
	}
	t.Run("tunnel", func(t *testing.T) {
		o := probe(forward(t, to, ""), "https")
		if o.Result == model.ProbeFailed || o.PhaseOf("proxy") == nil {
			t.Fatalf("%+v", o)
		}
		if strings.Contains(o.Proxy, "secret") || !strings.HasPrefix(o.Proxy, "http://127.0.0.1:") {
			t.Errorf("proxy %q", o.Proxy)
		}
	})
	t.Run("407", func(t *testing.T) {
		o := probe(forward(t, to, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"), "https")
		check(t, o, "proxy", model.HTTPStatus, "407")
		if o.HTTP.Answered != AnsweredProxy || o.HTTP.Header["Proxy-Authenticate"] == "" {
			t.Errorf("%+v", o.HTTP)
		}
	})
	t.Run("plain", func(t *testing.T) {
		o := probe(forward(t, to, "HTTP/1.1 503 Service Unavailable\r\nVia: 1.1 p\r\nContent-Length: 0\r\n\r\n"), "http")
		check(t, o, "http", model.HTTPStatus, "503")
		if o.HTTP.Answered != AnsweredProxy {
			t.Errorf("%+v", o.HTTP)
		}
	})
	t.Run("socks", func(t *testing.T) {
		check(t, probe("socks5://127.0.0.1:1", "https"), "proxy", model.ProbeFailed, "socks5")
	})
	t.Run("no URL", func(t *testing.T) {
		o := probe("http://user:pa ss@/", "https")
		check(t, o, "proxy", model.ProbeFailed, "not a URL")
		if strings.Contains(o.Detail, "pa ss") {
			t.Error("the password is told")
		}
	})
}

func TestProxyFor(t *testing.T) {
	env := map[string]string{"HTTPS_PROXY": "http://p:3128", "http_proxy": "http://q:1", "NO_PROXY": "10.0.0.0/8,.svc,cluster.local,exact.test,*.star.test,port.test:8443 1.2.3.4"}
	for u, want := range map[string]string{
		"https://api.test:443": "http://p:3128", "http://api.test:80": "http://q:1", "https://10.1.2.3:443": "", "https://a.svc:443": "",
		"https://x.cluster.local:443": "", "https://cluster.local:443": "", "https://notcluster.local:443": "http://p:3128", "https://exact.test:443": "",
		"https://a.star.test:443": "", "https://port.test:443": "http://p:3128", "https://port.test:8443": "", "https://1.2.3.4:443": "",
		"https://127.0.0.1:443": "", "https://localhost:443": "", "tcp://api.test:5432": "",
	} {
		p, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		port, _ := netip.ParseAddrPort("0.0.0.0:" + p.Port())
		if got := ProxyFor(env, p.Scheme, p.Hostname(), port.Port()); got != want {
			t.Errorf("%s: %q, want %q", u, got, want)
		}
	}
	if ProxyFor(map[string]string{"HTTPS_PROXY": "x", "no_proxy": "*"}, "https", "a", 1) != "" {
		t.Error("* does not bypass")
	}
}

func TestUDP(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := netip.MustParseAddrPort(c.LocalAddr().String())
	tg := target(silent, "")
	tg.Protocol = "udp"
	check(t, one(t, Plan{Targets: []Target{tg}}), "udp", model.TimedOut, "proves nothing")
	go func() {
		buf := make([]byte, 100)
		n, from, err := c.ReadFrom(buf)
		if err == nil {
			c.WriteTo(buf[:n], from)
		}
	}()
	o := one(t, Plan{Targets: []Target{tg}})
	if o.Result == model.OK && o.Bytes == 0 {
		t.Errorf("%+v", o)
	}
	c.Close()
	check(t, one(t, Plan{Targets: []Target{tg}}), "udp", model.Refused, "")
}

func TestConditions(t *testing.T) {
	slow := listen(t, hang)
	open := listen(t, hang)
	control := func(w When) Target {
		c := target(open, "")
		c.Purpose, c.When = "control:"+string(w), w
		return c
	}
	all := []Target{control(WhenOK), control(WhenFailed), control(WhenDNS), control(WhenTCP), control(WhenTLS), control(WhenHTTP), control(WhenStall)}
	ran := func(q Target) string {
		var out []string
		for _, o := range Run(context.Background(), Plan{Timeouts: short, Targets: append([]Target{q}, all...)})[1:] {
			out = append(out, strings.TrimPrefix(o.Purpose, "control:"))
		}
		return strings.Join(out, " ")
	}
	for want, q := range map[string]Target{
		"ok":                target(open, ""),
		"failed tls stall":  target(slow, "https"),
		"failed http stall": target(slow, "http"),
		"failed tcp":        target(netip.MustParseAddrPort("127.0.0.1:1"), ""),
	} {
		if got := ran(q); got != want {
			t.Errorf("%s ran, want %s", got, want)
		}
	}
}

func TestHedge(t *testing.T) {
	slow, open := listen(t, hang), listen(t, hang)
	q := target(slow, "http")
	q.Timeouts.HTTP = 3 * time.Second
	c := target(slow, "http")
	c.Purpose, c.When, c.Timeouts.HTTP = "control:x", WhenStall, 2*time.Second
	_ = open
	start := time.Now()
	obs := Run(context.Background(), Plan{Timeouts: short, Targets: []Target{q, c}})
	if len(obs) != 2 {
		t.Fatalf("%d observations", len(obs))
	}
	if d := time.Since(start); d > 4500*time.Millisecond {
		t.Errorf("took %v: the control waited for the question's time-out", d)
	}
}

func TestSameAddress(t *testing.T) {
	at := listen(t, reply(fine))
	q := target(at, "http")
	c := Target{Label: "c", Purpose: "control:x", When: WhenOK, Host: "shop.test", Port: at.Port(), SameAddr: true, MSS: 536}
	obs := Run(context.Background(), Plan{Timeouts: short, Targets: []Target{q, c}})
	if len(obs) != 2 || obs[1].Address != at || obs[1].Result != model.OK {
		t.Fatalf("%+v", obs)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	slow := listen(t, hang)
	go cancel()
	start := time.Now()
	Run(ctx, Plan{Targets: []Target{target(slow, "https"), target(slow, "http")}})
	if time.Since(start) > 3*time.Second {
		t.Error("a cancelled run went on")
	}
}

func TestPlanIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		``:                                      "nothing on standard input",
		`{"targets":[{"host":"a"}]}`:            "no port",
		`{"targets":[{"port":1}]}`:              "neither host nor address",
		`{"targets":[{"host":"a b","port":1}]}`: "not a host name",
		`{"targets":[{"host":"a","port":1,"method":"POST"}]}`:     "GET and HEAD",
		`{"targets":[{"host":"a","port":1,"path":"/\r\nX: y"}]}`:  "path",
		`{"targets":[{"host":"a","port":1,"protocol":"icmp"}]}`:   "protocol",
		`{"targets":[{"host":"a","port":1,"scheme":"gopher"}]}`:   "scheme",
		`{"targets":[{"host":"a","port":1,"serverName":"a\nb"}]}`: "serverName",
		`{"targets":[{"host":"a","port":1,"padding":99999999}]}`:  "size",
		`{"target":[]}`: "unknown field",
		`{"targets":[` + strings.Repeat(`{"host":"a","port":1},`, 64) + `{"host":"a","port":1}]}`: "at most 64",
	} {
		if _, err := ReadPlan(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want …%s…", text, err, want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"a\x1b[31mb": "a·[31mb", " a\r\n\tb ": "a b", "\u202eevil": "·evil", "ok\xff": "ok·", strings.Repeat("é", 100): strings.Repeat("é", 20),
	} {
		if got := clean(in, 40); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
