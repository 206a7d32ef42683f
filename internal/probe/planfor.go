package probe

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Facts is what the planner may know beyond the question. All of it is optional.
type Facts struct {
	Addrs         []netip.Addr      // where the question leads, when that is known without DNS: a Service's addresses, a pod's
	Port          uint16            // when the question names none
	Env           map[string]string // variables of the application's container
	Proxy         string            // a proxy that the cluster prescribes and the application does not use
	Others        []string          // host:port of other places that should be reachable, the surest first
	ClusterDomain string            // default cluster.local
	NoClusterDNS  bool              // the pod does not ask the cluster's DNS
	Backends      []netip.AddrPort  // the endpoints of the Service that is asked for: each is tried by itself
	Behind        []Behind          // what the asked pods seem to send requests on to
	DNSServers    []netip.Addr      // servers to ask one by one: CoreDNS pods, the VNet's DNS
	ExtraRoots    string            // PEM that the user gave
	Timeouts      Timeouts
	Patient       bool // endpoints may take as long to answer as the Service; else they are given up sooner, for a single question is to be short
}

// maxBackends bounds how many endpoints of a Service are tried one by one, and
// endpointLimit how long each may take; they are tried side by side.
const (
	maxBackends    = 16
	endpointLimit  = 1400 * time.Millisecond
	endpointAnswer = 2500 * time.Millisecond
)

// maxOthers bounds the control hosts: a probe is no port scan.
const maxOthers = 2

// PlanFor plans what the failing pod is asked to try: the question as the
// application would ask it, and controls that part one cause from another. Most
// of them wait for trouble.
func PlanFor(q model.Question, f Facts) Plan {
	base := questionTarget(q, f)
	p := Plan{Timeouts: f.Timeouts, ExtraRoots: f.ExtraRoots, CAFiles: caFiles(f.Env)}
	if base.Host == "" && !base.Address.IsValid() {
		if q.To.Kind != "internet" {
			return p // a pod without an address: there is nothing to try, and other hosts do not stand for it
		}
		for _, o := range others(f, "", 0) {
			o.Purpose, o.When = PurposeQuestion, Always
			p.Targets = append(p.Targets, o)
		}
		return p
	}
	asked := base
	asked.Proxy = ProxyFor(f.Env, base.Scheme, base.Host, base.Port)
	p.Targets = append(p.Targets, asked)
	switch {
	case asked.Proxy != "":
		p.Targets = append(p.Targets, base.as(PurposeDirect, WhenFailed))
	case f.Proxy != "" && base.Scheme != "":
		via := base.as(PurposeViaProxy, WhenFailed)
		via.Proxy = f.Proxy
		p.Targets = append(p.Targets, via)
	}
	if asked.Protocol == "tcp" && asked.Proxy == "" {
		p.Targets = append(p.Targets, sameAddress(base, f)...)
	}
	if asked.Protocol == "tcp" {
		for _, a := range f.Backends[:min(len(f.Backends), maxBackends)] {
			p.Targets = append(p.Targets, endpointTarget(base, a, f.Patient))
		}
	}
	for _, b := range f.Behind {
		if asked.Proxy == "" && base.asks() {
			p.Targets = append(p.Targets, behindTarget(base, b, f))
		}
	}
	if isName(base.Host) {
		p.Targets = append(p.Targets, dnsControls(base, f)...)
	}
	if isName(base.Host) && base.Address.IsValid() && q.Address.IsValid() {
		named := base.as(PurposeByName, WhenFailed)
		named.Address = netip.Addr{}
		p.Targets = append(p.Targets, named)
	}
	p.Targets = append(p.Targets, others(f, base.Host, base.Port)...)
	return p
}

// endpointTarget asks one endpoint as the Service is asked: one that takes
// connections may still answer none.
func endpointTarget(base Target, a netip.AddrPort, patient bool) Target {
	t := base.as(PurposeEndpoint, Always)
	t.Label, t.Address, t.Port = a.String(), a.Addr(), a.Port()
	t.Timeouts = Timeouts{TCP: endpointLimit}
	if !patient {
		t.Timeouts.TLS, t.Timeouts.HTTP, t.Timeouts.Body = endpointAnswer, endpointAnswer, endpointAnswer
	}
	if !isName(t.Host) {
		t.Host = a.Addr().String()
	}
	return t
}

// Behind is a Service to which a proxy sends requests on.
type Behind struct {
	Service model.Ref
	Port    uint16
}

// behindTarget asks what lies behind a proxy as the proxy is asked.
func behindTarget(base Target, b Behind, f Facts) Target {
	t := base.as(PurposeBehind, Always)
	t.Host, t.Port, t.Address, t.Scheme = b.Service.Part(1)+"."+b.Service.Part(0)+".svc."+clusterDomain(f)+".", b.Port, netip.Addr{}, "http"
	if b.Port == 443 {
		t.Scheme = "https"
	}
	t.Label = string(b.Service)
	t.Timeouts = Timeouts{TCP: endpointLimit, TLS: endpointAnswer, HTTP: endpointAnswer, Body: endpointAnswer}
	return t
}

// as is the same target for another purpose.
func (t Target) as(purpose string, w When) Target {
	t.Purpose, t.When, t.Proxy = purpose, w, ""
	return t
}

func isName(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err != nil && host != ""
}

// questionTarget is the question itself, without a proxy.
func questionTarget(q model.Question, f Facts) Target {
	to := q.To
	t := Target{
		Label: to.Raw, Purpose: PurposeQuestion, Protocol: q.Protocol, Host: to.Host, Port: to.Port,
		ServerName: q.Host, Address: q.Address, Path: to.Path,
	}
	if t.Protocol == "" {
		t.Protocol = "tcp"
	}
	switch to.Scheme {
	case "http", "https", "tls":
		t.Scheme = to.Scheme
	case "udp":
		t.Protocol = "udp"
	case "wss", "amqps", "ldaps", "rediss", "mqtts":
		t.Scheme = "tls"
	case "ws":
		t.Scheme = "http"
	}
	if t.Port == 0 {
		t.Port = f.Port
	}
	if t.Port == 0 {
		t.Port = 443
		if t.Scheme == "http" {
			t.Port = 80
		}
	}
	if t.Scheme == "" && t.Protocol == "tcp" && to.Scheme == "" && to.Kind == "host" {
		t.Scheme = map[uint16]string{443: "https", 80: "http"}[t.Port]
	}
	switch to.Kind {
	case "service":
		t.Host = to.Name + "." + to.Namespace + ".svc." + clusterDomain(f) + "."
	case "ip":
		t.Host = to.Addr.String()
	case "host", "url":
	default: // pods, workloads, nodes: by address
		if !t.Address.IsValid() && len(f.Addrs) > 0 {
			t.Address = f.Addrs[0]
		}
	}
	if to.Addr.IsValid() && t.Host == "" {
		t.Host = to.Addr.String()
	}
	return t
}

// sameAddress are the controls that go to the address that the question got.
func sameAddress(base Target, f Facts) []Target {
	at := base
	at.SameAddr = true
	var out []Target
	if port, scheme := otherPort(base); port != 0 {
		c := at.as(PurposeOtherPort, WhenTCP)
		c.Port, c.Scheme = port, scheme
		out = append(out, c)
	}
	if base.secure() {
		none := at.as(PurposeNoSNI, WhenTLS)
		none.NoSNI, none.Scheme = true, "tls"
		out = append(out, none)
		if len(f.Others) > 0 {
			if host, _, err := net.SplitHostPort(f.Others[0]); err == nil && isName(host) && host != base.Host {
				other := at.as(PurposeOtherSNI, WhenTLS)
				other.ServerName, other.Scheme = host, "tls"
				out = append(out, other)
			}
		}
	}
	if base.Scheme != "" {
		small := at.as(PurposeSmallMSS, WhenStall)
		small.MSS = 536
		out = append(out, small)
	}
	if base.asks() {
		large := at.as(PurposeLargeRequest, WhenOK)
		large.Padding, large.MaxBody = 4096, 1024
		large.Timeouts = Timeouts{HTTP: DefaultTimeouts.Body, Body: DefaultTimeouts.Body / 2}
		out = append(out, large)
	}
	return out
}

// otherPort is a port of the same host that a filter for one port lets through:
// the web's other usual one. Who asks a database is not sent to its port 443.
func otherPort(base Target) (uint16, string) {
	switch {
	case base.Port == 443:
		return 80, ""
	case base.Port == 80 || base.Port == 8080 || base.Port == 8443 || base.secure() || base.asks():
		return 443, ""
	}
	return 0, ""
}

// dnsControls part a cluster DNS that is down from one that cannot resolve this name.
func dnsControls(base Target, f Facts) []Target {
	var out []Target
	if !f.NoClusterDNS {
		out = append(out, Target{
			Label: "kubernetes.default", Purpose: PurposeClusterDNS, When: WhenDNS, Protocol: "dns",
			Host: "kubernetes.default.svc." + clusterDomain(f) + ".",
		})
	}
	for _, s := range f.DNSServers[:min(len(f.DNSServers), 4)] {
		server := netip.AddrPortFrom(s, 53)
		if !f.NoClusterDNS {
			out = append(out, Target{
				Label: "kubernetes.default at " + s.String(), Purpose: PurposeDNSPod, When: WhenDNS, Protocol: "dns",
				Host: "kubernetes.default.svc." + clusterDomain(f) + ".", Resolvers: []netip.AddrPort{server},
			})
		}
		out = append(out,
			Target{Label: base.Host + " at " + s.String(), Purpose: PurposeDNSServer, When: WhenDNS, Protocol: "dns", Host: base.Host, Resolvers: []netip.AddrPort{server}},
			Target{Label: "tcp://" + server.String(), Purpose: PurposeDNSTCP, When: WhenDNS, Host: s.String(), Port: 53},
		)
	}
	return out
}

// others are other hosts that should be reachable, as controls.
func others(f Facts, host string, port uint16) []Target {
	var out []Target
	for _, o := range f.Others {
		h, ps, err := net.SplitHostPort(o)
		if err != nil || len(out) == maxOthers {
			continue
		}
		n, err := strconv.ParseUint(ps, 10, 16)
		if err != nil || n == 0 || (strings.EqualFold(h, host) && uint16(n) == port) {
			continue
		}
		t := Target{Label: o, Purpose: PurposeOtherHost, When: WhenFailed, Protocol: "tcp", Host: h, Port: uint16(n), MaxAddrs: 1}
		if n == 443 {
			t.Scheme = "tls"
		}
		t.Proxy = ProxyFor(f.Env, t.Scheme, h, t.Port)
		out = append(out, t)
	}
	return out
}

// caVariables name a bundle in a container's environment.
var caVariables = []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}

func caFiles(env map[string]string) []string {
	var out []string
	for _, name := range caVariables {
		if v := env[name]; strings.HasPrefix(v, "/") && !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// For adapts the failing pod's plan to another vantage point. Names of the
// cluster mean nothing to a node's resolver, so they are replaced by addresses
// where these are known; this machine is not asked about the inside at all.
func (p Plan) For(v model.Vantage, f Facts) Plan {
	out := p
	out.Targets = nil
	if v != model.VantagePod {
		out.Timeouts = p.Timeouts.or(elsewhere.or(DefaultTimeouts))
	}
	for _, t := range p.Targets {
		switch t.Purpose {
		case PurposeQuestion, PurposeDirect, PurposeViaProxy, PurposeOtherHost, PurposeByName:
		case PurposeOtherPort, PurposeSmallMSS, PurposeNoSNI, PurposeOtherSNI:
			if v == model.VantageHere {
				continue
			}
		case PurposeClusterDNS, PurposeDNSServer:
			if v == model.VantageHere || (v == model.VantageNode && t.Purpose == PurposeClusterDNS) {
				continue
			}
		default:
			if v != model.VantagePod {
				continue
			}
		}
		inside := strings.HasSuffix(t.Host, ".svc."+clusterDomain(f)+".")
		if v == model.VantageHere {
			if inside || private(t) || t.Purpose == PurposeViaProxy {
				continue
			}
			t.Proxy = ""
		}
		if v == model.VantageNode && inside && t.Purpose == PurposeQuestion && isName(t.Host) {
			if len(f.Addrs) == 0 {
				continue
			}
			t.Address = f.Addrs[0]
		}
		out.Targets = append(out.Targets, t)
	}
	return out
}

func clusterDomain(f Facts) string {
	if f.ClusterDomain == "" {
		return "cluster.local"
	}
	return strings.Trim(f.ClusterDomain, ".")
}

// private says whether a target is an address that only means something where the pod is.
func private(t Target) bool {
	for _, s := range []string{t.Host, t.Address.String()} {
		if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && (a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback()) {
			return true
		}
	}
	return strings.HasSuffix(strings.Trim(t.Host, "."), ".local") || (t.Host != "" && !strings.Contains(strings.Trim(t.Host, "."), ".") && isName(t.Host))
}
