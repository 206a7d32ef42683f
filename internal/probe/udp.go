package probe

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// udp sends one datagram and waits for an answer or an ICMP error. To port 53 it
// is a DNS query, which every DNS server answers; elsewhere silence proves
// nothing, and the detail says so.
func (a *attempt) udp(ctx context.Context) {
	t := &a.target
	a.phase("udp", func() (model.Reason, string) {
		ctx, cancel := context.WithTimeout(ctx, t.Timeouts.UDP)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, "udp", a.obs.Address.String())
		if err != nil {
			reason, detail := connectReason(err, a.obs.Address.Addr())
			return reason, detail
		}
		defer conn.Close()
		stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
		defer stop()
		if local, ok := conn.LocalAddr().(*net.UDPAddr); ok {
			a.obs.Local = netip.AddrPortFrom(local.AddrPort().Addr().Unmap(), local.AddrPort().Port())
		}
		conn.SetDeadline(time.Now().Add(t.Timeouts.UDP))
		message := []byte("podpath\n")
		if t.Port == 53 {
			if message, err = question(1, ".", 2, false); err != nil {
				return model.ProbeFailed, err.Error()
			}
		}
		if _, err := conn.Write(message); err != nil {
			return connectReason(err, a.obs.Address.Addr())
		}
		buf := make([]byte, 64<<10)
		n, err := conn.Read(buf)
		a.obs.Bytes = int64(n)
		switch reason := reasonOf(err); {
		case reason == model.TimedOut && t.Port != 53:
			return reason, "no answer to one datagram; a UDP service need not answer, so this proves nothing"
		case reason == model.Refused:
			return reason, "ICMP: nobody listens on that port"
		default:
			return reason, ""
		}
	})
}
