package daemon

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

	"github.com/podpath/podpath/lab/home"
)

// Client talks to a lab's daemon over its control socket.
type Client struct {
	lab  string
	http *http.Client
}

// Dial prepares a client; it connects when it is used.
func Dial(h home.Home) *Client {
	return &Client{h.Lab, &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", h.Socket())
		},
	}}}
}

// Status asks how the lab is.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.call(ctx, http.MethodGet, "/status", nil, &s)
}

// Serve changes what a host of the internet does, until Unserve with the handle.
func (c *Client) Serve(ctx context.Context, host string, spec map[string]any) (handle string, err error) {
	var answer serveAnswer
	err = c.call(ctx, http.MethodPost, "/serve", serveRequest{host, spec}, &answer)
	return answer.Handle, err
}

// Unserve takes a change of Serve back.
func (c *Client) Unserve(ctx context.Context, handle string) error {
	return c.call(ctx, http.MethodPost, "/unserve", serveAnswer{handle}, &struct{}{})
}

// Enforced is what the policy engine has applied on every node: resource versions
// of namespaces, pods and policies, as enforcer.Applied names them.
func (c *Client) Enforced(ctx context.Context) (map[string]string, error) {
	var applied map[string]string
	return applied, c.call(ctx, http.MethodGet, "/enforced", nil, &applied)
}

type serveRequest struct {
	Host string         `json:"host"`
	Spec map[string]any `json:"spec"`
}

type serveAnswer struct {
	Handle string `json:"handle"`
}

func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("the daemon of lab %s does not answer: %w", c.lab, err)
	}
	defer response.Body.Close()
	data, err = io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(data)))
	}
	return json.Unmarshal(data, answer)
}

// control answers the clients.
func (d *daemon) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, d.status(), nil)
	})
	mux.HandleFunc("GET /enforced", func(w http.ResponseWriter, _ *http.Request) {
		applied, err := d.enforced()
		reply(w, applied, err)
	})
	mux.HandleFunc("POST /serve", func(w http.ResponseWriter, r *http.Request) {
		var request serveRequest
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			reply(w, nil, err)
			return
		}
		handle, err := d.serve(request.Host, request.Spec)
		reply(w, serveAnswer{handle}, err)
	})
	mux.HandleFunc("POST /unserve", func(w http.ResponseWriter, r *http.Request) {
		var request serveAnswer
		err := json.NewDecoder(r.Body).Decode(&request)
		if err == nil {
			err = d.unserve(request.Handle)
		}
		reply(w, struct{}{}, err)
	})
	return mux
}

func (d *daemon) enforced() (map[string]string, error) {
	d.mu.Lock()
	e := d.enforcer
	d.mu.Unlock()
	if e == nil {
		return nil, fmt.Errorf("lab %s enforces no policies: it takes topology policy: enforced", d.home.Lab)
	}
	return e.Applied(), nil
}

func reply(w http.ResponseWriter, answer any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	data, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(data, '\n')) // a client that went away needs no answer
}
