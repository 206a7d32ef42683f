package internet

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/pki"
	"github.com/podpath/podpath/lab/plan"
)

// certificates are made when first needed: one for each fault and set of names.
type certificates struct {
	mu   sync.Mutex
	made map[string]*tls.Certificate
}

// secure is the server side of TLS with the certificate that the host has now.
func (h *host) secure(c net.Conn) net.Conn {
	return tls.Server(c, &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			s := h.spec.Load()
			mode, hit := s.TLS, s.hit()
			if mode == "" || !hit {
				mode = "good"
			}
			if hit {
				time.Sleep(time.Duration(s.Shake)) // the client hangs up when it has enough
			}
			return h.certificate(mode, s.Names)
		},
	})
}

func (h *host) certificate(mode string, more []string) (*tls.Certificate, error) {
	names := append([]string{}, h.names...)
	if strings.Contains(h.name, ".") {
		names = append([]string{h.name}, names...)
	}
	names = append(names, more...)
	h.certs.mu.Lock()
	defer h.certs.mu.Unlock()
	key := mode + " " + strings.Join(names, " ")
	if c, ok := h.certs.made[key]; ok {
		return c, nil
	}
	now := time.Now()
	o := pki.Options{CommonName: names[0], DNSNames: names}
	switch mode {
	case "expired":
		o.NotBefore, o.NotAfter = now.AddDate(0, -3, 0), now.AddDate(0, 0, -2)
	case "notyet":
		o.NotBefore, o.NotAfter = now.AddDate(0, 0, 1), now.AddDate(1, 0, 0)
	case "wrongname":
		o.CommonName, o.DNSNames = "www.other.example", []string{"www.other.example", "other.example"}
	case "incomplete":
		o.Intermediate, o.OmitChain = h.in.sub, true
	}
	var pair tls.Certificate
	var err error
	if mode == "selfsigned" {
		pair, _, _, err = pki.SelfSigned(o)
	} else {
		pair, _, _, err = h.in.ca.Issue(o)
	}
	if err != nil {
		return nil, err
	}
	if h.certs.made == nil {
		h.certs.made = map[string]*tls.Certificate{}
	}
	h.certs.made[key] = &pair
	return &pair, nil
}

// answer is every web host.
func (h *host) answer(w http.ResponseWriter, r *http.Request) {
	s := h.spec.Load()
	ap, _ := netip.ParseAddrPort(r.RemoteAddr)
	client := ap.Addr().Unmap()
	w.Header().Set("Server", "lab-origin")
	w.Header().Set("Date", time.Now().Add(time.Duration(s.Skew)).UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for k, v := range s.Header {
		w.Header().Set(k, v)
	}
	if status := s.denyStatus(); status != 0 && !s.allowed(client) {
		h.status(w, r, status, fmt.Sprintf("%s does not serve %s\n", h.name, client))
		return
	}
	if s.Rate > 0 && !h.rate.take(client, s.Rate, time.Now()) {
		h.status(w, r, http.StatusTooManyRequests, fmt.Sprintf("more than %d requests a second\n", s.Rate))
		return
	}
	hit := s.hit()
	if s.Delay > 0 && hit {
		select {
		case <-time.After(time.Duration(s.Delay)):
		case <-r.Context().Done():
			return
		}
	}
	if s.Status != 0 && hit && strings.HasPrefix(r.URL.Path, s.Path) {
		h.status(w, r, s.Status, fmt.Sprintf("%d %s\n", s.Status, http.StatusText(s.Status)))
		return
	}
	h.page(w, r, s, client)
}

// page is what a host answers when nothing is wrong.
func (h *host) page(w http.ResponseWriter, r *http.Request, s *Spec, client netip.Addr) {
	if n, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/")); err == nil && h.name == "status.example" {
		if n < 200 || n > 999 {
			h.status(w, r, 400, "a status is 200 to 999\n")
			return
		}
		h.status(w, r, n, fmt.Sprintf("%d %s\n", n, http.StatusText(n)))
		return
	}
	switch {
	case h.name == plan.AKSServices && r.URL.Path == "/common/discovery/instance": // asked of an authority that nobody knows
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		text, _ := json.Marshal(arm.InstanceDiscovery(r.URL.Query().Get("authorization_endpoint"), "https://"+r.Host))
		h.status(w, r, 200, string(text))
	case r.URL.Path == "/ip":
		h.status(w, r, 200, client.String()+"\n")
	case r.URL.Path == "/headers":
		var lines []string
		for k, v := range r.Header {
			lines = append(lines, k+": "+strings.Join(v, ", ")+"\n")
		}
		sort.Strings(lines)
		h.status(w, r, 200, "Host: "+r.Host+"\n"+strings.Join(lines, ""))
	case s.Body != nil && s.Body.text == "":
		h.status(w, r, 200, strings.Repeat("lab ", s.Body.size/4)+"lab "[:s.Body.size%4])
	case s.Body != nil:
		h.status(w, r, 200, s.Body.text)
	default:
		h.status(w, r, 200, "this is "+h.name+"\n")
	}
}

// status answers with what belongs to a status beside its number.
func (h *host) status(w http.ResponseWriter, r *http.Request, status int, text string) {
	header := w.Header()
	switch status {
	case 301, 302, 303, 307, 308:
		header.Set("Location", "/")
	case 401:
		header.Set("WWW-Authenticate", `Basic realm="`+h.name+`"`)
	case 407:
		header.Set("Proxy-Authenticate", `Basic realm="`+h.name+`"`)
	case 429, 503:
		if header.Get("Retry-After") == "" {
			header.Set("Retry-After", "1")
		}
	}
	if status == 204 || status == 304 {
		header.Del("Content-Type")
		w.WriteHeader(status)
		return
	}
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write([]byte(text)) // a client that left is no fault
	}
}

// limiter counts the requests of each source in the running second.
type limiter struct {
	mu     sync.Mutex
	second int64
	count  map[netip.Addr]int
}

func (l *limiter) take(from netip.Addr, rate int, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Unix() != l.second {
		l.second, l.count = now.Unix(), map[netip.Addr]int{}
	}
	l.count[from]++
	return l.count[from] <= rate
}
