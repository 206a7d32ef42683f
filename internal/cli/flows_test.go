package cli

import (
	"strings"
	"testing"
)

func TestParseFlows(t *testing.T) {
	for _, test := range []struct{ name, file, want string }{
		{
			"YAML", "- {from: shop/deploy/web, to: \"10.0.0.7:53\", protocol: udp}\n- from: node/n1\n  to: https://api.test\n  address: 203.0.113.9\n",
			"deployment shop/web -> ip :53 udp\nnode /n1 -> url api.test:443 https tcp address=203.0.113.9",
		},
		{"JSON", `[{"from": "shop/web-0", "to": "shop/svc/db:5432"}]`, "pod shop/web-0 -> service shop/db:5432 tcp"},
		{"nothing", "", "no connections in it"},
		{"an empty list", "[]", "no connections in it"},
		{"no list", "from: a\nto: b\n", "cannot unmarshal"},
		{"two documents", "- {from: a, to: b}\n---\n- {from: a, to: b}\n", "more than one document"},
		{"an unknown field", "- {from: a, too: b}\n", "field too not found"},
		{"no TO", "- {from: a, to: b}\n- {from: a}\n", "connection 2: TO: "},
		{"protocol", "- {from: a, to: b, protocol: sctp}\n", `connection 1: protocol "sctp" is neither tcp nor udp`},
		{"from outside", "- {from: internet, to: b}\n", "connection 1: FROM"},
	} {
		t.Run(test.name, func(t *testing.T) {
			list, err := parseFlows([]byte(test.file))
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %q does not say %q", err, test.want)
				}
				return
			}
			var got []string
			for _, q := range list {
				got = append(got, oneLine(q))
			}
			if text := strings.Join(got, "\n"); text != test.want {
				t.Errorf("got  %s\nwant %s", text, test.want)
			}
		})
	}
}

func FuzzParseFlows(f *testing.F) {
	f.Add([]byte("- {from: shop/web, to: \"10.0.0.7:53\", protocol: udp}\n"))
	f.Add([]byte(`[{"from":"node/n1","to":"https://api.test","address":"203.0.113.9","host":"x.test"}]`))
	f.Add([]byte("- &a {from: x, to: y}\n- *a\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := parseFlows(data)
		if err == nil && len(list) == 0 {
			t.Error("no connections and no error")
		}
		for _, q := range list {
			if q.From.Kind == "" || q.To.Kind == "" || q.Protocol != "tcp" && q.Protocol != "udp" {
				t.Errorf("half a question: %+v", q)
			}
		}
	})
}
