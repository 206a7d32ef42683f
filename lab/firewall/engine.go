package firewall

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long the engine waits: for a client to say what it wants, for a server to answer.
const (
	helloTimeout = 60 * time.Second
	dialTimeout  = 21 * time.Second
)

// Network is how the engine reaches the world: from inside its namespace.
type Network struct {
	Listen func(ctx context.Context, lc *net.ListenConfig, addr string) (net.Listener, error)
	Dial   func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Engine ends connections that application rules decide about, reads what they
// want, and passes them on or turns them away.
type Engine struct {
	network Network

	mu       sync.Mutex
	policy   *Policy
	sessions map[*session]struct{}
	proxies  map[int]net.Listener
	main     net.Listener
	hits     map[Hit]int64
	closed   bool
}

// Hit is what the metric ApplicationRuleHit counts.
type Hit struct {
	Allow bool
	Kind  string // Http, Https
}

// session is one client connection.
type session struct {
	client net.Conn
	from   netip.Addr
	kind   string
	port   int
	host   string
	path   string
}

// Start listens for everything that the box routes here.
func Start(ctx context.Context, n Network) (*Engine, error) {
	e := &Engine{network: n, policy: &Policy{}, sessions: map[*session]struct{}{}, proxies: map[int]net.Listener{}, hits: map[Hit]int64{}}
	l, err := n.Listen(ctx, &net.ListenConfig{Control: transparent, KeepAlive: -1}, fmt.Sprintf("0.0.0.0:%d", EnginePort))
	if err != nil {
		return nil, fmt.Errorf("firewall engine: %w", err)
	}
	e.main = l
	go e.accept(ctx, l, e.serve)
	return e, nil
}

func transparent(_, _ string, c syscall.RawConn) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) }); err != nil {
		return err
	}
	return failed
}

func (e *Engine) accept(ctx context.Context, l net.Listener, serve func(context.Context, net.Conn)) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: the next one may fare better
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
			continue
		}
		go serve(ctx, c)
	}
}

// Set makes a policy effective. Connections that it denies are cut, as Azure does.
func (e *Engine) Set(ctx context.Context, p *Policy) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.policy = p
	for s := range e.sessions {
		if s.host != "" && (!p.Up || !p.decide(s.from, s.kind, s.port, s.host, s.path).allow) {
			reset(s.client)
		}
	}
	want := map[int]bool{}
	var errs []error
	for _, port := range p.proxyPorts {
		want[port] = true
		if e.proxies[port] != nil {
			continue
		}
		l, err := e.network.Listen(ctx, &net.ListenConfig{KeepAlive: -1}, netip.AddrPortFrom(EngineAddr, uint16(port)).String())
		if err != nil {
			errs = append(errs, fmt.Errorf("explicit proxy on port %d: %w", port, err))
			continue
		}
		e.proxies[port] = l
		go e.accept(ctx, l, e.proxy)
	}
	for port, l := range e.proxies {
		if !want[port] {
			l.Close()
			delete(e.proxies, port)
		}
	}
	return errors.Join(errs...)
}

// Close ends all connections.
func (e *Engine) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.main.Close()
	for _, l := range e.proxies {
		l.Close()
	}
	for s := range e.sessions {
		reset(s.client)
	}
}

// Hits are the requests judged so far.
func (e *Engine) Hits() map[Hit]int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[Hit]int64{}
	for h, n := range e.hits {
		out[h] = n
	}
	return out
}

func (e *Engine) open(c net.Conn) *session {
	s := &session{client: c, from: addrOf(c.RemoteAddr()).Addr()}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		reset(c)
	}
	e.sessions[s] = struct{}{}
	return s
}

func (e *Engine) drop(s *session) {
	e.mu.Lock()
	delete(e.sessions, s)
	e.mu.Unlock()
	s.client.Close()
}

// judge asks the policy in force and remembers what was asked, for the day it changes.
func (e *Engine) judge(s *session, kind string, port int, host, path string) verdict {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.kind, s.port, s.host, s.path = kind, port, host, path
	v := e.policy.decide(s.from, kind, port, host, path)
	e.hits[Hit{v.allow, kind}]++
	return v
}

func addrOf(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// reset ends a connection with RST.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0)
	}
	c.Close()
}

// serve is one connection that was on its way to somebody else. The handshake is
// done already, whether or not a rule allows what comes.
func (e *Engine) serve(ctx context.Context, c net.Conn) {
	s := e.open(c)
	defer e.drop(s)
	to := addrOf(c.LocalAddr())
	c.SetReadDeadline(time.Now().Add(helloTimeout))
	heard := &bytes.Buffer{}
	in := bufio.NewReader(io.TeeReader(c, heard))
	first, err := in.Peek(1)
	if err != nil {
		return
	}
	if first[0] == 0x16 { // a TLS handshake record
		if !e.judge(s, "Https", int(to.Port()), serverName(in, c), "/").allow {
			reset(c)
			return
		}
	} else {
		req, err := http.ReadRequest(in)
		if err != nil {
			reset(c)
			return
		}
		if v := e.judge(s, "Http", int(to.Port()), hostOf(req.Host), req.URL.Path); !v.allow {
			deny(c, "470 status code 470", v.reason)
			return
		}
	}
	c.SetReadDeadline(time.Time{})
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	up, err := e.network.Dial(dialCtx, to)
	if err != nil {
		reset(c)
		return
	}
	splice(c, up, heard.Bytes())
}

func hostOf(hostport string) string {
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		return h
	}
	return hostport
}

// deny answers as Azure Firewall does, and lingers until the client has read it.
func deny(c net.Conn, status, body string) {
	fmt.Fprintf(c, "HTTP/1.1 %s\r\nDate: %s\r\nContent-Length: %d\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%s",
		status, time.Now().UTC().Format(http.TimeFormat), len(body), body)
	if t, ok := c.(*net.TCPConn); ok {
		t.CloseWrite()
	}
	c.SetReadDeadline(time.Now().Add(2 * time.Second))
	io.Copy(io.Discard, c)
}

// errHeard ends the parsing of a handshake once the name is known.
var errHeard = errors.New("name heard")

// serverName reads a ClientHello and gives its SNI. Nothing is sent back.
func serverName(in io.Reader, c net.Conn) string {
	name := ""
	tls.Server(listenOnly{c, in}, &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		name = h.ServerName
		return nil, errHeard
	}}).Handshake()
	return name
}

// listenOnly lets crypto/tls read, but not answer.
type listenOnly struct {
	net.Conn
	in io.Reader
}

func (l listenOnly) Read(b []byte) (int, error)  { return l.in.Read(b) }
func (l listenOnly) Write(b []byte) (int, error) { return len(b), nil }
func (l listenOnly) Close() error                { return nil }

// splice passes bytes both ways, what was heard already first. A reset on one side
// becomes a reset on the other.
func splice(client, server net.Conn, heard []byte) {
	defer server.Close()
	if _, err := server.Write(heard); err != nil {
		reset(client)
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(client, server)
	}()
	pass(server, client)
	<-done
}

// pass copies from one side to the other until the end of it, or a reset.
func pass(from, to net.Conn) {
	_, err := io.Copy(to, from)
	if err == nil {
		if t, ok := to.(*net.TCPConn); ok {
			t.CloseWrite()
		}
		return
	}
	reset(to)
	reset(from)
}

// proxy is one connection to the explicit proxy.
func (e *Engine) proxy(ctx context.Context, c net.Conn) {
	s := e.open(c)
	defer e.drop(s)
	c.SetReadDeadline(time.Now().Add(helloTimeout))
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if req.Method == http.MethodConnect {
			e.tunnel(ctx, s, in, req)
			return
		}
		if !e.relay(ctx, s, req) {
			return
		}
	}
}

// tunnel serves CONNECT.
func (e *Engine) tunnel(ctx context.Context, s *session, in *bufio.Reader, req *http.Request) {
	host, port, err := net.SplitHostPort(req.Host)
	n := 0
	if err == nil {
		n, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		deny(s.client, "400 Bad Request", "CONNECT needs host:port")
		return
	}
	if v := e.judge(s, "Https", n, host, "/"); !v.allow {
		deny(s.client, "403 Forbidden", v.reason)
		return
	}
	up, err := e.dialName(ctx, host, n)
	if err != nil {
		deny(s.client, gatewayStatus(err), err.Error())
		return
	}
	s.client.SetReadDeadline(time.Time{})
	io.WriteString(s.client, "HTTP/1.1 200 Connection established\r\n\r\n")
	early, _ := in.Peek(in.Buffered())
	splice(s.client, up, early)
}

// relay serves a request with an absolute URI; false ends the connection.
func (e *Engine) relay(ctx context.Context, s *session, req *http.Request) bool {
	if !req.URL.IsAbs() || req.URL.Scheme != "http" {
		deny(s.client, "400 Bad Request", "a proxy takes CONNECT, or an absolute http URI")
		return false
	}
	host, port := req.URL.Hostname(), 80
	if p := req.URL.Port(); p != "" {
		port, _ = net.LookupPort("tcp", p)
	}
	if v := e.judge(s, "Http", port, host, req.URL.Path); !v.allow {
		deny(s.client, "403 Forbidden", v.reason)
		return false
	}
	up, err := e.dialName(ctx, host, port)
	if err != nil {
		deny(s.client, gatewayStatus(err), err.Error())
		return false
	}
	defer up.Close()
	req.Header.Del("Proxy-Connection")
	req.Header.Del("Proxy-Authorization")
	req.Close = true
	if err := req.Write(up); err != nil {
		deny(s.client, "502 Bad Gateway", err.Error())
		return false
	}
	resp, err := http.ReadResponse(bufio.NewReader(up), req)
	if err != nil {
		deny(s.client, "502 Bad Gateway", err.Error())
		return false
	}
	defer resp.Body.Close()
	resp.Close = true
	resp.Write(s.client)
	return false
}

func gatewayStatus(err error) string {
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return "504 Gateway Timeout"
	}
	return "502 Bad Gateway"
}

func (e *Engine) dialName(ctx context.Context, host string, port int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addrs, err := e.network.Lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if a = a.Unmap(); !a.Is4() {
			continue
		}
		var c net.Conn
		if c, err = e.network.Dial(ctx, netip.AddrPortFrom(a, uint16(port))); err == nil {
			return c, nil
		}
	}
	if err == nil {
		err = fmt.Errorf("%s has no IPv4 address", host)
	}
	return nil, err
}
