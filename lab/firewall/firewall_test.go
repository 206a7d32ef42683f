package firewall

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"
)

const policyID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/firewallPolicies/p"

type doc = map[string]any

func list(s string) []any {
	out := []any{}
	for _, f := range strings.Fields(s) {
		out = append(out, f)
	}
	return out
}

func netRule(name, proto, to, ports string) doc {
	return doc{
		"ruleType": "NetworkRule", "name": name, "ipProtocols": list(proto), "sourceAddresses": list("10.224.0.0/12"),
		"destinationAddresses": list(to), "destinationPorts": list(ports),
	}
}

func appRule(name, fqdns string, protocols ...any) doc {
	return doc{"ruleType": "ApplicationRule", "name": name, "sourceAddresses": list("10.224.0.0/12 127.0.0.1"), "targetFqdns": list(fqdns), "protocols": protocols}
}

func rules(name string, priority int, action string, rules ...any) doc {
	return doc{"name": name, "priority": priority, "action": doc{"type": action}, "rules": rules, "ruleCollectionType": "FirewallPolicyFilterRuleCollection"}
}

func group(name string, priority int, collections ...any) doc {
	return doc{"id": policyID + "/ruleCollectionGroups/" + name, "name": name, "properties": doc{"priority": priority, "ruleCollections": collections}}
}

func compile(t *testing.T, properties doc, groups ...doc) *Policy {
	t.Helper()
	docs := append([]doc{
		{"id": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/azureFirewalls/f", "properties": doc{"firewallPolicy": doc{"id": strings.ToUpper(policyID)}}},
		{"id": policyID, "name": "p", "properties": properties},
	}, groups...)
	p, err := Compile(docs, netip.MustParseAddr("10.226.0.4"), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var (
	https = doc{"protocolType": "Https", "port": 443}
	http8 = doc{"protocolType": "Http", "port": 80}
	node  = netip.MustParseAddr("10.224.0.4")
)

func TestDecide(t *testing.T) {
	p := compile(t, doc{},
		group("late", 300, rules("allow", 100, "Allow", appRule("wild", "*.shop.example", https), appRule("one", "api.example", https, http8),
			doc{"ruleType": "ApplicationRule", "name": "aks", "sourceAddresses": list("*"), "fqdnTags": list("AzureKubernetesService"), "protocols": []any{https}})),
		group("early", 200, rules("second", 200, "Allow", appRule("x", "secret.shop.example", https)), rules("first", 100, "Deny", appRule("no", "secret.shop.example", https))))
	for _, c := range []struct {
		from, kind string
		port       int
		host       string
		allow      bool
	}{
		{"10.224.0.4", "Https", 443, "api.example", true},
		{"10.224.0.4", "Https", 443, "API.example.", true},
		{"10.224.0.4", "Http", 80, "api.example", true},
		{"10.224.0.4", "Http", 443, "api.example", false},
		{"10.224.0.4", "Https", 8443, "api.example", false},
		{"10.224.0.4", "Https", 443, "a.b.shop.example", true},
		{"10.224.0.4", "Https", 443, "shop.example", false},
		{"10.224.0.4", "Https", 443, "notshop.example", false},
		{"10.224.0.4", "Https", 443, "secret.shop.example", false}, // an earlier group, and in it a lower number
		{"192.0.2.1", "Https", 443, "api.example", false},
		{"192.0.2.1", "Https", 443, "x.data.mcr.microsoft.com", true},
		{"10.224.0.4", "Https", 443, "", false},
	} {
		v := p.decide(netip.MustParseAddr(c.from), c.kind, c.port, c.host, "/")
		if v.allow != c.allow {
			t.Errorf("%+v: %+v", c, v)
		}
	}
	if v := p.decide(node, "Https", 443, "secret.shop.example", "/"); !strings.Contains(v.reason, "Rule Collection: first. Rule: no") {
		t.Errorf("a denial does not name its rule: %q", v.reason)
	}
	if v := p.decide(node, "Http", 80, "elsewhere", "/"); v.reason != noRule || len(noRule) != 70 {
		t.Errorf("default denial: %q, %d bytes", v.reason, len(noRule))
	}
}

func TestURLs(t *testing.T) {
	for _, c := range []struct {
		pattern, host, path string
		want                bool
	}{{"www.example/a/*", "www.example", "/a/b", true}, {"www.example/a/*", "www.example", "/b", false}, {"https://*.example", "www.example", "/", true}, {"www.example/a", "www.example", "/a", true}} {
		if got := urlMatches(c.pattern, c.host, c.path); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestTableOrder(t *testing.T) {
	p := compile(t, doc{"snat": doc{"privateRanges": list("IANAPrivateRanges 203.0.113.0/24")}},
		group("g", 100, rules("b", 200, "Allow", netRule("all", "TCP UDP", "*", "*")), rules("a", 100, "Deny", netRule("no", "Any", "203.0.113.9", "22")),
			rules("c", 300, "Allow", netRule("tagged", "TCP", "AzureCloud.WestEurope", "9000"))))
	text := p.Table().Text(nil)
	deny, allow := strings.Index(text, "ip daddr { 203.0.113.9 }"), strings.Index(text, `counter name "fw/g_b_all"`)
	if deny < 0 || allow < deny {
		t.Errorf("collections are out of order:\n%s", text)
	}
	for _, want := range []string{`"fw/g_a_no" drop`, "203.0.113.0-203.0.113.255 } snat to 10.226.0.4", "th dport { 80, 443 } meta mark set 1"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "9000") {
		t.Error("a rule for a tag without addresses matches something")
	}
	never := compile(t, doc{"snat": doc{"privateRanges": list("0.0.0.0/0")}})
	if text := never.Table().Text(nil); strings.Contains(text, "ip daddr !=") {
		t.Errorf("0.0.0.0/0 is never translated:\n%s", text)
	}
	p.Up = false
	if text := p.Table().Text(nil); !strings.Contains(text, `"fw/stopped" drop`) {
		t.Error("a stopped firewall passes packets")
	}
}

func TestRefusedRule(t *testing.T) {
	docs := []doc{
		{"id": "/x/providers/Microsoft.Network/azureFirewalls/f", "properties": doc{"firewallPolicy": doc{"id": policyID}}},
		{"id": policyID, "properties": doc{}},
		group("g", 100, rules("a", 100, "Allow", netRule("bad", "TCP", "300.1.2.3", "1"))),
	}
	if _, err := Compile(docs, node, true); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Errorf("the error does not name the rule: %v", err)
	}
}

// loop starts an engine whose every destination is one listener on loopback.
func loop(t *testing.T, p *Policy, upstream string) (*Engine, string) {
	t.Helper()
	var addr string
	e, err := Start(t.Context(), Network{
		Listen: func(context.Context, *net.ListenConfig, string) (net.Listener, error) {
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err == nil {
				addr = l.Addr().String()
			}
			return l, err
		},
		Dial: func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp4", upstream)
		},
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host == "gone.example" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{node}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	port := netip.MustParseAddrPort(addr).Port()
	for i := range p.application { // the listener's port stands for the real one
		p.application[i].protocols = []protocol{{"Https", int(port)}, {"Http", int(port)}, {"Https", 443}, {"Http", 80}}
	}
	if err := e.Set(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return e, addr
}

// upstream is a server that answers one line to every line.
func upstream(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func allowAPI(t *testing.T) *Policy {
	return compile(t, doc{}, group("g", 100, rules("a", 100, "Allow", appRule("api", "api.example", https, http8))))
}

func TestEngineTLS(t *testing.T) {
	e, addr := loop(t, allowAPI(t), upstream(t))
	hello := func(name string) error {
		c, err := net.Dial("tcp4", addr)
		if err != nil {
			t.Fatal(err) // the handshake of TCP succeeds, whatever the rules say
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		return tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}
	if err := hello("other.example"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a name that no rule allows: %v, want a reset", err)
	}
	// The upstream echoes the ClientHello: TLS fails, but not by the firewall's hand.
	if err := hello("api.example"); err == nil || errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an allowed name: %v", err)
	}
	if h := e.Hits(); h[Hit{true, "Https"}] != 1 || h[Hit{false, "Https"}] != 1 {
		t.Errorf("hits: %v", h)
	}
}

func TestEngineHTTP(t *testing.T) {
	e, addr := loop(t, allowAPI(t), upstream(t))
	say := func(host string) (net.Conn, string) {
		c, err := net.Dial("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return c, strings.TrimSpace(line)
	}
	if _, line := say("other.example"); line != "HTTP/1.1 470 status code 470" {
		t.Errorf("denied: %q", line)
	}
	c, line := say("api.example")
	if line != "GET / HTTP/1.1" {
		t.Fatalf("allowed, and echoed: %q", line)
	}
	if err := e.Set(t.Context(), compile(t, doc{})); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a denial that comes later: %v, want a reset", err)
	}
}

func TestExplicitProxy(t *testing.T) {
	e, _ := loop(t, allowAPI(t), upstream(t))
	ask := func(request string) string {
		client, server := net.Pipe()
		defer client.Close()
		go e.proxy(t.Context(), pipe{server})
		go io.WriteString(client, request)
		client.SetDeadline(time.Now().Add(5 * time.Second))
		line, _ := bufio.NewReader(client).ReadString('\n')
		return strings.TrimSpace(line)
	}
	for request, want := range map[string]string{
		"CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n":     "HTTP/1.1 200 Connection established",
		"CONNECT other.example:443 HTTP/1.1\r\nHost: other.example:443\r\n\r\n": "HTTP/1.1 403 Forbidden",
		"CONNECT nonsense HTTP/1.1\r\nHost: nonsense\r\n\r\n":                   "HTTP/1.1 400 Bad Request",
		"GET http://other.example/ HTTP/1.1\r\nHost: other.example\r\n\r\n":     "HTTP/1.1 403 Forbidden",
		"GET / HTTP/1.1\r\nHost: api.example\r\n\r\n":                           "HTTP/1.1 400 Bad Request",
	} {
		if got := ask(request); got != want {
			t.Errorf("%q: %q, want %q", request, got, want)
		}
	}
}

// pipe is a net.Pipe end that says it is a TCP connection of a client in the VNet.
type pipe struct{ net.Conn }

func (pipe) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(node, 40000)) }

func TestGatewayStatus(t *testing.T) {
	if got := gatewayStatus(context.DeadlineExceeded); !strings.HasPrefix(got, fmt.Sprint(http.StatusGatewayTimeout)) {
		t.Errorf("time-out: %s", got)
	}
	if got := gatewayStatus(syscall.ECONNREFUSED); !strings.HasPrefix(got, fmt.Sprint(http.StatusBadGateway)) {
		t.Errorf("refused: %s", got)
	}
}
