package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"
)

// A connection that the server behind has closed is used all the same, and loses its request; the next one is new.
func TestProxy(t *testing.T) {
	closed := make(chan struct{}, 8)
	behind := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	behind.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			closed <- struct{}{}
		}
	}
	behind.Start()
	defer behind.Close()
	front := httptest.NewServer(&proxy{to: behind.Listener.Addr().String()})
	defer front.Close()
	ask := func(want int) {
		t.Helper()
		answer, err := http.Get(front.URL)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("status %d, want %d", answer.StatusCode, want)
		}
	}
	ask(http.StatusTeapot)
	ask(http.StatusTeapot)
	behind.CloseClientConnections()
	<-closed
	ask(http.StatusBadGateway)
	ask(http.StatusTeapot)
}

func TestProxyForgets(t *testing.T) {
	p := &proxy{to: "127.0.0.1:1", idle: time.Millisecond}
	near, far := net.Pipe()
	p.kept = []*upstream{{conn: near, used: time.Now().Add(-time.Second)}}
	if _, err := p.take(t.Context()); err == nil {
		t.Error("a connection that nobody used for too long is used")
	}
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("it is not closed")
	}
	for _, bad := range []string{"proxy://:8080", "proxy://:8080?to=a", "proxy://:8080?to=a:1&what=1"} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseProxy(u, &options{q: u.Query()}); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
