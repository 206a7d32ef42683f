package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// proxy is a reverse proxy that keeps its connections to the server behind it and
// uses them again, without a look at whether that has closed them meanwhile. As
// the plainer ones do, it tries no request twice: what a closed connection loses
// is answered with 502.
type proxy struct {
	to   string
	idle time.Duration // for which it keeps a connection that nobody uses; 0: for ever

	mu   sync.Mutex
	kept []*upstream // the one used last is the last
}

// upstream is a connection to the server behind.
type upstream struct {
	conn net.Conn
	in   *bufio.Reader
	used time.Time
}

func parseProxy(u *url.URL, o *options) (func(context.Context) error, error) {
	p := &proxy{to: o.text("to"), idle: o.duration("idle")}
	if _, _, err := net.SplitHostPort(p.to); err != nil {
		return nil, errors.New("proxy://[ADDR]:PORT?to=HOST:PORT: what it sends requests on to")
	}
	return func(ctx context.Context) error { return serveHTTP(ctx, u, listener{handler: p}) }, o.done()
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "app-proxy")
	if err := p.pass(w, r); err != nil {
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprintln(w, "502 Bad Gateway: no answer from the server behind this proxy")
	}
}

// pass sends a request on. It fails only where nothing was answered yet.
func (p *proxy) pass(w http.ResponseWriter, r *http.Request) error {
	c, err := p.take(r.Context())
	if err != nil {
		return err
	}
	out := r.Clone(r.Context())
	out.RequestURI, out.Close = "", false
	out.Header.Del("Connection")
	if err := out.Write(c.conn); err != nil {
		c.conn.Close()
		return err
	}
	answer, err := http.ReadResponse(c.in, out)
	if err != nil {
		c.conn.Close()
		return err
	}
	defer answer.Body.Close()
	maps.Copy(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	if _, err := io.Copy(w, answer.Body); err != nil || answer.Close {
		c.conn.Close()
		return nil
	}
	c.used = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = append(p.kept, c)
	return nil
}

// take is the connection that was used last, or a new one.
func (p *proxy) take(ctx context.Context) (*upstream, error) {
	p.mu.Lock()
	for len(p.kept) > 0 {
		c := p.kept[len(p.kept)-1]
		p.kept = p.kept[:len(p.kept)-1]
		if p.idle > 0 && time.Since(c.used) > p.idle {
			c.conn.Close()
			continue
		}
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", p.to)
	if err != nil {
		return nil, err
	}
	return &upstream{conn: conn, in: bufio.NewReader(conn)}, nil
}
