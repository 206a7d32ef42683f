package internet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Spec is what Serve can be told. Every word may stand alone or with others.
type Spec struct {
	Status int               `json:"status,omitempty"`    // answer this HTTP status
	Path   string            `json:"path,omitempty"`      // … on paths that begin so only
	Share  *float64          `json:"share,omitempty"`     // of requests, connections or queries that are hit; default all
	TLS    string            `json:"tls,omitempty"`       // good, expired, notyet, selfsigned, wrongname, incomplete
	Delay  duration          `json:"delay,omitempty"`     // before the answer
	Shake  duration          `json:"handshake,omitempty"` // before its part of the TLS handshake
	Refuse bool              `json:"refuse,omitempty"`    // RST to the SYN
	Silent bool              `json:"silent,omitempty"`    // drop everything
	Reset  bool              `json:"reset,omitempty"`     // RST once the first bytes arrive
	Allow  texts             `json:"allow,omitempty"`     // addresses and CIDRs that may come; others are denied
	Deny   string            `json:"deny,omitempty"`      // how: drop (default), refuse, reset, or an HTTP status
	Rate   int               `json:"rate,omitempty"`      // requests a second from one source; more are answered 429
	Skew   duration          `json:"dateSkew,omitempty"`
	Body   *body             `json:"body,omitempty"`   // a number of bytes, or the text
	Header map[string]string `json:"header,omitempty"` // added to the answer
	Names  []string          `json:"names,omitempty"`  // further names on its certificate
	Ports  []int             `json:"ports,omitempty"`  // listen there too, with TLS unless the port is 80 or 8080
	synonyms
	proxySpec
	dnsSpec
}

// synonyms are other ways to say something above; parseSpec takes them there.
type synonyms struct {
	Drop        bool              `json:"drop,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	Port        int               `json:"port,omitempty"`
	AllowStatus int               `json:"allowStatus,omitempty"` // deny by this HTTP status
}

// proxySpec is for proxy.corp.example.
type proxySpec struct {
	Proxy    string `json:"proxy,omitempty"` // open, auth, deny, bad-gateway
	User     string `json:"user,omitempty"`  // what auth wants; default lab, lab
	Password string `json:"password,omitempty"`
}

// dnsSpec is for the name servers.
type dnsSpec struct {
	Rcode   string              `json:"rcode,omitempty"`   // SERVFAIL, REFUSED, NXDOMAIN, …
	Records map[string][]string `json:"records,omitempty"` // name → addresses; [] makes it NXDOMAIN
	Rotate  bool                `json:"rotate,omitempty"`  // one address at a time, every five seconds the next, as a traffic manager does
}

// Keys are the words of a Spec.
var Keys = []string{
	"status", "path", "share", "tls", "delay", "handshake", "refuse", "silent", "drop", "reset", "allow", "allowStatus", "deny", "rate", "dateSkew",
	"body", "header", "headers", "names", "port", "ports", "proxy", "user", "password", "rcode", "records", "rotate",
}

// duration is "2s" in a spec.
type duration time.Duration

func (d *duration) UnmarshalJSON(b []byte) error {
	text := strings.Trim(string(b), `"`)
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is no duration; write 2s, 500ms, 3h", text)
	}
	*d = duration(v)
	return nil
}

// texts is a list, or one entry alone.
type texts []string

func (t *texts) UnmarshalJSON(b []byte) error {
	var list []string
	if err := json.Unmarshal(b, &list); err == nil {
		*t = list
		return nil
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return fmt.Errorf("%s: a list of CIDRs is wanted", b)
	}
	*t = strings.FieldsFunc(one, func(r rune) bool { return r == ',' || r == ' ' })
	return nil
}

// body is a size or a text.
type body struct {
	size int
	text string
}

func (o *body) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &o.size); err == nil {
		return nil
	}
	return json.Unmarshal(b, &o.text)
}

// parseSpec reads and judges what Serve was told.
func parseSpec(m map[string]any) (Spec, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return Spec{}, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var s Spec
	if err := d.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("serve: %w (known: %s)", err, strings.Join(Keys, ", "))
	}
	s.Silent = s.Silent || s.Drop
	if s.Header == nil {
		s.Header = s.Headers
	}
	if s.Port != 0 {
		s.Ports = append(s.Ports, s.Port)
	}
	if s.AllowStatus != 0 {
		s.Deny = strconv.Itoa(s.AllowStatus)
	}
	return s, s.check()
}

func (s Spec) check() error {
	if s.Share != nil && (*s.Share < 0 || *s.Share > 1) {
		return fmt.Errorf("serve.share: %v is not from 0 to 1", *s.Share)
	}
	if s.Status != 0 && (s.Status < 100 || s.Status > 999) {
		return fmt.Errorf("serve.status: %d is no HTTP status", s.Status)
	}
	if _, err := s.prefixes(); err != nil {
		return err
	}
	for _, c := range []struct{ key, value, allowed string }{
		{"tls", s.TLS, "good expired notyet selfsigned wrongname incomplete"},
		{"proxy", s.Proxy, "open auth deny bad-gateway"},
		{"rcode", strings.ToUpper(s.Rcode), "SERVFAIL REFUSED NXDOMAIN FORMERR NOTIMP"},
	} {
		if c.value != "" && !contains(c.allowed, c.value) {
			return fmt.Errorf("serve.%s: %q is none of: %s", c.key, c.value, c.allowed)
		}
	}
	if s.Deny != "" && !contains("drop refuse reset", s.Deny) && s.denyStatus() == 0 {
		return fmt.Errorf("serve.deny: %q is neither drop, refuse, reset nor an HTTP status", s.Deny)
	}
	if (s.Body != nil && s.Body.size < 0) || (s.Body != nil && s.Body.size > 1<<30) {
		return fmt.Errorf("serve.body: %d bytes are not from 0 to 1 GiB", s.Body.size)
	}
	for _, p := range s.Ports {
		if p < 1 || p > 65535 {
			return fmt.Errorf("serve.port: %d is no port", p)
		}
	}
	for name, addrs := range s.Records {
		for _, a := range addrs {
			if _, err := netip.ParseAddr(a); err != nil {
				return fmt.Errorf("serve.records.%s: %w", name, err)
			}
		}
	}
	return nil
}

func contains(list, word string) bool {
	for _, w := range strings.Fields(list) {
		if w == word {
			return true
		}
	}
	return false
}

// denyStatus is the HTTP status of deny, 0 when denying is done lower down.
func (s Spec) denyStatus() int {
	n, err := strconv.Atoi(s.Deny)
	if err != nil || n < 100 || n > 999 {
		return 0
	}
	return n
}

// prefixes are the allowed sources.
func (s Spec) prefixes() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, t := range s.Allow {
		if a, err := netip.ParseAddr(t); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, fmt.Errorf("serve.allow: %q is neither an address nor a CIDR", t)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// allowed says whether a source may come.
func (s Spec) allowed(a netip.Addr) bool {
	if s.Allow == nil {
		return true
	}
	list, _ := s.prefixes() // judged by check
	for _, p := range list {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// layer is one Serve that is in force.
type layer map[string]any

// merge lays specs over each other, the last one on top. A share belongs to the
// words that it came with, so a later layer without one ends it.
func merge(layers []layer) (Spec, error) {
	all := map[string]any{}
	for _, l := range layers {
		if _, ok := l["share"]; !ok {
			delete(all, "share")
		}
		for k, v := range l {
			old, isMap := all[k].(map[string]any)
			add, alsoMap := v.(map[string]any)
			if !isMap || !alsoMap {
				all[k] = v
				continue
			}
			both := map[string]any{}
			maps.Copy(both, old)
			maps.Copy(both, add)
			all[k] = both
		}
	}
	return parseSpec(all)
}
