package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A kept connection is used again, and a new one is opened when the server has closed it.
func TestKeep(t *testing.T) {
	asked := make(chan string, 64)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.RemoteAddr:
		default:
		}
		_, _ = w.Write([]byte("ok"))
	}))
	server.Start()
	defer server.Close()
	run, err := parse("keep://" + server.Listener.Addr().(*net.TCPAddr).String() + "?every=5ms&alive=1s")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = run(ctx) }()
	first, second := <-asked, <-asked
	if first != second {
		t.Errorf("the second request came from %s, not %s", second, first)
	}
	server.CloseClientConnections()
	for next := first; next == first; { // what was asked before it was closed is still told
		next = <-asked
	}
	stop()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
	for _, bad := range []string{"keep://a:1", "keep://a:1?every=1s&protocol=sctp", "keep://a:1?every=soon", "keep://a:1?every=1s&what=1"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// A client of UDP sends on by the one socket it has.
func TestKeepUDP(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	run, err := parse("keep://" + server.LocalAddr().String() + "?every=5ms&protocol=udp")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { _ = run(ctx) }()
	var from []net.Addr
	for range 3 {
		_, a, err := server.ReadFrom(make([]byte, 64))
		if err != nil {
			t.Fatal(err)
		}
		from = append(from, a)
	}
	if from[0].String() != from[2].String() {
		t.Errorf("sent by %v", from)
	}
}

// A handshake that takes processor time takes at least as long.
func TestCompute(t *testing.T) {
	start := time.Now()
	compute(20 * time.Millisecond)
	if took := time.Since(start); took < 20*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}
