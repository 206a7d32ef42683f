package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/podpath/podpath/internal/model"
)

// reasonOf types an error of a socket.
func reasonOf(err error) model.Reason {
	for _, e := range errnos {
		if errors.Is(err, e.errno) {
			return e.reason
		}
	}
	switch {
	case err == nil:
		return model.OK
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return model.TimedOut
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return model.Closed
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return model.TimedOut
	}
	return model.ProbeFailed
}

var errnos = []struct {
	errno  syscall.Errno
	reason model.Reason
}{
	{syscall.ECONNREFUSED, model.Refused},
	{syscall.ECONNRESET, model.Reset},
	{syscall.EPIPE, model.Reset},
	{syscall.ETIMEDOUT, model.TimedOut},
	{syscall.EHOSTUNREACH, model.Unreachable},
	{syscall.EHOSTDOWN, model.Unreachable},
	{syscall.ENETUNREACH, model.NoRoute},
	{syscall.EAFNOSUPPORT, model.NoRoute},
	{syscall.EADDRNOTAVAIL, model.AddrNotAvail},
	{syscall.EAGAIN, model.AddrNotAvail}, // connect(2): no more free ports
	{syscall.EPERM, model.NotPermitted},
	{syscall.EACCES, model.NotPermitted},
}

// connectReason types an error of connect(2). Errno alone does not say who
// speaks: a router's ICMP and the sender's own routing table give the same ones.
func connectReason(err error, dst netip.Addr) (model.Reason, string) {
	reason := reasonOf(err)
	if errors.Is(err, syscall.EINVAL) {
		return model.NoRoute, "a blackhole route of this network namespace"
	}
	if reason != model.NoRoute && reason != model.Unreachable && reason != model.NotPermitted {
		return reason, ""
	}
	local := localRoute(dst)
	switch {
	case local == nil && reason == model.NoRoute:
		return model.Unreachable, "a router answered: network unreachable"
	case local != nil && reason == model.Unreachable:
		return model.NoRoute, "an unreachable route of this network namespace"
	case local != nil && errors.Is(err, syscall.EACCES):
		return model.NotPermitted, "a prohibit route of this network namespace"
	}
	return reason, ""
}

// localRoute asks the sender's own routing table: connecting a UDP socket sends nothing.
func localRoute(dst netip.Addr) error {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, 9)))
	if err != nil {
		return err
	}
	return c.Close()
}
