package report

import (
	"testing"

	"github.com/podpath/podpath/internal/model"
)

func TestFold(t *testing.T) {
	in := func(what, ns string) model.Gap {
		return model.Gap{What: what, Reason: "pods is forbidden in namespace " + ns, Permission: "list pods in namespace " + ns}
	}
	got := fold([]model.Gap{in("pods in a", "a"), in("pods in b", "b"), {What: "x", Reason: "r"}, {What: "y", Reason: "r"}, in("pods in a", "a")})
	if len(got) != 3 {
		t.Fatalf("%d lines: %+v", len(got), got)
	}
	if got[0].What != "pods in a, pods in b" || got[0].Permission != "list pods in namespaces a, b" {
		t.Errorf("%+v", got[0])
	}
	if got[1].What != "x" || got[2].What != "y" {
		t.Errorf("gaps that nothing would fill were merged: %+v", got[1:])
	}
}
