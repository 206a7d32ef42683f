package probe

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

const arpTable = `IP address       HW type     Flags       HW address            Mask     Device
10.244.0.1       0x1         0x2         0a:58:0a:f4:00:01     *        eth0
10.244.0.7       0x1         0x0         00:00:00:00:00:00     *        eth0
10.244.0.12      0x1         0x2         F6:AA:01:02:03:04     *        eth0
nonsense
`

func TestNeighbour(t *testing.T) {
	for addr, want := range map[string]string{
		"10.244.0.1": "0a:58:0a:f4:00:01", "10.244.0.12": "f6:aa:01:02:03:04",
		"10.244.0.7": "", "10.244.0.2": "", "10.244.0.11": "",
	} {
		if got := neighbour(strings.NewReader(arpTable), netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if got := hardware(netip.MustParseAddr("2001:db8::1")); got != "" {
		t.Errorf("of an IPv6 address: %q", got)
	}
}

func FuzzNeighbour(f *testing.F) {
	f.Add(arpTable)
	f.Add("10.244.0.1 0x1 0x2 zz * eth0\n")
	f.Fuzz(func(t *testing.T, table string) {
		got := neighbour(strings.NewReader(table), netip.MustParseAddr("10.244.0.1"))
		if got == "" {
			return
		}
		if _, err := net.ParseMAC(got); err != nil {
			t.Errorf("%q is no hardware address", got)
		}
	})
}
