package model

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// kinds maps the words that people type for a kind to the Ref's kind.
var kinds = map[string]string{
	"pod": "pod", "pods": "pod", "po": "pod",
	"deployment": "deployment", "deployments": "deployment", "deploy": "deployment",
	"statefulset": "statefulset", "statefulsets": "statefulset", "sts": "statefulset",
	"daemonset": "daemonset", "daemonsets": "daemonset", "ds": "daemonset",
	"replicaset": "replicaset", "replicasets": "replicaset", "rs": "replicaset",
	"job": "job", "jobs": "job", "cronjob": "cronjob", "cronjobs": "cronjob", "cj": "cronjob",
	"service": "service", "services": "service", "svc": "service",
	"node": "node", "nodes": "node", "no": "node",
}

// KindOf returns the kind that a word of kubectl's vocabulary means.
func KindOf(word string) (string, bool) {
	kind, ok := kinds[strings.ToLower(word)]
	return kind, ok
}

// schemePorts are the ports that a URL without one means (IANA's service name registry).
var schemePorts = map[string]uint16{
	"http": 80, "https": 443, "ws": 80, "wss": 443, "postgres": 5432, "postgresql": 5432, "mysql": 3306,
	"redis": 6379, "rediss": 6380, "amqp": 5672, "amqps": 5671, "mongodb": 27017, "ldap": 389, "ldaps": 636,
	"smtp": 25, "ssh": 22, "mqtt": 1883, "mqtts": 8883, "nats": 4222, "sqlserver": 1433,
}

// Carries is the transport protocol that a URL's scheme means, "" where it says
// nothing of it. HTTP over QUIC is none that podpath speaks.
func Carries(scheme string) string {
	switch _, known := schemePorts[scheme]; {
	case known, scheme == "tcp", scheme == "tls":
		return "tcp"
	case scheme == "udp":
		return "udp"
	}
	return ""
}

// ParseEndpoint reads one side of a question: "shop/deploy/checkout", "deploy/checkout",
// "pod/NS/NAME", "pod NS/NAME", "NS/NAME" (a pod), "node/NAME", "svc/NAME:80", an address, "host:port", a URL,
// or "internet". A single word is a pod where bare is true (the FROM side) and a host otherwise.
// The error says what is wrong with the text and shows a form that works.
func ParseEndpoint(raw string, bare bool) (Endpoint, error) {
	e := Endpoint{Raw: raw}
	fail := func(format string, args ...any) (Endpoint, error) {
		return Endpoint{Raw: raw}, fmt.Errorf("%q: %s", raw, fmt.Sprintf(format, args...))
	}
	// A kind and a name in one quoted word mean what they mean as two.
	if kind, name, ok := strings.Cut(raw, " "); ok {
		if _, ok := KindOf(kind); ok && name != "" && !strings.Contains(name, "://") {
			raw = kind + "/" + name
			e.Raw = raw
		}
	}
	if raw == "" {
		return fail("empty; name a pod (NS/NAME), a workload (NS/deploy/NAME), a host:port or a URL")
	}
	if len(raw) > 2048 {
		return Endpoint{}, fmt.Errorf("%q…: longer than 2048 characters", raw[:40])
	}
	for _, r := range raw {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return fail("holds a control character")
		}
		if unicode.IsSpace(r) {
			return fail("holds a blank")
		}
	}
	if strings.EqualFold(raw, "internet") {
		e.Kind = "internet"
		return e, nil
	}
	if strings.Contains(raw, "://") {
		return parseURL(e)
	}
	if addr, err := netip.ParseAddr(strings.Trim(raw, "[]")); err == nil {
		if err := checkAddr(addr); err != nil {
			return fail("%v", err)
		}
		e.Kind, e.Addr = "ip", addr.Unmap()
		return e, nil
	}
	if ap, err := netip.ParseAddrPort(raw); err == nil {
		if err := checkAddr(ap.Addr()); err != nil {
			return fail("%v", err)
		}
		if ap.Port() == 0 {
			return fail("port 0 is not between 1 and 65535")
		}
		e.Kind, e.Addr, e.Port = "ip", ap.Addr().Unmap(), ap.Port()
		return e, nil
	}
	if strings.HasPrefix(raw, "[") {
		return fail("not an IPv6 address and port; write [2001:db8::1]:443")
	}
	text, port, err := cutPort(raw)
	if err != nil {
		return fail("%v", err)
	}
	e.Port = port
	if p, err := netip.ParsePrefix(text); err == nil {
		return fail("a network, not an address; name one address of it (%s)", p.Addr())
	}
	parts := strings.Split(text, "/")
	for _, p := range parts {
		if p == "" {
			return fail("an empty part between slashes; write NS/deploy/NAME or NS/NAME")
		}
	}
	switch len(parts) {
	case 1:
		if bare && port == 0 && !strings.Contains(text, ".") {
			e.Kind, e.Name = "pod", text
			return e, nil
		}
		if err := checkHost(text); err != nil {
			return fail("%v", err)
		}
		e.Kind, e.Host = "host", strings.TrimSuffix(text, ".")
		if strings.HasSuffix(text, ".") {
			e.Host = text
		}
		return e, nil
	case 2:
		if kind, ok := KindOf(parts[0]); ok {
			e.Kind, e.Name = kind, parts[1]
			return e, nil
		}
		e.Kind, e.Namespace, e.Name = "pod", parts[0], parts[1]
		return e, nil
	case 3:
		if kind, ok := KindOf(parts[1]); ok {
			e.Kind, e.Namespace, e.Name = kind, parts[0], parts[2]
		} else if kind, ok := KindOf(parts[0]); ok {
			e.Kind, e.Namespace, e.Name = kind, parts[1], parts[2]
		} else {
			return fail("neither %q nor %q is a kind that podpath knows; write NS/deploy/NAME, NS/sts/NAME, NS/svc/NAME or NS/pod/NAME", parts[1], parts[0])
		}
		if e.Kind == "node" {
			return fail("a node has no namespace; write node/%s", e.Name)
		}
		return e, nil
	}
	return fail("too many slashes; write NS/deploy/NAME, NS/NAME, host:port or a URL with its scheme")
}

func parseURL(e Endpoint) (Endpoint, error) {
	u, err := url.Parse(e.Raw)
	if err != nil {
		var ue *url.Error
		text := err.Error()
		if ok := asURLError(err, &ue); ok {
			text = ue.Err.Error()
		}
		e.Raw = PublicURL(e.Raw)
		return Endpoint{Raw: e.Raw}, fmt.Errorf("%q: not a URL: %s", e.Raw, WithoutUsers(text))
	}
	e.Raw = publicOf(u, e.Raw)
	fail := func(format string, args ...any) (Endpoint, error) {
		return Endpoint{Raw: e.Raw}, fmt.Errorf("%q: %s", e.Raw, fmt.Sprintf(format, args...))
	}
	if u.Hostname() == "" {
		return fail("a URL without a host; write https://HOST[:PORT]/PATH")
	}
	e.Kind, e.Scheme = "url", strings.ToLower(u.Scheme)
	switch e.Scheme {
	case "ftp", "ftps", "tftp": // RFC 959, RFC 1350: the data goes to a port that is agreed upon later
		return fail("%s moves its data over further connections to other ports; podpath follows one connection: write %s:21 for the control connection", e.Scheme, u.Hostname())
	case "file", "data", "mailto", "javascript":
		return fail("%s is nothing that a connection is opened for; write https://HOST[:PORT]/PATH or HOST:PORT", e.Scheme)
	}
	e.Path = u.EscapedPath()
	if u.RawQuery != "" {
		e.Path += "?" + u.RawQuery
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := checkAddr(addr); err != nil {
			return fail("%v", err)
		}
		e.Addr, e.Host = addr.Unmap(), addr.Unmap().String()
	} else {
		if err := checkHost(u.Hostname()); err != nil {
			return fail("%v", err)
		}
		e.Host = u.Hostname()
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return fail("port %s is not between 1 and 65535", p)
		}
		e.Port = uint16(n)
	} else if p, ok := schemePorts[e.Scheme]; ok {
		e.Port = p
	} else {
		return fail("no port, and the scheme %q has none of its own; write %s://%s:PORT", e.Scheme, e.Scheme, u.Hostname())
	}
	return e, nil
}

func asURLError(err error, target **url.Error) bool {
	ue, ok := err.(*url.Error)
	*target = ue
	return ok
}

// cutPort splits a trailing ":PORT" off.
func cutPort(s string) (string, uint16, error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, 0, nil
	}
	if strings.Contains(s[:i], ":") {
		return "", 0, fmt.Errorf("more than one colon, and no IPv6 address; write one as [ADDRESS]:PORT")
	}
	n, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("port %q is not a number between 1 and 65535", s[i+1:])
	}
	return s[:i], uint16(n), nil
}

// checkAddr refuses addresses that no connection goes to.
func checkAddr(a netip.Addr) error {
	switch a = a.Unmap(); {
	case a.IsUnspecified():
		return fmt.Errorf("the unspecified address, which no connection goes to")
	case a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("an address of many; podpath follows one connection to one address")
	}
	return nil
}

// checkHost holds a name to what a resolver could be asked (RFC 1123, underscores allowed).
func checkHost(h string) error {
	h = strings.TrimSuffix(h, ".")
	if h == "" {
		return fmt.Errorf("no host name")
	}
	if len(h) > 253 {
		return fmt.Errorf("the host name is longer than 253 characters")
	}
	labels := strings.Split(h, ".")
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return fmt.Errorf("neither an address nor a host name: no name ends in a number")
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("a label of the host name is empty or longer than 63 characters")
		}
		for _, r := range label {
			if !(r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
				return fmt.Errorf("%q cannot be in a host name (write international names in their xn-- form)", r)
			}
		}
	}
	return nil
}
