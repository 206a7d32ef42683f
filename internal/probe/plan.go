// Package probe finds out how far a connection gets: it resolves, connects,
// shakes hands and asks as the application would, from the network namespace it
// runs in, and says in which phase and how each attempt ended. Its outcome is a
// typed reason, never a bool.
//
// It needs no privilege. What it meets is hostile: every read is bounded, and
// names, banners and certificate fields are cleaned before they are kept.
package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Plan is what one vantage point is asked to do. It travels as JSON to the
// probe binary.
type Plan struct {
	Targets    []Target      `json:"targets"`
	Timeouts   Timeouts      `json:"timeouts,omitzero"`    // for every target; zero: the defaults
	Limit      time.Duration `json:"limit,omitempty"`      // of the whole plan; what is not done by then is told as far as it came
	ExtraRoots string        `json:"extraRoots,omitempty"` // PEM, trusted beside the bundle that is found
	CAFiles    []string      `json:"caFiles,omitempty"`    // bundles of the application's own file system, tried before the usual ones
	NoTrust    bool          `json:"noTrust,omitempty"`    // judge no certificate: this place does not know what the application trusts
	Series     *Series       `json:"series,omitempty"`     // for the verb that repeats
	Beside     []Target      `json:"beside,omitempty"`     // other destinations, which the series alone tries, as often as the question

	Look func(of string) []model.Level `json:"-"` // reads the levels that Series.Levels names; nil: they are not read
}

// Target is one thing to reach.
type Target struct {
	Label    string `json:"label"`              // as asked; Observation.Target
	Purpose  string `json:"purpose,omitempty"`  // "question", "control:other-port", …
	When     When   `json:"when,omitempty"`     // only if the question ends so
	Protocol string `json:"protocol,omitempty"` // tcp (default), udp, dns (resolve only)
	Scheme   string `json:"scheme,omitempty"`   // http, https, tls, "" (connect only)
	Host     string `json:"host"`               // name or literal address; literals are not resolved
	Port     uint16 `json:"port,omitempty"`

	ServerName string           `json:"serverName,omitempty"` // SNI and Host header; default Host
	NoSNI      bool             `json:"noSNI,omitempty"`      // shake hands without naming a server
	Address    netip.Addr       `json:"address,omitzero"`     // pins the address; nothing is resolved
	SameAddr   bool             `json:"sameAddr,omitempty"`   // connect to the address that the question got; skipped if it got none
	Resolvers  []netip.AddrPort `json:"resolvers,omitempty"`  // ask these servers, the name as it is, instead of resolv.conf's
	Proxy      string           `json:"proxy,omitempty"`      // URL of an HTTP proxy, credentials included
	Method     string           `json:"method,omitempty"`     // GET (default) or HEAD
	Path       string           `json:"path,omitempty"`       // with query; default "/"
	Padding    int              `json:"padding,omitempty"`    // bytes of an extra request header: to fill whole packets
	MSS        int              `json:"mss,omitempty"`        // TCP segment size that is announced: to stay below a path's MTU
	MaxBody    int64            `json:"maxBody,omitempty"`    // bytes read of an answer's body
	MaxAddrs   int              `json:"maxAddrs,omitempty"`   // addresses tried of a name
	Timeouts   Timeouts         `json:"timeouts,omitzero"`    // zero fields: the plan's
}

// When says on which course of the question a target is tried. A target that
// waits for trouble also starts when the question has hung for HedgeAfter, so
// that two time-outs run side by side and not one after the other.
type When string

// The conditions of a target.
const (
	Always     When = ""
	WhenOK     When = "ok"     // every phase of the question passed
	WhenFailed When = "failed" // in any phase
	WhenDNS    When = "dns"    // in that phase
	WhenTCP    When = "tcp"
	WhenTLS    When = "tls"
	WhenHTTP   When = "http"
	WhenStall  When = "stall" // a time-out after the connection stood
)

// Purposes that the planner gives and diagnoses read.
const (
	PurposeQuestion     = "question"
	PurposeDirect       = "control:direct"        // past the proxy that the application uses
	PurposeViaProxy     = "control:via-proxy"     // through the proxy that the application does not use
	PurposeOtherPort    = "control:other-port"    // same address, another usual port
	PurposeOtherSNI     = "control:other-sni"     // same address and port, another server name
	PurposeNoSNI        = "control:no-sni"        // same address and port, no server name
	PurposeOtherHost    = "control:other-host"    // another host that should be reachable
	PurposeSmallMSS     = "control:small-mss"     // the same with small packets
	PurposeLargeRequest = "control:large-request" // the same with full packets on the way out
	PurposeClusterDNS   = "control:cluster-dns"   // a name that the cluster's own DNS must know
	PurposeByName       = "control:by-name"       // the question without the address that it pins
	PurposeDNSTCP       = "control:dns-tcp"       // TCP to the DNS server
	PurposeEndpoint     = "control:endpoint"      // one endpoint of the Service, past the Service
	PurposeBehind       = "control:behind"        // a Service to which the asked pods send requests on
	PurposeBeside       = "beside"                // another destination of a series, to be compared with the question's
	PurposeDNSServer    = "dns-server"            // the question's name at one server
	PurposeDNSPod       = "control:dns-pod"       // a name of the cluster at one of its DNS pods
	PurposeRecheck      = "recheck:counters"      // the question again, between two readings of the node's counters
)

// Timeouts bound each phase. The TCP limit must stay above 3.1 s: a neighbour
// that is dead answers "no route to host" after 3.02 to 3.09 s, and a shorter
// limit would make it look like a silent drop.
type Timeouts struct {
	DNS  time.Duration `json:"dns,omitempty"`  // all queries of one name together
	TCP  time.Duration `json:"tcp,omitempty"`  // connect
	TLS  time.Duration `json:"tls,omitempty"`  // handshake, and a proxy's answer to CONNECT
	HTTP time.Duration `json:"http,omitempty"` // until the answer's header
	Body time.Duration `json:"body,omitempty"` // silence within a body
	UDP  time.Duration `json:"udp,omitempty"`  // until the answer to a datagram
}

// DefaultTimeouts are those of a plan that says nothing.
var DefaultTimeouts = Timeouts{
	DNS: 5 * time.Second, TCP: 3300 * time.Millisecond, TLS: 3500 * time.Millisecond,
	HTTP: 6 * time.Second, Body: 2500 * time.Millisecond, UDP: 1500 * time.Millisecond,
}

// twoSYNs is the connect limit of controls, and of the question from other
// places: long enough for a first packet that is lost. Only the question from the
// pod itself must tell a dead neighbour from a filter.
const twoSYNs = 1400 * time.Millisecond

// elsewhere are the limits of the question from other places.
var elsewhere = Timeouts{DNS: 3 * time.Second, TCP: twoSYNs, TLS: 2500 * time.Millisecond}

// HedgeAfter is how long the question may hang before the targets that wait for trouble start.
const HedgeAfter = 700 * time.Millisecond

// Bounds of one plan: what a caller may ask of a probe.
const (
	maxTargets     = 64
	parallel       = 12
	defaultMaxBody = 64 << 10
	maxMaxBody     = 1 << 20
	defaultAddrs   = 4
	maxAddrs       = 16
	maxPlanBytes   = 4 << 20
	maxTimeout     = time.Minute
	defaultLimit   = 20 * time.Second
)

func (t Timeouts) or(d Timeouts) Timeouts {
	pick := func(a *time.Duration, b time.Duration) {
		if *a <= 0 {
			*a = b
		}
		*a = min(*a, maxTimeout)
	}
	pick(&t.DNS, d.DNS)
	pick(&t.TCP, d.TCP)
	pick(&t.TLS, d.TLS)
	pick(&t.HTTP, d.HTTP)
	pick(&t.Body, d.Body)
	pick(&t.UDP, d.UDP)
	return t
}

// ReadPlan reads one plan. It does not wait for the end of the stream: the far
// side of an exec cannot always close it.
func ReadPlan(r io.Reader) (Plan, error) {
	var p Plan
	d := json.NewDecoder(io.LimitReader(r, maxPlanBytes))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		if errors.Is(err, io.EOF) {
			return p, errors.New("plan: nothing on standard input; give a plan as JSON: {\"targets\": [{\"label\": \"https://example.com\", \"host\": \"example.com\", \"port\": 443, \"scheme\": \"https\"}]}")
		}
		return p, fmt.Errorf("plan: %w", err)
	}
	return p, p.Validate()
}

// Validate refuses what cannot be probed.
func (p *Plan) Validate() error {
	if len(p.Targets) > maxTargets {
		return fmt.Errorf("plan: %d targets; one plan holds at most %d", len(p.Targets), maxTargets)
	}
	for i := range p.Targets {
		if err := p.Targets[i].validate(); err != nil {
			return fmt.Errorf("plan: targets[%d]: %w", i, err)
		}
	}
	if len(p.Beside) > MaxBeside {
		return fmt.Errorf("plan: %d destinations beside the question; one plan holds at most %d", len(p.Beside), MaxBeside)
	}
	for i := range p.Beside {
		if err := p.Beside[i].validate(); err != nil {
			return fmt.Errorf("plan: beside[%d]: %w", i, err)
		}
	}
	if p.Series != nil {
		return p.Series.validate()
	}
	return nil
}

func (t *Target) validate() error {
	switch t.Protocol {
	case "", "tcp", "udp", "dns":
	default:
		return fmt.Errorf("protocol %q is none of tcp, udp, dns", t.Protocol)
	}
	switch t.Scheme {
	case "", "http", "https", "tls":
	default:
		return fmt.Errorf("scheme %q is none of http, https, tls", t.Scheme)
	}
	if t.Host == "" && !t.Address.IsValid() && !t.SameAddr {
		return errors.New("neither host nor address")
	}
	for what, name := range map[string]string{"host": t.Host, "serverName": t.ServerName} {
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' || r == '@' }) || len(name) > 255 {
			return fmt.Errorf("%s %q is not a host name", what, clean(name, 80))
		}
	}
	if t.Port == 0 && t.Protocol != "dns" {
		return errors.New("no port")
	}
	switch t.Method {
	case "", "GET", "HEAD":
	default:
		return fmt.Errorf("method %q: a probe only uses GET and HEAD", clean(t.Method, 20))
	}
	if strings.ContainsFunc(t.Path, func(r rune) bool { return r <= ' ' || r == 0x7f }) || (t.Path != "" && t.Path[0] != '/') {
		return fmt.Errorf("path %q must start with / and hold no space", clean(t.Path, 80))
	}
	if t.Padding < 0 || t.Padding > 16<<10 || t.MSS < 0 || t.MSS > 65495 || t.MaxBody < 0 || t.MaxAddrs < 0 {
		return errors.New("a size is out of range")
	}
	return nil
}

// filled is the target with every default in place.
func (t Target) filled(p *Plan) Target {
	late := t.When != Always && t.Timeouts.TCP == 0
	t.Timeouts = t.Timeouts.or(p.Timeouts.or(DefaultTimeouts))
	if late {
		t.Timeouts.TCP = min(t.Timeouts.TCP, twoSYNs)
	}
	if t.Protocol == "" {
		t.Protocol = "tcp"
	}
	if t.Method == "" {
		t.Method = "GET"
	}
	if t.Path == "" {
		t.Path = "/"
	}
	if t.MaxBody == 0 {
		t.MaxBody = defaultMaxBody
	}
	t.MaxBody = min(t.MaxBody, maxMaxBody)
	if t.MaxAddrs == 0 {
		t.MaxAddrs = defaultAddrs
	}
	t.MaxAddrs = min(t.MaxAddrs, maxAddrs)
	if t.ServerName == "" {
		t.ServerName = t.Host
	}
	if t.Label == "" {
		t.Label = t.Protocol + "://" + net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port)))
	}
	return t
}

// secure says whether the target speaks TLS.
func (t *Target) secure() bool { return t.Scheme == "https" || t.Scheme == "tls" }

// asks says whether the target sends an HTTP request.
func (t *Target) asks() bool { return t.Scheme == "https" || t.Scheme == "http" }
