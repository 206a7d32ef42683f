package probe

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

func TestFewPorts(t *testing.T) {
	for text, want := range map[string]bool{"40000 40007\n": true, "32768\t60999\n": false, "": false, "x y": false, "1 2 3": false} {
		if got := fewPorts(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestHangUp: with a reset the other side is told at once, and this one keeps no port.
func TestHangUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, brief := range []bool{true, false} {
		mine, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		(&attempt{runner: &runner{brief: brief}}).hangUp(&wire{Conn: mine})
		_, err = theirs.Read(make([]byte, 1))
		theirs.Close()
		if errors.Is(err, syscall.ECONNRESET) != brief {
			t.Errorf("brief %v: the other side reads %v", brief, err)
		}
	}
}
