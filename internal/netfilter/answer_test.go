package netfilter

import (
	"net/netip"
	"testing"
)

// answers are rule sets, and what becomes of a connection from 10.0.0.1 to
// 203.0.113.10:443 through a router that has them: "there" and "back" are the
// walk of the first packet and of the answer to it.
var answers = []struct {
	name, command, rules string
	there, back          Verdict
}{
	{"nothing", "nft -f -", "flush ruleset\n", Accept, Accept},
	{"raw, before the connection is known", "iptables-nft-restore", "*raw\n-A PREROUTING -s 203.0.113.0/24 -p tcp --sport 443 -j DROP\nCOMMIT\n", Accept, Drop},
	{"forwarding, by source", "iptables-nft-restore", "*filter\n-A FORWARD -s 203.0.113.0/24 -j DROP\nCOMMIT\n", Accept, Drop},
	{"forwarding, by the client after it was translated", "iptables-nft-restore", "*nat\n-A POSTROUTING -o out -j MASQUERADE\nCOMMIT\n*filter\n-A FORWARD -d 10.0.0.1 -j DROP\nCOMMIT\n", Accept, Drop},
	{"mangle sees the router's own address still", "iptables-nft-restore", "*nat\n-A POSTROUTING -o out -j MASQUERADE\nCOMMIT\n*mangle\n-A PREROUTING -i out -d 10.0.0.254 -j DROP\nCOMMIT\n", Accept, Drop},
	{"mangle does not see the client yet", "iptables-nft-restore", "*nat\n-A POSTROUTING -o out -j MASQUERADE\nCOMMIT\n*mangle\n-A PREROUTING -i out -d 10.0.0.1 -j DROP\nCOMMIT\n", Accept, Accept},
	{"only what answers may come in", "iptables-nft-restore", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT\n-A FORWARD -s 10.0.0.1 -j ACCEPT\nCOMMIT\n", Accept, Accept},
	{"nothing lets the answer through", "iptables-nft-restore", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -s 10.0.0.1 -j ACCEPT\nCOMMIT\n", Accept, Drop},
	{"answers of a translated destination keep it while they are forwarded", "iptables-nft-restore", "*nat\n-A PREROUTING -d 203.0.113.10/32 -p tcp -j DNAT --to-destination 10.0.0.2:80\nCOMMIT\n*filter\n-A FORWARD -s 203.0.113.10 -j DROP\nCOMMIT\n", Accept, Accept},
	{"and are dropped by the true one", "iptables-nft-restore", "*nat\n-A PREROUTING -d 203.0.113.10/32 -p tcp -j DNAT --to-destination 10.0.0.2:80\nCOMMIT\n*filter\n-A FORWARD -s 10.0.0.2 -j DROP\nCOMMIT\n", Accept, Drop},
	{"ingress of a device", "nft -f -", "table netdev edr {\n chain in { type filter hook ingress device \"out\" priority 0; policy accept; ip saddr 203.0.113.0/24 tcp sport 443 drop; }\n}\n", Accept, Drop},
	{"egress of a device", "nft -f -", "table netdev edr {\n chain away { type filter hook egress device \"out\" priority 0; policy accept; ip daddr 203.0.113.0/24 tcp dport 443 drop; }\n}\n", Drop, Unknown},
	{"egress of the other device meets the answer", "nft -f -", "table netdev edr {\n chain away { type filter hook egress device \"in\" priority 0; policy accept; ip saddr 203.0.113.0/24 drop; }\n}\n", Accept, Drop},
	{"nft, by the kind of packet", "nft -f -", "table inet f {\n chain passing { type filter hook forward priority 0; policy accept; ct direction reply drop; }\n}\n", Accept, Drop},
	{"marks of the connection", "iptables-nft-restore", "*mangle\n-A PREROUTING -i in -j CONNMARK --set-xmark 0x7/0xffffffff\n-A FORWARD -i out -m connmark --mark 0x7 -j DROP\nCOMMIT\n", Accept, Drop},
}

// TestKernelAgreesOnAnswers: a connection stands when its first packet and the answer get through.
func TestKernelAgreesOnAnswers(t *testing.T) {
	if !allowed() {
		return
	}
	b := newBench(t)
	client, server := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddrPort("203.0.113.10:443")
	m := Machine{
		Local: func(a netip.Addr) bool { return a == netip.MustParseAddr("10.0.0.254") },
		Route: func(p Packet) (bool, string) {
			if p.Dst == client {
				return false, "in"
			}
			return p.Dst == netip.MustParseAddr("10.0.0.254"), "out"
		},
		Source: func(string, netip.Addr) netip.Addr { return netip.MustParseAddr("10.0.0.254") },
	}
	for _, c := range answers {
		b.load("nft -f -", "flush ruleset\n")
		b.load(c.command, c.rules)
		rs := b.read()
		made := Packet{Protocol: "tcp", Src: client, SrcPort: 40000, Dst: server.Addr(), DstPort: server.Port(), In: "in"}
		there := rs.Incoming(made, m)
		want := there.Verdict()
		if want != c.there {
			t.Errorf("%s: there %s, want %s", c.name, want, c.there)
		}
		if want == Accept {
			if want = rs.Answer(made, there.Outcomes[0].Packet, "out", m).Verdict(); want != c.back {
				t.Errorf("%s: back %s, want %s", c.name, want, c.back)
			}
		}
		if got := b.connect(server.String(), patience); got.verdict != want {
			t.Errorf("%s: packets say %s, the walk says %s", c.name, got.verdict, want)
		}
	}
}
