package node

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine lays out a little of a node's file system.
func machine(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	snmp = "Ip: Forwarding InReceives InAddrErrors ForwDatagrams OutNoRoutes\nIp: 1 10 7 12 3\nTcp: MaxConn RetransSegs\nTcp: -1 5\n"
	stat = "TcpExt: SyncookiesSent IPReversePathFilter ListenOverflows\nTcpExt: 0 9 2\nIpExt: InNoRoutes InOctets\nIpExt: 4 99\n"
	// Two CPUs; entries is the same in both, the others add up. A newer kernel has a column less in its head than in its lines.
	conntrack = "entries  clashres found new invalid insert_failed drop early_drop search_restart\n" +
		"0000000a  00000000 00000000 00000000 00000002 00000001 0000000f 00000000 00000000\n" +
		"0000000a  00000000 00000000 00000000 00000003 00000001 00000001 00000000 00000000  00000007\n"
)

func TestRead(t *testing.T) {
	root := machine(t, map[string]string{
		"proc/sys/net/ipv4/ip_forward":               "0\n",
		"proc/sys/net/ipv4/ip_local_port_range":      "32768\t60999\n",
		"proc/sys/net/ipv4/conf/all/rp_filter":       "1\n",
		"proc/sys/net/ipv4/conf/eth0.100/rp_filter":  "2\n",
		"proc/sys/net/ipv4/conf/eth0.100/forwarding": "1\n",
		"proc/sys/net/netfilter/nf_conntrack_max":    "131072\n",
		"proc/net/snmp":              snmp,
		"proc/net/netstat":           stat,
		"proc/net/stat/nf_conntrack": conntrack,
		"proc/net/softnet_stat":      "0000000a 00000002 00000003 0\n0000000a 00000001 00000000 0\n",
		"proc/net/snmp6":             "Ip6InReceives 1\nIp6OutNoRoutes 6\n",
		"proc/net/stat/arp_cache":    "entries  allocs table_fulls\n00000004  00000001 00000002\n",
		"etc/resolv.conf":            "nameserver 168.63.129.16\n",
	})
	f := Read(root)
	for name, want := range map[string]string{
		"net.ipv4.ip_forward": "0", "net.ipv4.ip_local_port_range": "32768 60999", "net.ipv4.conf.all.rp_filter": "1",
		"net.ipv4.conf.eth0.100.rp_filter": "2", "net.ipv4.conf.eth0.100.forwarding": "1", "net.netfilter.nf_conntrack_max": "131072",
	} {
		if f.Sysctls[name] != want {
			t.Errorf("%s = %q, want %q", name, f.Sysctls[name], want)
		}
	}
	for name, want := range map[string]int64{
		"IpInAddrErrors": 7, "IpForwDatagrams": 12, "IpOutNoRoutes": 3, "TcpRetransSegs": 5, "TcpExtIPReversePathFilter": 9, "TcpExtListenOverflows": 2,
		"IpExtInNoRoutes": 4, "ConntrackEntries": 10, "ConntrackInsertFailed": 2, "ConntrackDrop": 16, "ConntrackInvalid": 5,
		"SoftnetDropped": 3, "SoftnetSqueezed": 3, "Ip6OutNoRoutes": 6, "NeighbourTableFull": 2,
	} {
		if f.Counters[name] != want {
			t.Errorf("%s = %d, want %d", name, f.Counters[name], want)
		}
	}
	if _, ok := f.Counters["IpExtInOctets"]; ok {
		t.Error("a counter that tells nothing is kept")
	}
	if f.Resolv != "nameserver 168.63.129.16\n" {
		t.Errorf("resolv.conf: %q", f.Resolv)
	}
	for _, g := range f.Gaps {
		if strings.HasPrefix(g.What, "/") {
			t.Errorf("gap: %+v", g)
		}
	}
}

func TestBrokenFilesAreGaps(t *testing.T) {
	root := machine(t, map[string]string{
		"proc/net/snmp":    "Ip: A B\nIp: 1\n",
		"proc/net/netstat": "TcpExt: IPReversePathFilter\nTcpExt: many\n",
		"proc/net/snmp6":   "Ip6OutNoRoutes x\n",
		"etc/resolv.conf/": "",
	})
	f := Read(root)
	text, _ := json.Marshal(f.Gaps)
	for _, want := range []string{
		`{"what":"/proc/net/snmp","reason":"lines 1 and 2 are not names and their values"}`,
		`{"what":"/proc/net/netstat","reason":"TcpExtIPReversePathFilter: \"many\" is no number"}`,
		`{"what":"/proc/net/snmp6","reason":"line 1: \"x\" is no number"}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not among %s", want, text)
		}
	}
	if _, ok := f.Sysctls["net.ipv4.ip_forward"]; ok {
		t.Error("a switch that was not read has a value")
	}
}

func TestThisMachine(t *testing.T) {
	f := Read("/")
	loopback := false
	for _, l := range f.Links {
		loopback = loopback || l.Name == "lo" && len(l.Addrs) > 0
	}
	if !loopback {
		t.Errorf("no loopback among %+v; gaps %+v", f.Links, f.Gaps)
	}
	local := false
	for _, r := range f.Routes {
		local = local || r.Table == 255 && r.Dst.String() == "127.0.0.0/8" && r.Type == "local" && r.Dev == "lo"
	}
	if !local {
		t.Errorf("the loopback's own route is not among %+v", f.Routes)
	}
	if len(f.Rules) < 3 || f.Rules[0].Table != 255 || f.Rules[0].Priority != 0 || f.Rules[0].Action != "lookup" {
		t.Errorf("rules: %+v", f.Rules)
	}
	if f.Chains == nil {
		for _, g := range f.Gaps {
			if g.Permission == "NET_ADMIN capability" {
				return
			}
		}
		t.Errorf("the packet filter was not read, and no gap says so: %+v", f.Gaps)
	}
}

func FuzzProc(f *testing.F) {
	for _, s := range []string{snmp, stat, conntrack, "", "\n", "a b\nc", "Ip:\nIp:\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (map[string]int64, error){parsePairs, parseColumns, parseConntrack, parseNeighbours, parseSoftnet} {
			values, err := parse(text)
			if err != nil && err.Error() == "" {
				t.Error("an error without words")
			}
			for name := range values {
				if name == "" {
					t.Error("a counter without a name")
				}
			}
		}
	})
}

func FuzzNetlink(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 8, 0, 1, 0, 'f', 0, 0, 0, 16, 0, 4, 128, 8, 0, 1, 0, 0, 0, 0, 2, 8, 0, 5, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if chain, ok := parseChain(data); ok && chain.Hook == "" {
			t.Errorf("%+v has no hook", chain)
		}
		parseRule(data)
	})
}

func TestParseChain(t *testing.T) {
	m := []byte{2, 0, 0, 0, 8, 0, 1, 0, 'f', 0, 0, 0, 20, 0, 4, 128, 8, 0, 1, 0, 0, 0, 0, 2, 8, 0, 2, 0, 0, 0, 0, 0, 8, 0, 5, 0, 0, 0, 0, 0}
	chain, ok := parseChain(m)
	if !ok || chain.Hook != "forward" || chain.Policy != "drop" || chain.Table != "f" || chain.Family != "ip" {
		t.Errorf("%+v %v", chain, ok)
	}
}
