package internet

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// openProxy starts the forward proxy, which lives at the firewall's address.
// Its words of Serve are proxy (open, auth, deny, bad-gateway), user, password,
// and refuse, silent, delay, share as for every host.
func (in *Internet) openProxy() error {
	h := in.newHost(plan.Proxy, Firewall, nil)
	h.filter = plan.ProxyPort
	l, err := in.opts.Listen(Firewall, "tcp", netip.AddrPortFrom(plan.FWAddr, plan.ProxyPort).String())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(h.proxy), ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	in.onClose(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
	return nil
}

// proxy answers as Squid does: its own pages name it in Server, Via and X-Squid-Error.
func (h *host) proxy(w http.ResponseWriter, r *http.Request) {
	s := h.spec.Load()
	hit := s.hit()
	if s.Delay > 0 && hit {
		select {
		case <-time.After(time.Duration(s.Delay)):
		case <-r.Context().Done():
			return
		}
	}
	if hit {
		switch {
		case s.Proxy == "auth" && !authorized(r, s):
			w.Header().Set("Proxy-Authenticate", `Basic realm="`+plan.Proxy+`"`)
			h.refuse(w, http.StatusProxyAuthRequired, "ERR_CACHE_ACCESS_DENIED")
			return
		case s.Proxy == "deny":
			h.refuse(w, http.StatusForbidden, "ERR_ACCESS_DENIED")
			return
		case s.Proxy == "bad-gateway":
			h.refuse(w, http.StatusBadGateway, "ERR_READ_ERROR")
			return
		case s.Status != 0:
			h.refuse(w, s.Status, "ERR_NONE")
			return
		}
	}
	if r.Method == http.MethodConnect {
		h.tunnel(w, r)
		return
	}
	if r.URL.Host == "" {
		h.refuse(w, http.StatusBadRequest, "ERR_INVALID_URL")
		return
	}
	h.relay(w, r)
}

func (h *host) refuse(w http.ResponseWriter, status int, why string) {
	w.Header().Set("Server", "squid/5.7")
	w.Header().Set("Via", "1.1 "+plan.Proxy+" (squid/5.7)")
	w.Header().Set("X-Squid-Error", why+" 0")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<html><head><title>ERROR: %s</title></head><body>%d %s</body></html>\n", why, status, http.StatusText(status))
}

func authorized(r *http.Request, s *Spec) bool {
	user, password := s.User, s.Password
	if user == "" {
		user, password = "lab", "lab"
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
	return r.Header.Get("Proxy-Authorization") == want
}

// dial goes out from the proxy's own namespace.
func (h *host) dial(ctx context.Context, _, hostport string) (net.Conn, error) {
	name, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	addr, err := h.in.address(ctx, h.role, name)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return h.in.opts.Dial(ctx, h.role, "tcp", netip.AddrPortFrom(addr, uint16(n)).String())
}

func (h *host) tunnel(w http.ResponseWriter, r *http.Request) {
	far, err := h.dial(r.Context(), "tcp", r.Host)
	if err != nil {
		h.refuse(w, http.StatusServiceUnavailable, "ERR_CONNECT_FAIL")
		return
	}
	defer func() { _ = far.Close() }()
	near, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		h.refuse(w, http.StatusInternalServerError, "ERR_CANNOT_FORWARD")
		return
	}
	defer func() { _ = near.Close() }()
	if _, err := io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	splice(near, buffered.Reader, far)
}

// splice copies both ways until either side is done.
func splice(near net.Conn, early *bufio.Reader, far net.Conn) {
	var once sync.Once
	end := func() { once.Do(func() { _ = near.Close(); _ = far.Close() }) }
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, early)
		end()
	}()
	_, _ = io.Copy(near, far)
	end()
	<-done
}

func (h *host) relay(w http.ResponseWriter, r *http.Request) {
	transport := &http.Transport{DialContext: h.dial, DisableKeepAlives: true}
	out := r.Clone(r.Context())
	out.RequestURI = ""
	for _, k := range []string{"Proxy-Authorization", "Proxy-Connection", "Connection"} {
		out.Header.Del(k)
	}
	out.Header.Set("X-Forwarded-For", r.RemoteAddr)
	out.Header.Set("Via", "1.1 "+plan.Proxy+" (squid/5.7)")
	answer, err := transport.RoundTrip(out)
	if err != nil {
		h.refuse(w, http.StatusServiceUnavailable, "ERR_CONNECT_FAIL")
		return
	}
	defer func() { _ = answer.Body.Close() }()
	for k, v := range answer.Header {
		w.Header()[k] = v
	}
	w.Header().Add("Via", "1.1 "+plan.Proxy+" (squid/5.7)")
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}
