package scenario

import (
	"slices"
	"testing"
)

func TestExpectIsFilled(t *testing.T) {
	e := Expect{Subject: "host/{{publicip pip-a}}", Evidence: []string{"{{publicip pip-a}}", "plain"}}
	got, err := e.filled(func(_, name, _ string) (string, error) { return "192.0.2.64", nil })
	if err != nil || got.Subject != "host/192.0.2.64" || !slices.Equal(got.Evidence, []string{"192.0.2.64", "plain"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if e.Evidence[0] != "{{publicip pip-a}}" {
		t.Error("the scenario itself was changed: a second run would keep the first one's values")
	}
}
