package probe

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode"
)

// still is a connection whose far side has said everything it will.
type still struct{ net.Conn }

func (still) SetReadDeadline(time.Time) error { return nil }

func FuzzHTTP(f *testing.F) {
	f.Add([]byte(fine))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n"))
	f.Add([]byte("HTTP/1.1 100 \r\n\r\nHTTP/1.1 100 \r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readHeader(bytes.NewReader(b), "GET")
		if err != nil {
			headerReason(err, time.Second)
			return
		}
		body, n, _ := readBody(still{}, r.Body, 1000, time.Second)
		if n > 1000 || len(body) > 4*keptBody {
			t.Errorf("kept %d of %d", len(body), n)
		}
		for k, v := range keepHeaders(r.Header) {
			if len(v) > 256 || strings.ContainsFunc(v, unicode.IsControl) {
				t.Errorf("%s: %q", k, v)
			}
		}
		if w := answered(r, body, true, false, false); w == "" {
			t.Error("nobody answered")
		}
		clockSkew(r.Header, time.Now(), time.Now())
	})
}

func FuzzHandshakeStep(f *testing.F) {
	f.Add([]byte{22, 3, 3, 0, 1, 2}, int64(6))
	f.Fuzz(func(t *testing.T, head []byte, n int64) {
		if len(head) > headBytes {
			return
		}
		w := &wire{head: head, received: max(n, int64(len(head))), sent: 1}
		handshakeReason(io.EOF, w)
		if _, d := handshakeReason(errors.New("tls: \x1b"), w); strings.ContainsFunc(d, unicode.IsControl) {
			t.Errorf("%q", d)
		}
	})
}

func FuzzPlan(f *testing.F) {
	f.Add(`{"targets":[{"host":"a","port":1,"address":"::1","resolvers":["1.1.1.1:53"]}]}`)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ReadPlan(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, tg := range p.Targets {
			tg = tg.filled(&p)
			a := &attempt{runner: newRunner(p), target: tg}
			if lines := strings.Split(a.request(), "\r\n"); strings.Count(a.request(), "\n") != len(lines)-1 || strings.Contains(lines[0], "\n") {
				t.Errorf("%q", a.request())
			}
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b\u202e\xff", 3)
	f.Fuzz(func(t *testing.T, s string, n int) {
		n = min(max(n, 0), 1000)
		got := clean(s, n)
		if len(got) > n || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q", got)
		}
	})
}

func FuzzProxy(f *testing.F) {
	f.Add("http://u:p@h:1", "10.0.0.0/8,*.x", "a.x")
	f.Fuzz(func(t *testing.T, proxy, no, host string) {
		if u, err := parseProxy(proxy); err == nil && u.Hostname() == "" {
			t.Error("a proxy without a host")
		}
		bypassed(no, host, 443)
	})
}
