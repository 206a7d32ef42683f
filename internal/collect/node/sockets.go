package node

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/internal/model"
)

// keepaliveTimer is what inet_diag calls the timer of a connection whose owner
// asked for keepalive and which has nothing on its way (sock_diag(7), idiag_timer).
const keepaliveTimer = 2

// Sockets are the connections of this network namespace, as Connections gives
// them, without those of this program's own processes, and with what the kernel
// measured of each (sock_diag(7), TCP_INFO of tcp(7)), where it tells.
func Sockets(root string) ([]model.Connection, error) {
	out, err := Connections(root)
	if err != nil {
		return nil, err
	}
	var all []*netlink.InetDiagTCPInfoResp
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if found, err := netlink.SocketDiagTCPInfo(family); err == nil { // else: it stays untold
			all = append(all, found...)
		}
	}
	return measured(out, all, ownSockets(root)), nil
}

// measured adds what the kernel tells of each connection, and leaves out those
// whose inode is one of own.
func measured(all []model.Connection, told []*netlink.InetDiagTCPInfoResp, own map[uint32]bool) []model.Connection {
	type ends struct{ local, remote netip.AddrPort }
	by := map[ends]*netlink.InetDiagTCPInfoResp{}
	for _, t := range told {
		if t == nil || t.InetDiagMsg == nil {
			continue
		}
		id := &t.InetDiagMsg.ID
		local, ok1 := netip.AddrFromSlice(id.Source)
		remote, ok2 := netip.AddrFromSlice(id.Destination)
		if ok1 && ok2 {
			by[ends{netip.AddrPortFrom(local.Unmap(), id.SourcePort), netip.AddrPortFrom(remote.Unmap(), id.DestinationPort)}] = t
		}
	}
	out := []model.Connection{}
	for _, c := range all {
		t := by[ends{c.Local, c.Remote}]
		if t != nil && own[t.InetDiagMsg.INode] {
			continue
		}
		if t != nil && t.TCPInfo != nil {
			timed(&c, t)
		}
		out = append(out, c)
	}
	return out
}

// timed fills in a connection's times. The keepalive timer runs out when the far
// side was not heard for as long as the owner allows.
func timed(c *model.Connection, t *netlink.InetDiagTCPInfoResp) {
	ms := func(n uint32) time.Duration { return time.Duration(n) * time.Millisecond }
	i := t.TCPInfo
	c.Told = true
	c.Idle = ms(min(i.Last_data_sent, i.Last_data_recv))
	c.Heard = ms(min(i.Last_ack_recv, i.Last_data_recv))
	if t.InetDiagMsg.Timer == keepaliveTimer {
		c.KeepAlive = c.Heard + ms(t.InetDiagMsg.Expires)
	}
}

// ownSockets are the inodes of sockets that processes of this program hold: a
// probe that runs beside this one keeps connections too.
func ownSockets(root string) map[uint32]bool {
	out := map[uint32]bool{}
	self, err := os.Readlink(filepath.Join(root, "proc/self/exe"))
	if err != nil {
		return out
	}
	exes, _ := filepath.Glob(filepath.Join(root, "proc/[0-9]*/exe"))
	for _, exe := range exes {
		if other, err := os.Readlink(exe); err != nil || other != self {
			continue
		}
		fds, _ := filepath.Glob(filepath.Join(filepath.Dir(exe), "fd/*"))
		for _, fd := range fds {
			link, _ := os.Readlink(fd)
			if n, ok := strings.CutPrefix(link, "socket:["); ok {
				out[inode(strings.TrimSuffix(n, "]"))] = true
			}
		}
	}
	return out
}

func inode(text string) uint32 {
	n, _ := strconv.ParseUint(text, 10, 32)
	return uint32(n)
}
