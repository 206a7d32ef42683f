package home

import (
	"errors"
	"testing"
)

func TestNamesThatALabMayHave(t *testing.T) {
	for name, good := range map[string]bool{
		"lab": true, "l1": true, "abcdefghijkl": true,
		"": false, "a-b": false, "1a": false, "Lab": false, "../x": false, "abcdefghijklm": false,
	} {
		if _, err := Of(name); (err == nil) != good {
			t.Errorf("Of(%q): %v", name, err)
		}
	}
}

func TestALockIsHeldOnce(t *testing.T) {
	h, err := Of("unittest")
	if err != nil {
		t.Fatal(err)
	}
	release, err := h.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Lock(); !errors.Is(err, ErrBusy) {
		t.Errorf("a second lock: %v", err)
	}
	release()
	release, err = h.Lock()
	if err != nil {
		t.Fatalf("after it was let go: %v", err)
	}
	release()
}

func TestMountPointsAreUnescaped(t *testing.T) {
	for in, want := range map[string]string{`/a\040b`: "/a b", `/a`: "/a", `/a\`: `/a\`, `/a\999`: `/a\999`} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}
