package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestArgumentsThatAreRefused(t *testing.T) {
	for _, arg := range []string{"ftp://:1", "http://:8080?statsu=503", "http://:8080?status=9", "http://:8080?delay=2", "tcp://:1?accept=never", "burn://many", "files://", "eat://lots", "exit://soon", "lookup://", "lookup://a.test?rate=0"} {
		if _, err := parse(arg); err == nil {
			t.Errorf("%s was accepted", arg)
		}
	}
}

// serveHandler runs the handler that an argument describes.
func serveHandler(t *testing.T, arg string) string {
	t.Helper()
	u, err := url.Parse(arg)
	if err != nil {
		t.Fatal(err)
	}
	o := options{q: u.Query()}
	h, err := handler(&o)
	if err == nil {
		err = o.done()
	}
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

func TestWhatAListenerAnswers(t *testing.T) {
	for _, c := range []struct {
		arg, path string
		status    int
	}{
		{"http://:1", "/x", 200},
		{"http://:1?status=503", "/", 503},
		{"http://:1?status=503&share=0", "/", 200},
		{"http://:1?status=503&well=/healthz", "/healthz", 200},
		{"http://:1?status=503&well=/healthz", "/", 503},
		{"http://:1?ok=/a,/b", "/b", 200},
		{"http://:1?ok=/a,/b", "/", 404},
	} {
		response, err := http.Get(serveHandler(t, c.arg) + c.path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != c.status {
			t.Errorf("%s%s: %d, want %d", c.arg, c.path, response.StatusCode, c.status)
		}
	}
}

func TestListenersEcho(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	free := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	tcp, udp := free(), free()
	go func() { _ = serveAll(ctx, []string{"tcp://" + tcp, "udp://" + udp}) }()
	for _, target := range []string{"tcp://" + tcp, "udp://" + udp} {
		deadline := time.Now().Add(5 * time.Second)
		for {
			got := get(t, target)
			if got.Result == "ok" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", target, got)
			}
		}
	}
}

// get runs `app get`.
func get(t *testing.T, args ...string) answer {
	t.Helper()
	var out, complaint bytes.Buffer
	if code := getMain(t.Context(), append(args, "--proxy", "none"), &out, &complaint); code != 0 {
		t.Fatalf("%v: exit %d: %s", args, code, complaint.String())
	}
	var a answer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	return a
}

func TestSymptomsAreToldApart(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	hangUp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
	}))
	defer hangUp.Close()
	https := httptest.NewTLSServer(http.NotFoundHandler())
	defer https.Close()
	for _, c := range []struct {
		want string
		args []string
	}{
		{"ok", []string{serveHandler(t, "http://:1")}},
		{"slow", []string{serveHandler(t, "http://:1?delay=300ms"), "--slow", "100ms"}},
		{"http-503", []string{serveHandler(t, "http://:1?status=503")}},
		{"refused", []string{"http://" + closed.Addr().String()}},
		{"timeout", []string{"http://" + silent.Addr().String(), "--timeout", "200ms"}},
		{"reset", []string{hangUp.URL}},
		{"tls", []string{https.URL}},
		{"http-404", []string{https.URL, "--insecure"}},
	} {
		if got := get(t, c.args...); got.Result != c.want {
			t.Errorf("%v: %+v, want %s", c.args, got, c.want)
		}
	}
}

func TestClassifyErrno(t *testing.T) {
	for want, err := range map[string]error{
		"unreachable": fmt.Errorf("dial: %w", syscall.EHOSTUNREACH), "refused": syscall.ECONNREFUSED, "reset": io.EOF,
		"timeout": context.DeadlineExceeded, "error": errors.New("something else"), "nxdomain": &nameError{kind: "nxdomain"},
	} {
		if got := classify(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

func TestLookupTellsNameErrorsApart(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		switch q.Question[0].Name {
		case "good.example.", "web.shop.svc.":
			if q.Question[0].Qtype == dns.TypeA {
				rr, _ := dns.NewRR(q.Question[0].Name + " 60 A 127.0.0.9")
				m.Answer = append(m.Answer, rr)
			}
		case "broken.example.":
			m.Rcode = dns.RcodeServerFailure
		case "mute.example.":
			return
		default:
			m.Rcode = dns.RcodeNameError
		}
		if err := w.WriteMsg(m); err != nil {
			t.Log(err)
		}
	})}
	go func() { _ = server.ActivateAndServe() }()
	defer func() { _ = server.Shutdown() }()
	_, port, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	config := &dns.ClientConfig{Servers: []string{"127.0.0.1"}, Port: port, Search: []string{"shop.svc"}, Ndots: 5, Timeout: 1, Attempts: 1}
	for name, want := range map[string]string{"good.example.": "", "gone.example.": "nxdomain", "broken.example.": "dns-error", "mute.example.": "dns-timeout"} {
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		_, got := query(ctx, config, name)
		cancel()
		if got == nil && want != "" || got != nil && got.kind != want {
			t.Errorf("%s: %v, want %q", name, got, want)
		}
	}
	if names := config.NameList("web"); len(names) == 0 || names[0] != "web.shop.svc." {
		t.Errorf("the search list is not walked first: %v", names)
	}
}

func TestAddressesNeedNoLookup(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "resolv.conf")
	if _, err := os.Stat(missing); err == nil {
		t.Fatal("it is there")
	}
	got, err := lookup(t.Context(), missing, "203.0.113.1")
	if err != nil || len(got) != 1 {
		t.Errorf("%v %v", got, err)
	}
}

// A listener closes as soon as the process is told to end, which lives on for as long as it was told to.
func TestLinger(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serveAll(ctx, []string{"http://" + at, "linger://3s"}) }()
	await := func(result string) {
		for deadline := time.Now().Add(time.Minute); get(t, "http://"+at).Result != result; {
			if time.Now().After(deadline) {
				t.Fatalf("never %s", result)
			}
		}
	}
	await("ok")
	stop()
	await("refused")
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := serveAll(t.Context(), []string{"linger://soon"}); err == nil {
		t.Error("linger://soon is taken")
	}
}
