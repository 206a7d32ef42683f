package corefile

import (
	"fmt"
	"strings"
	"testing"
)

// stock is the Corefile that AKS writes, shortened.
const stock = `.:53 {
    errors
    ready
    health {
      lameduck 5s
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
    import custom/*.override
    template ANY ANY internal.cloudapp.net {
      match "^(?:[^.]+\.){4,}internal\.cloudapp\.net\.$"
      rcode NXDOMAIN
      fallthrough
    }
    template ANY ANY reddog.microsoft.com {
      rcode NXDOMAIN
    }
}
import custom/*.server
`

func parse(custom map[string]string) *File {
	var more []Source
	for _, key := range []string{"a.override", "b.server", "c.server"} {
		if custom[key] != "" {
			more = append(more, Source{"coredns-custom", key, custom[key]})
		}
	}
	return Parse(Source{"coredns", "Corefile", stock}, more)
}

func TestDecide(t *testing.T) {
	for _, c := range []struct{ custom, key, name, qtype, want string }{
		{"", "", "cart.shop.svc.cluster.local", "A", "kubernetes coredns, Corefile line 7"},
		{"", "", "api.example", "A", "forward coredns, Corefile line 12 [/etc/resolv.conf]"},
		{"", "", "x.reddog.microsoft.com", "AAAA", "template NXDOMAIN coredns, Corefile line 23"},
		{"", "", "vm.internal.cloudapp.net", "A", "forward coredns, Corefile line 12 [/etc/resolv.conf]"},
		{"", "", "vm.a.b.c.internal.cloudapp.net", "A", "template NXDOMAIN coredns, Corefile line 18"},
		{"template IN A cart.shop.svc.cluster.local {\n rcode NXDOMAIN\n}", "a.override", "cart.shop.svc.cluster.local.", "A", "template NXDOMAIN coredns-custom, a.override line 1"},
		{"template IN A cart.shop.svc.cluster.local {\n rcode NXDOMAIN\n}", "a.override", "cart.shop.svc.cluster.local.", "AAAA", "kubernetes coredns, Corefile line 7"},
		{"hosts {\n 10.0.0.7 api.example www.example\n fallthrough\n}", "a.override", "API.example", "A", "hosts NOERROR coredns-custom, a.override line 2 [10.0.0.7]"},
		{"hosts {\n 10.0.0.7 api.example\n fallthrough\n}", "a.override", "other.example", "A", "forward coredns, Corefile line 12 [/etc/resolv.conf]"},
		{"hosts {\n 10.0.0.7 api.example\n}", "a.override", "other.example", "A", "hosts SERVFAIL coredns-custom, a.override line 1"},
		{"rewrite name exact api.example v2.example", "a.override", "api.example", "A", "forward coredns, Corefile line 12 [/etc/resolv.conf] as v2.example."},
		{"rewrite name suffix .old.example .new.example", "a.override", "a.old.example", "A", "forward coredns, Corefile line 12 [/etc/resolv.conf] as a.new.example."},
		{"rewrite stop {\n name regex (.*)\\.corp {1}.corp.example\n answer name (.*) {1}\n}", "a.override", "db.corp", "A", "forward coredns, Corefile line 12 [/etc/resolv.conf] as db.corp.example."},
		{"corp.example:53 {\n errors\n forward . 10.1.2.3 tls://9.9.9.9\n}", "b.server", "db.corp.example", "A", "forward coredns-custom, b.server line 3 [10.1.2.3 tls://9.9.9.9]"},
		{"corp.example:53 {\n errors\n forward . 10.1.2.3 {\n  except db.corp.example\n }\n}", "b.server", "db.corp.example", "A", "servfail coredns-custom, b.server line 1"},
		{"corp.example:5353 {\n forward . 10.1.2.3\n}", "b.server", "db.corp.example", "A", "forward coredns, Corefile line 12 [/etc/resolv.conf]"},
		{"corp.example {\n file /etc/coredns/corp.db\n}", "b.server", "db.corp.example", "A", " coredns-custom, b.server line 2"},
	} {
		t.Run(c.key+"/"+c.name+"/"+c.qtype, func(t *testing.T) {
			f := parse(map[string]string{c.key: c.custom})
			if len(f.Problems) > 0 {
				t.Errorf("problems: %v", f.Problems)
			}
			if got := text(f.Decide(c.name, c.qtype)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func text(d Decision) string {
	out := string(d.Kind)
	if d.Rcode != "" {
		out += " " + d.Rcode
	}
	out += " " + d.At.String()
	if len(d.Addrs) > 0 {
		out += fmt.Sprint(" ", d.Addrs)
	}
	if len(d.Upstreams) > 0 {
		out += fmt.Sprint(" ", d.Upstreams)
	}
	if d.Rewritten != nil {
		out += " as " + d.Name
	}
	return out
}

func TestProblems(t *testing.T) {
	for _, c := range []struct{ key, text, want string }{
		{"b.server", "corp.example:53 {\n errors\n forwrad . 10.1.2.3\n}", `coredns-custom, b.server line 3 unknown directive "forwrad"`},
		{"b.server", "corp.example:53 {\n forward . 10.1.2.3\n", "coredns-custom, b.server line 1 the block that begins here is not closed"},
		{"b.server", "corp.example:53 {\n forward .\n}", `coredns-custom, b.server line 2 forward needs a zone and a server: "forward ."`},
		{"b.server", ".:53 {\n forward . 10.1.2.3\n}", "coredns-custom, b.server line 1 zone . on port 53 is served twice; the other block is at coredns, Corefile line 1"},
		{"a.override", "cache 5\n}", "coredns-custom, a.override line 2 a closing brace without its opening one"},
		{"a.override", "hosts {\n 10.0.0.1 a.example\n", "coredns-custom, a.override line 1 the block that begins here is not closed"},
	} {
		t.Run(c.want, func(t *testing.T) {
			f := parse(map[string]string{c.key: c.text})
			if len(f.Problems) == 0 {
				t.Fatal("no problem was found")
			}
			if got := fmt.Sprint(f.Problems[0].Pos, " ", f.Problems[0].Text); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestLexQuotesAndComments(t *testing.T) {
	got := lex(Source{Text: "a \"b \\\" c\" # d\n#e\nf#g \"\\d\" {\n\"{\"\n}"})
	var words []string
	for _, w := range got {
		words = append(words, fmt.Sprintf("%d:%s", w.pos.Line, w.text))
	}
	want := `1:a|1:b " c|3:f#g|3:\d|3:{|4:{|5:}`
	if s := strings.Join(words, "|"); s != want {
		t.Errorf("got %s, want %s", s, want)
	}
}

func TestImportsAndSnippets(t *testing.T) {
	f := Parse(Source{"coredns", "Corefile", "(common) {\n errors\n cache 5\n}\n.:53 {\n import common\n import /etc/other/*.conf\n forward . 10.0.0.1\n}\n"}, nil)
	if len(f.Problems) > 0 || len(f.Servers) != 1 || len(f.Servers[0].Plugins) != 3 {
		t.Errorf("%+v", f)
	}
	if len(f.Unread) != 1 || f.Unread[0].Line != 7 {
		t.Errorf("an import that is not at hand is told: %+v", f.Unread)
	}
	if f = Parse(Source{"coredns", "Corefile", ".:53 {\n import custom/*\n}"}, []Source{{"coredns-custom", "x", "import custom/*"}}); len(f.Problems) == 0 {
		t.Error("imports in a circle are a problem")
	}
}

// FuzzParse feeds texts that anybody may have written.
func FuzzParse(f *testing.F) {
	f.Add(stock, "corp:53 {\n forward . 1.2.3.4\n}", "a.corp")
	f.Add("(a) {\n import a\n}\nimport a\n. {\n import custom/*\n}", "import custom/*", ".")
	f.Add("{\n{\n}\n", "\"", "")
	f.Add(". {\n template ANY ANY {\n match (\n answer \"\"\n }\n rewrite name regex ( {9}\n hosts {\n x\n }\n}", "}", "x")
	f.Fuzz(func(t *testing.T, main, custom, name string) {
		file := Parse(Source{"coredns", "Corefile", main}, []Source{{"coredns-custom", "x.server", custom}, {"coredns-custom", "x.override", custom}})
		for _, qtype := range []string{"A", "AAAA"} {
			d := file.Decide(name, qtype)
			if d.Kind == Forward && len(d.Upstreams) == 0 {
				t.Error("a forward without servers")
			}
		}
	})
}
