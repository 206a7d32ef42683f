package arm

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// operations are the long-running ones. What they do is done already when they
// begin; they only say so later.
type operations struct {
	mu   sync.Mutex
	runs map[string]run
}

type run struct {
	began   time.Time
	result  any // of a POST
	deleted bool
}

const maxRuns = 1000

// asynchronous says which types are changed by long-running operations.
func asynchronous(r resourceID) bool {
	kind := strings.ToLower(r.kind())
	if strings.HasPrefix(kind, "microsoft.network/privatednszones/") {
		return kind == "microsoft.network/privatednszones/virtualnetworklinks"
	}
	for _, p := range []string{"microsoft.network/", "microsoft.containerservice/", "microsoft.compute/"} {
		if strings.HasPrefix(kind, p) {
			return true
		}
	}
	return false
}

// begin starts an operation and tells the client where to ask for it. A
// DELETE's and a POST's end is at Location, too.
func (c *call) begin(r resourceID, result any, location bool) {
	id := newGUID()
	c.ops.mu.Lock()
	if c.ops.runs == nil || len(c.ops.runs) >= maxRuns {
		c.ops.runs = map[string]run{}
	}
	c.ops.runs[id] = run{began: c.opts.Now(), result: result, deleted: result == nil && location}
	c.ops.mu.Unlock()
	at := c.base() + "/subscriptions/" + plan.Subscription + "/providers/" + r.namespace + "/locations/" + plan.Location
	version := "?api-version=" + c.r.URL.Query().Get("api-version")
	h := c.w.Header()
	h.Set("Azure-AsyncOperation", at+"/operations/"+id+version)
	if location {
		h.Set("Location", at+"/operationResults/"+id+version)
	}
	if c.opts.Operation > 0 {
		h.Set("Retry-After", "1")
	}
}

// operation answers a poll: of the status, or (result) of what came out.
func (c *call) operation(id string, result bool) {
	c.ops.mu.Lock()
	o, ok := c.ops.runs[id]
	c.ops.mu.Unlock()
	if !ok {
		c.fail(refuse(404, "OperationNotFound", "The operation '%s' was not found.", id))
		return
	}
	running := c.opts.Now().Sub(o.began) < c.opts.Operation
	if running {
		c.w.Header().Set("Retry-After", "1")
	}
	switch {
	case result && running:
		c.w.Header().Set("Location", c.base()+c.r.URL.RequestURI())
		c.w.WriteHeader(http.StatusAccepted)
	case result && o.deleted:
		c.w.WriteHeader(http.StatusNoContent)
	case result:
		c.json(200, o.result)
	case running:
		c.json(200, Doc{"status": "InProgress"})
	case o.result != nil:
		c.json(200, Doc{"status": "Succeeded", "properties": o.result})
	default:
		c.json(200, Doc{"status": "Succeeded"})
	}
}
