package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/podpath/podpath/internal/model"
)

// attemptTimeout caps what resolv.conf allows one attempt: a probe has less
// patience than the five seconds of the C library, and says how long it waited.
const attemptTimeout = model.LookupWait

// resolver does what the C library's resolver does, with its queries on record.
type resolver struct {
	conf    resolvConf
	hosts   string // path of the hosts file
	queries []model.DNSQuery
}

// lookup is what one name came to.
type lookup struct {
	addrs  []netip.Addr
	name   string // the name that had them
	reason model.Reason
	detail string
	source string // "dns", "hosts", "literal"
}

// answer is what one server said to one query.
type answer struct {
	addrs   []netip.Addr
	records []string
	reason  model.Reason
	tc      bool
	detail  string
}

// resolve finds host's addresses.
func (r *resolver) resolve(ctx context.Context, host string) lookup {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return lookup{addrs: []netip.Addr{a.Unmap()}, name: host, reason: model.OK, source: "literal"}
	}
	if addrs := hostsFile(r.hosts, host); len(addrs) > 0 {
		return lookup{addrs: addrs, name: host, reason: model.OK, source: "hosts", detail: "from the hosts file"}
	}
	if _, ok := dns.IsDomainName(host); !ok {
		return lookup{reason: model.ProbeFailed, source: "dns", detail: fmt.Sprintf("%q is not a DNS name", clean(host, 80))}
	}
	return r.search(ctx, host)
}

// search tries the names of the search list. As in the C library, a name that
// no server answers ends the list: only the name as it stands is still tried.
func (r *resolver) search(ctx context.Context, host string) lookup {
	names := r.conf.candidates(host)
	var worst lookup
	for i := 0; i < len(names); i++ {
		l := r.name(ctx, names[i])
		if l.reason == model.OK {
			return l
		}
		if worst.reason == "" || weight(l.reason) > weight(worst.reason) || (l.reason == worst.reason && i == len(names)-1) {
			worst = l
		}
		if ctx.Err() != nil {
			break
		}
		if asIs := strings.TrimSuffix(host, ".") + "."; weight(l.reason) >= weight(model.TimedOut) && i < len(names)-1 {
			if k := slices.Index(names, asIs); k > i {
				i = k - 1
				continue
			}
			break
		}
	}
	return worst
}

// weight orders the ways in which a name can fail: what is less of an answer weighs more.
func weight(r model.Reason) int {
	return slices.Index([]model.Reason{
		model.OK, model.NXDomain, model.NoData, model.ServFail, model.DNSRefused, model.BadAnswer,
		model.TimedOut, model.Closed, model.Reset, model.Refused, model.Unreachable, model.NoRoute, model.NotPermitted, model.AddrNotAvail, model.ProbeFailed,
	}, r)
}

// name asks for one fully qualified name, server after server, attempt after attempt.
func (r *resolver) name(ctx context.Context, name string) lookup {
	last := lookup{name: name, reason: model.TimedOut, source: "dns", detail: "no DNS server answered"}
	first := 0
	if r.conf.Rotate {
		first = rand.IntN(len(r.conf.Servers))
	}
	for range r.conf.Attempts {
		for i := range r.conf.Servers {
			server := r.conf.Servers[(first+i)%len(r.conf.Servers)]
			if ctx.Err() != nil {
				return last
			}
			l := r.ask(ctx, server, name)
			switch l.reason {
			case model.OK, model.NXDomain, model.NoData:
				return l
			}
			last = l
		}
		if last.reason == model.ServFail || last.reason == model.DNSRefused {
			break // an answer that a second attempt does not change; the C library asks again, and gets it again
		}
	}
	return last
}

// ask puts A and AAAA for one name to one server, from one socket as the C library does.
func (r *resolver) ask(ctx context.Context, server netip.AddrPort, name string) lookup {
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	if r.conf.NoAAAA {
		types = types[:1]
	}
	var got []answer
	if r.conf.Single {
		for _, t := range types {
			got = append(got, r.exchange(ctx, server, name, []uint16{t})...)
		}
	} else {
		got = r.exchange(ctx, server, name, types)
	}
	return merge(name, server, got)
}

// merge makes one outcome of the answers to A and AAAA.
func merge(name string, server netip.AddrPort, got []answer) lookup {
	l := lookup{name: name, source: "dns"}
	for _, a := range got {
		l.addrs = append(l.addrs, a.addrs...)
		if l.reason == "" || weight(a.reason) > weight(l.reason) {
			l.reason, l.detail = a.reason, a.detail
		}
	}
	if len(l.addrs) > 0 {
		// One family answered and the other did not: the resolver's caller would
		// have waited, but has an address.
		l.reason, l.detail = model.OK, ""
		return l
	}
	if l.reason == model.OK {
		l.reason = model.NoData
	}
	if l.detail == "" {
		l.detail = fmt.Sprintf("%s says %s for %s", server.Addr(), l.reason, clean(name, 120))
	}
	return l
}

// exchange sends the queries and records each of them.
func (r *resolver) exchange(ctx context.Context, server netip.AddrPort, name string, types []uint16) []answer {
	wait := min(r.conf.Timeout, attemptTimeout)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	out := make([]answer, len(types))
	if r.conf.UseTCP {
		for i, t := range types {
			out[i] = r.tcp(ctx, server, name, t)
		}
		return out
	}
	out = r.udp(ctx, server, name, types)
	for i, t := range types {
		if out[i].tc {
			out[i] = r.tcp(ctx, server, name, t)
		}
	}
	return out
}

func (r *resolver) record(q model.DNSQuery, a answer, start time.Time) {
	q.Result, q.Answers, q.Duration = a.reason, a.records, time.Since(start)
	r.queries = append(r.queries, q)
}

func question(id uint16, name string, t uint16, edns bool) ([]byte, error) {
	m := new(dns.Msg)
	m.Id = id
	m.RecursionDesired = true
	m.Question = []dns.Question{{Name: name, Qtype: t, Qclass: dns.ClassINET}}
	if edns {
		m.SetEdns0(1232, false)
	}
	return m.Pack()
}

// udp sends all queries from one socket and waits for all answers.
func (r *resolver) udp(ctx context.Context, server netip.AddrPort, name string, types []uint16) []answer {
	start := time.Now()
	out := make([]answer, len(types))
	id := uint16(rand.Uint32())
	fail := func(err error, sent bool) []answer {
		for i, t := range types {
			if out[i].reason != "" {
				continue
			}
			reason, detail := reasonOf(err), ""
			if !sent {
				reason, detail = connectReason(err, server.Addr())
			}
			out[i] = answer{reason: reason, detail: describe(server, reason, detail)}
			r.record(model.DNSQuery{Name: name, Type: dns.TypeToString[t], Server: server, Transport: "udp"}, out[i], start)
		}
		return out
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", server.String())
	if err != nil {
		return fail(err, false)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn.SetDeadline(deadline)
	for i, t := range types {
		packed, err := question(id+uint16(i), name, t, r.conf.EDNS0)
		if err != nil {
			return fail(err, true)
		}
		if _, err := conn.Write(packed); err != nil {
			return fail(err, false)
		}
	}
	buf := make([]byte, 64<<10)
	for missing := len(types); missing > 0; {
		n, err := conn.Read(buf)
		if err != nil {
			return fail(err, true)
		}
		if n < 12 {
			continue
		}
		i := int(binary.BigEndian.Uint16(buf) - id)
		if i >= len(types) || out[i].reason != "" {
			continue // not an answer to a query of ours: an attacker's, or an old one
		}
		a, ok := readAnswer(buf[:n], name, types[i])
		if !ok {
			continue
		}
		out[i] = a
		missing--
		r.record(model.DNSQuery{Name: name, Type: dns.TypeToString[types[i]], Server: server, Transport: "udp"}, a, start)
	}
	return out
}

// tcp asks one query over TCP: after a truncated answer, or where resolv.conf wants it.
func (r *resolver) tcp(ctx context.Context, server netip.AddrPort, name string, t uint16) answer {
	start := time.Now()
	a := r.tcpAnswer(ctx, server, name, t)
	r.record(model.DNSQuery{Name: name, Type: dns.TypeToString[t], Server: server, Transport: "tcp"}, a, start)
	return a
}

func (r *resolver) tcpAnswer(ctx context.Context, server netip.AddrPort, name string, t uint16) answer {
	fail := func(reason model.Reason, detail string) answer {
		return answer{reason: reason, detail: describe(server, reason, strings.TrimSpace("over TCP "+detail))}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", server.String())
	if err != nil {
		return fail(connectReason(err, server.Addr()))
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	id := uint16(rand.Uint32())
	packed, err := question(id, name, t, r.conf.EDNS0)
	if err != nil {
		return fail(model.ProbeFailed, err.Error())
	}
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)); err != nil {
		return fail(reasonOf(err), "")
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return fail(reasonOf(err), "")
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, buf); err != nil {
		return fail(reasonOf(err), "")
	}
	if a, ok := readAnswer(buf, name, t); ok && len(buf) >= 2 && binary.BigEndian.Uint16(buf) == id {
		a.tc = false
		return a
	}
	return fail(model.BadAnswer, "an answer to another question")
}

func describe(server netip.AddrPort, reason model.Reason, more string) string {
	s := fmt.Sprintf("DNS server %s: %s", server.Addr(), reason)
	if more != "" {
		s += " (" + more + ")"
	}
	return s
}

// maxRecords bounds what is kept of one answer.
const maxRecords = 64

// readAnswer types one DNS message. It is not ok if it answers another question.
func readAnswer(msg []byte, name string, t uint16) (answer, bool) {
	var m dns.Msg
	err := m.Unpack(msg)
	if len(m.Question) == 1 && (!strings.EqualFold(m.Question[0].Name, name) || m.Question[0].Qtype != t) {
		return answer{}, false
	}
	if !m.Response {
		return answer{}, false
	}
	if err != nil {
		if m.Truncated {
			return answer{tc: true, reason: model.BadAnswer}, true
		}
		return answer{reason: model.BadAnswer, detail: "a DNS message that cannot be read: " + clean(err.Error(), 120)}, true
	}
	if len(m.Question) == 0 && m.Rcode == dns.RcodeSuccess && !m.Truncated {
		return answer{reason: model.BadAnswer, detail: "a DNS message that cannot be read: it repeats no question"}, true
	}
	a := answer{tc: m.Truncated}
	for _, rr := range m.Answer[:min(len(m.Answer), maxRecords)] {
		switch v := rr.(type) {
		case *dns.A:
			a.add(v.A, t == dns.TypeA)
		case *dns.AAAA:
			a.add(v.AAAA, t == dns.TypeAAAA)
		case *dns.CNAME:
			a.records = append(a.records, "CNAME "+clean(v.Target, 255))
		}
	}
	a.reason, a.detail = rcodeReason(&m, len(a.addrs) > 0)
	return a, true
}

func (a *answer) add(ip net.IP, asked bool) {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return
	}
	addr = addr.Unmap()
	a.records = append(a.records, addr.String())
	if asked && !slices.Contains(a.addrs, addr) {
		a.addrs = append(a.addrs, addr)
	}
}

func rcodeReason(m *dns.Msg, has bool) (model.Reason, string) {
	switch m.Rcode {
	case dns.RcodeSuccess:
		if has {
			return model.OK, ""
		}
		if !m.RecursionAvailable && !m.Authoritative && len(m.Answer) == 0 && len(m.Ns) > 0 && hasNS(m) {
			return model.NoData, "a referral: this server does not resolve for its clients"
		}
		return model.NoData, ""
	case dns.RcodeNameError:
		return model.NXDomain, ""
	case dns.RcodeServerFailure:
		return model.ServFail, extended(m)
	case dns.RcodeRefused:
		return model.DNSRefused, extended(m)
	}
	code := dns.RcodeToString[m.Rcode]
	if code == "" {
		code = fmt.Sprint(m.Rcode)
	}
	return model.ServFail, "response code " + code
}

func hasNS(m *dns.Msg) bool {
	return slices.ContainsFunc(m.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeNS })
}

// extended is the server's own explanation (RFC 8914), when there is one.
func extended(m *dns.Msg) string {
	if o := m.IsEdns0(); o != nil {
		for _, opt := range o.Option {
			if e, ok := opt.(*dns.EDNS0_EDE); ok {
				return strings.TrimSpace("the server explains: " + dns.ExtendedErrorCodeToString[e.InfoCode] + " " + clean(e.ExtraText, 160))
			}
		}
	}
	return ""
}

// errNoAddress is for a plan that pins neither name nor address.
var errNoAddress = errors.New("no address to connect to")
