package scenario

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// errNotFound is what a GET of a resource that is not there wraps.
var errNotFound = errors.New("not found")

// armClient speaks to the resource manager as any client would: a token from
// the authority, HTTPS, and long-running operations followed to their end.
type armClient struct {
	env  map[string]string
	http *http.Client

	mu       sync.Mutex
	endpoint string
	audience string
	token    string
	until    time.Time
}

func newARM(env map[string]string) (*armClient, error) {
	c := &armClient{env: env}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if file := env["SSL_CERT_FILE"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("the lab's CA: %w", err)
		}
		pool.AppendCertsFromPEM(pem)
	}
	c.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, IdleConnTimeout: 20 * time.Second,
	}}
	cloud := struct {
		ResourceManagerEndpoint string `json:"resourceManagerEndpoint"`
		TokenAudience           string `json:"tokenAudience"`
	}{}
	data, err := os.ReadFile(env["AZURE_ENVIRONMENT_FILEPATH"])
	if err != nil {
		return nil, fmt.Errorf("the lab's cloud description (AZURE_ENVIRONMENT_FILEPATH): %w", err)
	}
	if err := json.Unmarshal(data, &cloud); err != nil || cloud.ResourceManagerEndpoint == "" {
		return nil, fmt.Errorf("%s names no resourceManagerEndpoint (%v)", env["AZURE_ENVIRONMENT_FILEPATH"], err)
	}
	c.endpoint = strings.TrimSuffix(cloud.ResourceManagerEndpoint, "/")
	c.audience = strings.TrimSuffix(cmpOr(cloud.TokenAudience, cloud.ResourceManagerEndpoint), "/")
	return c, nil
}

// apiVersions are asked for by provider; the resource manager takes any that is well-formed.
var apiVersions = map[string]string{
	"microsoft.network": "2024-05-01", "microsoft.containerservice": "2025-05-01", "microsoft.compute": "2024-07-01",
	"microsoft.resources": "2021-04-01", "microsoft.insights": "2023-10-01",
}

func apiVersion(id string) string {
	lower := strings.ToLower(id)
	if strings.Contains(lower, "/privatednszones/") {
		return "2020-06-01"
	}
	if i := strings.LastIndex(lower, "/providers/"); i >= 0 {
		provider, _, _ := strings.Cut(lower[i+len("/providers/"):], "/")
		if v, ok := apiVersions[provider]; ok {
			return v
		}
	}
	return "2024-05-01"
}

// Do sends one request and returns the resource as it is afterwards (nil where
// the answer has no body). 404 wraps errNotFound.
func (c *armClient) Do(ctx context.Context, method, id string, body any) (map[string]any, error) {
	path, query, _ := strings.Cut(id, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	if values.Get("api-version") == "" {
		values.Set("api-version", apiVersion(path))
	}
	answer, header, code, err := c.send(ctx, method, c.endpoint+(&url.URL{Path: path}).EscapedPath()+"?"+values.Encode(), body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, id, err)
	}
	poll := header.Get("Azure-AsyncOperation")
	if poll == "" && code == http.StatusAccepted {
		poll = header.Get("Location")
	}
	if poll != "" && method != http.MethodGet {
		if err := c.follow(ctx, poll, header); err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, id, err)
		}
	}
	return answer, nil
}

// follow polls a long-running operation until it has ended.
func (c *armClient) follow(ctx context.Context, poll string, header http.Header) error {
	for {
		wait := 200 * time.Millisecond
		if s, err := strconv.Atoi(header.Get("Retry-After")); err == nil && s > 0 {
			wait = min(time.Duration(s)*time.Second, 5*time.Second)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the operation did not end: %w", ctx.Err())
		case <-time.After(wait):
		}
		answer, next, code, err := c.send(ctx, http.MethodGet, poll, nil)
		if err != nil {
			return err
		}
		header = next
		status, _ := answer["status"].(string)
		switch {
		case strings.EqualFold(status, "Failed") || strings.EqualFold(status, "Canceled"):
			detail, _ := json.Marshal(answer["error"])
			return fmt.Errorf("the operation %s: %s", strings.ToLower(status), detail)
		case strings.EqualFold(status, "Succeeded"), status == "" && code != http.StatusAccepted:
			return nil
		}
	}
}

func (c *armClient) send(ctx context.Context, method, target string, body any) (map[string]any, http.Header, int, error) {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return nil, nil, 0, err
		}
	}
	for try := 0; ; try++ {
		token, err := c.bearer(ctx)
		if err != nil {
			return nil, nil, 0, err
		}
		req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(payload))
		if err != nil {
			return nil, nil, 0, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if payload != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, nil, 0, err
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, 32<<20))
		resp.Body.Close()
		if err != nil {
			return nil, nil, 0, err
		}
		if resp.StatusCode == http.StatusTooManyRequests && try < 5 {
			s, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
			select {
			case <-ctx.Done():
				return nil, nil, 0, ctx.Err()
			case <-time.After(time.Duration(max(s, 1)) * time.Second):
			}
			continue
		}
		if resp.StatusCode == http.StatusNotFound {
			return nil, nil, 0, fmt.Errorf("%w: %s", errNotFound, armError(data))
		}
		if resp.StatusCode >= 400 {
			return nil, nil, 0, fmt.Errorf("HTTP %d: %s", resp.StatusCode, armError(data))
		}
		answer := map[string]any{}
		if len(bytes.TrimSpace(data)) > 0 {
			if err := json.Unmarshal(data, &answer); err != nil {
				return nil, nil, 0, fmt.Errorf("the answer is no JSON object: %w", err)
			}
		}
		return answer, resp.Header, resp.StatusCode, nil
	}
}

func armError(data []byte) string {
	var e struct {
		Error struct{ Code, Message string } `json:"error"`
	}
	if json.Unmarshal(data, &e) == nil && e.Error.Code != "" {
		return e.Error.Code + ": " + e.Error.Message
	}
	return strings.TrimSpace(string(data[:min(len(data), 300)]))
}

func (c *armClient) bearer(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && time.Now().Before(c.until) {
		return c.token, nil
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {c.env["AZURE_CLIENT_ID"]},
		"client_secret": {c.env["AZURE_CLIENT_SECRET"]}, "scope": {c.audience + "/.default"},
	}
	target := strings.TrimSuffix(c.env["AZURE_AUTHORITY_HOST"], "/") + "/" + c.env["AZURE_TENANT_ID"] + "/oauth2/v2.0/token"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.http.Do(req)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	var answer struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"`
	}
	if err := json.Unmarshal(data, &answer); err != nil || answer.AccessToken == "" {
		return "", fmt.Errorf("token: HTTP %d: %s", resp.StatusCode, strings.TrimSpace(string(data[:min(len(data), 300)])))
	}
	seconds, _ := answer.ExpiresIn.Int64()
	c.token, c.until = answer.AccessToken, time.Now().Add(time.Duration(max(seconds-60, 10))*time.Second)
	return c.token, nil
}

// mergePatch applies an RFC 7386 merge patch. It changes target where it can and returns the result.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
			continue
		}
		t[k] = mergePatch(t[k], v)
	}
	return t
}

// deepCopy copies decoded JSON.
func deepCopy[T any](v T) T {
	data, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var out T
	if json.Unmarshal(data, &out) != nil {
		return v
	}
	return out
}
