package probe

import (
	"net"
	"testing"
)

// On loopback nothing gets lost, and what is no TCP connection says nothing.
func TestLost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if lost(conn) != 0 || lost(near) != 0 {
		t.Errorf("%d, %d", lost(conn), lost(near))
	}
}
