package netfilter

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// allowed says whether this machine is meant for tests with packets: they need
// root, iptables, nft and network namespaces of their own. `make test` says so.
func allowed() bool { return os.Getenv("PODPATH_KERNEL") == "1" && os.Geteuid() == 0 }

// bench is a client, a router whose rules are the question, and a server.
type bench struct {
	t                      *testing.T
	client, router, server string
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t}
	id := fmt.Sprintf("nfk%d", os.Getpid())
	b.client, b.router, b.server = id+"c", id+"r", id+"s"
	t.Cleanup(func() {
		for _, ns := range []string{b.client, b.router, b.server} {
			_ = exec.Command("ip", "netns", "delete", ns).Run()
		}
	})
	b.sh(`ip netns add %[1]s && ip netns add %[2]s && ip netns add %[3]s
ip -n %[2]s link add in type veth peer name eth0 netns %[1]s
ip -n %[2]s link add out type veth peer name eth0 netns %[3]s
for ns in %[1]s %[2]s %[3]s; do ip -n $ns link set lo up; done
ip -n %[2]s link set in up; ip -n %[2]s link set out up; ip -n %[1]s link set eth0 up; ip -n %[3]s link set eth0 up
ip -n %[2]s addr add 10.0.0.254/32 dev lo
ip -n %[2]s route add 10.0.0.1/32 dev in; ip -n %[2]s route add default dev out src 10.0.0.254
ip netns exec %[2]s sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.in.proxy_arp=1 net.ipv4.conf.out.proxy_arp=1 net.ipv4.icmp_ratelimit=0 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.in.rp_filter=0 net.ipv4.conf.out.rp_filter=0
ip -n %[1]s addr add 10.0.0.1/32 dev eth0; ip -n %[1]s route add default dev eth0
for a in 10.0.0.2 10.0.0.3 10.96.0.10 203.0.113.10; do ip -n %[3]s addr add $a/32 dev eth0; done
ip -n %[3]s route add default dev eth0
for d in in out; do ip netns exec %[2]s sysctl -qw net.ipv4.neigh.$d.proxy_delay=0; done
`, b.client, b.router, b.server)
	b.within(b.server, func() {
		for _, port := range []int{80, 443, 8080} {
			l, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			go b.serve(l)
		}
	})
	return b
}

func (b *bench) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		// What the server saw goes back to the client, who knows which question it was.
		fmt.Fprintf(c, "%s %s\n", c.LocalAddr(), c.RemoteAddr())
		c.Close()
	}
}

func (b *bench) sh(format string, args ...any) {
	b.t.Helper()
	out, err := exec.Command("sh", "-ec", fmt.Sprintf(format, args...)).CombinedOutput()
	if err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
}

// load replaces the router's rules.
func (b *bench) load(command, text string) {
	b.t.Helper()
	if err := b.try(command, text); err != nil {
		b.t.Fatalf("%s: %v\n%s", command, err, text)
	}
}

func (b *bench) try(command, text string) error {
	cmd := exec.Command("ip", append([]string{"netns", "exec", b.router}, strings.Fields(command)...)...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// within runs f in a network namespace. Its thread is thrown away afterwards.
func (b *bench) within(ns string, f func()) {
	var wg sync.WaitGroup
	wg.Go(func() {
		runtime.LockOSThread()
		h, err := unix.Open("/run/netns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(h)
			err = unix.Setns(h, unix.CLONE_NEWNET)
		}
		if err != nil {
			b.t.Errorf("entering %s: %v", ns, err)
			return
		}
		f()
	})
	wg.Wait()
}

// fate is what became of one connection.
type fate struct {
	verdict  Verdict
	dst, src string // as the server saw them
}

// connect opens a connection from the client.
func (b *bench) connect(to string, patience time.Duration) (out fate) {
	b.within(b.client, func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp4", to)
		switch {
		case err == nil:
			defer c.Close()
			_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
			var remote string
			out.verdict = Accept
			if _, err := fmt.Fscan(c, &out.dst, &remote); err == nil {
				out.src = netip.MustParseAddrPort(remote).Addr().String()
			}
		case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES):
			out.verdict = Reject
		default:
			out.verdict = Drop
		}
	})
	return out
}

// slow counts the connections of n that are not there at once.
func (b *bench) slow(to string, n int) (lost int) {
	b.within(b.client, func() {
		for range n {
			c, err := net.DialTimeout("tcp4", to, 60*time.Millisecond)
			if err != nil {
				lost++
				continue
			}
			c.Close()
		}
	})
	return lost
}

const patience = 250 * time.Millisecond

func TestKernelAgreesOnPeerCases(t *testing.T) {
	if !allowed() {
		return
	}
	b := newBench(t)
	for _, c := range peerCases {
		b.load("iptables-nft-restore", peerText(t, c.file))
		if c.share > 0 && c.share < 1 {
			// A lost SYN is sent again after a second; the answers meet the rule too.
			if lost := b.slow(c.to, 300); lost < 5 || lost > 75 {
				t.Errorf("%s: %d of 300 lost a packet, about %.0f are due", c.file, lost, 300*2*c.share)
			}
		} else {
			want := fate{verdict: c.verdict}
			if c.verdict == Accept {
				want.dst, want.src = c.to, "10.0.0.1"
			}
			if c.becomes != "" {
				want.dst = c.becomes
			}
			if c.source {
				want.src = "10.0.0.254"
			}
			if got := b.connect(c.to, patience); got != want {
				t.Errorf("%s: %+v, want %+v", c.file, got, want)
			}
		}
		b.load("nft -f -", "flush ruleset\n")
	}
}

// kernelRounds is how many random rule sets are compared.
const kernelRounds = 60

func TestKernelAgreesOnRandomRules(t *testing.T) {
	if !allowed() {
		return
	}
	b := newBench(t)
	g := generator{rand.New(rand.NewPCG(seedOf(), 7))}
	for round := range kernelRounds {
		b.load("nft -f -", "flush ruleset\n")
		text := b.random(g, round%2 == 0)
		b.compare(fmt.Sprintf("seed %d, round %d", seedOf(), round), text)
		if t.Failed() {
			return
		}
	}
}

// compare walks connections to several places, and opens them.
func (b *bench) compare(which, text string) {
	b.t.Helper()
	rs := b.read()
	var wg sync.WaitGroup
	for _, to := range []string{"10.0.0.2:80", "10.0.0.3:8080", "10.96.0.10:80", "203.0.113.10:443"} {
		wg.Go(func() {
			want, sure := predicted(forwardNew(rs, netip.MustParseAddrPort(to)))
			got := b.connect(to, patience)
			if got.verdict == Accept && got.dst == "" || rejectedLater(rs, to, want, got) { // a later packet met a rule that the first did not
				want = fate{verdict: got.verdict}
			}
			if got != want || !sure {
				b.t.Errorf("%s: %s: packets say %+v, the walk says %+v\n%s", which, to, got, want, text)
			}
		})
	}
	wg.Wait()
}

// seedOf gives the same rule sets each time, so that a test says something about
// the change and not about the day; PODPATH_SEED=random looks for new ones.
var seedOf = sync.OnceValue(func() uint64 {
	seed := uint64(1)
	switch text := os.Getenv("PODPATH_SEED"); text {
	case "":
	case "random":
		seed = uint64(time.Now().UnixNano())
	default:
		if _, err := fmt.Sscan(text, &seed); err != nil {
			panic("PODPATH_SEED is no number: " + text)
		}
	}
	return seed
})

// rejectedLater says whether a rejection may have struck the handshake's last
// packet, which a client can notice before its connect has returned.
func rejectedLater(rs *RuleSet, to string, want, got fate) bool {
	later, sure := predicted(forward(rs, netip.MustParseAddrPort(to), "established"))
	return want.verdict == Accept && got.verdict == Reject && (later.verdict == Reject || !sure)
}

// random loads a random rule set. The tools refuse some (a loop of chains, say);
// then it is another's turn.
func (b *bench) random(g generator, iptables bool) string {
	var err error
	for range 20 {
		command, text := "nft -f -", ""
		if iptables {
			command, text = "iptables-nft-restore", g.iptables()
		} else {
			text = g.nft()
		}
		if err = b.try(command, text); err == nil {
			return text
		}
	}
	b.t.Fatalf("twenty rule sets in a row were refused, the last: %v", err)
	return ""
}

// predicted is what the walk says; nothing here is beyond it, so it must be sure.
func predicted(r Result) (fate, bool) {
	o := r.Outcomes[0]
	sure := r.Certain() && len(r.Outcomes) == 1
	if o.Verdict != Accept {
		return fate{verdict: o.Verdict}, sure
	}
	return fate{Accept, netip.AddrPortFrom(o.Packet.Dst, o.Packet.DstPort).String(), o.Packet.Src.String()}, sure
}

// read reads the router's rules the way a node's are read.
func (b *bench) read() *RuleSet {
	b.t.Helper()
	run := func(words ...string) string {
		out, err := exec.Command("ip", append([]string{"netns", "exec", b.router}, words...)...).Output()
		if err != nil {
			b.t.Fatalf("%v: %v", words, err)
		}
		return string(out)
	}
	save, err := ParseSave(run("iptables-nft-save", "-c"), "ip", BackendNFT)
	if err != nil {
		b.t.Fatal(err)
	}
	native, err := ParseNFT(run("nft", "-j", "list", "ruleset"))
	if err != nil {
		b.t.Fatal(err)
	}
	rs := Merge(save, native)
	if rs.IPSets, err = ParseIPSets(run("ipset", "save")); err != nil {
		b.t.Fatal(err)
	}
	return rs
}

// ipset is a random set of one of the kinds, and the directions for a rule on it.
func (g generator) ipset(b *strings.Builder, name string) (at string) {
	kind := g.pick("hash:ip", "hash:net", "hash:net", "hash:ip,port", "hash:net,port", "bitmap:port", "hash:ip,port,ip", "hash:net,iface")
	more := map[string]string{"bitmap:port": " range 0-65535", "hash:ip": " family inet"}[kind]
	fmt.Fprintf(b, "create %s %s%s\n", name, kind, more)
	dir := func() string { return g.pick("src", "dst", "dst", "dst") }
	addr := func() string { return g.pick("10.0.0.1", "10.0.0.2", "10.0.0.3", "203.0.113.10") }
	net := func() string {
		return g.pick("10.0.0.0/8", "10.0.0.2/31", "10.0.0.0/30", "10.0.0.2", "10.0.0.3", "203.0.113.0/24")
	}
	port := func() string { return g.pick("tcp:80", "tcp:8080", "udp:80", "tcp:443", "80") }
	for range 2 + g.IntN(3) {
		element := map[string]string{
			"hash:ip": addr(), "hash:net": net(), "hash:ip,port": addr() + "," + port(), "hash:net,port": net() + "," + port(),
			"bitmap:port": g.pick("80", "443-8080", "53"), "hash:ip,port,ip": addr() + "," + port() + "," + addr(), "hash:net,iface": net() + "," + g.pick("in", "out"),
		}[kind]
		if strings.Contains(kind, "net") && g.IntN(3) == 0 {
			element += " nomatch"
		}
		fmt.Fprintf(b, "add -exist %s %s\n", name, element)
	}
	_, parts, _ := strings.Cut(kind, ":")
	var dirs []string
	for part := range strings.SplitSeq(parts, ",") {
		d := dir()
		if part == "port" {
			d = "dst" // the client's own is any
		}
		dirs = append(dirs, d)
	}
	return strings.Join(dirs, ",")
}

func TestKernelAgreesOnIPSets(t *testing.T) {
	if !allowed() {
		return
	}
	b := newBench(t)
	g := generator{rand.New(rand.NewPCG(seedOf(), 11))}
	for round := range kernelRounds / 2 {
		b.load("nft -f -", "flush ruleset\n")
		var sets, rules strings.Builder
		at := map[string]string{}
		named := func(name string) string { return fmt.Sprint(name, round) } // the kernel lets go of the last ones in its own time
		for _, name := range []string{"a", "b", "c"} {
			at[name] = g.ipset(&sets, named(name))
		}
		fmt.Fprintf(&sets, "create %s list:set\nadd %[1]s %[2]s\nadd %[1]s %[3]s\n", named("l"), named("a"), named("b"))
		at["l"] = "dst,dst,dst"
		rules.WriteString("*filter\n:FORWARD ACCEPT [0:0]\n")
		for range 1 + g.IntN(3) {
			name := g.pick("a", "b", "c", "l")
			fmt.Fprintf(&rules, "-A FORWARD -i in -p tcp --syn -m set %s--match-set %s %s -j %s\n", g.pick("", "", "! "), named(name), at[name], g.pick("DROP", "REJECT", "ACCEPT"))
		}
		rules.WriteString("COMMIT\n")
		b.load("ipset restore", sets.String())
		b.load("iptables-nft-restore", rules.String())
		b.compare(fmt.Sprintf("seed %d, round %d", seedOf(), round), sets.String()+rules.String())
		if t.Failed() {
			return
		}
	}
}

// generator writes random rule sets of what the walk understands for certain.
type generator struct{ *rand.Rand }

func (g generator) pick(words ...string) string { return words[g.IntN(len(words))] }

func (g generator) iptablesMatch() string {
	not := g.pick("", "", "! ")
	return g.pick(
		"", "", not+"-s 10.0.0.0/31", not+"-d 10.0.0.2/31", not+"-d 203.0.113.0/24", "-p tcp -m tcp "+not+"--dport 80", "-p tcp -m multiport --dports 80,8000:9000",
		"-p tcp -m tcp "+not+"--syn", "-p udp", "-m conntrack "+not+"--ctstate NEW", "-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack "+not+"--ctstate DNAT",
		"-m mark "+not+"--mark 0x1/0x3", "-m mark --mark 0x2/0x2", "-m connmark "+not+"--mark 0x4/0x4", "-m iprange --dst-range 10.0.0.2-10.0.0.9", "-m addrtype "+not+"--dst-type LOCAL",
		"-m statistic --mode random --probability 1.0", "-m comment --comment \"a \\\"quoted\\\" -j DROP\"", "-m physdev ! --physdev-is-bridged",
	)
}

func (g generator) iptablesRules(b *strings.Builder, chain string, device bool, targets ...string) {
	for range 1 + g.IntN(4) {
		match := g.iptablesMatch()
		if device && g.IntN(3) == 0 {
			match += " " + g.pick("-i in", "-i i+", "! -i out", "-i out")
		}
		fmt.Fprintf(b, "-A %s %s -j %s\n", chain, match, g.pick(targets...))
	}
}

func (g generator) iptables() string {
	var b strings.Builder
	marks := []string{"MARK --set-xmark 0x1/0x3", "MARK --set-xmark 0x2/0x2", "MARK --or-mark 0x1", "MARK --and-mark 0xfffffffd", "CONNMARK --set-xmark 0x4/0x4", "CONNMARK --restore-mark --nfmask 0x2 --ctmask 0x4", "CONNMARK --save-mark --nfmask 0x1 --ctmask 0x4"}
	b.WriteString("*mangle\n:PREROUTING ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:A - [0:0]\n")
	g.iptablesRules(&b, "PREROUTING", true, append(marks, "A", "RETURN", "ACCEPT")...)
	g.iptablesRules(&b, "A", false, append(marks, "RETURN")...)
	g.iptablesRules(&b, "FORWARD", true, append(marks, "ACCEPT", "LOG")...)
	b.WriteString("COMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:KUBE - [0:0]\n")
	g.iptablesRules(&b, "PREROUTING", false, "KUBE", "RETURN", "KUBE")
	fmt.Fprintf(&b, "-A KUBE %s -p tcp -j DNAT --to-destination %s\n", g.pick("-d 10.96.0.10/32", "-d 10.0.0.0/30", "! -d 10.0.0.3/32"), g.pick("10.0.0.2:8080", "10.0.0.3", "10.0.0.2:80"))
	g.iptablesRules(&b, "POSTROUTING", false, "MASQUERADE", "RETURN", "ACCEPT", "SNAT --to-source 10.0.0.254")
	fmt.Fprintf(&b, "COMMIT\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD %s [0:0]\n:OUTPUT ACCEPT [0:0]\n:A - [0:0]\n:B - [0:0]\n", g.pick("ACCEPT", "ACCEPT", "DROP"))
	b.WriteString("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n") // the question is about the first packet
	g.iptablesRules(&b, "FORWARD", true, "A", "B", "ACCEPT", "LOG")
	g.iptablesRules(&b, "A", true, "B", "DROP", "REJECT --reject-with icmp-port-unreachable", "RETURN", "ACCEPT", "NFLOG")
	g.iptablesRules(&b, "B", true, "DROP", "REJECT --reject-with tcp-reset -p tcp", "RETURN", "RETURN")
	if g.IntN(2) == 0 {
		fmt.Fprintf(&b, "-A A %s -g B\n", g.iptablesMatch())
	}
	b.WriteString("COMMIT\n")
	return strings.ReplaceAll(b.String(), "-j REJECT --reject-with tcp-reset -p tcp", "-p tcp -j REJECT --reject-with tcp-reset")
}

func (g generator) nftMatch() string {
	not := g.pick("", "", "!= ")
	return g.pick(
		"", "", "ip saddr "+not+"10.0.0.0/31", "ip daddr "+not+"10.0.0.2/31", "ip daddr "+not+"{ 10.0.0.2, 203.0.113.0/24 }", "tcp dport "+not+"80", "tcp dport { 80, 8000-9000 }", "th dport < 443",
		"tcp flags syn", "tcp flags & (fin | syn | rst | ack) == syn", "udp dport 53", "ct state new", "ct state "+not+"{ established, related }", "ct state established,related", "ct status dnat",
		"meta mark & 0x3 == 0x1", "meta mark "+not+"0x2", "ct mark 0x4", "ip daddr @some", "ip daddr . tcp dport @pairs", "iifname "+not+"\"i*\"", "meta l4proto tcp", "fib daddr type "+not+"local",
		"ip daddr . meta l4proto . th dport vmap @verdicts;", "tcp dport vmap { 80 : jump leaf, 443 : return };", "meta nfproto ipv4", "numgen random mod 2 <= 1", "ct direction original",
	)
}

func (g generator) nftRules(b *strings.Builder, targets ...string) {
	for range 1 + g.IntN(4) {
		match, target := g.nftMatch(), g.pick(targets...)
		if strings.HasSuffix(match, ";") {
			fmt.Fprintf(b, "    %s\n", strings.TrimSuffix(match, ";"))
			continue
		}
		fmt.Fprintf(b, "    %s %s\n", match, target)
	}
}

func (g generator) nft() string {
	var b strings.Builder
	sets := `  set some { type ipv4_addr; flags interval; elements = { 10.0.0.3, 203.0.113.0/25 } }
  set pairs { type ipv4_addr . inet_service; elements = { 10.0.0.2 . 80, 10.96.0.10 . 80 } }
  map verdicts { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.0.0.3 . tcp . 8080 : drop, 203.0.113.10 . tcp . 443 : goto leaf } }
`
	marks := []string{"meta mark set meta mark or 0x1", "meta mark set 0x2", "ct mark set 0x4", "meta mark set ct mark", "meta mark set mark and 0xfffffffd", "counter", "log"}
	fmt.Fprintf(&b, "table inet t {\n%s  chain leaf { %s; }\n  chain b {\n", sets, g.pick("return", "drop", "ip daddr 10.0.0.0/30 reject", "ct status dnat accept"))
	g.nftRules(&b, "drop", "return", "reject", "continue")
	b.WriteString("  }\n  chain a {\n")
	g.nftRules(&b, "jump b", "goto b", "accept", "return", "reject with icmp type port-unreachable")
	fmt.Fprintf(&b, "  }\n  chain pre {\n    type filter hook prerouting priority %s; policy accept;\n", g.pick("-150", "-101", "-250"))
	g.nftRules(&b, append(marks, "accept", "return")...)
	fmt.Fprintf(&b, "  }\n  chain forward {\n    type filter hook forward priority %s; policy %s;\n    ct state established,related accept\n", g.pick("0", "10", "-5"), g.pick("accept", "accept", "drop"))
	g.nftRules(&b, "jump a", "goto a", "accept", "counter")
	b.WriteString("  }\n}\ntable ip n {\n" + sets + "  chain leaf { return; }\n  map to { type ipv4_addr : ipv4_addr . inet_service; elements = { 10.96.0.10 : 10.0.0.2 . 8080 } }\n")
	b.WriteString("  chain natpre {\n    type nat hook prerouting priority dstnat; policy accept;\n")
	b.WriteString("    " + g.pick("ip daddr 10.96.0.10 ip protocol tcp dnat to 10.0.0.3:8080", "ip protocol tcp ip daddr 10.0.0.2 dnat to numgen random mod 1 map { 0 : 10.0.0.3 }", "meta l4proto tcp ip daddr 10.96.0.10 dnat ip to ip daddr map @to") + "\n")
	b.WriteString("  }\n  chain natpost {\n    type nat hook postrouting priority srcnat; policy accept;\n")
	g.nftRules(&b, "masquerade fully-random", "return", "snat to 10.0.0.254", "accept")
	b.WriteString("  }\n}\n")
	return b.String()
}
