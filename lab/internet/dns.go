package internet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/podpath/podpath/lab/plan"
)

// ttl is short: what a scenario changes shall be seen.
const ttl = 5

// openDNS starts one of the two name servers on UDP and TCP.
func (in *Internet) openDNS(ctx context.Context, role string, addr netip.Addr) error {
	h := in.newHost(role, role, nil)
	resolve := in.public
	if role == AzureDNS {
		zones := newZones(in.store)
		resolve = func(ctx context.Context, s *Spec, q *dns.Msg) *dns.Msg { return in.azure(ctx, zones, s, q) }
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { h.query(ctx, w, q, resolve) })
	at := netip.AddrPortFrom(addr, 53).String()
	l, err := in.opts.Listen(role, "tcp", at)
	if err != nil {
		return err
	}
	in.onClose(func() { _ = l.Close() })
	pc, err := in.opts.ListenPacket(role, "udp", at)
	if err != nil {
		return err
	}
	in.onClose(func() { _ = pc.Close() })
	for _, server := range []*dns.Server{{Listener: l, Handler: handler}, {PacketConn: pc, Handler: handler}} {
		go func() { _ = server.ActivateAndServe() }()
	}
	return nil
}

// query answers one query, as the spec in force wants it.
func (h *host) query(ctx context.Context, w dns.ResponseWriter, q *dns.Msg, resolve func(context.Context, *Spec, *dns.Msg) *dns.Msg) {
	s := h.spec.Load()
	reply := func(m *dns.Msg) {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
			m.SetEdns0(1232, false)
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			m.Truncate(size)
		}
		_ = w.WriteMsg(m) // a client that left is no fault
	}
	if len(q.Question) != 1 {
		reply(new(dns.Msg).SetRcode(q, dns.RcodeFormatError))
		return
	}
	hit := s.hit()
	if s.Delay > 0 && hit {
		select {
		case <-time.After(time.Duration(s.Delay)):
		case <-ctx.Done():
			return
		}
	}
	if s.Rcode != "" && hit {
		reply(new(dns.Msg).SetRcode(q, dns.StringToRcode[strings.ToUpper(s.Rcode)]))
		return
	}
	reply(resolve(ctx, s, q))
}

// public is the name server of the whole internet.
func (in *Internet) public(_ context.Context, s *Spec, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	question := q.Question[0]
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	addrs, exists := lookup(name, s.Records)
	switch {
	case !exists:
		m.Rcode = dns.RcodeNameError
	case question.Qtype == dns.TypeSOA && name == "example":
		m.Answer = append(m.Answer, soa(name))
		return m
	}
	if s.Rotate && question.Qtype == dns.TypeA && len(addrs) > 1 {
		next := int(time.Now().Unix()/ttl) % len(addrs)
		addrs = addrs[next : next+1]
	}
	for _, a := range addrs {
		switch {
		case a.Is4() && question.Qtype == dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: header(question.Name, dns.TypeA), A: a.AsSlice()})
		case a.Is6() && question.Qtype == dns.TypeAAAA:
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: header(question.Name, dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{soa(name)}
	}
	return m
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
}

// soa is the start of authority of the zone that a name is in.
func soa(name string) dns.RR {
	zone := "."
	if name == "example" || strings.HasSuffix(name, ".example") {
		zone = "example."
	}
	h := header(zone, dns.TypeSOA)
	return &dns.SOA{Hdr: h, Ns: "ns.example.", Mbox: "hostmaster.example.", Serial: 1, Refresh: 60, Retry: 60, Expire: 600, Minttl: ttl}
}

// lookup finds a public name. A name with others below it exists, too.
func lookup(name string, records map[string][]string) (addrs []netip.Addr, exists bool) {
	for _, k := range []string{name, wildcard(name)} {
		list, ok := records[k]
		if !ok {
			continue
		}
		for _, t := range list {
			addrs = append(addrs, netip.MustParseAddr(t))
		}
		return addrs, len(list) > 0
	}
	if name == plan.Proxy {
		return []netip.Addr{plan.FWAddr}, true
	}
	if name == "example" || strings.HasSuffix(plan.Proxy, "."+name) {
		exists = true
	}
	for _, h := range plan.Hosts {
		if h.Name == name || slices.Contains(h.Names, name) || below(name, h.Names) {
			addrs = append(addrs, h.Addr)
			if h.V6.IsValid() {
				addrs = append(addrs, h.V6)
			}
			return addrs, strings.Contains(name, ".")
		}
		for _, n := range append([]string{h.Name}, h.Names...) {
			exists = exists || strings.HasSuffix(n, "."+name)
		}
	}
	return nil, exists
}

func wildcard(name string) string {
	_, rest, ok := strings.Cut(name, ".")
	if !ok {
		return ""
	}
	return "*." + rest
}

// below says whether a name lies under one of the "*." names.
func below(name string, names []string) bool {
	return slices.ContainsFunc(names, func(n string) bool {
		zone, ok := strings.CutPrefix(n, "*")
		return ok && strings.HasSuffix(name, zone)
	})
}

// azure is the VNet's own name server: linked private zones, then the internet.
func (in *Internet) azure(ctx context.Context, zones *zones, s *Spec, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.RecursionAvailable = true
	name := strings.ToLower(strings.TrimSuffix(q.Question[0].Name, "."))
	if _, ok := s.Records[name]; ok {
		return in.public(ctx, s, q)
	}
	in.resolve(ctx, zones, m, q.Question[0], 8)
	return m
}

// noise are the search domains that Azure hands out; nothing of them exists here.
var noise = []string{"internal.cloudapp.net", "reddog.microsoft.com"}

// resolve adds the answer to a question to m, aliases followed.
func (in *Internet) resolve(ctx context.Context, zones *zones, m *dns.Msg, q dns.Question, depth int) {
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	for _, n := range noise {
		if name == n || strings.HasSuffix(name, "."+n) {
			m.Rcode = dns.RcodeNameError
			m.Ns = []dns.RR{soa(name)}
			return
		}
	}
	zone, ok := zones.find(name)
	if !ok {
		in.forward(ctx, m, q)
		return
	}
	records, exists := zone.records(name)
	for _, rr := range records {
		rr = dns.Copy(rr)
		rr.Header().Name = q.Name
		if c, ok := rr.(*dns.CNAME); ok && q.Qtype != dns.TypeCNAME {
			m.Answer = append(m.Answer, rr)
			if depth == 0 {
				m.Rcode = dns.RcodeServerFailure
				return
			}
			in.resolve(ctx, zones, m, dns.Question{Name: c.Target, Qtype: q.Qtype, Qclass: q.Qclass}, depth-1)
			return
		}
		if rr.Header().Rrtype == q.Qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	switch {
	case !exists && zone.redirect:
		in.forward(ctx, m, q)
	case !exists:
		m.Rcode = dns.RcodeNameError
		m.Ns = []dns.RR{zone.soa()}
	case len(m.Answer) == 0:
		m.Ns = []dns.RR{zone.soa()}
	}
}

// forward asks public DNS, by packets.
func (in *Internet) forward(ctx context.Context, m *dns.Msg, q dns.Question) {
	ask := new(dns.Msg)
	ask.Id, ask.RecursionDesired, ask.Question = dns.Id(), true, []dns.Question{q}
	got, err := in.exchange(ctx, AzureDNS, plan.PublicDNS, ask)
	if err != nil {
		m.Rcode = dns.RcodeServerFailure
		return
	}
	m.Rcode = got.Rcode
	m.Answer = append(m.Answer, got.Answer...)
	m.Ns = append(m.Ns, got.Ns...)
}

// exchange sends a query from a namespace: twice by UDP, and by TCP when the answer did not fit.
func (in *Internet) exchange(ctx context.Context, role string, server netip.Addr, q *dns.Msg) (*dns.Msg, error) {
	var last error
	for _, network := range []string{"udp", "udp", "tcp"} {
		got, err := in.exchangeOnce(ctx, role, network, server, q)
		if err == nil && (!got.Truncated || network == "tcp") {
			return got, nil
		}
		if err != nil {
			last = err
		}
	}
	return nil, last
}

func (in *Internet) exchangeOnce(ctx context.Context, role, network string, server netip.Addr, q *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := in.opts.Dial(ctx, role, network, netip.AddrPortFrom(server, 53).String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	deadline, _ := ctx.Deadline()
	_ = c.SetDeadline(deadline)
	conn := &dns.Conn{Conn: c, UDPSize: 4096}
	if err := conn.WriteMsg(q); err != nil {
		return nil, err
	}
	for {
		got, err := conn.ReadMsg()
		if err != nil {
			return nil, err
		}
		if got.Id == q.Id {
			return got, nil
		}
	}
}

// address resolves a name as a machine of the VNet would.
func (in *Internet) address(ctx context.Context, role, name string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return a, nil
	}
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
	server := plan.AzureDNS
	if custom := NodeResolvers(in.store); len(custom) > 0 {
		server = custom[0]
	}
	got, err := in.exchange(ctx, role, server, q)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, rr := range got.Answer {
		if a, ok := rr.(*dns.A); ok {
			addr, _ := netip.AddrFromSlice(a.A.To4())
			return addr, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s: %s", name, dns.RcodeToString[got.Rcode])
}
