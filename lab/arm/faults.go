package arm

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// FaultPath is where faults are read (GET), set (PUT, a list) and cleared (DELETE) over HTTP.
const FaultPath = "/podpath-lab/faults"

// Fault makes the server answer badly. It hits the requests that Match names:
// "GET *networkSecurityGroups*", "PUT */routeTables/*", "* *"; a star stands for
// anything, case does not matter, and a path alone is for every method.
type Fault struct {
	Match      string `json:"match"`
	Status     int    `json:"status,omitempty"`
	Code       string `json:"code,omitempty"`    // of the error body; default by status
	Message    string `json:"message,omitempty"` // the same
	Action     string `json:"action,omitempty"`  // that a 403 names; default by the request
	Times      int    `json:"times,omitempty"`   // after so many it is over; 0: for good
	RetryAfter string `json:"retryAfter,omitempty"`
	Hang       bool   `json:"hang,omitempty"`  // never answer
	Delay      string `json:"delay,omitempty"` // answer rightly, but later ("2s")
	Body       string `json:"body,omitempty"`  // answer these bytes, whatever they are
}

type faultList struct {
	mu   sync.Mutex
	list []*fault
}

type fault struct {
	Fault
	left int // -1: for good
}

// SetFaults replaces the faults in force. None ends them all.
func (s *Server) SetFaults(list []Fault) error {
	var next []*fault
	for i, f := range list {
		if f.Match == "" || (f.Status == 0 && !f.Hang && f.Delay == "" && f.Body == "") {
			return fmt.Errorf("faults[%d]: match and one of status, hang, delay, body are needed", i)
		}
		if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
			return fmt.Errorf("faults[%d].status: %d is not from 200 to 599", i, f.Status)
		}
		for _, d := range []string{f.Delay, f.RetryAfter} {
			if _, err := seconds(d); err != nil {
				return fmt.Errorf("faults[%d]: %w", i, err)
			}
		}
		left := f.Times
		if left <= 0 {
			left = -1
		}
		next = append(next, &fault{Fault: f, left: left})
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = next
	return nil
}

// Faults are those in force.
func (s *Server) Faults() []Fault {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	out := []Fault{}
	for _, f := range s.faults.list {
		if f.left != 0 {
			out = append(out, f.Fault)
		}
	}
	return out
}

// seconds reads "2s" or "2".
func seconds(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is no duration; write 2s or 500ms", text)
	}
	return d, nil
}

// take finds the first fault for a request and uses it up.
func (l *faultList) take(method, requested string) (Fault, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.list {
		if f.left == 0 || !matches(f.Match, method, requested) {
			continue
		}
		if f.left > 0 {
			f.left--
		}
		return f.Fault, true
	}
	return Fault{}, false
}

// matches compares a request with a Match. Slashes are as good as any letter to a star.
func matches(match, method, requested string) bool {
	verb, glob, ok := strings.Cut(strings.TrimSpace(match), " ")
	if !ok {
		verb, glob = "*", verb
	}
	if verb != "*" && !strings.EqualFold(verb, method) {
		return false
	}
	flat := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "/", "\x00") }
	hit, err := path.Match(flat(strings.TrimSpace(glob)), flat(requested))
	return err == nil && hit
}

// fault answers a request that a fault is for; false means go on.
func (s *Server) fault(c *call) bool {
	f, ok := s.faults.take(c.r.Method, c.path)
	if !ok {
		return false
	}
	if f.Hang {
		c.wait(0)
		panic(http.ErrAbortHandler) // the connection goes, without an answer
	}
	if d, _ := seconds(f.Delay); d > 0 && !c.wait(d) {
		panic(http.ErrAbortHandler)
	}
	if d, _ := seconds(f.RetryAfter); f.RetryAfter != "" {
		c.w.Header().Set("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))
	}
	if f.Body != "" {
		status := f.Status
		if status == 0 {
			status = 200
		}
		c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
		if strings.HasPrefix(strings.TrimSpace(f.Body), "<") {
			c.w.Header().Set("Content-Type", "text/html")
		}
		c.w.WriteHeader(status)
		_, _ = io.WriteString(c.w, f.Body)
		return true
	}
	if f.Status == 0 {
		return false
	}
	c.fail(f.error(c))
	return true
}

// wait lasts until a time has passed (false when the client or the server went before), or for ever.
func (c *call) wait(d time.Duration) bool {
	var timer <-chan time.Time
	if d > 0 {
		timer = time.After(d)
	}
	select {
	case <-timer:
		return true
	case <-c.r.Context().Done():
	case <-c.done:
	}
	return false
}

// error is the body that ARM gives with a status.
func (f Fault) error(c *call) *Error {
	e := &Error{Status: f.Status}
	switch f.Status {
	case 401:
		e.Code, e.Message = "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time."
		c.challenge(e.Message)
	case 403:
		e.Code = "AuthorizationFailed"
		e.Message = fmt.Sprintf("The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. "+
			"If access was recently granted, please refresh your credentials.", c.opts.ClientID, objectID, f.action(c), c.path)
	case 404:
		e.Code, e.Message = "ResourceNotFound", fmt.Sprintf("The Resource '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", c.path)
	case 409:
		e.Code, e.Message = "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: "+c.base()+c.path+"."
	case 429:
		e.Code, e.Message = "TooManyRequests", "The request is being throttled as the limit has been reached for operation type - Read_ObservationWindow_00:05:00. For more information, see - https://aka.ms/srpthrottlinglimits"
		if c.w.Header().Get("Retry-After") == "" {
			c.w.Header().Set("Retry-After", "1")
		}
	case 503:
		e.Code, e.Message = "ServiceUnavailable", "The service is unavailable."
	case 504:
		e.Code, e.Message = "GatewayTimeout", "The gateway did not receive a response from the resource provider within the specified time period."
	default:
		e.Code, e.Message = "InternalServerError", "The server encountered an internal error. Please retry the request."
	}
	if f.Code != "" {
		e.Code = f.Code
	}
	if f.Message != "" {
		e.Message = f.Message
	}
	return e
}

// action is the permission that a request needs: Microsoft.Network/networkSecurityGroups/read.
func (f Fault) action(c *call) string {
	if f.Action != "" {
		return f.Action
	}
	verb := map[string]string{http.MethodGet: "read", http.MethodHead: "read", http.MethodDelete: "delete", http.MethodPost: "action"}[c.r.Method]
	if verb == "" {
		verb = "write"
	}
	_, rest, ok := cutLast(c.path, "/providers/")
	if !ok {
		return "Microsoft.Resources/subscriptions/resourceGroups/" + verb
	}
	kind := ""
	for i, seg := range strings.Split(rest, "/") {
		if i == 0 || i%2 == 1 {
			kind += seg + "/"
		}
	}
	kind = strings.TrimSuffix(kind, "/")
	if known, ok := kinds[strings.ToLower(kind)]; ok {
		kind = known
	}
	return kind + "/" + verb
}

// faultControl is FaultPath.
func (c *call) faultControl() {
	switch c.r.Method {
	case http.MethodGet:
	case http.MethodDelete:
		_ = c.SetFaults(nil) // none cannot be wrong
	case http.MethodPut, http.MethodPost:
		var list []Fault
		d := json.NewDecoder(io.LimitReader(c.r.Body, maxBody))
		d.DisallowUnknownFields()
		err := d.Decode(&list)
		if err == nil {
			err = c.SetFaults(list)
		}
		if err != nil {
			c.fail(refuse(400, "InvalidFault", "A list of faults is wanted: %v.", err))
			return
		}
	default:
		c.fail(refuse(405, "MethodNotAllowed", "Faults are read by GET, set by PUT and cleared by DELETE."))
		return
	}
	c.json(200, c.Faults())
}
