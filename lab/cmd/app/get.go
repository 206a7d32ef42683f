package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// answer is the one line that `app get` prints. Result is a word of the scenario
// format's symptom: ok slow timeout refused unreachable reset nxdomain
// dns-timeout dns-error tls http-NNN.
type answer struct {
	Result string `json:"result"`
	Millis int64  `json:"millis"`
	Detail string `json:"detail,omitempty"`
}

type getter struct {
	timeout, slow time.Duration
	connect       time.Duration
	resolv, ca    string
	proxy         string
	host, address string
	insecure      bool
}

// getMain exits 0 whenever it has an answer to print, whatever the answer is.
func getMain(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var g getter
	tries := 1
	flags := flag.NewFlagSet("app get URL", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.DurationVar(&g.timeout, "timeout", 8*time.Second, "for the whole attempt")
	flags.DurationVar(&g.connect, "connect-timeout", 4*time.Second, "for each address; below 3.2s a dead neighbour looks like a silent drop")
	flags.DurationVar(&g.slow, "slow", 900*time.Millisecond, "a success that takes longer is slow")
	flags.StringVar(&g.resolv, "resolv", "/etc/resolv.conf", "name servers and search list")
	flags.StringVar(&g.ca, "ca", "/etc/ssl/certs/ca-certificates.crt", "trusted authorities")
	flags.StringVar(&g.proxy, "proxy", "", "proxy URL, or none (default: what the environment says)")
	flags.StringVar(&g.host, "host", "", "Host header and SNI instead of the URL's")
	flags.StringVar(&g.address, "address", "", "connect to this address instead of looking the name up")
	flags.BoolVar(&g.insecure, "insecure", false, "accept any certificate")
	flags.IntVar(&tries, "tries", 1, "attempts side by side, one line each")
	// The URL may stand before the flags, as people write it.
	var target string
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		target, args = args[0], args[1:]
	}
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if target == "" {
		target = flags.Arg(0)
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" {
		fmt.Fprintf(stderr, "app get: %q is no URL (https://host/path, tcp://host:port, udp://host:port)\n", target)
		return 2
	}
	for _, a := range g.several(ctx, u, tries) {
		line, err := json.Marshal(a)
		if err != nil {
			fmt.Fprintln(stderr, "app get:", err)
			return 2
		}
		fmt.Fprintf(stdout, "%s\n", line)
	}
	return 0
}

// apart is the pace of several attempts, which run side by side: one that hangs keeps nobody waiting.
const apart = 150 * time.Millisecond

func (g *getter) several(ctx context.Context, u *url.URL, tries int) []answer {
	out := make([]answer, tries)
	var all sync.WaitGroup
	for i := range tries {
		all.Go(func() {
			select {
			case <-time.After(time.Duration(i) * apart):
			case <-ctx.Done():
			}
			out[i] = g.try(ctx, u)
		})
	}
	all.Wait()
	return out
}

func (g *getter) try(ctx context.Context, u *url.URL) answer {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	start := time.Now()
	err := g.attempt(ctx, u)
	a := answer{Millis: time.Since(start).Milliseconds()}
	a.Result = classify(err)
	if err != nil {
		a.Detail = err.Error()
	} else if time.Since(start) > g.slow {
		a.Result = "slow"
	}
	return a
}

func (g *getter) attempt(ctx context.Context, u *url.URL) error {
	switch u.Scheme {
	case "http", "https":
		return g.http(ctx, u)
	case "tcp", "udp":
		conn, err := g.dial(ctx, u.Scheme, u.Host)
		if err != nil {
			return err
		}
		defer conn.Close()
		if u.Scheme == "udp" {
			return echo(ctx, conn)
		}
		return nil
	}
	return fmt.Errorf("scheme %q: http, https, tcp or udp", u.Scheme)
}

// echo waits for any answer to a datagram: without one, nothing is known to have arrived.
func echo(ctx context.Context, conn net.Conn) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(conn, "podpath-lab"); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1500))
	return err
}

// statusError is an answer of 400 and above, from whoever gave it.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("HTTP status %d", int(s)) }

func (g *getter) http(ctx context.Context, u *url.URL) error {
	config := &tls.Config{InsecureSkipVerify: g.insecure, ServerName: g.host}
	if pem, err := os.ReadFile(g.ca); err == nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: g.dial, TLSClientConfig: config, DisableKeepAlives: true,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
			if r.StatusCode >= 300 {
				return statusError(r.StatusCode)
			}
			return nil
		},
	}
	if g.proxy == "none" {
		transport.Proxy = nil
	} else if g.proxy != "" {
		at, err := url.Parse(g.proxy)
		if err != nil {
			return err
		}
		transport.Proxy = http.ProxyURL(at)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	request.Host = g.host
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode >= 400 {
		return statusError(response.StatusCode)
	}
	return nil
}

// dial looks the name up itself and tries each address, the first error told.
func (g *getter) dial(ctx context.Context, network, hostport string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	addrs := []string{g.address}
	if g.address == "" {
		if addrs, err = lookup(ctx, g.resolv, host); err != nil {
			return nil, err
		}
	}
	var first error
	for _, a := range addrs {
		d := net.Dialer{Timeout: g.connect}
		conn, err := d.DialContext(ctx, network, net.JoinHostPort(a, port))
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

func classify(err error) string {
	var status statusError
	var name *nameError
	var timeout interface{ Timeout() bool }
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &status):
		return fmt.Sprintf("http-%d", int(status))
	case errors.As(err, &name):
		return name.kind
	case isTLS(err):
		return "tls"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return "unreachable"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "reset"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return "error"
}

// isTLS says whether the peers talked TLS and could not agree: a certificate that does not hold, or an alert.
func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) ||
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}
