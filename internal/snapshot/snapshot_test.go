package snapshot

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

func sample() *model.Case {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	pod := &model.Pod{
		Namespace: "a", Name: "p", Phase: "Running", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.9")}, Created: now,
		Containers: []model.Container{{
			Name: "c", Command: []string{"app", "--token=abc", "--password", "hunter2", "http://:8080"},
			Env: map[string]string{
				"HTTPS_PROXY": "http://joe:hunter2@proxy.corp:3128", "NO_PROXY": "10.0.0.0/8,.svc", "DB_PASSWORD": "hunter2", "GREETING": "hello world",
				"PAYMENTS_URL": "https://joe:hunter2@198.51.100.9/v1/charge?key=hunter2", "DB_HOST": "db.a.svc", "DB_PORT": "5432", "REPLICAS": "3", "API_KEY": "10.0.0.1",
				"HOOK_URL": "https://hooks.example.org/services/T024BE7LDXYZ1234567890", "AUTH_SERVER": "login.example.org:443", "EMPTY": "",
			},
			EnvFrom: map[string]model.Ref{"X": "secret/a/s"},
		}},
	}
	yes := true
	return &model.Case{
		Version: 1, Asked: now,
		Question: model.Question{From: model.Endpoint{Raw: "a/p", Kind: "pod", Namespace: "a", Name: "p"}, To: model.Endpoint{Raw: "https://x.example/?sig=hunter2", Kind: "url", Host: "x.example", Path: "/?sig=hunter2", Port: 443}},
		World: model.World{
			Kube: model.Kube{
				Pods:       map[model.Ref]*model.Pod{pod.Ref(): pod},
				ConfigMaps: map[model.Ref]map[string]string{"configmap/kube-system/coredns": {"Corefile": ".:53 {\n\tforward . 10.0.0.1\n}\n"}},
				Events:     []model.Event{{About: pod.Ref(), Message: "pull of r/app@sha256:abcd failed: Bearer abcdefghijklmnopqrstuvwxyz0123 by joe@example.org\x1b[31m"}},
			},
			Azure: model.Azure{Subnets: map[string]*model.Subnet{"/subscriptions/11111111-2222-3333-4444-555555555555/x": {ID: "/subscriptions/11111111-2222-3333-4444-555555555555/x", DefaultOutbound: &yes}}},
			Read:  map[string]bool{"pod": true},
		},
		Paths:        []model.Path{{Verdict: model.Drop, Steps: []model.Step{{Hop: model.HopNSG, Verdict: model.Drop}}}},
		Observations: []model.Observation{{HTTP: &model.HTTPAnswer{Status: 403, Header: map[string]string{"Set-Cookie": "id=hunter2", "Server": "squid"}, Body: "password=hunter2; eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"}}},
	}
}

func save(t testing.TB, c *model.Case, o Options) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := SaveWith(&out, c, o); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRoundTrip(t *testing.T) {
	first := save(t, sample(), Options{})
	if !bytes.Equal(first, save(t, sample(), Options{})) {
		t.Error("the same case gives different bytes")
	}
	c, err := Load(bytes.NewReader(first), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := Redact(sample(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("read\n%+v\nwant\n%+v", c, want)
	}
	again, list, err := Redact(c, Options{})
	if err != nil || !reflect.DeepEqual(again, c) || len(list) > 0 {
		t.Errorf("redacting twice changes it again: %v %v", list, err)
	}
}

func TestRedaction(t *testing.T) {
	clean, list, err := Redact(sample(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(clean)
	for _, secret := range []string{"hunter2", "hello world", "joe", "T024BE7", "eyJhbGci", "abcdefghij", `"abc"`, "\\u001b"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%q is still there: %s", secret, text)
		}
	}
	env := clean.World.Kube.Pods["pod/a/p"].Containers[0].Env
	for name, want := range map[string]string{
		"HTTPS_PROXY": "http://proxy.corp:3128", "NO_PROXY": "10.0.0.0/8,.svc", "DB_PASSWORD": Hidden, "GREETING": Hidden, "REPLICAS": Hidden, "API_KEY": Hidden,
		"PAYMENTS_URL": "https://198.51.100.9/v1/charge?key=" + Hidden, "DB_HOST": "db.a.svc", "DB_PORT": "5432", "EMPTY": "",
		"HOOK_URL": "https://hooks.example.org/services/" + Hidden, "AUTH_SERVER": "login.example.org:443",
	} {
		if env[name] != want {
			t.Errorf("%s = %q, want %q", name, env[name], want)
		}
	}
	if got := strings.Join(clean.World.Kube.Pods["pod/a/p"].Containers[0].Command, " "); got != "app --token="+Hidden+" --password "+Hidden+" http://:8080" {
		t.Errorf("command: %s", got)
	}
	if got := clean.World.Kube.Events[0].Message; !strings.Contains(got, "r/app@sha256:abcd") {
		t.Errorf("an image's digest was taken for an address: %s", got)
	}
	if clean.World.Kube.ConfigMaps["configmap/kube-system/coredns"]["Corefile"] != ".:53 {\n\tforward . 10.0.0.1\n}\n" {
		t.Error("the Corefile was changed")
	}
	if len(list) < 5 {
		t.Errorf("the list of what was taken out: %v", list)
	}
	if sample().World.Kube.Pods["pod/a/p"].Containers[0].Env["DB_PASSWORD"] != "hunter2" {
		t.Error("the case itself was changed")
	}
}

// TestTextsOfURLs: what docs/snapshot.md says of URLs holds wherever one stands.
func TestTextsOfURLs(t *testing.T) {
	r := redactor{count: map[string]int{}}
	for text, want := range map[string]string{
		"get https://user:p@ss@h.example/a failed":      "get https://h.example/a failed",
		"to https://h.example/a#access_token=s, then":   "to https://h.example/a then",
		"to https://h.example/?secret and":              "to https://h.example/?[redacted] and",
		"to https://h.example/?secret&a=b":              "to https://h.example/?[redacted]&a=[redacted]",
		"https://h.example/a?b=c&d=#e":                  "https://h.example/a?b=[redacted]&d=",
		"/a?b=secret":                                   "/a?b=[redacted]",
		"see https://h.example/docs. Mail a team":       "see https://h.example/docs. Mail a team",
		"why? https://h.example/?a=[redacted]&b=c done": "why? https://h.example/?a=[redacted]&b=[redacted] done",
	} {
		if got := r.text(text); got != want {
			t.Errorf("%q became %q, not %q", text, got, want)
		}
		if again := r.text(r.text(text)); again != want {
			t.Errorf("%q twice: %q", text, again)
		}
	}
}

func TestHideIDs(t *testing.T) {
	c, err := Load(bytes.NewReader(save(t, sample(), Options{HideIDs: true})), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for id, s := range c.World.Azure.Subnets {
		if id != s.ID || strings.Contains(id, "1111") || !strings.Contains(id, "/subscriptions/00000000-0000-0000-0000-000000000001/") {
			t.Errorf("%s: %s", id, s.ID)
		}
	}
}

func pack(text string) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write([]byte(text))
	z.Close()
	return out.Bytes()
}

func TestHostile(t *testing.T) {
	head := `{"format":"podpath-snapshot","version":1,"case":`
	whole := func(c string) []byte { return pack(head + c + "}") }
	good := save(t, sample(), Options{})
	limits := Limits{Compressed: 1 << 20, Uncompressed: 4 << 20, Depth: 20, String: 1 << 16, Elements: 10000, List: 3000}
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "it is empty"},
		{"text", []byte("hello"), "it is no JSON object"},
		{"list", pack("[]"), "it is no JSON object"},
		{"other gzip", []byte{0x1f, 0x8b, 1, 2}, "not gzip"},
		{"cut off", good[:len(good)-20], "cut off after"},
		{"damaged", append(append([]byte{}, good[:len(good)-6]...), 1, 2, 3, 4, 5, 6), "not readable after"},
		{"appended", append(append([]byte{}, good...), "x"...), "something follows the gzip stream"},
		{"appended member", append(append([]byte{}, good...), good...), "something follows the gzip stream"},
		{"bomb", pack(head + `{"notes":["` + strings.Repeat(strings.Repeat("a", 60<<10)+`","`, 140) + `"]}}`), "unpacked it is larger than 4 MiB"},
		{"one string", pack(head + `{"notes":["` + strings.Repeat("a", 8<<20) + `"]}}`), "a string of more than 17"},
		{"packed elements", pack(head + `{"notes":[` + strings.Repeat(`"",`, 1<<20) + `""]}}`), "more than 10000 values"},
		{"escaped quotes", whole(`{"notes":["` + strings.Repeat(`\",`, 20000) + `"]}`), ""},
		{"large", append(pack("{}"), make([]byte, 2<<20)...), ""},
		{"large file", bytes.Repeat([]byte(" "), 2<<20), "it is larger than 1 MiB"},
		{"ends early", pack(head + `{"notes":["a"`), "case.notes[1]: it ends in the middle"},
		{"trailing", pack(head + "{}}{}"), "something follows the document"},
		{"deep", whole(`{"notes":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}"), "nested deeper than 20"},
		{"twice", whole(`{"version":1,"version":2}`), "case.version: this key stands here twice"},
		{"huge number", whole(`{"version":1e999}`), "case.version: the number 1e999 is too large"},
		{"long number", whole(`{"version":` + strings.Repeat("1", 100) + "}"), "case.version: a number of 100 digits"},
		{"overflow", whole(`{"version":9999999999999999999999}`), "case.version"},
		{"wrong type", whole(`{"world":{"kube":{"pods":{"pod/a/b":{"ips":"x"}}}}}`), "case.world.kube.pods.ips: string does not fit"},
		{"no address", whole(`{"question":{"address":"nowhere"}}`), "ParseAddr"},
		{"unknown verdict", whole(`{"paths":[{"verdict":"maybe"}]}`), "maybe"},
		{"unknown field", whole(`{"surprise":1}`), `field "surprise" is not known`},
		{"escape", whole(`{"notes":["\u001b[2J"]}`), "case.notes[0]: the string holds the control character U+001B"},
		{"reordering", whole(`{"notes":["a` + "\u202e" + `b"]}`), "case.notes[0]: the string holds the control character U+202E"},
		{"bad key", whole(`{"world":{"read":{"a\u0007":true}}}`), `case.world.read["a\a"]: the key holds a control character`},
		{"zero byte", pack("{\x00}"), "a zero byte stands at byte 1"},
		{"not UTF-8", pack("{\"a\":\"\xff\"}"), "it is not UTF-8"},
		{"long string", whole(`{"notes":["` + strings.Repeat("a", 1<<17) + `"]}`), "case.notes[0]: a string of 131072 bytes"},
		{"long list", whole(`{"notes":[` + strings.Repeat(`"a",`, 4000) + `"a"]}`), "case.notes[3001]: a list of more than 3000 elements"},
		{"long list of lists", whole(`{"paths":[` + strings.Repeat(`{},`, 2999) + `{},{},{}]}`), "case.paths[3001]: a list of more than 3000 elements"},
		{"many", whole(`{"notes":["a"` + strings.Repeat(`,"a"`, 20000) + `]}`), "more than 10000 values"},
		{"null pod", whole(`{"world":{"kube":{"pods":{"pod/a/b":null}}}}`), `case.world.kube.pods["pod/a/b"]: null where an object was due`},
		{"null subnet", whole(`{"world":{"azure":{"subnets":{"x":null}}}}`), `case.world.azure.subnets["x"]: null`},
		{"no case", pack(`{"format":"podpath-snapshot","version":1}`), "case: there is none"},
		{"other format", pack(`{"format":"zip","version":1}`), `format: "zip" is not`},
		{"newer", pack(`{"format":"podpath-snapshot","version":7,"case":{},"new":1}`), "version: 7 is newer than the 1"},
		{"older", pack(`{"format":"podpath-snapshot","case":{}}`), "version: 0 is none"},
		{"version text", pack(`{"format":"podpath-snapshot","version":"1","case":{}}`), "version: string does not fit"},
		{"surrogates", whole(`{"notes":["\ud800"]}`), ""},
		{"plain", []byte(head + "{}}"), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := Load(bytes.NewReader(test.data), limits)
			switch {
			case test.want == "" && (test.name == "plain" || test.name == "surrogates" || test.name == "escaped quotes"):
				if err != nil || c == nil {
					t.Errorf("%v", err)
				}
			case err == nil:
				t.Error("it was read")
			case !strings.Contains(err.Error(), test.want):
				t.Errorf("%v\nwant: %s", err, test.want)
			case len(err.Error()) > 400:
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
		})
	}
}

// TestBurst: what is made to burst is left long before the limits of size.
func TestBurst(t *testing.T) {
	for name, body := range map[string]string{
		"blanks":   strings.Repeat(" ", 64<<20),
		"elements": strings.Repeat(`"",`, 20<<20),
		"strings":  strings.Repeat(`"`+strings.Repeat("a", 1<<20)+`",`, 64),
	} {
		data := pack(`{"format":"podpath-snapshot","version":1,"case":{"notes":[` + body)
		before := allocated()
		_, err := Load(bytes.NewReader(data), Limits{})
		if err == nil || !strings.Contains(err.Error(), "made to burst") {
			t.Errorf("%s: %v", name, err)
		}
		if took := allocated() - before; took > 40<<20 {
			t.Errorf("%s: %d MiB were allocated for %d bytes", name, took>>20, len(data))
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func FuzzLoad(f *testing.F) {
	f.Add(save(f, sample(), Options{}))
	f.Add([]byte(`{"format":"podpath-snapshot","version":1,"case":{"world":{"kube":{"pods":{"pod/a/b":{"env":{}}}}}}}`))
	f.Add([]byte(`{"format":"podpath-snapshot","version":1,"case":{"paths":[{"steps":null,"verdict":"drop"}]}}`))
	limits := Limits{Compressed: 1 << 20, Uncompressed: 1 << 20}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Load(bytes.NewReader(data), limits)
		if err != nil {
			if c != nil || err.Error() == "" {
				t.Errorf("%v %v", c, err)
			}
			return
		}
		// What was read can be written, and read again as the same.
		packed := save(t, c, Options{})
		again, err := Load(bytes.NewReader(packed), Limits{})
		if err != nil {
			t.Fatalf("what was saved cannot be loaded: %v", err)
		}
		if !bytes.Equal(save(t, again, Options{}), save(t, again, Options{})) {
			t.Error("the same case gives different bytes")
		}
	})
}

func TestDocsNamesEveryPattern(t *testing.T) {
	doc, err := os.ReadFile("../../docs/snapshot.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range patterns {
		if !strings.Contains(string(doc), p.what) {
			t.Errorf("docs/snapshot.md does not name: %s", p.what)
		}
	}
}
