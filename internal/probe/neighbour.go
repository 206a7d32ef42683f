package probe

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// neighbourly is how long a try may take for what the neighbour table says after
// it to be what it was sent with.
const neighbourly = time.Second

// maxNeighbours bounds how much of the neighbour table is read: a node of 110 pods
// has less than a tenth of it.
const maxNeighbours = 256 << 10

// hardware is the hardware address that this network namespace's neighbour table
// has for an IPv4 address; "": it has none. Everybody may read that table.
func hardware(a netip.Addr) string {
	if !a.Is4() && !a.Is4In6() {
		return ""
	}
	f, err := os.Open("/proc/net/arp")
	if err != nil {
		return ""
	}
	defer f.Close()
	return neighbour(io.LimitReader(f, maxNeighbours), a.Unmap())
}

// neighbour finds an address in the format of /proc/net/arp (arp_seq_show in
// net/ipv4/arp.c of Linux): IP address, HW type, Flags, HW address, Mask, Device.
// An entry that is not complete has the flag 0x2 not set.
func neighbour(table io.Reader, a netip.Addr) string {
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 6 {
			continue
		}
		at, err := netip.ParseAddr(f[0])
		if err != nil || at != a || f[2] == "0x0" {
			continue
		}
		if mac, err := net.ParseMAC(f[3]); err == nil {
			return mac.String()
		}
	}
	return ""
}
