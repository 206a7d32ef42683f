package scenario

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const whole = `name: whole
summary: every key once
topology: {cni: kubenet, outbound: userDefinedRouting, policy: enforced, kubeProxy: iptables, pools: [{name: a, nodes: 2}, {name: b, subnet: snet-b}]}
inject:
  - arm: {method: PUT, id: /subscriptions/x/y, body: {properties: {priority: 100}}, heal: {method: DELETE}}
  - arm: {id: /subscriptions/x/z, merge: {properties: {natGateway: null}}}
  - kubectl: {apply: "kind: ConfigMap\ndata: {a: '{{pod shop/deploy/cart ip}}', b: '{{ .Name }}'}"}
  - kubectl: {delete: "networkpolicy 'a b' -n shop", heal: [{kubectl: {run: [scale, deploy/x, "--replicas=1"]}}]}
  - node: {name: n1, run: "sysctl -w a=0", heal: "sysctl -w a=1"}
  - pod: {name: shop/deploy/cart, run: "true", heal: {run: "false"}}
  - host: {name: api.payments.example, serve: {status: 503, share: 0.3, delay: 2s}, heal: {serve: {status: 200}}}
  - load: {from: shop/deploy/cart, to: "203.0.113.10:443", connections: 2000, rate: 100, hold: 90s, protocol: udp, bytesPerSecond: 10}
  - wait: {until: "deploy/cart -n shop --for=condition=Available", for: 30s}
  - wait: {until: settled}
settle: 1500ms
symptom: {from: shop/deploy/checkout, to: "https://api.payments.example", expect: some-http-503}
ask: {from: shop/deploy/checkout, to: "{{service shop/web ip}}:80", protocol: tcp, host: a.example, address: 203.0.113.10, via: app}
expect:
  works: slow
  persistence: intermittent
  causes: [a, b]
  subjects: [nsg/a/b]
  hops: [nsg, http]
  evidence: [x, 200, "a|b"]
  also: [service/shop/cart]
  not: [c]
  notSubjects: [node/x]
`

func TestParseWhole(t *testing.T) {
	s, err := Parse("dir/whole.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Inject) != 10 || s.Settle != 1500*time.Millisecond || s.Topology.Nodes != 3 || s.Topology.Pools[1].Subnet != "snet-b" {
		t.Errorf("%+v", s)
	}
	if h := s.Inject[0].Heal[0].ARM; h.Method != "DELETE" || h.ID != "/subscriptions/x/y" {
		t.Errorf("heal of arm: %+v", h)
	}
	if a := s.Inject[1].ARM; a.Method != "MERGE" || len(a.Body) != 1 {
		t.Errorf("merge: %+v", a)
	}
	if k := s.Inject[3].Kubectl; strings.Join(k.Words, ",") != "networkpolicy,a b,-n,shop" {
		t.Errorf("words: %q", k.Words)
	}
	if h := s.Inject[5].Heal[0].Exec; h.Where != "pod" || h.Name != "shop/deploy/cart" || h.Run != "false" {
		t.Errorf("heal of pod: %+v", h)
	}
	if s.Question.Verb != "why" || s.Question.Via != "app" || s.Expect.Evidence[1] != "200" || !s.Expect.Fault() {
		t.Errorf("%+v %+v", s.Question, s.Expect)
	}
}

// TestParseRefuses holds each complaint to its line and its words.
func TestParseRefuses(t *testing.T) {
	const head = "name: x\n"
	const tail = "\nask: {from: shop/deploy/a, to: b}\nexpect: {works: true}\n"
	for _, c := range []struct{ text, want string }{
		{head + "colour: red" + tail, `x.yaml:2: scenario: unknown key "colour"`},
		{head + "inject:\n  - arm: {id: /subscriptions/a, body: {}, force: true}" + tail, `x.yaml:3: arm: unknown key "force"`},
		{head + "inject:\n  - nod: {name: a}" + tail, `x.yaml:3: inject: unknown key "nod"`},
		{head + "inject:\n  - node: {name: a, run: b}\n    pod: {name: shop/a, run: b}" + tail, "x.yaml:3: inject: a step is one of"},
		{head + "inject:\n  - node: {name: a}" + tail, "x.yaml:3: node: exactly one of run is wanted"},
		{head + "inject:\n  - node: {name: a, run: 5}" + tail, "x.yaml:3: node.run: a string is wanted"},
		{head + "inject:\n  - arm: {method: PUT, id: /subscriptions/a}" + tail, "x.yaml:3: arm: PUT needs a body"},
		{head + "inject:\n  - arm: {method: GRAB, id: /subscriptions/a}" + tail, `x.yaml:3: arm.method: "GRAB" is none of`},
		{head + "inject:\n  - kubectl: {apply: a, delete: b}" + tail, "x.yaml:3: kubectl: apply and delete in one step"},
		{head + "inject:\n  - load: {from: shop/deploy/a, to: b, connections: many}" + tail, "x.yaml:3: load.connections: a whole number is wanted"},
		{head + "inject:\n  - host: {name: a, serve: {colour: red}}" + tail, `x.yaml:3: host.serve: unknown key "colour"`},
		{head + "inject:\n  - host: {name: a, serve: {status: high}}" + tail, "x.yaml:3: host.serve.status: int is wanted"},
		{head + "inject:\n  - wait: {until: settled, for: soon}" + tail, "x.yaml:3: wait.for: a duration is wanted"},
		{head + "inject:\n  - pod: {name: cart, run: a}" + tail, `x.yaml:3: pod.name: "cart": a pod is NS/NAME`},
		{head + "inject:\n  - node: {name: a, run: '{{pod cart ip}}'}" + tail, "x.yaml:3: node.run: {{pod cart ip}}: the name is NAMESPACE/NAME"},
		{head + "topology: {cni: cilium}" + tail, `x.yaml:2: topology.cni: "cilium" is none of`},
		{head + "topology: {nodes: 9}" + tail, "x.yaml:2: topology.nodes: 9 is not within 1 and 5"},
		{head + "settle: 5" + tail, "x.yaml:2: settle: a duration is wanted"},
		{head + "symptom: {from: a/b, to: c, expect: broken}" + tail, `x.yaml:2: symptom.expect: "broken" is none of`},
		{head + "watch: {from: shop/a, to: b, beside: [{c: d}]}\nexpect: {works: true}\n", "watch.beside"},
		{head + "ask: {from: shop/a, to: b, beside: [c]}\nexpect: {works: true}\n", `ask: unknown key "beside"`},
		{head + "check: true" + tail, "one of ask, watch, check, reach is wanted, not two"},
		{head + "ask: {from: a/b, to: c}\n", "x.yaml:1: expect is missing"},
		{head + "expect: {works: true}\n", "x.yaml:1: one of ask, watch, check, reach is missing"},
		{head + "ask: {from: a/b, to: c}\nexpect: {works: maybe}", `x.yaml:3: expect.works: "maybe" is none of`},
		{head + "ask: {from: a/b, to: c}\nexpect: {subject: nsg/a/b, hop: cable}", `x.yaml:3: expect.hop: "cable" is none of`},
		{head + "ask: {from: a/b, to: c}\nexpect: {subject: DenyWeb, hop: nsg}", `"DenyWeb" is not a subject`},
		{head + "inject: &a [{node: {name: b, run: c, heal: *a}}]" + tail, "a heal has no heal of its own"},
		{"name: y" + tail, `x.yaml:1: name: "y" is not the file's name "x"`},
		{head + "name: x" + tail, `x.yaml:2: scenario: key "name" twice`},
		{"name: [x" + tail, "x.yaml:"},
		{"", "x.yaml:1: empty file"},
		{"- a", "x.yaml:1: a mapping is wanted"},
		{head + tail + "---\nname: x", "a second document"},
	} {
		_, err := Parse("dir/x.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

// TestShippedScenarios reads what the repository ships: all of it is well-formed
// and says what podpath must find.
func TestShippedScenarios(t *testing.T) {
	all, err := ReadAll([]string{filepath.Join("..", "..", "scenarios")})
	if err != nil {
		t.Fatal(err)
	}
	healthy := 0
	for _, s := range all {
		if s.Expect.Healthy() {
			healthy++
		} else if foretold := s.Expect.Works == "true" && !s.Expect.Fault() && len(s.Expect.Evidence) > 0; !foretold && (s.Expect.Subject == "" || s.Expect.Hop == "") {
			t.Errorf("%s: a fault names its subject and hop", s.Name)
		}
		if s.Summary == "" {
			t.Errorf("%s has no summary", s.Name)
		}
	}
	if len(all) < 70 || healthy < 26 {
		t.Errorf("%d scenarios, %d of them healthy", len(all), healthy)
	}
}

func TestTemplates(t *testing.T) {
	look := func(kind, name, field string) (string, error) {
		return "<" + kind + " " + name + " " + field + ">", nil
	}
	got, err := fill("a {{pod shop/deploy/cart ip}} {{ node n1 podCIDR }} {{publicip p}} {{ .Name }} {{service shop/web external}}", look)
	want := "a <pod shop/deploy/cart ip> <node n1 podCIDR> <publicip p > {{ .Name }} <service shop/web external>"
	if err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"{{pod shop/a}}", "{{node a colour}}", "{{service web ip}}", "{{publicip a ip}}"} {
		if checkTemplate(bad) == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestSplit(t *testing.T) {
	got, err := split(`patch deploy/a -p '{"a": "b c"}' "x\"y" z\ w ''`)
	if err != nil || strings.Join(got, "|") != `patch|deploy/a|-p|{"a": "b c"}|x"y|z w|` {
		t.Errorf("%q %v", got, err)
	}
	if _, err := split("a 'b"); err == nil {
		t.Error("an open quote is accepted")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	files, _ := filepath.Glob(filepath.Join("..", "..", "scenarios", "n*.yaml"))
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil {
			f.Add(data)
		}
	}
	f.Add([]byte("a: &a [*a]\n"))
	f.Add([]byte("name: x\ninject: &a [{node: {name: b, run: c, heal: *a}}]\nask: {from: a/b, to: c}\nexpect: {works: true}"))
	f.Add([]byte("name: x\ninject: [{arm: {id: {}}}, 3, {wait: }]\nexpect: !!binary x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("x.yaml", data)
		if (s == nil) == (err == nil) {
			t.Error("neither a scenario nor an error, or both")
		}
		if err != nil && !strings.Contains(err.Error(), "x.yaml:") {
			t.Errorf("an error without a line: %v", err)
		}
	})
}
