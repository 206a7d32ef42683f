package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// pool is a client that keeps one connection to a web server and uses it again
// after each pause, as a connection pool does that nobody asks for long. With UDP
// it keeps one socket and sends to whoever listens, as statsd's clients do.
type pool struct {
	to    string
	udp   bool
	every time.Duration // from one request to the next
	alive time.Duration // keepalive of TCP; 0: none
	limit time.Duration // for an answer, after which a new connection is opened
}

func parsePool(host string, o *options) (*pool, error) {
	protocol := o.text("protocol")
	if protocol != "" && protocol != "tcp" && protocol != "udp" {
		return nil, fmt.Errorf("protocol=%s: tcp or udp", protocol)
	}
	p := &pool{to: host, udp: protocol == "udp", every: o.duration("every"), alive: o.duration("alive"), limit: o.duration("limit")}
	if p.every <= 0 {
		return nil, errors.New("keep://HOST:PORT?every=8s: how often the connection is used")
	}
	if p.limit <= 0 {
		p.limit = 2 * time.Minute
	}
	return p, nil
}

// run uses the connection until ctx ends. What fails is opened anew.
func (p *pool) run(ctx context.Context) error {
	use := p.keep
	if p.udp {
		use = p.send
	}
	for ctx.Err() == nil {
		_ = use(ctx) // the far side, or the way to it: no fault of this program
		pause(ctx, time.Second)
	}
	return ctx.Err()
}

func (p *pool) keep(ctx context.Context) error {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1}
	if p.alive > 0 {
		d.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: p.alive, Interval: p.alive, Count: 9}
		d.KeepAlive = 0
	}
	conn, err := d.DialContext(ctx, "tcp", p.to)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	in := bufio.NewReader(conn)
	for {
		_ = conn.SetDeadline(time.Now().Add(p.limit))
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", p.to); err != nil {
			return err
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		if err := drained(answer); err != nil {
			return err
		}
		if !pause(ctx, p.every) {
			return ctx.Err()
		}
	}
}

// send goes on sending by one socket, whatever comes back or does not: that is all
// that such a client learns.
func (p *pool) send(ctx context.Context) error {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "udp", p.to)
	if err != nil {
		return err
	}
	defer conn.Close()
	go discard(conn)
	for pause(ctx, p.every) {
		_, _ = io.WriteString(conn, "podpath-lab") // "connection refused" tells of the one before
	}
	return ctx.Err()
}

// drained reads an answer to its end, so that the next one can follow.
func drained(answer *http.Response) error {
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.Close {
		return net.ErrClosed
	}
	return nil
}

// pause waits; false: ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
