package internet

import (
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// host is one thing that Serve can change.
type host struct {
	in     *Internet
	name   string
	role   string
	names  []string // on its certificate, beside its own
	filter int      // the only port that its packet filter is about; 0: all
	open   func(port int) error

	mu     sync.Mutex // of changes
	layers []*layer
	ports  map[int]bool
	script string // what the packet filter was told last

	spec  atomic.Pointer[Spec]
	certs certificates
	rate  limiter
}

// natures are what the hosts do by themselves, and where they listen.
var natures = map[string]struct {
	ports []int
	does  layer
}{
	"api.payments.example": {[]int{443, 80}, nil},
	"registry.example":     {[]int{443}, nil},
	"status.example":       {[]int{443, 80}, nil},
	"expired.example":      {[]int{443}, layer{"tls": "expired"}},
	"selfsigned.example":   {[]int{443}, layer{"tls": "selfsigned"}},
	"wrongname.example":    {[]int{443}, layer{"tls": "wrongname"}},
	"incomplete.example":   {[]int{443}, layer{"tls": "incomplete"}},
	"closed.example":       {nil, nil},
	"silent.example":       {[]int{443, 80}, layer{"silent": true}},
	"reset.example":        {[]int{443, 80}, layer{"reset": true}},
	"slow.example":         {[]int{443, 80}, layer{"delay": "3s"}},
	"big.example":          {[]int{443, 80}, layer{"body": 200_000}},
	"ratelimited.example":  {[]int{443, 80}, layer{"rate": 5}},
	"v6.example":           {[]int{443, 80}, nil},
	plan.AKSServices:       {[]int{443, 80}, nil},
}

func (in *Internet) openHost(p plan.Host) error {
	nature, ok := natures[p.Name]
	if !ok {
		nature.ports = []int{443, 80}
	}
	h := in.newHost(p.Name, "host-"+p.Name, p.Names)
	web := newFeed()
	server := &http.Server{
		Handler: http.HandlerFunc(h.answer), ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 10 * time.Minute,
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = server.Serve(web) }()
	in.onClose(func() { _ = server.Close() })
	h.open = func(port int) error { return h.listen(port, web) }
	if nature.does == nil {
		nature.does = layer{}
	}
	h.layers = []*layer{&nature.does}
	for _, port := range nature.ports {
		if err := h.openPort(port); err != nil {
			return err
		}
	}
	return h.apply()
}

func (in *Internet) newHost(name, role string, names []string) *host {
	h := &host{in: in, name: name, role: role, names: names, ports: map[int]bool{}}
	h.spec.Store(&Spec{})
	in.hosts[name] = h
	in.onClose(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.script != "" {
			_ = in.opts.Filter(role, filterScript(Spec{}, h.filter)) // the namespace may be gone already
		}
	})
	return h
}

// serve lays a spec over what the host does; undo takes this layer away again.
func (h *host) serve(spec map[string]any) (undo func(), err error) {
	if _, err := parseSpec(spec); err != nil {
		return nil, err
	}
	l := layer(spec)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.layers = append(h.layers, &l)
	remove := func() { h.layers = slices.DeleteFunc(h.layers, func(o *layer) bool { return o == &l }) }
	if err := h.apply(); err != nil {
		remove()
		return nil, err
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		remove()
		if err := h.apply(); err != nil {
			h.in.opts.Log("internet: %s could not be put back: %v", h.name, err)
		}
	}, nil
}

// apply makes the layers the host's behaviour.
func (h *host) apply() error {
	flat := make([]layer, len(h.layers))
	for i, l := range h.layers {
		flat[i] = *l
	}
	s, err := merge(flat)
	if err != nil {
		return err
	}
	script := filterScript(s, h.filter)
	if script == filterScript(Spec{}, h.filter) && h.script == "" {
		script = ""
	}
	if script != h.script {
		if err := h.in.opts.Filter(h.role, script); err != nil {
			return err
		}
		h.script = script
	}
	for _, port := range s.Ports {
		if err := h.openPort(port); err != nil {
			return err
		}
	}
	h.spec.Store(&s)
	return nil
}

func (h *host) openPort(port int) error {
	if h.ports[port] || h.open == nil {
		return nil
	}
	if err := h.open(port); err != nil {
		return fmt.Errorf("port %d: %w", port, err)
	}
	h.ports[port] = true
	return nil
}

// listen accepts on one port of a web host.
func (h *host) listen(port int, web *feed) error {
	l, err := h.in.opts.Listen(h.role, "tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	h.in.onClose(func() { _ = l.Close() })
	plain := port == 80 || port == 8080
	go func() {
		for {
			c, err := l.Accept()
			if closed(err) {
				return
			}
			if err != nil {
				h.in.opts.Log("internet: %s: %v", h.name, err)
				time.Sleep(50 * time.Millisecond) // out of files: the next try may do
				continue
			}
			go h.connection(c, plain, web)
		}
	}()
	return nil
}

// connection resets a new connection, or hands it to the web server.
func (h *host) connection(c net.Conn, plain bool, web *feed) {
	s := h.spec.Load()
	denied := s.Deny == "reset" && !s.allowed(source(c.RemoteAddr()))
	if denied || (s.Reset && s.hit()) {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		_, _ = c.Read(make([]byte, 1))
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		_ = c.Close()
		return
	}
	if !plain {
		c = h.secure(c)
	}
	web.give(c)
}

// hit draws whether this request is one of the share.
func (s *Spec) hit() bool { return s.Share == nil || rand.Float64() < *s.Share }

func source(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

// feed is a net.Listener of connections that somebody else accepted.
type feed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newFeed() *feed { return &feed{conns: make(chan net.Conn), done: make(chan struct{})} }

func (f *feed) give(c net.Conn) {
	select {
	case f.conns <- c:
	case <-f.done:
		_ = c.Close()
	}
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

func (f *feed) Addr() net.Addr { return &net.TCPAddr{} }
