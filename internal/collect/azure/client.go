package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

const (
	maxBody  = 64 << 20 // of one answer
	maxPages = 2000     // of one list
)

// versions are the API versions that are asked for, by the longest prefix of
// the type. Azure keeps old versions for years, and sovereign clouds have no
// new ones; where one is refused, the newest that the refusal offers is taken.
var versions = []struct{ prefix, version string }{
	{"microsoft.compute/virtualmachinescalesets/networkinterfaces", "2018-10-01"}, // the only one there ever was
	{"microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces", "2018-10-01"},
	{"microsoft.compute/skus", "2021-07-01"},
	{"microsoft.compute/", "2024-07-01"},
	{"microsoft.containerservice/", "2025-05-01"},
	{"microsoft.network/privatednszones", "2020-06-01"},
	{"microsoft.network/", "2024-05-01"},
	{"microsoft.insights/", "2018-01-01"},
	{"microsoft.advisor/", "2020-01-01"},
	{"", "2021-04-01"},
}

func versionOf(typ string) string {
	typ = strings.ToLower(typ)
	for _, v := range versions {
		if strings.HasPrefix(typ, v.prefix) {
			return v.version
		}
	}
	return ""
}

// client sends GETs to Resource Manager.
type client struct {
	pipeline runtime.Pipeline
	endpoint string
	timeout  time.Duration // of one call with its retries
}

func newClient(o Options, c Cloud, cred azcore.TokenCredential) (*client, error) {
	a, err := arm.NewClient("podpath", "v1.0.0", cred, &arm.ClientOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud: c.sdk(), Transport: o.Transport,
			// Retry-After is obeyed up to MaxRetryDelay; beyond it the answer stands. The deadline of the call caps all of it.
			Retry: policy.RetryOptions{MaxRetries: 3, RetryDelay: 400 * time.Millisecond, MaxRetryDelay: o.CallTimeout},
		},
		DisableRPRegistration: true, // registering a resource provider is a write
	})
	if err != nil {
		return nil, err
	}
	return &client{pipeline: a.Pipeline(), endpoint: c.Endpoint, timeout: o.CallTimeout}, nil
}

// get reads one document. query holds further parameters; the API version is that of the type.
func (c *client) get(ctx context.Context, path, typ string, query url.Values) (value, error) {
	x, _, err := c.send(ctx, http.MethodGet, path, typ, query)
	return x, err
}

func (c *client) send(ctx context.Context, method, path, typ string, query url.Values) (value, http.Header, error) {
	version := versionOf(typ)
	x, header, err := c.once(ctx, method, path, version, query)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusBadRequest {
		if other := offered(e.Message); other != "" && other != version {
			return c.once(ctx, method, path, other, query)
		}
	}
	return x, header, err
}

// offered finds the newest API version, previews last, in the refusal of one:
// "… The supported api-versions are '2020-01-01, 2024-01-01-preview'. …"
func offered(message string) string {
	_, rest, ok := strings.Cut(message, "supported api-versions are '")
	if !ok {
		if _, rest, ok = strings.Cut(message, "supported versions are '"); !ok {
			return ""
		}
	}
	list, _, _ := strings.Cut(rest, "'")
	best := ""
	for _, v := range strings.Split(list, ",") {
		v = strings.TrimSpace(v)
		if !strings.Contains(v, "preview") && v > best {
			best = v
		}
	}
	return best
}

func (c *client) once(ctx context.Context, method, path, version string, query url.Values) (value, http.Header, error) {
	target := path
	if !strings.HasPrefix(path, "https://") {
		q := url.Values{}
		for k, v := range query {
			q[k] = v
		}
		q.Set("api-version", version)
		target = c.endpoint + escape(path) + "?" + q.Encode()
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := runtime.NewRequest(ctx, method, target)
	if err != nil {
		return value{}, nil, err
	}
	req.Raw().Header.Set("Accept", "application/json")
	runtime.SkipBodyDownload(req)
	resp, err := c.pipeline.Do(req)
	if err != nil {
		return value{}, nil, c.explain(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return value{}, nil, c.explain(ctx, err)
	}
	if len(data) > maxBody {
		return value{}, nil, fmt.Errorf("the answer is larger than %d MiB", maxBody>>20)
	}
	if resp.StatusCode == http.StatusAccepted || resp.StatusCode == http.StatusNoContent {
		return value{}, resp.Header, nil
	}
	x, err := parse(data)
	if resp.StatusCode != http.StatusOK {
		e := &Error{Code: http.StatusText(resp.StatusCode)}
		if err == nil {
			if _, ok := x.v.(map[string]any); ok {
				if found := errorOf(x); found != nil {
					e = found
				}
			}
		}
		if e.Code == "" {
			e.Code = "error"
		}
		e.Status = resp.StatusCode
		return value{}, resp.Header, e
	}
	if err != nil {
		return value{}, nil, fmt.Errorf("malformed answer: %w", err)
	}
	return x, resp.Header, nil
}

// escape makes an id a URL path; names in Azure may hold spaces and brackets.
func escape(path string) string {
	return (&url.URL{Path: path}).EscapedPath()
}

// explain turns a transport error into words that say what did not answer.
func (c *client) explain(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &transportError{text: fmt.Sprintf("timed out after %s", c.timeout)}
	}
	if errors.Is(err, context.Canceled) {
		return &transportError{text: "cancelled"}
	}
	var e *Error
	var response *azcore.ResponseError
	if errors.As(err, &response) { // the token service's refusal
		e = &Error{Status: response.StatusCode, Code: response.ErrorCode, Message: firstLine(err)}
		return e
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return &transportError{text: dns.Error(), dead: true}
	}
	return &transportError{text: firstLine(err), dead: true}
}

// transportError is the absence of an answer.
type transportError struct {
	text string
	dead bool // nothing listens there: every further call will end alike
}

func (e *transportError) Error() string { return e.text }

// list reads every page of a list and hands its elements on, page by page.
func (c *client) list(ctx context.Context, path, typ string, query url.Values, page func(value) error) error {
	seen := map[string]bool{}
	for next := path; ; {
		if seen[next] || len(seen) > maxPages {
			return fmt.Errorf("malformed answer: nextLink leads round in a circle at %s", next)
		}
		seen[next] = true
		x, err := c.get(ctx, next, typ, query)
		if err != nil {
			return err
		}
		if x.get("value").missing() {
			return fmt.Errorf("malformed answer: value: want a list, got nothing")
		}
		if err := page(x.get("value")); err != nil {
			return err
		}
		link := x.get("nextLink").str()
		if err := x.err(); err != nil {
			return fmt.Errorf("malformed answer: %w", err)
		}
		if link == "" {
			return nil
		}
		// The token goes with the request: to nobody but the endpoint itself.
		if !sameHost(link, c.endpoint) {
			return fmt.Errorf("malformed answer: nextLink leads to another host than %s", host(c.endpoint))
		}
		next = link
	}
}

// sameHost says that two https URLs name the same host and port.
func sameHost(a, b string) bool {
	name := func(raw string) string {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.User != nil {
			return ""
		}
		port := u.Port()
		if port == "" {
			port = "443"
		}
		return strings.ToLower(u.Hostname()) + ":" + port
	}
	return name(a) != "" && name(a) == name(b)
}
