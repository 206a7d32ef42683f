package netfilter

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// peerCase is a rule set with the truth about one new connection from 10.0.0.1.
type peerCase struct {
	file, to string
	verdict  Verdict // of all; Unknown: chance decides
	share    float64 // that is dropped
	with     string
	becomes  string // the destination that the server sees, where it is another
	source   bool   // the source is rewritten
	decided  string // in the deciding line
}

var peerCases = []peerCase{
	{file: "plaindrop", to: "10.0.0.2:80", verdict: Drop, share: 1, decided: "ip filter FORWARD: -A FORWARD -d 10.0.0.2/32 -p tcp -m tcp --dport 80 -j DROP"},
	{file: "reject", to: "10.0.0.2:80", verdict: Reject, with: "icmp-port-unreachable", decided: "KUBE-SERVICES -d 10.0.0.2/32"},
	{file: "nested", to: "10.0.0.2:80", verdict: Drop, share: 1, decided: "ip filter A: -A A -d 10.0.0.2/32 -j DROP"},
	{file: "markdrop", to: "10.0.0.2:80", verdict: Drop, share: 1, decided: "-A cali-FORWARD -d 10.0.0.2/32 -j DROP"},
	{file: "healthykp", to: "10.0.0.2:80", verdict: Accept},
	{file: "estab", to: "10.0.0.2:80", verdict: Drop, share: 1, decided: "policy drop of chain ip filter FORWARD"},
	{file: "statistic", to: "10.0.0.2:80", share: 0.05},
	{file: "dnat", to: "10.96.0.10:80", verdict: Accept, becomes: "10.0.0.2:8080"},
	{file: "masq", to: "203.0.113.10:443", verdict: Accept, source: true},
	{file: "portrange", to: "10.0.0.2:80", verdict: Drop, share: 1, decided: "--dport 80 -j DROP"},
	{file: "logtgt", to: "10.0.0.2:80", verdict: Drop, share: 1, decided: "--dport 80 -j DROP"},
	{file: "azvm", to: "10.0.0.2:80", verdict: Drop, share: 1, decided: "ip filter FORWARD"},
}

func peerText(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "peer", name+".rules"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func forwardNew(rs *RuleSet, to netip.AddrPort) Result { return forward(rs, to, "new") }

func forward(rs *RuleSet, to netip.AddrPort, state string) Result {
	return rs.Incoming(Packet{Protocol: "tcp", Src: netip.MustParseAddr("10.0.0.1"), Dst: to.Addr(), DstPort: to.Port(), In: "in", State: state}, Machine{
		Local:  func(netip.Addr) bool { return false },
		Route:  func(Packet) (bool, string) { return false, "out" },
		Source: func(string, netip.Addr) netip.Addr { return netip.MustParseAddr("10.0.0.254") },
	})
}

func TestPeerCases(t *testing.T) {
	for _, c := range peerCases {
		t.Run(c.file, func(t *testing.T) {
			rs, err := ParseSave(peerText(t, c.file), "ip", BackendNFT)
			if err != nil {
				t.Fatal(err)
			}
			got := forwardNew(rs, netip.MustParseAddrPort(c.to))
			if got.Verdict() != c.verdict || got.Share(Drop) < c.share-1e-6 || got.Share(Drop) > c.share+1e-6 {
				t.Fatalf("%s, %.2f dropped; want %s, %.2f: %+v", got.Verdict(), got.Share(Drop), c.verdict, c.share, got.Outcomes)
			}
			o := got.Outcomes[0]
			if o.With != c.with || !strings.Contains(o.Decided.String(), c.decided) {
				t.Errorf("decided by %q (with %q), want %q (with %q)", o.Decided, o.With, c.decided, c.with)
			}
			want := c.to
			if c.becomes != "" {
				want = c.becomes
			}
			if to := netip.AddrPortFrom(o.Packet.Dst, o.Packet.DstPort).String(); c.verdict == Accept && to != want {
				t.Errorf("goes to %s, want %s", to, want)
			}
			if rewritten := o.Packet.Src.String() != "10.0.0.1"; rewritten != c.source {
				t.Errorf("source %s; rewritten should be %v", o.Packet.Src, c.source)
			}
		})
	}
}
