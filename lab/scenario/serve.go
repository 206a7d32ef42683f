package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
)

// serve makes a host of the internet behave as told, through the daemon's control
// socket. (The daemon's own client would draw all of Kubernetes into this package.)
func (l *Lab) serve(ctx context.Context, host string, spec map[string]any) (string, error) {
	var answer struct {
		Handle string `json:"handle"`
	}
	err := l.daemon(ctx, "/serve", map[string]any{"host": host, "spec": spec}, &answer)
	return answer.Handle, err
}

// unserve takes a change of serve back.
func (l *Lab) unserve(ctx context.Context, handle string) error {
	return l.daemon(ctx, "/unserve", map[string]any{"handle": handle}, &struct{}{})
}

func (l *Lab) daemon(ctx context.Context, path string, body, answer any) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", l.Home.Socket())
		},
	}}
	payload, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://lab"+path, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("the daemon of lab %s does not answer: %w", l.Home.Lab, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(data)))
	}
	return json.Unmarshal(data, answer)
}
