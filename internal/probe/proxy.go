package probe

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// useProxy reads the target's proxy URL; what is kept of it holds no credentials.
func (a *attempt) useProxy() error {
	u, err := parseProxy(a.target.Proxy)
	if err != nil {
		return err
	}
	a.proxy = u
	a.obs.Proxy = clean((&url.URL{Scheme: u.Scheme, Host: u.Host}).String(), 255)
	return nil
}

// parseProxy reads a proxy as the *_PROXY variables write it: a URL, or host:port alone.
func parseProxy(s string) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		// The error's own text may hold the password.
		return nil, errors.New("the proxy is not a URL; write http://HOST:PORT")
	}
	u.Scheme = strings.ToLower(u.Scheme)
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("proxies of kind %q are not probed, only http and https", clean(u.Scheme, 20))
	}
	return u, nil
}

// ProxyFor says through which proxy a program with these variables would reach
// a target, as most clients read them; "" is none.
func ProxyFor(env map[string]string, scheme, host string, port uint16) string {
	get := func(name string) string {
		// Lower case wins, as in curl and Go.
		if v := env[strings.ToLower(name)]; v != "" {
			return v
		}
		return env[name]
	}
	var proxy string
	switch scheme {
	case "https", "tls":
		proxy = get("HTTPS_PROXY")
	case "http":
		proxy = get("HTTP_PROXY")
	default:
		return ""
	}
	if proxy == "" {
		proxy = get("ALL_PROXY")
	}
	if proxy == "" || bypassed(get("NO_PROXY"), host, port) {
		return ""
	}
	return proxy
}

// bypassed reads NO_PROXY: names with their subdomains, .suffixes, addresses, CIDRs, "*".
func bypassed(list, host string, port uint16) bool {
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	addr, err := netip.ParseAddr(host)
	isAddr := err == nil
	if host == "localhost" || (isAddr && addr.IsLoopback()) {
		return true
	}
	for entry := range strings.FieldsFuncSeq(strings.ToLower(list), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
		if entry == "*" {
			return true
		}
		if p, err := netip.ParsePrefix(entry); err == nil {
			if isAddr && p.Contains(addr.Unmap()) {
				return true
			}
			continue
		}
		if h, ps, err := net.SplitHostPort(entry); err == nil {
			if ps != strconv.Itoa(int(port)) {
				continue
			}
			entry = h
		}
		entry = strings.TrimPrefix(strings.TrimPrefix(entry, "*"), ".")
		if entry != "" && (host == entry || (!isAddr && strings.HasSuffix(host, "."+entry))) {
			return true
		}
	}
	return false
}

// throughProxy is the proxy phase: TLS to the proxy if it wants it, and CONNECT
// where the target is not plain HTTP, which is asked of the proxy itself.
func (a *attempt) throughProxy(conn *wire) bool {
	t := &a.target
	if a.proxy.Scheme == "http" && !t.secure() && t.asks() {
		return true
	}
	return a.phase("proxy", func() (model.Reason, string) {
		conn.SetDeadline(time.Now().Add(t.Timeouts.TLS))
		defer conn.SetDeadline(time.Time{})
		if a.proxy.Scheme == "https" {
			c := tls.Client(conn.Conn, &tls.Config{ServerName: a.proxy.Hostname(), RootCAs: a.trust.pool, InsecureSkipVerify: a.trust.pool == nil})
			if err := c.Handshake(); err != nil {
				return handshakeReason(err, conn)
			}
			conn.Conn = c
		}
		if !t.secure() && t.asks() {
			return model.OK, ""
		}
		return a.tunnel(conn)
	})
}

// tunnel asks the proxy for a connection to the target.
func (a *attempt) tunnel(conn *wire) (model.Reason, string) {
	t := &a.target
	host := t.Host
	if t.Address.IsValid() {
		host = t.Address.String()
	}
	to := net.JoinHostPort(strings.Trim(strings.TrimSuffix(host, "."), "[]"), strconv.Itoa(int(t.Port)))
	sent := time.Now()
	if _, err := io.WriteString(conn, "CONNECT "+to+" HTTP/1.1\r\nHost: "+to+"\r\nUser-Agent: podpath\r\n"+proxyAuthorization(a.proxy)+"\r\n"); err != nil {
		return reasonOf(err), "while CONNECT was sent"
	}
	// One byte at a time: what follows the header belongs to the tunnel.
	answer, err := readHeader(&oneByte{conn}, http.MethodConnect)
	if err != nil {
		reason, detail := headerReason(err, t.Timeouts.TLS)
		return reason, "CONNECT " + to + ": " + detail
	}
	if answer.StatusCode/100 == 2 {
		return model.OK, ""
	}
	body, n, _ := readBody(conn, answer.Body, 4*keptBody, time.Second)
	a.obs.Bytes = n
	a.obs.Clock = clockSkew(answer.Header, sent, time.Now())
	who := AnsweredProxy
	if answered(answer, body, false, false, true) == AnsweredFirewall {
		who = AnsweredFirewall
	}
	a.obs.HTTP = &model.HTTPAnswer{Status: answer.StatusCode, Header: keepHeaders(answer.Header), Body: clean(body, keptBody), Answered: who}
	return model.HTTPStatus, fmt.Sprintf("CONNECT %s: %d %s", to, answer.StatusCode, http.StatusText(answer.StatusCode))
}

// oneByte keeps a buffered reader from taking more than it is asked for.
type oneByte struct{ r io.Reader }

func (o *oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }
