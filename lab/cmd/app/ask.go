package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/miekg/dns"
)

// askers is how many sockets the load of names uses: enough for kube-proxy to
// spread it over the pods of CoreDNS.
const askers = 64

// asks parses lookup://NAME?rate=N: so many queries a second for other names in
// front of NAME, whose answers nobody waits for; with ?burst=7s&pause=5s by turns.
func asks(u *url.URL, o *options) (func(context.Context) error, error) {
	rate, burst, pause := o.number("rate", 100), o.duration("burst"), o.duration("pause")
	if _, ok := dns.IsDomainName(u.Host); !ok || u.Host == "" {
		return nil, errors.New("lookup://NAME")
	}
	if rate < 1 || rate > 20_000 {
		return nil, fmt.Errorf("rate=%g: queries a second, 1 to 20000", rate)
	}
	return func(ctx context.Context) error { return ask53(ctx, dns.Fqdn(u.Host), rate, burst, pause) }, o.done()
}

func ask53(ctx context.Context, zone string, rate float64, burst, pause time.Duration) error {
	config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	var socks []net.Conn
	for range askers {
		c, err := net.Dial("udp", net.JoinHostPort(config.Servers[0], config.Port))
		if err != nil {
			return err
		}
		defer c.Close()
		go discard(c)
		socks = append(socks, c)
	}
	const step = 20 * time.Millisecond
	tick := time.NewTicker(step)
	defer tick.Stop()
	start := time.Now()
	for n, due := 0, 0.0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if turn := burst + pause; turn > 0 && time.Since(start)%turn > burst {
			continue
		}
		for due += rate * step.Seconds(); due >= 1; due-- {
			n++
			q, err := new(dns.Msg).SetQuestion(fmt.Sprintf("n%d.%s", n, zone), dns.TypeA).Pack()
			if err != nil {
				return err
			}
			_, _ = socks[n%askers].Write(q) // refused while the server is away: the load goes on
		}
	}
}

// discard reads answers, so that the socket takes more.
func discard(c net.Conn) {
	buf := make([]byte, 1500)
	for {
		if _, err := c.Read(buf); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
