package nft

import (
	"net/netip"
	"strings"
	"testing"
)

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range strings.Fields(s) {
		out = append(out, netip.MustParsePrefix(f))
	}
	return out
}

func TestSets(t *testing.T) {
	for _, c := range []struct{ name, set, minus, want string }{
		{"overlap is merged", "10.0.0.0/8 10.1.0.0/16", "", "{ 10.0.0.0-10.255.255.255 }"},
		{"neighbours are joined", "10.0.0.0/25 10.0.0.128/25", "", "{ 10.0.0.0-10.0.0.255 }"},
		{"one address stays one", "10.0.0.1/32", "", "{ 10.0.0.1 }"},
		{"a hole", "10.0.0.0/30", "10.0.0.1/32", "{ 10.0.0.0, 10.0.0.2-10.0.0.3 }"},
		{"all of it", "10.0.0.0/30", "0.0.0.0/0", "{  }"},
		{"the end of the world", "255.255.255.0/24", "255.255.255.0/25", "{ 255.255.255.128-255.255.255.255 }"},
		{"IPv6 is left out", "2001:db8::/32 10.0.0.0/32", "", "{ 10.0.0.0 }"},
	} {
		if got := Prefixes(prefixes(c.set)...).Minus(Prefixes(prefixes(c.minus)...)).Text(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func TestCIDRs(t *testing.T) {
	for lo, want := range map[string]string{
		"10.0.0.0-10.0.0.255":             "[10.0.0.0/24]",
		"10.0.0.1-10.0.0.4":               "[10.0.0.1/32 10.0.0.2/31 10.0.0.4/32]",
		"0.0.0.0-255.255.255.255":         "[0.0.0.0/0]",
		"255.255.255.255-255.255.255.255": "[255.255.255.255/32]",
	} {
		a, b, _ := strings.Cut(lo, "-")
		got := Range(netip.MustParseAddr(a), netip.MustParseAddr(b)).CIDRs()
		var text []string
		for _, p := range got {
			text = append(text, p.String())
		}
		if s := "[" + strings.Join(text, " ") + "]"; s != want {
			t.Errorf("%s: %s, want %s", lo, s, want)
		}
	}
}

func TestPorts(t *testing.T) {
	for text, want := range map[string]string{"443": "{ 443 }", "80,443": "{ 80, 443 }", "1-1024,500-2000": "{ 1-2000 }", "*": "any", "0-65535": "any", "": "any"} {
		s, err := Ports(strings.Split(text, ",")...)
		got := "any"
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if s != nil {
			got = s.PortText()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for _, bad := range []string{"x", "5-1", "70000", "1-", "-"} {
		if _, err := Ports(bad); err == nil {
			t.Errorf("%q was taken for ports", bad)
		}
	}
}

func TestTableText(t *testing.T) {
	table := NewTable("ip", "t")
	table.Chain("a", "type filter hook forward priority 0; policy accept;")
	table.Rules("a", []string{"ip saddr 10.0.0.1 "}, "n/1", "drop")
	want := "add table ip t\nflush table ip t\ndelete chain ip t gone\ntable ip t {\n\tcounter n/1 { }\n\tchain a {\n" +
		"\t\ttype filter hook forward priority 0; policy accept;\n\t\tip saddr 10.0.0.1 counter name \"n/1\" drop\n\t}\n}\n"
	if got := table.Text([]string{"a", "gone"}); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
