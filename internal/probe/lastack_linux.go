package probe

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// lastAck is how long ago the far side last acknowledged something (TCP_INFO of
// tcp(7)); false: the kernel did not say.
func lastAck(c *net.TCPConn) (time.Duration, bool) {
	info := tcpInfo(c)
	if info == nil {
		return 0, false
	}
	return time.Duration(info.Last_ack_recv) * time.Millisecond, true
}

// lost is how many packets the kernel has sent again on a connection, or received
// out of order: both follow a packet that got lost. 0 where it does not say.
func lost(conn net.Conn) int {
	c, ok := conn.(*net.TCPConn)
	if !ok {
		return 0
	}
	info := tcpInfo(c)
	if info == nil {
		return 0
	}
	return int(info.Total_retrans) + int(info.Rcv_ooopack)
}

func tcpInfo(c *net.TCPConn) *unix.TCPInfo {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	var info *unix.TCPInfo
	var failed error
	if err := raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) }); err != nil || failed != nil {
		return nil
	}
	return info
}
