package internet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/pki"
	"github.com/podpath/podpath/lab/plan"
)

// world is a lab's internet on loopback: addresses of the lab are mapped to ports here.
type world struct {
	*Internet
	t     *testing.T
	ca    *pki.CA
	store *arm.Store
	mu    sync.Mutex
	at    map[string]string // "network address" of the lab → loopback
	nft   map[string]string // what each namespace's filter was told last
}

// address is where a role listens in the lab.
func address(role, addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	for _, h := range plan.Hosts {
		if "host-"+h.Name == role {
			return net.JoinHostPort(h.Addr.String(), port)
		}
	}
	return addr
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, store: arm.NewStore(), at: map[string]string{}, nft: map[string]string{}}
	p, err := plan.New("t", plan.Topology{})
	if err != nil {
		t.Fatal(err)
	}
	if err := arm.Seed(w.store, p); err != nil {
		t.Fatal(err)
	}
	if w.ca, err = pki.LoadOrCreate(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Listen: func(role, network, addr string) (net.Listener, error) {
			l, err := net.Listen(network, "127.0.0.1:0")
			if err == nil {
				w.note(network+" "+address(role, addr), l.Addr())
			}
			return l, err
		},
		ListenPacket: func(role, network, addr string) (net.PacketConn, error) {
			l, err := net.ListenPacket(network, "127.0.0.1:0")
			if err == nil {
				w.note(network+" "+address(role, addr), l.LocalAddr())
			}
			return l, err
		},
		Dial: func(ctx context.Context, _, network, addr string) (net.Conn, error) {
			return w.dial(ctx, network, addr)
		},
		Filter: func(role, script string) error { w.nft[role] = script; return nil },
		Log:    t.Logf,
	}
	if w.Internet, err = Start(t.Context(), p, w.store, w.ca, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func (w *world) note(k string, a net.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at[k] = a.String()
}

func (w *world) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, _ := net.SplitHostPort(addr)
	if _, err := netip.ParseAddr(host); err != nil {
		addrs, _ := lookup(host, nil)
		if len(addrs) == 0 {
			return nil, fmt.Errorf("no such host %s", host)
		}
		addr = net.JoinHostPort(addrs[0].String(), port)
	}
	w.mu.Lock()
	to, ok := w.at[network+" "+addr]
	w.mu.Unlock()
	if !ok {
		return nil, syscall.ECONNREFUSED
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

func (w *world) client() *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       w.dial, TLSClientConfig: &tls.Config{RootCAs: w.ca.Pool()},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (w *world) get(u string) (*http.Response, string, error) {
	r, err := w.client().Get(u)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	return r, string(b), err
}

func (w *world) serve(name string, spec map[string]any) func() {
	w.t.Helper()
	undo, err := w.Serve(name, spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return undo
}

func TestHosts(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct{ url, want string }{
		{"https://api.payments.example/", "200 this is api.payments.example"},
		{"http://api.payments.example/", "200 this is api.payments.example"},
		{"https://registry.example/ip", "200 127.0.0.1"},
		{"http://registry.example/", "error connection refused"},
		{"https://status.example/503", "503 503 Service Unavailable"},
		{"http://status.example/404", "404 404 Not Found"},
		{"https://status.example/204", "204 "},
		{"https://expired.example/", "error certificate has expired"},
		{"https://selfsigned.example/", "error certificate signed by unknown authority"},
		{"https://incomplete.example/", "error certificate signed by unknown authority"},
		{"https://wrongname.example/", "error certificate is valid for"},
		{"https://closed.example/", "error connection refused"},
		{"https://reset.example/", "error connection reset"},
		{"https://v6.example/", "200 this is v6.example"},
		{"https://mcr.microsoft.com/v2/", "200 this is aks-services"},
		{"https://aks-lab-lab00001.hcp.westeurope.azmk8s.io/", "200 this is aks-services"},
		{
			"https://login.microsoftonline.com/common/discovery/instance?authorization_endpoint=https://127.0.0.1:99/tid/oauth2/v2.0/authorize",
			"200 https://127.0.0.1:99/tid/v2.0/.well-known/openid-configuration",
		},
		{"https://gone.example/", "error no such host"},
	} {
		r, body, err := w.get(c.url)
		got := fmt.Sprintf("error %v", err)
		if err == nil {
			got = fmt.Sprintf("%d %s", r.StatusCode, body)
			if r.Header.Get("Date") == "" || r.Header.Get("Server") == "" {
				t.Errorf("%s: no Date or Server header: %v", c.url, r.Header)
			}
		}
		kind, text, _ := strings.Cut(c.want, " ")
		if !strings.HasPrefix(got, kind) || !strings.Contains(got, text) {
			t.Errorf("%s: got %q, want %q", c.url, got, c.want)
		}
	}
	if !strings.Contains(w.nft["host-silent.example"], "drop") {
		t.Errorf("silent.example drops nothing: %v", w.nft)
	}
	if len(w.nft) != 1 {
		t.Errorf("filters where none is wanted: %v", w.nft)
	}
}

func TestSlowAndBig(t *testing.T) {
	w := newWorld(t)
	began := time.Now()
	if _, _, err := w.get("http://slow.example/"); err != nil || time.Since(began) < 3*time.Second {
		t.Errorf("slow.example took %v: %v", time.Since(began), err)
	}
	if _, body, err := w.get("https://big.example/"); err != nil || len(body) != 200_000 {
		t.Errorf("big.example gave %d bytes: %v", len(body), err)
	}
}

func TestRateLimited(t *testing.T) {
	w := newWorld(t)
	limited := 0
	for range 12 {
		r, _, err := w.get("http://ratelimited.example/")
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode == 429 {
			limited++
			if r.Header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
		}
	}
	if limited == 0 {
		t.Error("twelve requests at once and no 429")
	}
}

func TestServe(t *testing.T) {
	for _, c := range []struct {
		name string
		spec map[string]any
		want string
	}{
		{"status", map[string]any{"status": 503}, "503"},
		{"status elsewhere", map[string]any{"status": 503, "path": "/other"}, "200"},
		{"no share", map[string]any{"status": 503, "share": 0}, "200"},
		{"tls", map[string]any{"tls": "expired"}, "certificate has expired"},
		{"not yet", map[string]any{"tls": "notyet"}, "not yet valid"},
		{"incomplete", map[string]any{"tls": "incomplete"}, "unknown authority"},
		{"reset", map[string]any{"reset": true}, "connection reset"},
		{"denied by status", map[string]any{"allow": []any{"192.0.2.0/24"}, "deny": "403"}, "403"},
		{"allowStatus", map[string]any{"allow": []any{"192.0.2.0/24"}, "allowStatus": 451}, "451"},
		{"allowed", map[string]any{"allow": "127.0.0.0/8", "deny": "403"}, "200"},
		{"denied by reset", map[string]any{"allow": []any{"192.0.2.1"}, "deny": "reset"}, "connection reset"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			undo := w.serve("api.payments.example", c.spec)
			r, _, err := w.get("https://api.payments.example/")
			got := fmt.Sprint(err)
			if err == nil {
				got = fmt.Sprint(r.StatusCode)
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
			undo()
			if r, _, err := w.get("https://api.payments.example/"); err != nil || r.StatusCode != 200 {
				t.Errorf("after undo: %v", err)
			}
		})
	}
}

func TestServeShare(t *testing.T) {
	w := newWorld(t)
	w.serve("api.payments.example", map[string]any{"status": 503, "share": 0.5})
	count := map[int]int{}
	for range 100 {
		r, _, err := w.get("http://api.payments.example/")
		if err != nil {
			t.Fatal(err)
		}
		count[r.StatusCode]++
	}
	if count[503] < 20 || count[200] < 20 {
		t.Errorf("a share of one half gave %v", count)
	}
}

// A slow handshake is slow after the connection stands, and before the answer.
func TestServeSlowHandshake(t *testing.T) {
	w := newWorld(t)
	w.serve("api.payments.example", map[string]any{"handshake": "30ms"})
	start := time.Now()
	if _, _, err := w.get("https://api.payments.example/"); err != nil || time.Since(start) < 30*time.Millisecond {
		t.Errorf("after %s: %v", time.Since(start), err)
	}
}

func TestServeLayers(t *testing.T) {
	w := newWorld(t)
	first := w.serve("api.payments.example", map[string]any{"status": 503})
	second := w.serve("203.0.113.10", map[string]any{"dateSkew": "3h", "header": map[string]any{"X-A": "1"}, "port": 8443})
	r, _, err := w.get("https://api.payments.example:8443/")
	if err != nil || r.StatusCode != 503 || r.Header.Get("X-A") != "1" {
		t.Fatalf("both layers: %v %v", r, err)
	}
	date, _ := http.ParseTime(r.Header.Get("Date"))
	if time.Until(date) < 2*time.Hour {
		t.Errorf("the date is not askew: %v", date)
	}
	first()
	if r, _, err = w.get("https://api.payments.example/"); err != nil || r.StatusCode != 200 || r.Header.Get("X-A") != "1" {
		t.Errorf("without the first: %v %v", r, err)
	}
	second()
	if r, _, err = w.get("https://api.payments.example/"); err != nil || r.Header.Get("X-A") != "" {
		t.Errorf("without both: %v %v", r, err)
	}
}

func TestServeRefusesNonsense(t *testing.T) {
	w := newWorld(t)
	for name, spec := range map[string]map[string]any{
		"nobody.example":       {"status": 503},
		"api.payments.example": {"stauts": 503},
		"registry.example":     {"share": 1.5},
		"status.example":       {"tls": "rotten"},
		"slow.example":         {"delay": "soon"},
		"big.example":          {"allow": []any{"not-an-address"}},
		"reset.example":        {"body": -1},
	} {
		if _, err := w.Serve(name, spec); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s %v: %v", name, spec, err)
		}
	}
}

func (w *world) ask(server netip.Addr, network, name string, kind uint16) *dns.Msg {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	got, err := w.exchangeOnce(ctx, "test", network, server, new(dns.Msg).SetQuestion(dns.Fqdn(name), kind))
	if err != nil {
		w.t.Fatalf("%s: %v", name, err)
	}
	return got
}

// short is what matters of an answer.
func short(m *dns.Msg) string {
	s := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		s += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	return s
}

func TestPublicDNS(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		kind uint16
		want string
	}{
		{"api.payments.example", dns.TypeA, "NOERROR 203.0.113.10"},
		{"API.Payments.EXAMPLE", dns.TypeA, "NOERROR 203.0.113.10"},
		{"api.payments.example", dns.TypeAAAA, "NOERROR"},
		{"v6.example", dns.TypeAAAA, "NOERROR 2001:db8::41"},
		{"payments.example", dns.TypeA, "NOERROR"},
		{"gone.example", dns.TypeA, "NXDOMAIN"},
		{"anything.hcp.westeurope.azmk8s.io", dns.TypeA, "NOERROR 203.0.113.100"},
		{"proxy.corp.example", dns.TypeA, "NOERROR 10.226.0.4"},
		{"api.payments.example.cluster.local", dns.TypeA, "NXDOMAIN"},
	} {
		for _, network := range []string{"udp", "tcp"} {
			m := w.ask(plan.PublicDNS, network, c.name, c.kind)
			if got := short(m); got != c.want {
				t.Errorf("%s %s: got %s, want %s", c.name, network, got, c.want)
			}
			if len(m.Answer) == 0 && (len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA) {
				t.Errorf("%s: no SOA beside no answer: %v", c.name, m.Ns)
			}
		}
	}
	undo := w.serve("public-dns", map[string]any{"records": map[string]any{"api.payments.example": []any{"203.0.113.20"}, "registry.example": []any{}}})
	if got := short(w.ask(plan.PublicDNS, "udp", "api.payments.example", dns.TypeA)); got != "NOERROR 203.0.113.20" {
		t.Errorf("with a record: %s", got)
	}
	if got := short(w.ask(plan.PublicDNS, "udp", "registry.example", dns.TypeA)); got != "NXDOMAIN" {
		t.Errorf("with an empty record: %s", got)
	}
	undo()
	w.serve("public-dns", map[string]any{"rcode": "SERVFAIL"})
	if got := short(w.ask(plan.PublicDNS, "udp", "api.payments.example", dns.TypeA)); got != "SERVFAIL" {
		t.Errorf("with an rcode: %s", got)
	}
}

func TestAzureDNS(t *testing.T) {
	w := newWorld(t)
	zone := plan.ID(plan.ResourceGroup, "Microsoft.Network/privateDnsZones", "corp.example")
	put := func(id string, properties arm.Doc) {
		t.Helper()
		if _, err := w.store.Put(id, arm.Doc{"properties": properties}); err != nil {
			t.Fatal(err)
		}
	}
	put(zone, arm.Doc{})
	put(zone+"/A/db", arm.Doc{"ttl": 10, "aRecords": []any{arm.Doc{"ipv4Address": "10.224.0.99"}}})
	put(zone+"/CNAME/out", arm.Doc{"cnameRecord": arm.Doc{"cname": "api.payments.example"}})
	put(zone+"/A/*.apps", arm.Doc{"aRecords": []any{arm.Doc{"ipv4Address": "10.224.0.98"}}})
	ask := func(name string) string { return short(w.ask(plan.AzureDNS, "udp", name, dns.TypeA)) }
	if got := ask("db.corp.example"); got != "NXDOMAIN" {
		t.Errorf("a zone without a link answers: %s", got)
	}
	put(zone+"/virtualNetworkLinks/lab", arm.Doc{"virtualNetwork": arm.Doc{"id": plan.ID(plan.ResourceGroup, "Microsoft.Network/virtualNetworks", plan.VNet)}})
	for name, want := range map[string]string{
		"db.corp.example":             "NOERROR 10.224.0.99",
		"out.corp.example":            "NOERROR api.payments.example. 203.0.113.10",
		"a.b.apps.corp.example":       "NOERROR 10.224.0.98",
		"apps.corp.example":           "NOERROR",
		"nothing.corp.example":        "NXDOMAIN",
		"proxy.corp.example":          "NXDOMAIN", // the private zone hides the public name
		"api.payments.example":        "NOERROR 203.0.113.10",
		"gone.example":                "NXDOMAIN",
		"x.lab.internal.cloudapp.net": "NXDOMAIN",
	} {
		if got := ask(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	put(zone+"/virtualNetworkLinks/lab", arm.Doc{
		"resolutionPolicy": "NxDomainRedirect",
		"virtualNetwork":   arm.Doc{"id": plan.ID(plan.ResourceGroup, "Microsoft.Network/virtualNetworks", plan.VNet)},
	})
	if got := ask("proxy.corp.example"); got != "NOERROR 10.226.0.4" {
		t.Errorf("with NxDomainRedirect: %s", got)
	}
	w.serve("public-dns", map[string]any{"rcode": "REFUSED"})
	if got := ask("api.payments.example"); got != "REFUSED" {
		t.Errorf("what public DNS says is passed on: %s", got)
	}
}

func TestNodeResolvers(t *testing.T) {
	w := newWorld(t)
	if got := fmt.Sprint(NodeResolvers(w.store)); got != "[168.63.129.16]" {
		t.Error(got)
	}
	_, err := w.store.Merge(plan.ID(plan.ResourceGroup, "Microsoft.Network/virtualNetworks", plan.VNet),
		arm.Doc{"properties": arm.Doc{"dhcpOptions": arm.Doc{"dnsServers": []any{"10.226.0.4"}}}})
	if got := fmt.Sprint(NodeResolvers(w.store)); err != nil || got != "[10.226.0.4]" {
		t.Error(got, err)
	}
}

func TestProxy(t *testing.T) {
	w := newWorld(t)
	get := func(target, user string) string {
		t.Helper()
		proxy := &url.URL{Scheme: "http", Host: fmt.Sprintf("%s:%d", plan.Proxy, plan.ProxyPort)}
		if user != "" {
			proxy.User = url.UserPassword(user, user)
		}
		c := w.client()
		c.Transport.(*http.Transport).Proxy = http.ProxyURL(proxy)
		r, err := c.Get(target)
		if err != nil {
			return err.Error()
		}
		defer func() { _ = r.Body.Close() }()
		b, _ := io.ReadAll(r.Body)
		return fmt.Sprintf("%d %s %s", r.StatusCode, r.Header.Get("Via"), b)
	}
	for _, c := range []struct{ mode, target, user, want string }{
		{"open", "http://api.payments.example/", "", "200 1.1 proxy.corp.example (squid/5.7) this is"},
		{"open", "https://api.payments.example/", "", "200  this is"},
		{"open", "https://gone.example/", "", "Service Unavailable"},
		{"auth", "https://api.payments.example/", "", "Proxy Authentication Required"},
		{"auth", "https://api.payments.example/", "lab", "200  this is"},
		{"deny", "http://api.payments.example/", "", "403 1.1 proxy"},
		{"deny", "https://api.payments.example/", "", "Forbidden"},
		{"bad-gateway", "https://api.payments.example/", "", "Bad Gateway"},
	} {
		undo := w.serve(plan.Proxy, map[string]any{"proxy": c.mode})
		if got := get(c.target, c.user); !strings.Contains(got, c.want) {
			t.Errorf("%s %s: got %q, want %q", c.mode, c.target, got, c.want)
		}
		undo()
	}
}

func TestFilterScript(t *testing.T) {
	share := 0.3
	for _, c := range []struct {
		name string
		spec Spec
		port int
		want []string
		not  string
	}{
		{"nothing", Spec{}, 0, []string{"delete table inet serve"}, "chain"},
		{"silent", Spec{Silent: true}, 0, []string{"\n  drop\n", "nd-neighbor-solicit"}, "reject"},
		{"some silent", Spec{Silent: true, Share: &share}, 0, []string{"tcp sport & 254 < 77 drop"}, "\n  drop\n"},
		{"refuse", Spec{Refuse: true}, 0, []string{"reject with tcp reset"}, ""},
		{"allow", Spec{Allow: texts{"192.0.2.10", "192.0.2.0/24"}}, 0, []string{"ip saddr != { 192.0.2.0/24 }", "meta nfproto ipv6"}, "192.0.2.10"},
		{"allow by status", Spec{Allow: texts{"192.0.2.10"}, Deny: "403"}, 0, nil, "saddr"},
		{"one port", Spec{Refuse: true}, 3128, []string{"tcp dport != 3128 accept"}, ""},
	} {
		got := filterScript(c.spec, c.port)
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: %q is missing in\n%s", c.name, w, got)
			}
		}
		if c.not != "" && strings.Contains(got, c.not) {
			t.Errorf("%s: %q is in\n%s", c.name, c.not, got)
		}
	}
}

func TestFilterFailureRefusesServe(t *testing.T) {
	w := newWorld(t)
	w.opts.Filter = func(string, string) error { return errors.New("nft says no") }
	if _, err := w.Serve("registry.example", map[string]any{"silent": true}); err == nil || !strings.Contains(err.Error(), "nft says no") {
		t.Fatalf("got %v", err)
	}
	if r, _, err := w.get("https://registry.example/"); err != nil || r.StatusCode != 200 {
		t.Errorf("the refused layer left a trace: %v", err)
	}
}
