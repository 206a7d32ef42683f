package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
)

// TestDial: all attempts at once, each with what became of it, in order.
func TestDial(t *testing.T) {
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	go func() {
		for {
			c, err := web.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 512)
				n, _ := c.Read(buf)
				status := "200 OK"
				if strings.Contains(string(buf[:n]), "denied.test") {
					status = "470 status code 470"
				}
				fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: 8\r\n\r\npar-a/p1", status)
			}()
		}
	}()
	echo, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer echo.Close()
	go func() {
		buf := make([]byte, 512)
		for first := true; ; first = false {
			n, from, err := echo.ReadFrom(buf)
			if err != nil {
				return
			}
			if !first { // the first datagram is lost
				_, _ = echo.WriteTo(buf[:n], from)
			}
		}
	}()
	mute, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	in, err := json.Marshal([]attempt{
		{Network: "tcp", To: web.Addr().String(), Limit: 5000},
		{Network: "tcp", To: web.Addr().String(), Host: "denied.test", Limit: 5000},
		{Network: "tcp", To: gone.Addr().String(), Limit: 5000},
		{Network: "udp", To: echo.LocalAddr().String(), Limit: 60000},
		{Network: "udp", To: mute.LocalAddr().String(), Limit: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out, complaint bytes.Buffer
	if code := dialMain(t.Context(), bytes.NewReader(in), &out, &complaint); code != 0 {
		t.Fatalf("exit code %d: %s", code, &complaint)
	}
	var got []outcome
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"ok par-a/p1", "http-470 ", "refused ", "ok ", "timeout "} {
		if i >= len(got) || got[i].Result+" "+got[i].Who != want {
			t.Errorf("attempt %d: %+v, not %q", i, got[i], want)
		}
	}
	if code := dialMain(t.Context(), strings.NewReader("{"), &out, &complaint); code != 2 || !strings.Contains(complaint.String(), "no list of attempts") {
		t.Errorf("exit code %d, %s", code, &complaint)
	}
}

func TestDialled(t *testing.T) {
	if got := dialled(&net.OpError{Op: "write", Err: syscall.EPERM}); got != "prohibited" {
		t.Errorf("what the own kernel keeps back is %q", got)
	}
}
