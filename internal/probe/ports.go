package probe

import (
	"net"
	"os"
	"strconv"
	"strings"
)

// few is the size of a range of local ports that the tries of a series could use
// up by themselves: each keeps its port for a minute after it was closed.
const few = 8192

// fewPorts says that a range such as "32768 60999" is small.
func fewPorts(text string) bool {
	words := strings.Fields(text)
	if len(words) != 2 {
		return false
	}
	low, err1 := strconv.Atoi(words[0])
	high, err2 := strconv.Atoi(words[1])
	return err1 == nil && err2 == nil && high-low < few
}

// portsAreFew reads the range of this network namespace.
func portsAreFew() bool {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	return err == nil && fewPorts(string(text))
}

// hangUp closes a connection. Where local ports are few it does so by a reset,
// which leaves no socket in TIME-WAIT: who asks whether ports are left must not
// take them.
func (a *attempt) hangUp(conn *wire) {
	if tcp, ok := conn.Conn.(*net.TCPConn); ok && a.brief {
		_ = tcp.SetLinger(0) // then it is closed as usual
	}
	conn.Close()
}
