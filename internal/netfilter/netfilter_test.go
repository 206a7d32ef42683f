package netfilter

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

func save(t *testing.T, lines ...string) *RuleSet {
	t.Helper()
	rs, err := ParseSave(strings.Join(lines, "\n")+"\n", "ip", BackendLegacy)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

var web = netip.MustParseAddrPort("10.0.0.2:80")

// A match that is not understood makes its rule unknown, and no other.
func TestUnknownMatch(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules []string
		want  Verdict
	}{
		{"it may drop", []string{"-A FORWARD -m geoip --source-country XX -j DROP"}, Unknown},
		{"another drops anyway", []string{"-A FORWARD -m geoip --source-country XX -j DROP", "-A FORWARD -d 10.0.0.2/32 -j DROP"}, Drop},
		{"it logs", []string{"-A FORWARD -m limit --limit 5/min -j LOG --log-prefix \"x -j DROP\"", "-A FORWARD -j ACCEPT"}, Accept},
		{"it is another protocol's", []string{"-A FORWARD -p udp -m geoip --source-country XX -j DROP"}, Accept},
		{"it jumps to what changes nothing", []string{"-A FORWARD -m geoip --source-country XX -j A", "-A A -j RETURN"}, Accept},
		{"it jumps to what drops", []string{"-A FORWARD -m geoip --source-country XX -j A", "-A A -j DROP"}, Unknown},
		{"a target nobody knows", []string{"-A FORWARD -d 10.0.0.2/32 -j FANCY --with thing"}, Unknown},
		{"that does not match", []string{"-A FORWARD -d 10.0.0.9/32 -j FANCY --with thing"}, Accept},
		{"a set of addresses", []string{"-A FORWARD -m set --match-set blocked dst -j DROP"}, Unknown},
		{"a mark that depends on it", []string{"-A FORWARD -m geoip --source-country XX -j MARK --set-xmark 0x1/0x1", "-A FORWARD -m mark --mark 0x1/0x1 -j DROP"}, Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			rs := save(t, append(append([]string{"*filter", ":FORWARD ACCEPT [0:0]", ":A - [0:0]"}, c.rules...), "COMMIT")...)
			got := forwardNew(rs, web)
			if got.Verdict() != c.want {
				t.Errorf("%s, want %s: %+v", got.Verdict(), c.want, got.Outcomes)
			}
			sum := 0.0
			for _, o := range got.Outcomes {
				sum += o.Chance
			}
			if sum < 0.999 || sum > 1.001 {
				t.Errorf("the shares make %f", sum)
			}
		})
	}
}

func TestLoopOfChainsEnds(t *testing.T) {
	rs := save(t, "*filter", ":FORWARD ACCEPT [0:0]", ":A - [0:0]", "-A FORWARD -j A", "-A A -j A", "COMMIT")
	if v := forwardNew(rs, web).Verdict(); v != Unknown {
		t.Error(v)
	}
}

func TestParseErrorsNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"-A FORWARD -j DROP\n": `line 1: "-A FORWARD -j DROP" is outside any table`,
		"*filter\n:FORWARD\n":  `line 2: ":FORWARD" is no chain with its policy`,
		"*filter\n-A FORWARD -m comment --comment \"x -j DROP\n": "line 2: a quote in",
		"*filter\nFORWARD\n": `line 2: "FORWARD" is no rule`,
	} {
		if _, err := ParseSave(text, "ip", BackendLegacy); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{"", "{}", "[]", `{"nftables": [{"rule": 5}]}`, strings.Repeat(`{"a":`, 20000)} {
		if _, err := ParseNFT(text); err == nil {
			t.Errorf("%.40q is taken for nft's output", text)
		}
	}
}

func kubeProxy(t *testing.T) *RuleSet {
	t.Helper()
	data, err := os.ReadFile("testdata/kube-proxy.json")
	if err != nil {
		t.Fatal(err)
	}
	rs, err := ParseNFT(string(data))
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// What kube-proxy wrote on a real node: two endpoints, half of the connections each.
func TestKubeProxyNFT(t *testing.T) {
	m := Machine{Local: func(a netip.Addr) bool { return a.String() == "10.224.0.4" }, Route: func(Packet) (bool, string) { return false, "eth0" }}
	p := Packet{Protocol: "tcp", Src: netip.MustParseAddr("10.244.0.5"), Dst: netip.MustParseAddr("10.0.88.43"), DstPort: 80, In: "cbr0"}
	got := kubeProxy(t).Incoming(p, m)
	to := map[string]float64{}
	for _, o := range got.Outcomes {
		to[endpoint(o.Packet.Dst, o.Packet.DstPort)] += o.Chance
	}
	if len(to) != 2 || to["10.244.0.3:8080"] != 0.5 || to["10.244.1.2:8080"] != 0.5 {
		t.Errorf("%v", to)
	}
	p.DstPort = 81
	got = kubeProxy(t).Incoming(p, m)
	if got.Verdict() != Reject || got.Outcomes[0].Decided.String() != `ip kube-proxy cluster-ips-check: ip daddr @cluster-ips reject with icmp port-unreachable comment "Reject traffic to invalid ports of ClusterIPs"` {
		t.Errorf("a port that is none: %s by %s", got.Verdict(), got.Outcomes[0].Decided)
	}
	p.Dst = netip.MustParseAddr("10.0.9.9")
	if got = kubeProxy(t).Incoming(p, m); got.Verdict() != Drop {
		t.Errorf("an address that is none: %s", got.Verdict())
	}
}

func TestMergePrefersWhatIptablesSays(t *testing.T) {
	native := kubeProxy(t)
	own, err := ParseSave("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", "ip", BackendNFT)
	if err != nil {
		t.Fatal(err)
	}
	m := Merge(own, native)
	if m.Table("ip", "filter", BackendNative) != nil || m.Table("ip", "filter", BackendNFT) == nil || m.Table("ip", "kube-proxy", BackendNative) == nil {
		t.Error("tables of iptables are there twice, or others are lost")
	}
}

// Two tables translate at the same priority: the kernel does not tell which is first.
func TestOrderOfEqualPriorities(t *testing.T) {
	nat := func(backend, to string) *RuleSet {
		rs, err := ParseSave("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.0.0.2/32 -p tcp -j DNAT --to-destination "+to+"\nCOMMIT\n", "ip", backend)
		if err != nil {
			t.Fatal(err)
		}
		return rs
	}
	r := forwardNew(Merge(nat(BackendLegacy, "10.0.0.8"), nat(BackendNFT, "10.0.0.9")), web)
	if !r.Order || len(r.Outcomes) != 2 || r.Outcomes[0].Packet.Dst == r.Outcomes[1].Packet.Dst {
		t.Errorf("%+v", r)
	}
	if r = forwardNew(Merge(nat(BackendLegacy, "10.0.0.8"), nat(BackendNFT, "10.0.0.8")), web); r.Order {
		t.Error("they agree")
	}
}

func FuzzParseSave(f *testing.F) {
	for _, c := range peerCases {
		data, err := os.ReadFile("testdata/peer/" + c.file + ".rules")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("*nat\n:PREROUTING ACCEPT\n[1:2] -A PREROUTING ! -s 1.2.3.4/255.0.0.0 -m statistic --mode nth --every 3 --packet 0 -j DNAT --to-destination [fd00::1]:80-90\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, family := range []string{"ip", "ip6"} {
			rs, err := ParseSave(text, family, BackendNFT)
			if err != nil {
				continue
			}
			sane(t, forwardNew(rs, web))
		}
	})
}

func FuzzParseNFT(f *testing.F) {
	data, err := os.ReadFile("testdata/kube-proxy.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(data))
	f.Add(`{"nftables":[{"chain":{"family":"inet","table":"t","name":"c","hook":"forward","prio":0,"policy":"drop","dev":["a"]}},{"rule":{"family":"inet","table":"t","chain":"c","expr":[{"vmap":{"key":{"numgen":{"mode":"inc","mod":3}},"data":{"set":[[0,{"drop":null}],[{"range":[1,2]},{"goto":{"target":"x"}}]]}}}]}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		rs, err := ParseNFT(text)
		if err != nil {
			return
		}
		sane(t, forwardNew(rs, web))
	})
}

func sane(t *testing.T, r Result) {
	t.Helper()
	for _, o := range r.Outcomes {
		if o.Chance < -1e-9 || o.Chance > 1+1e-9 {
			t.Errorf("a share of %f", o.Chance)
		}
		_ = o.Decided.String()
	}
}
