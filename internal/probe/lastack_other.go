//go:build !linux

package probe

import (
	"net"
	"time"
)

// lastAck is how long ago the far side last acknowledged something; only Linux says.
func lastAck(*net.TCPConn) (time.Duration, bool) { return 0, false }
