package probe

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podpath/podpath/internal/model"
)

// nameserver answers on UDP and TCP of one loopback port.
func nameserver(t *testing.T, answer dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	pc, l := bothTransports(t)
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: answer}, {Listener: l, Handler: answer}} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		go s.ActivateAndServe()
		<-ready
		t.Cleanup(func() { s.Shutdown() })
	}
	return netip.MustParseAddrPort(pc.LocalAddr().String())
}

// bothTransports listens on UDP and TCP of one port. The kernel gives a free
// port of one transport; somebody else may hold it in the other.
func bothTransports(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return pc, l
		}
		l.Close()
	}
	t.Fatal("no port is free on UDP and TCP")
	return nil, nil
}

func rcode(code int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetRcode(r, code)
		w.WriteMsg(m)
	}
}

// zone answers names with addresses; others do not exist.
func zone(records map[string][]string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		q := r.Question[0]
		list, ok := records[q.Name]
		if !ok {
			m.Rcode = dns.RcodeNameError
		}
		for _, v := range list {
			rr, err := dns.NewRR(q.Name + " 5 IN " + v)
			if err == nil && (rr.Header().Rrtype == q.Qtype || rr.Header().Rrtype == dns.TypeCNAME) {
				m.Answer = append(m.Answer, rr)
			}
		}
		w.WriteMsg(m)
	}
}

// ask resolves host with the given resolv.conf lines, at the given server.
func ask(t *testing.T, server netip.AddrPort, host, conf, hosts string) model.Observation {
	t.Helper()
	dir := t.TempDir()
	r := newRunner(Plan{Timeouts: short, Targets: []Target{{Host: host, Protocol: "dns", Purpose: PurposeQuestion}}})
	r.resolv, r.hosts, r.dnsPort = filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts"), server.Port()
	if err := os.WriteFile(r.resolv, []byte(strings.ReplaceAll(conf, "SERVER", server.Addr().String())), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.hosts, []byte(hosts), 0o600); err != nil {
		t.Fatal(err)
	}
	obs := r.run(context.Background())
	if len(obs) != 1 {
		t.Fatalf("%+v", obs)
	}
	return obs[0]
}

const podConf = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver SERVER\noptions ndots:5 timeout:1 attempts:1\n"

func asked(o model.Observation) []string {
	var out []string
	for _, q := range o.Queries {
		if q.Type == "A" {
			out = append(out, q.Name)
		}
	}
	return out
}

func TestDNSResults(t *testing.T) {
	closed := netip.MustParseAddrPort("127.0.0.1:1") // a port the kernel never gives to others
	silent := nameserver(t, func(dns.ResponseWriter, *dns.Msg) {})
	for name, c := range map[string]struct {
		server netip.AddrPort
		want   model.Reason
		detail string
	}{
		"nxdomain": {nameserver(t, rcode(dns.RcodeNameError)), model.NXDomain, ""},
		"servfail": {nameserver(t, rcode(dns.RcodeServerFailure)), model.ServFail, ""},
		"refused":  {nameserver(t, rcode(dns.RcodeRefused)), model.DNSRefused, ""},
		"notimp":   {nameserver(t, rcode(dns.RcodeNotImplemented)), model.ServFail, "NOTIMP"},
		"formerr":  {nameserver(t, rcode(dns.RcodeFormatError)), model.ServFail, "FORMERR"},
		"nodata":   {nameserver(t, zone(map[string][]string{"api.test.": {"TXT x"}})), model.NoData, ""},
		"silent":   {silent, model.TimedOut, "timeout"},
		"closed":   {closed, model.Refused, "refused"},
		"garbage": {nameserver(t, func(w dns.ResponseWriter, r *dns.Msg) {
			w.Write([]byte{byte(r.Id >> 8), byte(r.Id), 0x80, 0, 0, 9, 0, 9, 0, 0, 0, 0})
		}), model.BadAnswer, "cannot be read"},
		"explained": {nameserver(t, func(w dns.ResponseWriter, r *dns.Msg) {
			m := new(dns.Msg)
			m.SetRcode(r, dns.RcodeServerFailure)
			m.SetEdns0(1232, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeNetworkError, ExtraText: "up\x1b"})
			w.WriteMsg(m)
		}), model.ServFail, "Network Error up·"},
	} {
		t.Run(name, func(t *testing.T) {
			o := ask(t, c.server, "api.test", "nameserver SERVER\noptions timeout:1 attempts:1\n", "")
			if o.Result != c.want || o.Failed != "dns" || !strings.Contains(o.Detail, c.detail) {
				t.Errorf("%q in %q: %s", o.Result, o.Failed, o.Detail)
			}
			if len(o.Queries) == 0 || o.Queries[0].Result != c.want {
				t.Errorf("queries %+v", o.Queries)
			}
		})
	}
}

func TestSearchList(t *testing.T) {
	s := nameserver(t, zone(map[string][]string{
		"api.test.": {"A 192.0.2.1", "AAAA 2001:db8::1"}, "cart.shop.svc.cluster.local.": {"A 10.0.0.1"}, "cart.shop.": {"A 192.0.2.9"},
	}))
	for host, want := range map[string]string{
		"api.test":  "api.test.shop.svc.cluster.local. api.test.svc.cluster.local. api.test.cluster.local. api.test.",
		"api.test.": "api.test.",
		"cart":      "cart.shop.svc.cluster.local.",
		"cart.shop": "cart.shop.shop.svc.cluster.local. cart.shop.svc.cluster.local.",
	} {
		o := ask(t, s, host, podConf, "")
		if got := strings.Join(asked(o), " "); got != want || o.Result != model.OK {
			t.Errorf("%s: asked %s, want %s (%s %s)", host, got, want, o.Result, o.Detail)
		}
	}
	o := ask(t, s, "api.test", "nameserver SERVER\nsearch x.test\n", "")
	if got := strings.Join(asked(o), " "); got != "api.test." {
		t.Errorf("ndots:1 asked %s", got)
	}
}

func TestSilentServerEndsTheSearch(t *testing.T) {
	s := nameserver(t, func(dns.ResponseWriter, *dns.Msg) {})
	o := ask(t, s, "api.test", strings.Replace(podConf, "timeout:1", "timeout:1", 1), "")
	if got := asked(o); !slices.Contains(got, "api.test.shop.svc.cluster.local.") || len(got) > 2 {
		t.Errorf("asked %v", got)
	}
}

func TestTruncatedGoesToTCP(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		s := nameserver(t, func(w dns.ResponseWriter, r *dns.Msg) {
			m := new(dns.Msg)
			m.SetReply(r)
			if w.LocalAddr().Network() == "udp" {
				m.Truncated = true
			} else if !tcp {
				w.Close()
				return
			} else if r.Question[0].Qtype == dns.TypeA {
				for i := range 40 {
					rr, _ := dns.NewRR(fmt.Sprintf("big.test. 5 IN A 192.0.2.%d", i))
					m.Answer = append(m.Answer, rr)
				}
			}
			w.WriteMsg(m)
		})
		o := ask(t, s, "big.test", "nameserver SERVER\noptions attempts:1\n", "")
		want := model.OK
		if !tcp {
			want = model.Closed
		}
		if o.Result != want || !slices.ContainsFunc(o.Queries, func(q model.DNSQuery) bool { return q.Transport == "tcp" && q.Type == "A" && q.Result == want }) {
			t.Errorf("tcp %v: %s %s %+v", tcp, o.Result, o.Detail, o.Queries)
		}
	}
}

func TestHostsFileWins(t *testing.T) {
	s := nameserver(t, rcode(dns.RcodeNameError))
	o := ask(t, s, "Pinned.test", podConf, "# c\n192.0.2.7 other pinned.test # x\n2001:db8::7 pinned.test\nbad line\n")
	if o.Result != model.OK || len(o.Queries) != 0 {
		t.Errorf("%+v", o)
	}
}

func TestForgedAnswersAreIgnored(t *testing.T) {
	s := nameserver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		forged := new(dns.Msg)
		forged.SetReply(r)
		forged.Id ^= 0x5555
		w.WriteMsg(forged)
		other := r.Copy()
		other.Question[0].Name = "evil.test."
		other.Response = true
		w.WriteMsg(other)
		zone(map[string][]string{"api.test.": {"A 192.0.2.1"}})(w, r)
	})
	if o := ask(t, s, "api.test", "nameserver SERVER\n", ""); o.Result != model.OK {
		t.Errorf("%s %s", o.Result, o.Detail)
	}
}

func TestSlowFamilyIsWaitedForAndTold(t *testing.T) {
	s := nameserver(t, func(w dns.ResponseWriter, r *dns.Msg) {
		if r.Question[0].Qtype == dns.TypeA {
			zone(map[string][]string{"api.test.": {"A 192.0.2.1"}})(w, r)
		}
	})
	o := ask(t, s, "api.test", "nameserver SERVER\noptions timeout:1 attempts:1\n", "")
	if o.Result != model.OK || o.Phases[0].Duration < 500*time.Millisecond {
		t.Errorf("%s after %v", o.Result, o.Phases[0].Duration)
	}
	if !slices.ContainsFunc(o.Queries, func(q model.DNSQuery) bool { return q.Type == "AAAA" && q.Result == model.TimedOut }) {
		t.Errorf("%+v", o.Queries)
	}
}

func TestSecondServer(t *testing.T) {
	good := nameserver(t, zone(map[string][]string{"api.test.": {"A 192.0.2.1"}}))
	bad := nameserver(t, rcode(dns.RcodeServerFailure))
	r := resolver{conf: resolvConf{Servers: []netip.AddrPort{bad, good}, Timeout: time.Second, Attempts: 2}}
	l := r.resolve(context.Background(), "api.test.")
	if l.reason != model.OK || r.queries[0].Result != model.ServFail || r.queries[0].Server != bad {
		t.Errorf("%+v %+v", l, r.queries)
	}
}

func TestChoose(t *testing.T) {
	parse := func(s string) (out []netip.Addr) {
		for f := range strings.FieldsSeq(s) {
			out = append(out, netip.MustParseAddr(f))
		}
		return out
	}
	for in, want := range map[string]int{"127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.5": 4, "::1 ::1": 2, "127.0.0.1 127.0.0.2": 2, "127.0.0.1 127.0.0.2 127.0.0.3 127.0.0.4 ::1": 4, "::1 ::1 ::1 ::1 ::1 ::1": 4} {
		if got := choose(parse(in), 4); len(got) != want {
			t.Errorf("%s: %v", in, got)
		}
	}
	if got := choose(parse("2001:db8::1"), 4); len(got) != 1 {
		t.Error("a lone IPv6 address must be tried")
	}
}

func TestResolvConf(t *testing.T) {
	c := parseResolvConf(strings.NewReader("domain a\nsearch b c\nnameserver 1.1.1.1 # x\nnameserver nonsense\nnameserver ::1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\noptions ndots:99 timeout:0 attempts:100 rotate edns0 use-vc single-request no-aaaa unknown:1\nlookup file\n"))
	if len(c.Servers) != 3 || c.Servers[1].Addr() != netip.MustParseAddr("::1") || strings.Join(c.Search, " ") != "b c" ||
		c.Ndots != 15 || c.Timeout != time.Second || c.Attempts != 5 || !c.Rotate || !c.EDNS0 || !c.UseTCP || !c.Single || !c.NoAAAA {
		t.Errorf("%+v", c)
	}
	if d := parseResolvConf(strings.NewReader("")); d.Ndots != 1 || len(d.Servers) != 1 || !d.Servers[0].Addr().IsLoopback() {
		t.Errorf("%+v", d)
	}
}

func FuzzReadAnswer(f *testing.F) {
	m := new(dns.Msg)
	m.SetQuestion("api.test.", dns.TypeA)
	m.Response = true
	rr, _ := dns.NewRR("api.test. 5 IN CNAME b.test.")
	m.Answer = append(m.Answer, rr)
	p, _ := m.Pack()
	f.Add(p)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := readAnswer(b, "api.test.", dns.TypeA)
		if ok && !a.tc && a.reason == "" {
			t.Error("an answer without a reason")
		}
		if len(a.records) > maxRecords {
			t.Error("too many records kept")
		}
	})
}

func FuzzResolvConf(f *testing.F) {
	f.Add(podConf, "shop")
	f.Add("options ndots:-1 timeout:999999999999\nnameserver fe80::1%eth0\nsearch . .. a.", "x..y")
	f.Fuzz(func(t *testing.T, s, host string) {
		c := parseResolvConf(strings.NewReader(s))
		if len(c.Servers) == 0 || len(c.Servers) > maxServers || c.Timeout <= 0 || c.Attempts <= 0 || len(c.Search) > maxSearch {
			t.Errorf("%+v", c)
		}
		if n := len(c.candidates(host)); n == 0 || n > maxSearch+1 {
			t.Errorf("%d candidates", n)
		}
		parseHosts(strings.NewReader(s), host)
	})
}
