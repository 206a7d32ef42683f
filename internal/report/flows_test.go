package report

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func path(v model.Verdict, steps ...model.Step) model.Path {
	return model.Path{Verdict: v, Steps: steps}
}

var (
	passes  = path(model.Pass, model.Step{Hop: model.HopPod, Verdict: model.Pass})
	dropped = path(model.Drop, model.Step{Hop: model.HopPod, Verdict: model.Pass}, model.Step{Hop: model.HopNSG, Verdict: model.Drop, Decided: "nsg/n/Deny", Reason: "rule Deny"})
	unsure  = path(model.Unknown, model.Step{Hop: model.HopRoute, Reason: "the route table was not read"})
)

func TestNewFlow(t *testing.T) {
	q := model.Question{From: model.Endpoint{Raw: "a/b"}, To: model.Endpoint{Raw: "10.0.0.7:53"}, Protocol: "udp"}
	for _, test := range []struct {
		name  string
		paths []model.Path
		err   error
		want  string // verdict, hop, what decided
		code  int
	}{
		{"passes", []model.Path{passes}, nil, "pass  ", 0},
		{"every way passes", []model.Path{passes, passes}, nil, "pass  ", 0},
		{"dropped", []model.Path{dropped}, nil, "drop nsg nsg/n/Deny", 1},
		{"one way is dropped", []model.Path{passes, dropped}, nil, "mixed nsg nsg/n/Deny", 1},
		{"not known", []model.Path{unsure}, nil, "unknown route ", 2},
		{"nothing there", nil, errors.New("no such pod"), "unknown  ", 2},
		{"no way", nil, nil, "unknown  ", 2},
	} {
		f := NewFlow(q, test.paths, test.err)
		if got := f.Verdict + " " + string(f.Hop) + " " + string(f.Decided); got != test.want {
			t.Errorf("%s: %q, not %q", test.name, got, test.want)
		}
		if got := NewFlows([]Flow{f}, nil).ExitCode; got != test.code {
			t.Errorf("%s: exit code %d, not %d", test.name, got, test.code)
		}
	}
}

func TestWriteFlows(t *testing.T) {
	q := model.Question{From: model.Endpoint{Raw: "a/b\x1b[2J"}, To: model.Endpoint{Raw: "10.0.0.7:53"}, Protocol: "udp"}
	r := NewFlows([]Flow{NewFlow(q, []model.Path{dropped}, nil)}, []model.Gap{{What: "nodes", Reason: "403", Permission: "list nodes"}})
	var out bytes.Buffer
	if err := WriteFlows(&out, "", r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"a/b[2J ", "drop", "nsg/n/Deny: rule Deny", "nodes: 403; it takes list nodes"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a name reaches the terminal as it is")
	}
	if err := WriteFlows(&out, "mermaid", r); err == nil || !strings.Contains(err.Error(), "use one of text, json, yaml") {
		t.Errorf("error %v", err)
	}
}
