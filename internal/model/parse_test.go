package model

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseEndpoint(t *testing.T) {
	addr := netip.MustParseAddr
	cases := []struct {
		raw  string
		bare bool
		want Endpoint
	}{
		{"shop/deploy/checkout", true, Endpoint{Kind: "deployment", Namespace: "shop", Name: "checkout"}},
		{"deployment/shop/checkout", true, Endpoint{Kind: "deployment", Namespace: "shop", Name: "checkout"}},
		{"deploy/checkout", true, Endpoint{Kind: "deployment", Name: "checkout"}},
		{"shop/checkout-7d9", true, Endpoint{Kind: "pod", Namespace: "shop", Name: "checkout-7d9"}},
		{"checkout-7d9", true, Endpoint{Kind: "pod", Name: "checkout-7d9"}},
		{"web", false, Endpoint{Kind: "host", Host: "web"}},
		{"web.shop:8080", false, Endpoint{Kind: "host", Host: "web.shop", Port: 8080}},
		{"shop/svc/web:80", false, Endpoint{Kind: "service", Namespace: "shop", Name: "web", Port: 80}},
		{"node/n1", true, Endpoint{Kind: "node", Name: "n1"}},
		{"10.1.2.3", false, Endpoint{Kind: "ip", Addr: addr("10.1.2.3")}},
		{"10.1.2.3:53", false, Endpoint{Kind: "ip", Addr: addr("10.1.2.3"), Port: 53}},
		{"2001:db8::1", false, Endpoint{Kind: "ip", Addr: addr("2001:db8::1")}},
		{"[2001:db8::1]:443", false, Endpoint{Kind: "ip", Addr: addr("2001:db8::1"), Port: 443}},
		{"https://a.example/x?y=1", false, Endpoint{Kind: "url", Scheme: "https", Host: "a.example", Port: 443, Path: "/x?y=1"}},
		{"https://[2001:db8::1]:8443", false, Endpoint{Kind: "url", Scheme: "https", Host: "2001:db8::1", Addr: addr("2001:db8::1"), Port: 8443}},
		{"tcp://db.example:5432", false, Endpoint{Kind: "url", Scheme: "tcp", Host: "db.example", Port: 5432}},
		{"postgres://db.example/x", false, Endpoint{Kind: "url", Scheme: "postgres", Host: "db.example", Port: 5432, Path: "/x"}},
		{"Internet", false, Endpoint{Kind: "internet"}},
	}
	for _, raw := range []string{"pod shop/web-0", "pod web-0:8080", "deploy shop/web"} {
		want, _ := ParseEndpoint(strings.Replace(raw, " ", "/", 1), true)
		if got, err := ParseEndpoint(raw, true); err != nil || got != want {
			t.Errorf("ParseEndpoint(%q) = %+v, %v; want %+v", raw, got, err, want)
		}
	}
	for _, c := range cases {
		got, err := ParseEndpoint(c.raw, c.bare)
		c.want.Raw = PublicURL(c.raw)
		if err != nil || got != c.want {
			t.Errorf("ParseEndpoint(%q) = %+v, %v; want %+v", c.raw, got, err, c.want)
		}
	}
}

func TestParseEndpointRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"":                              "empty",
		"https://":                      "without a host",
		"https:///path":                 "without a host",
		"foo://bar":                     "no port",
		"ftp://h.example/x":             "write h.example:21",
		"FTPS://h.example":              "other ports",
		"file://h:80/etc/passwd":        "nothing that a connection",
		"a\x1b[31m":                     "control character",
		"a b":                           "blank",
		"pod a b":                       "blank",
		"pod ":                          "blank",
		"shop//x":                       "empty part",
		"a/b/c/d":                       "too many slashes",
		"shop/thing/x":                  "kind",
		"h:99999":                       "port",
		"2001:db8::zz":                  "colon",
		"shop/node/n1":                  "no namespace",
		"https://h:0/":                  "port",
		"http://a_b.ex%ample/":          "not a URL",
		"10.0.0.0/8":                    "a network, not an address",
		"999.1.1.1":                     "no name ends in a number",
		"https://1.2.3/":                "no name ends in a number",
		"0.0.0.0":                       "unspecified",
		"https://[::]/":                 "unspecified",
		"255.255.255.255:80":            "address of many",
		"[ff02::1]:80":                  "address of many",
		"10.0.0.1:0":                    "port 0",
		strings.Repeat("a", 300) + ".x": "253",
	} {
		_, err := ParseEndpoint(raw, false)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseEndpoint(%q): error %v, want one with %q", raw, err, want)
		}
	}
}

// TestParseEndpointHidesSecrets: what is needed for probing stays in the path until Public.
func TestParseEndpointHidesSecrets(t *testing.T) {
	for raw, want := range map[string]string{
		"https://h.example/a?":                       "https://h.example/a?",
		"https://user:secret@h.example/":             "https://h.example/",
		"https://secret@h.example":                   "https://h.example",
		"https://user:p%40secret@h.example/a":        "https://h.example/a",
		"https://h.example/a?sig=secret&b=&c=secret": "https://h.example/a?sig=[redacted]&b=&c=[redacted]",
		"https://h.example/a?secret":                 "https://h.example/a?[redacted]",
		"https://h.example/a#access_token=secret":    "https://h.example/a",
		"https://u:secret@h.example/a?b=secret#c":    "https://h.example/a?b=[redacted]",
	} {
		e, err := ParseEndpoint(raw, false)
		if err != nil || e.Raw != want {
			t.Errorf("%s: %q, %v", raw, e.Raw, err)
		}
		if p := e.Public(); strings.Contains(p.Raw+p.Path, "secret") || p.Raw != want || p.Host != e.Host {
			t.Errorf("%s: shown as %+v", raw, p)
		}
	}
	if e, _ := ParseEndpoint("https://h.example/a?sig=needed", false); e.Path != "/a?sig=needed" {
		t.Errorf("the probe would ask for %q", e.Path)
	}
	for _, raw := range []string{"https://user:secret@h.example:0/", "https://user:secret@/", "https://u:secret@h.example:x/", "https://u:s@secret@h.exa%mple/", "foo://h/?k=secret#secret"} {
		if e, err := ParseEndpoint(raw, false); err == nil || strings.Contains(err.Error()+e.Raw, "secret") {
			t.Errorf("%s: %+v, %v", raw, e, err)
		}
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"shop/deploy/x", "https://[::1]:1/x", "[::1", "a:b:c", "\x00", "svc/a:1"} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, bare bool) {
		e, err := ParseEndpoint(s, bare)
		if err == nil && e.Kind == "" {
			t.Fatalf("%q: no kind and no error", s)
		}
	})
}
