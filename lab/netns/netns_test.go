package netns

import "testing"

func TestName(t *testing.T) {
	if got := Name("lab", "router"); got != "lab-router" {
		t.Errorf("Name = %q", got)
	}
	if got := Path("lab-router"); got != "/run/netns/lab-router" {
		t.Errorf("Path = %q", got)
	}
}

func TestDialWantsLiteralAddress(t *testing.T) {
	if _, err := Dial(t.Context(), "none", "tcp", "host.example:80"); err == nil {
		t.Error("a name was accepted")
	}
}

func TestDoNamesTheNamespaceItCannotEnter(t *testing.T) {
	if err := Do("no-such-namespace", func() error { return nil }); err == nil {
		t.Error("entered a namespace that is not there")
	}
}
