package probe

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// lastAck is how long ago the far side last acknowledged something (TCP_INFO of
// tcp(7)); false: the kernel did not say.
func lastAck(c *net.TCPConn) (time.Duration, bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	var info *unix.TCPInfo
	var failed error
	if err := raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) }); err != nil || failed != nil {
		return 0, false
	}
	return time.Duration(info.Last_ack_recv) * time.Millisecond, true
}
