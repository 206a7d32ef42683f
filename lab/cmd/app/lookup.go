package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// nameError is a name that could not be looked up; kind is the symptom's word.
type nameError struct{ kind, name, detail string }

func (e *nameError) Error() string { return e.kind + ": " + e.name + ": " + e.detail }

// lookup walks the search list as the C library does: absolute first if the name
// has enough dots. The standard resolver is not used, for it makes one error of several.
func lookup(ctx context.Context, resolv, host string) ([]string, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return []string{host}, nil
	}
	config, err := dns.ClientConfigFromFile(resolv)
	if err != nil {
		return nil, &nameError{"dns-error", host, err.Error()}
	}
	last := &nameError{"nxdomain", host, "no such name"}
	for _, name := range config.NameList(host) {
		addrs, err := query(ctx, config, name)
		if len(addrs) > 0 {
			return addrs, nil
		}
		if err != nil && (err.kind != "nxdomain" || last.kind == "nxdomain") {
			last = err
		}
		if err != nil && err.kind == "dns-timeout" {
			break // the C library would go on for minutes; the answer would be the same
		}
	}
	return nil, last
}

// query asks for A, then AAAA where the name has no A.
func query(ctx context.Context, config *dns.ClientConfig, name string) ([]string, *nameError) {
	var addrs []string
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		reply, err := exchange(ctx, config, name, kind)
		if err != nil {
			return nil, err
		}
		for _, rr := range reply.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				addrs = append(addrs, rr.A.String())
			case *dns.AAAA:
				addrs = append(addrs, rr.AAAA.String())
			}
		}
		if len(addrs) > 0 {
			return addrs, nil
		}
	}
	return nil, &nameError{"nxdomain", name, "the name has no address"}
}

func exchange(ctx context.Context, config *dns.ClientConfig, name string, kind uint16) (*dns.Msg, *nameError) {
	m := new(dns.Msg).SetQuestion(name, kind)
	var last *nameError
	for attempt := range 2 {
		for _, server := range config.Servers {
			at := net.JoinHostPort(server, config.Port)
			client := &dns.Client{Timeout: time.Duration(attempt+1) * 1500 * time.Millisecond}
			reply, _, err := client.ExchangeContext(ctx, m, at)
			if err == nil && reply.Truncated {
				client.Net = "tcp"
				reply, _, err = client.ExchangeContext(ctx, m, at)
			}
			if err != nil {
				last = &nameError{"dns-error", name, err.Error()}
				if t, ok := err.(net.Error); ok && t.Timeout() || ctx.Err() != nil {
					last.kind = "dns-timeout"
				}
				continue
			}
			switch reply.Rcode {
			case dns.RcodeSuccess:
				return reply, nil
			case dns.RcodeNameError:
				return nil, &nameError{"nxdomain", name, "answered by " + at}
			}
			last = &nameError{"dns-error", name, fmt.Sprintf("%s from %s", strings.ToLower(dns.RcodeToString[reply.Rcode]), at)}
		}
	}
	if last == nil {
		last = &nameError{"dns-error", name, "no name server configured"}
	}
	return nil, last
}
