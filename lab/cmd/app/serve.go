package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/podpath/podpath/lab/pki"
)

// caDir is where the image keeps the authority that signs the app's certificates.
const caDir = "/etc/podpath-lab/ca"

// serveAll runs every listener and load of the command line until ctx ends, or one of them fails.
// Listeners close when ctx ends; with linger://DURATION the process lives on for so long without them.
func serveAll(ctx context.Context, args []string) error {
	failed := make(chan error, len(args))
	linger := time.Duration(0)
	for _, arg := range args {
		if text, ok := strings.CutPrefix(arg, "linger://"); ok {
			var err error
			if linger, err = time.ParseDuration(text); err != nil {
				return fmt.Errorf("%s: linger://DURATION: %w", arg, err)
			}
			continue
		}
		run, err := parse(arg)
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		go func() {
			if err := run(ctx); ctx.Err() == nil { // what ends with ctx is no failure
				failed <- fmt.Errorf("%s: %w", arg, err)
			}
		}()
	}
	select {
	case <-ctx.Done():
		time.Sleep(linger)
		return nil
	case err := <-failed:
		return err
	}
}

// parse turns one argument into what runs it.
func parse(arg string) (func(context.Context) error, error) {
	u, err := url.Parse(arg)
	if err != nil {
		return nil, err
	}
	o := options{q: u.Query()}
	switch u.Scheme {
	case "http", "https":
		h, err := handler(&o)
		if err != nil {
			return nil, err
		}
		idle := o.duration("idle") // after which the server closes a kept connection
		var secure handshake
		if u.Scheme == "https" {
			secure = handshake{fault: o.text("cert"), takes: o.duration("handshake"), work: o.duration("work")}
		}
		return func(ctx context.Context) error { return serveHTTP(ctx, u, listener{h, secure, idle}) }, o.done()
	case "tcp":
		backlog, accept := o.number("backlog", 0), o.text("accept")
		if accept != "" && accept != "no" && accept != "yes" {
			return nil, errors.New("accept is yes or no")
		}
		return func(ctx context.Context) error { return serveTCP(ctx, u.Host, int(backlog), accept != "no") }, o.done()
	case "udp":
		return func(context.Context) error { return serveUDP(u.Host) }, o.done()
	case "keep":
		p, err := parsePool(u.Host, &o)
		if err != nil {
			return nil, err
		}
		return p.run, o.done()
	case "proxy":
		return parseProxy(u, &o)
	case "lookup":
		return asks(u, &o)
	case "files", "eat", "exit":
		return limited(u)
	case "burn":
		n, err := strconv.Atoi(u.Host)
		if err != nil {
			return nil, fmt.Errorf("burn://N: %w", err)
		}
		return func(ctx context.Context) error { return burn(ctx, n) }, o.done()
	}
	return nil, errors.New("an argument is http://, https://, tcp:// or udp:// with [ADDR]:PORT, keep://HOST:PORT, proxy://[ADDR]:PORT?to=HOST:PORT, lookup://NAME, burn://N, files://N, eat://N, exit://DURATION or linger://DURATION")
}

// options reads query parameters, each once, and refuses those nobody read.
type options struct {
	q   url.Values
	err error
}

func (o *options) text(key string) string {
	v := o.q.Get(key)
	o.q.Del(key)
	return v
}

func (o *options) number(key string, def float64) float64 {
	v := o.text(key)
	if v == "" {
		return def
	}
	n, err := strconv.ParseFloat(v, 64)
	if err != nil {
		o.err = fmt.Errorf("%s=%s is no number", key, v)
	}
	return n
}

func (o *options) duration(key string) time.Duration {
	v := o.text(key)
	if v == "" {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		o.err = fmt.Errorf("%s=%s is no duration like 2s", key, v)
	}
	return d
}

func (o *options) done() error {
	for key := range o.q {
		return fmt.Errorf("unknown option %q", key)
	}
	return o.err
}

// handler answers 200 on every path unless told otherwise: ?ok= lists the only
// paths there are, ?status= and ?delay= hit a ?share= of the requests but those
// for the paths of ?well=; ?size= is the length of the answer in bytes; with
// ?stall=6s&cycle=12s nothing is answered in the first six seconds of each twelve.
func handler(o *options) (http.Handler, error) {
	status, share, delay := int(o.number("status", 200)), o.number("share", 1), o.duration("delay")
	body, size := o.text("body"), int(o.number("size", 0))
	stall, cycle := o.duration("stall"), o.duration("cycle")
	var paths, well []string
	if w := o.text("well"); w != "" {
		well = strings.Split(w, ",")
	}
	if ok := o.text("ok"); ok != "" {
		paths = strings.Split(ok, ",")
	}
	if status < 200 || status > 599 {
		return nil, fmt.Errorf("status=%d: 200 to 599", status)
	}
	if size < 0 || size > 64<<20 {
		return nil, fmt.Errorf("size=%d: bytes of the answer, up to 64 MiB", size)
	}
	if stall < 0 || stall > 0 && cycle < stall {
		return nil, errors.New("stall is the part of each cycle in which nothing is answered")
	}
	if size > 0 {
		body = strings.Repeat("x", size)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(stalled(time.Now(), stall, cycle))
		if len(paths) > 0 && !slices.Contains(paths, r.URL.Path) {
			http.NotFound(w, r)
			return
		}
		if !slices.Contains(well, r.URL.Path) && rand.Float64() < share {
			time.Sleep(delay)
			w.WriteHeader(status)
		}
		if body != "" {
			_, _ = io.WriteString(w, body)
			return
		}
		fmt.Fprintf(w, "%s %s for %s\n", r.Method, r.URL.Path, r.RemoteAddr)
	}), nil
}

// stalled is how long a request waits that comes in the first part of a cycle. All
// servers keep the same time.
func stalled(now time.Time, stall, cycle time.Duration) time.Duration {
	if stall <= 0 || cycle <= 0 {
		return 0
	}
	return max(0, stall-now.Sub(now.Truncate(cycle)))
}

// listener is what an HTTP listener does with its connections.
type listener struct {
	handler http.Handler
	secure  handshake     // of https
	idle    time.Duration // after which a kept connection is closed; 0: never
}

// handshake is how a server does its part of TLS.
type handshake struct {
	fault string        // of its certificate
	takes time.Duration // waits so long before its answer, as for a key store
	work  time.Duration // computes so long, as with large keys: longer where its CPU is limited
}

// serveHTTP serves until ctx ends. Then it closes its listener at once and answers what
// is under way, as web servers do on SIGTERM.
func serveHTTP(ctx context.Context, u *url.URL, how listener) error {
	// Without keepalive of its own, as most servers: it is for the client to keep a connection alive.
	l, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", u.Host)
	if err != nil {
		return err
	}
	if u.Scheme == "https" {
		get, err := certificates(how.secure.fault)
		if err != nil {
			return err
		}
		l = tls.NewListener(l, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			time.Sleep(how.secure.takes)
			compute(how.secure.work)
			return get(hello)
		}})
	}
	server := &http.Server{Handler: how.handler, ReadHeaderTimeout: time.Minute, IdleTimeout: how.idle, ErrorLog: log.New(io.Discard, "", 0)}
	defer context.AfterFunc(ctx, func() { _ = server.Shutdown(context.WithoutCancel(ctx)) })()
	return server.Serve(l)
}

// certificates makes one for whatever name the client asks for, with the fault asked for.
func certificates(fault string) (func(*tls.ClientHelloInfo) (*tls.Certificate, error), error) {
	if !slices.Contains([]string{"", "good", "expired", "selfsigned", "wrongname", "incomplete"}, fault) {
		return nil, fmt.Errorf("cert=%s: expired, selfsigned, wrongname or incomplete", fault)
	}
	ca, err := pki.LoadOrCreate(caDir)
	if err != nil {
		return nil, err
	}
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		o := pki.Options{CommonName: hello.ServerName, DNSNames: []string{hello.ServerName}}
		if hello.ServerName == "" {
			o.CommonName, o.DNSNames = "app", nil
			if at, err := netip.ParseAddrPort(hello.Conn.LocalAddr().String()); err == nil {
				o.IPs = []netip.Addr{at.Addr().Unmap()}
			}
		}
		issue := ca.Issue
		switch fault {
		case "expired":
			o.NotAfter = time.Now().Add(-24 * time.Hour)
		case "wrongname":
			o.CommonName, o.DNSNames, o.IPs = "other.example", []string{"other.example"}, nil
		case "incomplete":
			o.Intermediate, o.OmitChain = ca, true
		case "selfsigned":
			issue = pki.SelfSigned
		}
		pair, _, _, err := issue(o)
		return &pair, err
	}, nil
}

// serveTCP echoes. With accept=no the kernel completes as many handshakes as the backlog holds, and nobody reads.
func serveTCP(ctx context.Context, addr string, backlog int, accept bool) error {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if backlog > 0 {
		raw, err := l.(*net.TCPListener).SyscallConn()
		if err != nil {
			return err
		}
		var listenErr error
		if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), backlog) }); err != nil || listenErr != nil {
			return errors.Join(err, listenErr)
		}
	}
	if !accept {
		<-ctx.Done()
		return l.Close()
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			_, _ = io.Copy(conn, conn) // a client that leaves is no fault of the server
		}()
	}
}

func serveUDP(addr string) error {
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return err
		}
		if _, err := conn.WriteTo(buf[:n], from); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			log.Printf("echo to %s: %v", from, err)
		}
	}
}

// compute uses so much time of a processor, however long that takes.
func compute(d time.Duration) {
	runtime.LockOSThread() // whose time is counted
	defer runtime.UnlockOSThread()
	for end := threadTime() + d; threadTime() < end; {
		for i, x := 0, 1; i < 1<<16; i++ {
			x ^= i * x
		}
	}
}

// threadTime is the time of a processor that this thread has used.
func threadTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(1, &u); err != nil { // RUSAGE_THREAD, getrusage(2)
		return 1 << 62
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// burn keeps n processors busy.
func burn(ctx context.Context, n int) error {
	for range n {
		go func() {
			for x := 1; ctx.Err() == nil; x++ {
				for i := range 1 << 20 {
					x ^= i * x
				}
			}
		}()
	}
	<-ctx.Done()
	return nil
}
