package arm

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// Options are what a server is told beside the store.
type Options struct {
	Tenant       string // default plan.Tenant
	ClientID     string // of the only application that gets tokens
	ClientSecret string
	PageSize     int           // of lists; default 50
	Operation    time.Duration // how long a long-running operation takes; default: done when first asked
	Kubeconfig   func() ([]byte, error)
	// Metric gives the minutes of a metric for every combination of its dimensions (fabric.Metric).
	Metric func(resourceID, metric, aggregation string, from, to time.Time) []Series
	Now    func() time.Time
}

// Server is Azure Resource Manager and its token authority over HTTP. It is an
// http.Handler; Serve puts it behind TLS.
type Server struct {
	store  *Store
	opts   Options
	key    []byte // of token signatures
	done   chan struct{}
	once   sync.Once
	faults faultList
	ops    operations
}

// NewServer makes a server for a store.
func NewServer(store *Store, o Options) *Server {
	if o.Tenant == "" {
		o.Tenant = plan.Tenant
	}
	if o.PageSize <= 0 {
		o.PageSize = 50
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Server{store: store, opts: o, key: []byte(newGUID() + newGUID()), done: make(chan struct{})}
}

// Serve answers on the listeners, with TLS, until ctx ends or one of them fails.
func (s *Server) Serve(ctx context.Context, config *tls.Config, listeners ...net.Listener) error {
	server := &http.Server{Handler: s, TLSConfig: config, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- server.ServeTLS(l, "", "") }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.once.Do(func() { close(s.done) }) // releases what hangs
	_ = server.Close()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Serve is NewServer and its Serve, for one listener.
func Serve(ctx context.Context, l net.Listener, config *tls.Config, store *Store, o Options) error {
	return NewServer(store, o).Serve(ctx, config, l)
}

// call is one request on its way through.
type call struct {
	*Server
	w    http.ResponseWriter
	r    *http.Request
	path string // without the last slash
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{Server: s, w: w, r: r, path: "/" + strings.Trim(r.URL.Path, "/")}
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Ms-Request-Id", newGUID())
	h.Set("X-Ms-Correlation-Request-Id", newGUID())
	lower := strings.ToLower(c.path)
	if lower == FaultPath {
		c.faultControl()
		return
	}
	if s.fault(c) {
		return
	}
	switch {
	case strings.HasSuffix(lower, "/oauth2/v2.0/token"), strings.HasSuffix(lower, "/oauth2/token"):
		c.token()
	case strings.HasSuffix(lower, "/.well-known/openid-configuration"):
		c.openID()
	case lower == "/common/discovery/instance":
		c.discovery()
	case lower == "/metadata/endpoints":
		c.endpoints()
	case lower == "/":
		c.json(http.StatusOK, Doc{"message": "This is a lab's Azure Resource Manager."})
	default:
		c.manage(lower)
	}
}

var versionPattern = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-[a-z.0-9]+)*$`)

// manage is everything that needs a token and an api-version.
func (c *call) manage(lower string) {
	if err := c.authenticate(); err != nil {
		c.fail(err)
		return
	}
	c.w.Header().Set("X-Ms-Ratelimit-Remaining-Subscription-Reads", "11999")
	version := c.r.URL.Query().Get("api-version")
	if version == "" {
		c.fail(refuse(400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests."))
		return
	}
	if !versionPattern.MatchString(version) {
		c.fail(refuse(400, "InvalidApiVersionParameter", "The api-version '%s' is invalid. The supported versions are '2025-04-01,2024-11-01,2024-05-01,2021-04-01'.", version))
		return
	}
	seg := strings.Split(strings.Trim(c.path, "/"), "/")
	if !strings.HasPrefix(lower, "/subscriptions") {
		c.fail(refuse(404, "InvalidResourceNamespace", "The resource namespace of '%s' is invalid.", c.path))
		return
	}
	if len(seg) == 1 {
		c.list([]Doc{subscription()})
		return
	}
	if seg[1] != plan.Subscription {
		c.fail(refuse(404, "SubscriptionNotFound", "The subscription '%s' could not be found.", seg[1]))
		return
	}
	c.inSubscription(seg)
}

func subscription() Doc {
	return Doc{
		"id": "/subscriptions/" + plan.Subscription, "subscriptionId": plan.Subscription, "tenantId": plan.Tenant,
		"displayName": "lab", "state": "Enabled", "subscriptionPolicies": Doc{"spendingLimit": "Off"}, "authorizationSource": "RoleBased",
	}
}

// inSubscription routes what is below /subscriptions/ID.
func (c *call) inSubscription(seg []string) {
	rest := seg[2:]
	at := func(i int) string {
		if i < len(rest) {
			return strings.ToLower(rest[i])
		}
		return ""
	}
	switch {
	case len(rest) == 0:
		c.only(http.MethodGet, func() { c.json(200, subscription()) })
	case at(0) == "resources" && len(rest) == 1:
		c.only(http.MethodGet, func() { c.resources("") })
	case at(0) == "resourcegroups" && len(rest) == 1:
		c.only(http.MethodGet, func() { c.listKind("", "Microsoft.Resources/resourceGroups") })
	case at(0) == "resourcegroups":
		c.inGroup(rest)
	case at(0) == "providers" && at(2) == "locations" && len(rest) == 6 && strings.HasPrefix(at(4), "operation"):
		c.only(http.MethodGet, func() { c.operation(rest[5], at(4) == "operationresults") })
	case at(0) == "providers" && at(1) == "microsoft.compute" && at(2) == "skus" && len(rest) == 3:
		c.only(http.MethodGet, c.skus)
	case at(0) == "providers" && len(rest) == 3:
		c.only(http.MethodGet, func() { c.listKind("", rest[1]+"/"+rest[2]) })
	default:
		c.fail(refuse(404, "InvalidResourceType", "The resource type of '%s' could not be found.", c.path))
	}
}

// inGroup routes what is below a resource group; rest begins with resourceGroups.
func (c *call) inGroup(rest []string) {
	group, _ := parseID("/subscriptions/" + plan.Subscription + "/resourceGroups/" + rest[1])
	if len(rest) == 2 {
		c.resource(group)
		return
	}
	if _, ok := c.store.Get(group.String()); !ok {
		c.fail(notFound(group))
		return
	}
	if len(rest) == 3 && strings.EqualFold(rest[2], "resources") {
		c.only(http.MethodGet, func() { c.resources(group.String()) })
		return
	}
	if len(rest) < 5 || !strings.EqualFold(rest[2], "providers") {
		c.fail(refuse(404, "InvalidResourceType", "The resource type of '%s' could not be found.", c.path))
		return
	}
	if owner, provider, what, ok := extension(c.path); ok {
		c.extension(owner, provider, what)
		return
	}
	if len(rest) == 5 {
		c.only(http.MethodGet, func() { c.listKind(group.String(), rest[3]+"/"+rest[4]) })
		return
	}
	if len(rest)%2 == 0 {
		r, err := parseID(c.path)
		if err != nil {
			c.fail(err)
			return
		}
		if c.special(r) {
			return
		}
		c.resource(r)
		return
	}
	owner, err := parseID(c.path[:strings.LastIndexByte(c.path, '/')])
	if err != nil {
		c.fail(err)
		return
	}
	c.below(owner, rest[len(rest)-1])
}

// extension splits ID/providers/Microsoft.Insights/metrics.
func extension(path string) (owner, provider, what string, ok bool) {
	i := strings.LastIndex(strings.ToLower(path), "/providers/")
	if i < 0 || !strings.Contains(strings.ToLower(path[:i]), "/providers/") {
		return "", "", "", false
	}
	seg := strings.SplitN(path[i+len("/providers/"):], "/", 2)
	if len(seg) != 2 {
		return "", "", "", false
	}
	return path[:i], strings.ToLower(seg[0]), strings.ToLower(seg[1]), true
}

func (c *call) extension(owner, provider, what string) {
	r, err := parseID(owner)
	if err != nil {
		c.fail(err)
		return
	}
	if _, ok := c.store.Get(owner); !ok {
		c.fail(notFound(r))
		return
	}
	switch provider + "/" + what {
	case "microsoft.insights/metrics":
		c.only(http.MethodGet, func() { c.metrics(r) })
	case "microsoft.insights/metricdefinitions":
		c.only(http.MethodGet, func() { c.metricDefinitions(r) })
	case "microsoft.advisor/recommendations":
		c.only(http.MethodGet, func() { c.advice(owner) })
	default:
		c.fail(refuse(404, "InvalidResourceType", "The resource type '%s' could not be found in the namespace '%s'.", what, provider))
	}
}

// only lets one method through.
func (c *call) only(method string, f func()) {
	if c.r.Method == method || (method == http.MethodGet && c.r.Method == http.MethodHead) {
		f()
		return
	}
	c.w.Header().Set("Allow", method)
	c.fail(refuse(405, "MethodNotAllowed", "The requested resource does not support http method '%s'.", c.r.Method))
}

// resource is GET, PUT, PATCH, DELETE of one resource.
func (c *call) resource(r resourceID) {
	if r.namespace != "" {
		if err := knownKind(r.namespace, r.types, c.r.URL.Query().Get("api-version")); err != nil {
			c.fail(err)
			return
		}
	}
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		d, ok := c.store.Get(r.String())
		if !ok {
			c.fail(notFound(r))
			return
		}
		c.json(200, c.view(d))
	case http.MethodPut, http.MethodPatch:
		c.write(r)
	case http.MethodDelete:
		c.delete(r)
	default:
		c.w.Header().Set("Allow", "GET, HEAD, PUT, PATCH, DELETE")
		c.fail(refuse(405, "MethodNotAllowed", "The requested resource does not support http method '%s'.", c.r.Method))
	}
}

// view leaves out what ARM shows only when asked to expand it.
func (c *call) view(d Doc) Doc {
	if kindOf(d) == "microsoft.compute/virtualmachinescalesets/virtualmachines" &&
		!strings.Contains(strings.ToLower(c.r.URL.Query().Get("$expand")), "instanceview") {
		delete(props(d), "instanceView")
	}
	return d
}

const maxBody = 4 << 20

func (c *call) body() (Doc, error) {
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	if err != nil {
		return nil, refuse(413, "RequestContentTooLarge", "The request content is larger than %d bytes: %v.", maxBody, err)
	}
	d := Doc{}
	if err := json.Unmarshal(text, &d); err != nil || d == nil {
		return nil, refuse(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%v'.", err)
	}
	return d, nil
}

func (c *call) write(r resourceID) {
	d, err := c.body()
	if err != nil {
		c.fail(err)
		return
	}
	old, existed := c.store.Get(r.String())
	if err := precondition(c.r.Header, r, old, existed); err != nil {
		c.fail(err)
		return
	}
	created := false
	if c.r.Method == http.MethodPatch {
		d, err = c.store.Merge(r.String(), d)
	} else {
		d, created, err = c.store.put(r.String(), d)
	}
	if err != nil {
		c.fail(err)
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	if asynchronous(r) && c.r.Method == http.MethodPut {
		props(d)["provisioningState"] = "Updating"
		c.begin(r, nil, false)
	}
	c.json(status, c.view(d))
}

// precondition honours If-Match and If-None-Match.
func precondition(h http.Header, r resourceID, old Doc, existed bool) error {
	if h.Get("If-None-Match") == "*" && existed {
		return refuse(412, "PreconditionFailed", "Precondition failed: resource %s exists already.", r)
	}
	want := h.Get("If-Match")
	if want == "" || (want == "*" && existed) || (existed && want == Str(old, "etag")) {
		return nil
	}
	e := refuse(412, "PreconditionFailed", "Precondition failed.")
	e.Details = []Error{{Code: "PreconditionFailedEtagMismatch", Message: fmt.Sprintf(
		"Etag provided in if-match header %s does not match etag %s of resource %s in NRP data store.", want, Str(old, "etag"), r)}}
	return e
}

func (c *call) delete(r resourceID) {
	d, ok := c.store.Get(r.String())
	if !ok {
		c.w.WriteHeader(http.StatusNoContent)
		return
	}
	if err := precondition(c.r.Header, r, d, true); err != nil {
		c.fail(err)
		return
	}
	if err := c.store.Delete(r.String()); err != nil {
		c.fail(err)
		return
	}
	if asynchronous(r) {
		c.begin(r, nil, true)
		c.w.WriteHeader(http.StatusAccepted)
		return
	}
	c.w.WriteHeader(http.StatusOK)
}

// base is the server's own address as the client knows it.
func (c *call) base() string {
	scheme := "https"
	if c.r.TLS == nil {
		scheme = "http"
	}
	return scheme + "://" + c.r.Host
}

func (c *call) json(status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		status, text = 500, []byte(`{"error":{"code":"InternalServerError","message":"the answer cannot be encoded"}}`)
	}
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		_, _ = c.w.Write(text) // a client that left is no fault
	}
}

// fail answers with ARM's error body.
func (c *call) fail(err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Status: 500, Code: "InternalServerError", Message: err.Error()}
	}
	inner := Doc{"code": e.Code, "message": e.Message}
	if e.Details != nil || e.Code == "NotFound" {
		details := []any{}
		for _, d := range e.Details {
			details = append(details, Doc{"code": d.Code, "message": d.Message})
		}
		inner["details"] = details
	}
	if e.Status == http.StatusNotFound {
		c.w.Header().Set("X-Ms-Failure-Cause", "gateway")
	}
	c.json(e.Status, Doc{"error": inner})
}

// query is the request's own query with one value altered.
func (c *call) query(key, value string) string {
	q := url.Values{}
	for k, v := range c.r.URL.Query() {
		q[k] = v
	}
	q.Set(key, value)
	return q.Encode()
}
