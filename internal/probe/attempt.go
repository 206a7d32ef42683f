package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// attempt is one target at one address, with what was seen so far.
type attempt struct {
	*runner
	target     Target
	proxy      *url.URL // nil: direct
	isQuestion bool
	obs        model.Observation
}

// phase runs one phase, records it, and makes its failure the attempt's.
func (a *attempt) phase(name string, f func() (model.Reason, string)) bool {
	if a.isQuestion {
		u := underway{a, name}
		a.question.begin(u)
		defer a.question.end(u)
	}
	start := time.Now()
	reason, detail := f()
	a.obs.Phases = append(a.obs.Phases, model.Phase{Name: name, Result: reason, Duration: time.Since(start), Detail: detail})
	if reason != model.OK {
		a.fail(name, reason, detail)
	}
	return reason == model.OK
}

// fail keeps the first failure: what comes later is its consequence.
func (a *attempt) fail(phase string, reason model.Reason, detail string) {
	if a.obs.Failed == "" {
		a.obs.Failed, a.obs.Result, a.obs.Detail = phase, reason, detail
	}
}

// done ends an attempt before it began.
func (a *attempt) done(start time.Time, phase string, reason model.Reason, detail string) model.Observation {
	a.fail(phase, reason, detail)
	a.obs.Took = time.Since(start)
	return a.obs
}

// endpoint is the host and port that the TCP connection goes to.
func (a *attempt) endpoint() (string, uint16) {
	if a.proxy == nil {
		return a.target.Host, a.target.Port
	}
	port, _ := strconv.ParseUint(a.proxy.Port(), 10, 16)
	if port == 0 {
		port = 80
		if a.proxy.Scheme == "https" {
			port = 443
		}
	}
	return a.proxy.Hostname(), uint16(port)
}

// resolve finds the addresses to try; a failure is in the observation.
func (a *attempt) resolve(ctx context.Context) (addrs []netip.Addr, failed error) {
	t := &a.target
	if t.SameAddr && a.proxy == nil {
		addr, ok := a.question.firstAddr()
		if !ok {
			a.fail("dns", model.ProbeFailed, "the question found no address")
			return nil, errNoAddress
		}
		return []netip.Addr{addr}, nil
	}
	if t.Address.IsValid() && a.proxy == nil {
		return []netip.Addr{t.Address.Unmap()}, nil
	}
	host, _ := a.endpoint()
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && t.Protocol != "dns" {
		return []netip.Addr{addr.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, t.Timeouts.DNS)
	defer cancel()
	var l lookup
	ok := a.phase("dns", func() (model.Reason, string) {
		l = a.lookup(ctx, host)
		detail := l.detail
		if l.reason == model.OK && l.source == "dns" && !strings.EqualFold(strings.TrimSuffix(l.name, "."), strings.TrimSuffix(host, ".")) {
			detail = "answered as " + clean(l.name, 255)
		}
		return l.reason, detail
	})
	if !ok {
		return nil, errNoAddress
	}
	a.obs.Result = ""
	return choose(l.addrs, t.MaxAddrs), nil
}

func (a *attempt) lookup(ctx context.Context, host string) lookup {
	conf, err := readResolvConf(a.resolv)
	for i, s := range conf.Servers {
		conf.Servers[i] = netip.AddrPortFrom(s.Addr(), a.dnsPort)
	}
	r := &resolver{conf: conf, hosts: a.hosts}
	if len(a.target.Resolvers) > 0 {
		r.conf = resolvConf{Servers: a.target.Resolvers[:min(len(a.target.Resolvers), maxServers)], Timeout: attemptTimeout, Attempts: 1}
		if a.target.Purpose == PurposeDNSPod {
			r.conf.Attempts = 2 // one lost packet is no verdict about a pod
		}
		r.hosts = ""
		host = strings.TrimSuffix(host, ".") + "."
	}
	l := r.resolve(ctx, host)
	a.obs.Queries = r.queries
	if len(a.target.Resolvers) == 0 && len(r.queries) > 0 && err == nil {
		a.obs.Resolver = conf.told()
	}
	if err != nil && l.reason != model.OK && l.source == "dns" && len(a.target.Resolvers) == 0 {
		l.detail += " (" + clean(err.Error(), 160) + ")"
	}
	return l
}

// choose drops IPv6 addresses where the sender has no route for them but has
// IPv4 ones, as a resolver's caller would; alone they are tried, and fail.
func choose(addrs []netip.Addr, limit int) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	if len(v4) > 0 && len(v6) > 0 && localRoute(v6[0]) != nil {
		v6 = nil
	}
	// Some of each family: a limit must not hide one of them.
	if keep := max(limit-len(v6), (limit+1)/2); len(v4) > keep {
		v4 = v4[:keep]
	}
	return slices.Concat(v4, v6[:min(len(v6), limit-min(limit, len(v4)))])
}

// connect runs the phases that follow the name.
func (a *attempt) connect(ctx context.Context, addr netip.Addr) {
	_, port := a.endpoint()
	a.obs.Address = netip.AddrPortFrom(addr, port)
	if a.target.Protocol == "udp" {
		a.udp(ctx)
		a.conclude()
		return
	}
	conn := a.dial(ctx)
	if conn == nil {
		return
	}
	defer a.hangUp(conn)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if a.proxy != nil && !a.throughProxy(conn) {
		return
	}
	a.talk(ctx, conn)
	a.conclude()
}

func (a *attempt) conclude() {
	if a.obs.Failed == "" {
		a.obs.Result = model.OK
	}
}

// dial is the tcp phase.
func (a *attempt) dial(ctx context.Context) *wire {
	ctx, cancel := context.WithTimeout(ctx, a.target.Timeouts.TCP)
	defer cancel()
	var w *wire
	a.phase("tcp", func() (model.Reason, string) {
		d := net.Dialer{Control: a.socketOptions, KeepAlive: -1}
		d.SetMultipathTCP(false)
		conn, err := d.DialContext(ctx, "tcp", a.obs.Address.String())
		if err != nil {
			reason, detail := connectReason(err, a.obs.Address.Addr())
			if reason == model.TimedOut {
				detail = fmt.Sprintf("no answer to SYN within %s", a.target.Timeouts.TCP)
			}
			if detail == "" {
				detail = clean(err.Error(), 200)
			}
			return reason, detail
		}
		a.obs.Local = conn.LocalAddr().(*net.TCPAddr).AddrPort()
		a.obs.Local = netip.AddrPortFrom(a.obs.Local.Addr().Unmap(), a.obs.Local.Port())
		w = &wire{Conn: conn}
		return model.OK, ""
	})
	return w
}

// socketOptions announces a small segment size where the target asks for it.
func (a *attempt) socketOptions(_, _ string, c syscall.RawConn) error {
	if a.target.MSS == 0 {
		return nil
	}
	var err error
	if e := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, a.target.MSS)
	}); e != nil {
		return e
	}
	return err
}

// talk speaks TLS and HTTP on a connection that stands.
func (a *attempt) talk(ctx context.Context, conn *wire) {
	var stream net.Conn = conn
	verified := false
	if a.target.secure() {
		c, ok := a.handshake(ctx, conn)
		if c == nil {
			return
		}
		stream, verified = c, ok
	}
	if a.target.asks() {
		a.ask(stream, verified)
	}
}

// wire counts what goes over a connection and keeps how the far side began.
type wire struct {
	net.Conn
	sent, received int64
	head           []byte // the first bytes received
}

const headBytes = 4096

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.received += int64(n)
	if room := headBytes - len(w.head); room > 0 {
		w.head = append(w.head, p[:min(n, room)]...)
	}
	return n, err
}

func (w *wire) Write(p []byte) (int, error) {
	n, err := w.Conn.Write(p)
	w.sent += int64(n)
	return n, err
}

// restart forgets what was received: what follows belongs to another phase.
func (w *wire) restart() { w.sent, w.received, w.head = 0, 0, nil }
