package node

import (
	"bytes"
	"testing"
)

// portMessage is a message of the kernel: device 7, a port of a bridge in a mode.
func portMessage(mode byte) []byte {
	return append([]byte{7, 0, 1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, // ifinfomsg, AF_BRIDGE
		12, 0, 12, 0x80, 5, 0, 4, 0, mode, 0, 0, 0) // IFLA_PROTINFO, nested: IFLA_BRPORT_MODE
}

func TestPort(t *testing.T) {
	for mode, want := range map[byte]bool{0: false, 1: true} {
		index, got := parsePort(portMessage(mode))
		if got == nil || index != 7 || got.Hairpin != want {
			t.Errorf("mode %d: port %d, %+v", mode, index, got)
		}
	}
	if _, got := parsePort(portMessage(1)[:16]); got != nil {
		t.Errorf("the bridge itself is a port: %+v", got)
	}
}

func FuzzPort(f *testing.F) {
	f.Add(portMessage(1))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, got := parsePort(data); got != nil && !bytes.Contains(data, []byte{12}) {
			t.Errorf("%+v of a message without IFLA_PROTINFO", got)
		}
	})
}
