package scenario

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func reportOf(t *testing.T, text string) report {
	t.Helper()
	var r report
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

const twoCauses = `{"works":"false","persistence":"persistent","exitCode":1,
 "causes":[
  {"rule":"nsg-denies","subject":"nsg/nsg-nodes/DenyWeb","hop":"nsg","confidence":"proven","title":"t","evidence":[{"text":"rule DenyWeb, priority 200"}]},
  {"rule":"pod-broken","subject":"pod/shop/web-abc-1","hop":"pod","confidence":"likely","evidence":[]}],
 "alsoNoticed":[{"rule":"svc","subject":"service/shop/cart","hop":"service","confidence":"possible"}]}`

var webOwners = ownersOf([]kubeObject{
	{"kind": "Pod", "metadata": map[string]any{"name": "web-abc-1", "namespace": "shop", "ownerReferences": []any{map[string]any{"kind": "ReplicaSet", "name": "web-abc", "controller": true}}}},
	{"kind": "ReplicaSet", "metadata": map[string]any{"name": "web-abc", "namespace": "shop", "ownerReferences": []any{map[string]any{"kind": "Deployment", "name": "web", "controller": true}}}},
})

func TestJudge(t *testing.T) {
	nsg := Expect{Works: "false", Persistence: "persistent", Subject: "nsg/nsg-nodes/DenyWeb", Hop: "nsg"}
	with := func(f func(*Expect)) Expect { e := nsg; f(&e); return e }
	for name, c := range map[string]struct {
		expect Expect
		rank   int
		reason string // "" when it passes
	}{
		"right":            {nsg, 1, ""},
		"case":             {with(func(e *Expect) { e.Subject = "NSG/nsg-nodes/denyweb" }), 1, ""},
		"evidence":         {with(func(e *Expect) { e.Evidence = []string{"denyweb", "900|200"} }), 1, ""},
		"no evidence":      {with(func(e *Expect) { e.Evidence = []string{"denyweb", "900"} }), 1, "evidence"},
		"cause":            {with(func(e *Expect) { e.Cause = "nsg-denies" }), 1, ""},
		"other cause":      {with(func(e *Expect) { e.Cause = "route" }), 1, "rule is not route"},
		"works":            {with(func(e *Expect) { e.Works = "true" }), 1, "works is false"},
		"persistence":      {with(func(e *Expect) { e.Persistence = "intermittent" }), 1, "persistence is persistent"},
		"wrong hop":        {with(func(e *Expect) { e.Hop = "route" }), 0, "first cause is nsg"},
		"pod and workload": {Expect{Subject: "deployment/shop/web", Hop: "pod"}, 2, "first cause is nsg"},
		"short kind":       {Expect{Subject: "deploy/shop/web", Hop: "pod"}, 2, "first cause is nsg"},
		"subjects":         {Expect{Subjects: []string{"deployment/shop/web", "nsg/nsg-nodes/DenyWeb"}}, 1, ""},
		"subjects too few": {Expect{Subjects: []string{"nsg/nsg-nodes/DenyWeb"}}, 1, "subjects are"},
		"causes":           {Expect{Causes: []string{"pod-broken", "nsg-denies"}}, 1, ""},
		"hops":             {Expect{Hops: []string{"nsg", "pod"}}, 1, ""},
		"also":             {with(func(e *Expect) { e.Also = []string{"service/shop/cart"} }), 1, ""},
		"also, further":    {with(func(e *Expect) { e.Also = []string{"deployment/shop/web"} }), 1, ""},
		"also missing":     {with(func(e *Expect) { e.Also = []string{"node/a"} }), 1, "node/a is not noticed"},
		"not":              {with(func(e *Expect) { e.Not = []string{"pod-broken"} }), 1, "pod-broken is ranked"},
		"notSubjects":      {with(func(e *Expect) { e.NotSubjects = []string{"deployment/shop/web"} }), 1, "is ranked"},
		"healthy":          {Expect{Works: "true"}, 0, "false alarm"},
	} {
		row := judge(c.expect, reportOf(t, twoCauses), webOwners)
		if row.Rank != c.rank || row.Pass != (c.reason == "") || !strings.Contains(strings.Join(row.Reasons, ";"), c.reason) {
			t.Errorf("%s: rank %d, pass %v, reasons %v", name, row.Rank, row.Pass, row.Reasons)
		}
	}
}

func TestHealthy(t *testing.T) {
	healthy := Expect{Works: "true", Persistence: "none"}
	for text, pass := range map[string]bool{
		`{"works":"true","persistence":"none"}`: true,
		`{"works":"true","persistence":"none","alsoNoticed":[{"rule":"a","subject":"b/c","confidence":"possible"}]}`: true,
		`{"works":"true","persistence":"none","alsoNoticed":[{"rule":"a","subject":"b/c","confidence":"likely"}]}`:   false,
		`{"works":"true","persistence":"none","causes":[{"rule":"a","subject":"b/c","confidence":"possible"}]}`:      false,
		`{"works":"true","persistence":"none","exitCode":2}`:                                                         false,
		`{"works":"unknown"}`: false,
		`{"works":"true","persistence":"none","resources":[{"source":"pod","state":"room"}]}`:                       true,
		`{"works":"true","persistence":"none","resources":[{"source":"pod","state":"near","left":60000000000}]}`:    false,
		`{"works":"true","persistence":"none","resources":[{"source":"metric","state":"near","left":60000000000}]}`: true,
	} {
		if row := judge(healthy, reportOf(t, text), nil); row.Pass != pass {
			t.Errorf("%s: pass %v, reasons %v", text, row.Pass, row.Reasons)
		}
	}
}

// Where nothing is to be found, what must be told may stand among what can run out.
func TestEvidenceOfWhatRunsOut(t *testing.T) {
	r := reportOf(t, `{"works":"true","persistence":"none","resources":[{"name":"local ports","of":"pod/a/b","state":"near","says":["it grew"]}]}`)
	for want, pass := range map[string]bool{"it grew": true, "it fell": false} {
		if row := judge(Expect{Works: "true", Evidence: []string{"pod/a/b", want}}, r, nil); row.Pass != pass {
			t.Errorf("%s: pass %v, reasons %v", want, row.Pass, row.Reasons)
		}
	}
}

func TestSummaryAndTable(t *testing.T) {
	nsg := Expect{Works: "false", Subject: "nsg/nsg-nodes/DenyWeb", Hop: "nsg"}
	rows := []Row{
		judge(nsg, reportOf(t, twoCauses), nil),
		judge(Expect{Subject: "pod/shop/web-abc-1", Hop: "pod"}, reportOf(t, twoCauses), nil),
		judge(Expect{Works: "true"}, reportOf(t, `{"works":"true","causes":[{"rule":"a","subject":"b/c","hop":"dns"}]}`), nil),
		judge(Expect{Works: "true"}, reportOf(t, `{"works":"true"}`), nil),
		{Name: "never", Reasons: []string{"the symptom is not seen"}},
	}
	for i := range rows[:4] {
		rows[i].Injected, rows[i].Seconds, rows[i].Name = true, float64(i+1), string(rune('a'+i))
	}
	s := summarize(rows)
	if s.Total != 5 || s.NotInjected != 1 || s.Passed != 2 || s.Failed != 2 || s.Faults != 2 || s.Top1 != 0.5 || s.Top3 != 1 ||
		s.Precision != 0.5 || s.Healthy != 2 || s.FalseAlarms != 1 || s.MedianSeconds != 2 || s.P95Seconds != 4 {
		t.Errorf("%+v", s)
	}
	var out bytes.Buffer
	if err := writeTable(&out, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"never: NOT INJECTED", "the symptom is not seen", "top-1 50 %", "1 not injected"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if !strings.HasSuffix(out.String(), "\n2 passed, 2 failed\n") {
		t.Errorf("the last line: %s", out.String())
	}
	out.Reset()
	if err := writeJSON(&out, rows); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	first := back["scenarios"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "topology", "injected", "expected", "got", "rank", "works", "persistence", "seconds", "pass"} {
		if _, ok := first[key]; !ok {
			t.Errorf("no %s in %v", key, first)
		}
	}
	for _, key := range []string{"total", "notInjected", "top1", "top3", "precision", "falseAlarms", "medianSeconds", "p95Seconds"} {
		if _, ok := back["summary"].(map[string]any)[key]; !ok {
			t.Errorf("no %s in the summary", key)
		}
	}
}

func TestAgrees(t *testing.T) {
	glances := func(words ...string) []glance {
		var out []glance
		for _, w := range words {
			out = append(out, glance{Result: w})
		}
		return out
	}
	for _, c := range []struct {
		expect string
		seen   []glance
		want   bool
	}{
		{"timeout", glances("timeout"), true},
		{"timeout", glances("ok"), false},
		{"some-reset", glances("ok", "reset", "ok"), true},
		{"some-reset", glances("reset", "reset"), false},
		{"some-reset", glances("ok", "ok"), false},
	} {
		if got, text := agrees(c.expect, c.seen); got != c.want {
			t.Errorf("%s of %v: %v (%s)", c.expect, c.seen, got, text)
		}
	}
}
