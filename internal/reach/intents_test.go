package reach_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
	"github.com/podpath/podpath/internal/reach"
	"github.com/podpath/podpath/internal/reach/reachtest"
)

func TestParseIntents(t *testing.T) {
	good := []string{
		"- {from: a/b, to: c/d, port: 80, protocol: tcp, expect: Allow}\n",
		"intents:\n- {from: a/b, to: 10.0.0.0/8}\n",
		"from: a/b\nto: internet\nport: 8000-8080\n---\nfrom: a/b\nto: x\n",
		`[{"from": {"namespace": "a", "podSelector": {"matchLabels": {"x": "y"}}}, "to": "*", "port": "http", "x-id": 7}]`,
		"- &i {from: a/b, to: c/d, port: null}\n- {from: a, to: {namespaceSelector: {}}}\n",
	}
	for _, text := range good {
		if _, err := reach.ParseIntents([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	bad := map[string]string{
		"":                                    "no intents in it",
		"x":                                   "not a list of intents",
		"- 3":                                 "intent 1 (line 1): not an object",
		"- {from: a}":                         "to is missing",
		"- {to: a}":                           "from is missing",
		"- {from: a, to: b, expect: yes}":     `expect: "yes" is neither`,
		"- {from: a, to: b, protocol: icmp}":  "protocol: ",
		"- {from: a, to: b, port: 70000}":     "port: 70000 is not between",
		"- {from: a, to: b, port: 9-8}":       "port: 9-8 is not between",
		"- {from: a, to: b, port: 'a b'}":     "nor the name of a port",
		"- {from: a, to: b, prot: tcp}":       `"prot" is no field of an intent`,
		"- {from: {pods: x}, to: b}":          `from: "pods" is not known`,
		"- {from: {}, to: b}":                 "from: empty",
		"- {from: a, to: b}\n- {from: [a]}\n": "intent 2 (line 2): from",
		"- {from: {podSelector: {matchExpressions: [{key: a, operator: In}]}}, to: b}": "In and its values do not fit",
		"- [": "line",
	}
	for text, want := range bad {
		if _, err := reach.ParseIntents([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// FuzzIntents: whatever a file of intents holds, it is refused, or each of them
// is answered.
func FuzzIntents(f *testing.F) {
	f.Add("- {from: ns0/pod01, to: ns1/app=a, port: 80, expect: allow}\n- {from: '[team=1]/*', to: 10.0.0.0/24}\n")
	f.Add("- {from: internet, to: 'ns0/svc/x', port: http}\n- {from: '*', to: api.example.com, port: 443}\n")
	f.Add("- {from: {namespaceSelector: {}}, to: fd00::/64, protocol: sctp, port: 1-65535, expect: deny}\n")
	w := reachtest.Random(7)
	x := policy.BuildAs(w, policy.Upstream)
	f.Fuzz(func(t *testing.T, text string) {
		list, err := reach.ParseIntents([]byte(text))
		if err != nil || len(list) > 20 {
			return
		}
		v := reach.New(x, reach.Prefixes(list)).AskAll(list, "")
		if len(v.Intents) != len(list) {
			t.Fatalf("%d answers", len(v.Intents))
		}
		for _, a := range v.Intents {
			if a.Actual == "" || a.By == "" || a.Reason == "" {
				t.Errorf("%+v", a)
			}
		}
	})
}

// TestAnswerGivesBack: an answer repeats the statement as it was written.
func TestAnswerGivesBack(t *testing.T) {
	for port, want := range map[reach.Ports]string{"80": `"port":80,`, "8000-8080": `"port":"8000-8080",`, "http": `"port":"http",`, "": `"to":"b","protocol"`} {
		data, err := json.Marshal(reach.Answer{From: reach.Side{Text: "a"}, To: reach.Side{Text: "b"}, Port: port, Protocol: "TCP"})
		if err != nil || !strings.Contains(string(data), want) || !strings.Contains(string(data), `"protocol":"TCP"`) {
			t.Errorf("%s, %v: %s not in it", data, err, want)
		}
	}
}

// TestSecondAddress: an answer that holds between second addresses alone says so.
func TestSecondAddress(t *testing.T) {
	p := &model.NetworkPolicy{Name: "p", PodSelector: *app("db"), IngressRules: []model.PolicyRule{{Peers: []model.PolicyPeer{{IPBlock: netip.MustParsePrefix("::/0")}}}}}
	w := small(p)
	for i, name := range []string{"web", "db"} {
		pod := w.Kube.Pods[model.NewRef("pod", "a", name)]
		pod.IPs = append(pod.IPs, netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(i + 1)}))
	}
	list, err := reach.ParseIntents([]byte("- {from: a/web, to: a/db, port: 80, expect: deny}\n- {from: b/tool, to: a/db, port: 80, expect: deny}\n"))
	if err != nil {
		t.Fatal(err)
	}
	got := reach.New(policy.BuildAs(w, policy.Upstream), reach.Prefixes(list)).AskAll(list, "").Intents
	if got[0].Actual != "allow" || !strings.Contains(got[0].Reason, "(from fd00::1 to fd00::2)") {
		t.Errorf("%+v", got[0])
	}
	if got[1].Actual != "deny" || strings.Contains(got[1].Reason, "(from") {
		t.Errorf("%+v", got[1])
	}
}
