package model

import (
	"net/netip"
	"time"
)

// Vantage is the place from which a probe was sent.
type Vantage string

// The five vantage points. Where the answers part is where the fault lies.
const (
	VantagePod       Vantage = "pod"        // the failing pod's own network namespace
	VantagePeer      Vantage = "peer-pod"   // another pod on the same node
	VantageNode      Vantage = "node"       // the pod's node (host network)
	VantageOtherNode Vantage = "other-node" // a pod on another node
	VantageHere      Vantage = "here"       // the machine podpath runs on
)

// Reason is the typed outcome of a probe or of one phase of it; empty means not tried.
type Reason string

// Outcomes. Each says in which phase and how; never a bare "failed".
const (
	OK              Reason = "ok"
	Refused         Reason = "refused"        // RST to the SYN
	Reset           Reason = "reset"          // RST after the connection stood; Phase says after what
	Closed          Reason = "closed"         // FIN where an answer was due
	TimedOut        Reason = "timeout"        // nothing came; the phase says where
	Unreachable     Reason = "unreachable"    // ICMP or local "no route to host"
	NoRoute         Reason = "no-route"       // ENETUNREACH: the sender itself has no route
	AddrNotAvail    Reason = "addr-not-avail" // EADDRNOTAVAIL: the sender's own ephemeral ports
	NotPermitted    Reason = "not-permitted"  // EPERM: a local packet filter or BPF program
	NXDomain        Reason = "nxdomain"       // the name does not exist
	NoData          Reason = "nodata"         // the name exists, not with this type
	ServFail        Reason = "servfail"       // the resolver could not find out
	DNSRefused      Reason = "dns-refused"    // REFUSED
	CertExpired     Reason = "cert-expired"
	CertNotYetValid Reason = "cert-not-yet-valid"
	CertSelfSigned  Reason = "cert-self-signed"
	CertUnknownCA   Reason = "cert-unknown-ca"       // a chain that ends at a CA that is not trusted
	CertIncomplete  Reason = "cert-incomplete-chain" // the intermediate is not sent
	CertWrongName   Reason = "cert-wrong-name"
	TLSAlert        Reason = "tls-alert"    // the far side sent an alert; Detail names it
	HTTPStatus      Reason = "http-status"  // an HTTP answer other than 2xx and 3xx
	BadAnswer       Reason = "bad-answer"   // what answered does not speak the protocol; Detail shows how it began
	ProbeFailed     Reason = "probe-failed" // the probe could not be sent; says nothing about the flow
)

// Phase is one step of a probe with how long it took and how it ended.
type Phase struct {
	Name     string        `json:"name"` // dns, tcp, proxy, tls, http
	Result   Reason        `json:"result"`
	Duration time.Duration `json:"duration"`         // nanoseconds
	Detail   string        `json:"detail,omitempty"` // the error's own words, cleaned
	Lost     int           `json:"lost,omitempty"`   // packets of it that the sender's kernel sent again, or saw come out of order
}

// DNSQuery is one query that was really sent.
type DNSQuery struct {
	Name      string         `json:"name"`
	Type      string         `json:"type"` // A or AAAA
	Server    netip.AddrPort `json:"server"`
	Transport string         `json:"transport"` // udp or tcp
	Result    Reason         `json:"result"`
	Answers   []string       `json:"answers,omitempty"` // addresses and CNAMEs, in order
	Duration  time.Duration  `json:"duration"`
}

// Cert is what podpath keeps of a certificate that was shown.
type Cert struct {
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	Names      []string  `json:"names,omitempty"`
	NotBefore  time.Time `json:"notBefore"`
	NotAfter   time.Time `json:"notAfter"`
	SelfSigned bool      `json:"selfSigned,omitempty"`
}

// HTTPAnswer is what came back on HTTP, and who is likely to have sent it.
type HTTPAnswer struct {
	Status   int               `json:"status"`
	Header   map[string]string `json:"header,omitempty"` // Server, Via, Date, Retry-After, WWW-/Proxy-Authenticate, X-Squid-Error, …
	Body     string            `json:"body,omitempty"`   // the first 512 bytes, cleaned
	Answered string            `json:"answered"`         // origin, proxy, firewall, unknown
}

// Observation is the outcome of one probe from one place to one address.
type Observation struct {
	Vantage  Vantage        `json:"vantage"`
	From     Ref            `json:"from"`             // the pod or node it was sent from
	Node     string         `json:"node,omitempty"`   // the node it was sent from, when it is one
	Via      string         `json:"via,omitempty"`    // ephemeral, twin, pod, host-pod, exec, local
	Target   string         `json:"target"`           // as asked: "https://api.example.com"
	Address  netip.AddrPort `json:"address,omitzero"` // what was connected to
	Proxy    string         `json:"proxy,omitempty"`  // proxy URL that was used, without credentials
	Phases   []Phase        `json:"phases,omitempty"`
	Queries  []DNSQuery     `json:"queries,omitempty"`
	Resolver *Resolver      `json:"resolver,omitempty"` // what the sender's resolv.conf says, where a name was looked up with it
	Certs    []Cert         `json:"certs,omitempty"`
	Trust    string         `json:"trust,omitempty"` // the CA bundle that judged the certificate: whose and which file; "none": it was not judged
	HTTP     *HTTPAnswer    `json:"http,omitempty"`
	Result   Reason         `json:"result"`           // of the first phase that failed, or OK
	Failed   string         `json:"failed,omitempty"` // the name of that phase
	Detail   string         `json:"detail,omitempty"`
	Local    netip.AddrPort `json:"local,omitzero"`  // source address of the connection, as the sender saw it
	Bytes    int64          `json:"bytes,omitempty"` // body bytes received
	Clock    time.Duration  `json:"clock,omitempty"` // sender's clock minus the answer's Date header, when known
	Took     time.Duration  `json:"took"`
	Purpose  string         `json:"purpose,omitempty"` // "question", or what it controls for: "control:other-port", "control:other-sni", "control:large-body", "dns-server"
	Sample   bool           `json:"sample,omitempty"`  // the first failure of its kind in a series; the others are tries
}

// PhaseOf returns the named phase, or nil.
func (o *Observation) PhaseOf(name string) *Phase {
	for i := range o.Phases {
		if o.Phases[i].Name == name {
			return &o.Phases[i]
		}
	}
	return nil
}

// Case is everything that a diagnosis reads. It is what a snapshot holds and what a test fixture is.
type Case struct {
	Version      int           `json:"version"`
	Question     Question      `json:"question"`
	Asked        time.Time     `json:"asked"` // when it was collected; diagnosis has no clock of its own
	World        World         `json:"world"`
	Paths        []Path        `json:"paths,omitempty"`  // one per destination address that matters; the first is the question's
	Lookup       *Lookup       `json:"lookup,omitempty"` // the predicted way of the question's name; nil: it has none
	Observations []Observation `json:"observations,omitempty"`
	Notes        []string      `json:"notes,omitempty"`    // what podpath did and left behind, for the report's foot
	Tries        []Try         `json:"tries,omitempty"`    // where the question was asked again and again
	Behind       []Try         `json:"behind,omitempty"`   // what the asked pods send requests on to, tried by itself: no part of Tries
	Beside       []Try         `json:"beside,omitempty"`   // other destinations of the same series, from the question's own place: no part of Tries
	Watched      bool          `json:"watched,omitempty"`  // a series was asked for: without Tries, none could be sent
	Noise        []Noise       `json:"noise,omitempty"`    // of those who asked
	Readings     []Reading     `json:"readings,omitempty"` // of levels, while they asked
	More         bool          `json:"more,omitempty"`     // the tries are the few that stand beside a single question
	Happened     []Event       `json:"happened,omitempty"` // in the cluster, while they did
}
