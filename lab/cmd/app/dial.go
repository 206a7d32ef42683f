package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// attempt is one connection that `app dial` is told to try, by an address that
// needs no resolver.
type attempt struct {
	Network string `json:"network"`        // tcp, udp
	To      string `json:"to"`             // ADDRESS:PORT
	Host    string `json:"host,omitempty"` // asked for in HTTP, and in TLS where TLS is said
	TLS     bool   `json:"tls,omitempty"`
	Limit   int    `json:"limit"` // milliseconds
}

// outcome is what became of it. Result is a word of `app get`; Who is the body
// that a server of HTTP answered.
type outcome struct {
	Result string `json:"result"`
	Who    string `json:"who,omitempty"`
	Millis int64  `json:"millis"`
	Detail string `json:"detail,omitempty"`
}

// dialMain reads a list of attempts, tries all at once, and prints their
// outcomes in the same order.
func dialMain(ctx context.Context, in io.Reader, out, stderr io.Writer) int {
	var list []attempt
	if err := json.NewDecoder(in).Decode(&list); err != nil {
		fmt.Fprintln(stderr, "app dial: standard input is no list of attempts:", err)
		return 2
	}
	outcomes := make([]outcome, len(list))
	var all sync.WaitGroup
	for i := range list {
		all.Go(func() { outcomes[i] = list[i].try(ctx) })
	}
	all.Wait()
	if err := json.NewEncoder(out).Encode(outcomes); err != nil {
		fmt.Fprintln(stderr, "app dial:", err)
		return 2
	}
	return 0
}

func (a *attempt) try(ctx context.Context) outcome {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(a.Limit)*time.Millisecond)
	defer cancel()
	start := time.Now()
	who, err := a.speak(ctx)
	o := outcome{Result: dialled(err), Who: who, Millis: time.Since(start).Milliseconds()}
	if err != nil {
		o.Detail = err.Error()
	}
	return o
}

// dialled is classify, and one word more: what the sender's own kernel keeps back.
func dialled(err error) string {
	if errors.Is(err, syscall.EPERM) {
		return "prohibited"
	}
	return classify(err)
}

func (a *attempt) speak(ctx context.Context) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, a.Network, a.To)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if a.Network == "udp" {
		return "", again(ctx, conn)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	if a.TLS { // whose certificate it is decides nothing here
		secure := tls.Client(conn, &tls.Config{ServerName: a.Host, InsecureSkipVerify: true})
		if err := secure.HandshakeContext(ctx); err != nil {
			return "", err
		}
		conn = secure
	}
	return ask(conn, a.Host)
}

// again sends a datagram until something answers: one that is lost would look
// like one that is dropped.
func again(ctx context.Context, conn net.Conn) error {
	buf := make([]byte, 1500)
	for try := 1; ; try++ {
		if _, err := io.WriteString(conn, "podpath-lab"); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Duration(try) * 500 * time.Millisecond)); err != nil {
			return err
		}
		_, err := conn.Read(buf)
		var timeout net.Error
		if err == nil || !errors.As(err, &timeout) || !timeout.Timeout() || ctx.Err() != nil {
			return err
		}
	}
}

// ask sends one request. Whatever comes back says that the other side was
// reached; an HTTP answer's body says who it is.
func ask(conn net.Conn, host string) (string, error) {
	if _, err := fmt.Fprintf(conn, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", host); err != nil {
		return "", err
	}
	first := make([]byte, 4096)
	n, err := conn.Read(first)
	if err != nil {
		return "", err
	}
	answer := io.MultiReader(bytes.NewReader(first[:n]), io.LimitReader(conn, 4096))
	response, err := http.ReadResponse(bufio.NewReader(answer), nil)
	if err != nil {
		return "", nil //nolint:nilerr // it speaks something else
	}
	defer response.Body.Close()
	if response.StatusCode >= 400 && response.StatusCode != http.StatusNotFound {
		return "", statusError(response.StatusCode)
	}
	body, _ := io.ReadAll(response.Body) // half a body names the sender well enough
	return strings.TrimSpace(string(body)), nil
}
