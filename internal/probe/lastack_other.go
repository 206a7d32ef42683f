//go:build !linux

package probe

import (
	"net"
	"time"
)

// lastAck is how long ago the far side last acknowledged something; only Linux says.
func lastAck(*net.TCPConn) (time.Duration, bool) { return 0, false }

// lost is how many packets of a connection got lost; only Linux says.
func lost(net.Conn) int { return 0 }
