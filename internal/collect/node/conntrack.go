package node

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/internal/model"
)

// Bounds of what is kept of the connection table: it may hold millions of entries.
const (
	maxTranslated = 4096
	maxFroms      = 256 // of one kind: a node has no more pods
	maxAllFroms   = 16384
)

// alive is how long ago an entry may have carried its last packet: within it,
// somebody still sends.
const alive = 10 * time.Second

// asking is how long ago somebody who still waits for an answer sent last: a SYN
// goes out again after one second and after two more.
const asking = 3 * time.Second

// ctAssured is set in an entry's status once packets went both ways for two
// seconds (enum ip_conntrack_status, linux/netfilter/nf_conntrack_common.h). The
// bit for a new destination is not asked for: IPVS translates without it.
const ctAssured = 1 << 2

// The kernel's defaults of the timeouts (net/netfilter/nf_conntrack_proto_udp.c).
const (
	udpTimeout       = 30 * time.Second
	udpTimeoutStream = 120 * time.Second
	tcpTimeoutSyn    = 120 * time.Second // net/netfilter/nf_conntrack_proto_tcp.c
)

// translated counts the UDP entries of the connection table that have a new
// destination. Each packet of a client renews its entry, so that one that leads
// to a dead endpoint stays as long as the client goes on; TCP's is told by its
// own ends. Entries are counted one by one as the kernel lists them.
func (r *reader) translated() {
	c := counting{
		plain:  r.timeout("net.netfilter.nf_conntrack_udp_timeout", udpTimeout),
		stream: r.timeout("net.netfilter.nf_conntrack_udp_timeout_stream", udpTimeoutStream),
		syn:    r.timeout("net.netfilter.nf_conntrack_tcp_timeout_syn_sent", tcpTimeoutSyn),
		seen:   map[[2]netip.AddrPort]*model.TranslatedFlows{},
		held:   map[heldKey]*model.HeldFlows{},
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
		err := req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(m []byte) bool { c.add(m); return true })
		if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
			permission := ""
			if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
				permission = "NET_ADMIN capability (--node-reader=full)"
			}
			r.gap("connection table of the node (where its UDP entries lead)", err, permission)
			return
		}
	}
	if c.over {
		r.gap("connection table of the node (where its UDP entries lead)", errors.New("more than "+strconv.Itoa(maxTranslated)+" kinds of entries: the others were not kept"), "")
	}
	r.facts.Translated = c.list()
	r.facts.Held = c.holders()
}

// timeout is a sysctl in seconds.
func (r *reader) timeout(name string, fallback time.Duration) time.Duration {
	if n, err := strconv.Atoi(r.facts.Sysctls[name]); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	return fallback
}

// counting adds up entries by what they ask for and where they lead.
type counting struct {
	plain, stream, syn time.Duration
	seen               map[[2]netip.AddrPort]*model.TranslatedFlows
	froms              int
	over               bool
	held               map[heldKey]*model.HeldFlows
}

type heldKey struct {
	from netip.Addr
	to   netip.AddrPort
	udp  bool
}

// Bounds of what is counted and kept of connections: those who hold most matter.
const (
	maxHeldKinds = 65536
	maxHeld      = 512
)

// States of a TCP entry (enum tcp_conntrack, linux/netfilter/nf_conntrack_tcp.h):
// in SYN_SENT nobody has answered yet, from FIN_WAIT to CLOSE it is over or ending.
const (
	tcpSynSent = 1
	tcpFinWait = 4
	tcpClose   = 8
)

// ctSeenReply is set in an entry's status once a packet came back.
const ctSeenReply = 1 << 1

// hold counts an entry by who opened it and where it leads.
func (c *counting) hold(e *entry) {
	key := heldKey{e.from, e.leads, e.protocol == unix.IPPROTO_UDP}
	h := c.held[key]
	if h == nil {
		if len(c.held) >= maxHeldKinds {
			return // a node with so many kinds has no single one that matters
		}
		h = &model.HeldFlows{From: e.from, To: e.leads, UDP: key.udp}
		c.held[key] = h
	}
	unanswered, whole := !key.udp && e.state == tcpSynSent, c.syn
	if key.udp {
		unanswered, whole = e.status&ctSeenReply == 0, c.plain
	}
	if unanswered && e.left > 0 && whole-e.left > asking {
		h.Silent++
		return
	}
	h.Count++
	switch {
	case unanswered:
		h.Asking++
	case !key.udp && e.state >= tcpFinWait && e.state <= tcpClose:
		h.Over++
	}
}

func (c *counting) holders() []model.HeldFlows {
	out := []model.HeldFlows{}
	for _, h := range c.held {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b model.HeldFlows) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), a.From.Compare(b.From), a.To.Compare(b.To), cmp.Compare(fmt.Sprint(a.UDP), fmt.Sprint(b.UDP)))
	})
	return out[:min(len(out), maxHeld)]
}

func (c *counting) add(m []byte) {
	e, ok := parseEntry(m)
	if ok && (e.protocol == unix.IPPROTO_TCP || e.protocol == unix.IPPROTO_UDP) && c.held != nil {
		c.hold(&e)
	}
	if !ok || e.protocol != unix.IPPROTO_UDP || e.asked == e.leads {
		return
	}
	key := [2]netip.AddrPort{e.asked, e.leads}
	kind := c.seen[key]
	if kind == nil {
		if len(c.seen) >= maxTranslated {
			c.over = true
			return
		}
		kind = &model.TranslatedFlows{To: e.asked, Leads: e.leads}
		c.seen[key] = kind
	}
	kind.Count++
	whole := c.plain
	if e.status&ctAssured != 0 {
		whole = c.stream
	}
	if e.left == 0 || whole-e.left > alive {
		return
	}
	kind.Alive++
	if e.status&ctSeenReply == 0 {
		kind.Silent++
	}
	if c.froms < maxAllFroms && len(kind.Froms) < maxFroms && !slices.Contains(kind.Froms, e.from) {
		c.froms++
		kind.Froms = append(kind.Froms, e.from)
		kind.Sockets = append(kind.Sockets, netip.AddrPortFrom(e.from, e.port))
	}
}

func (c *counting) list() []model.TranslatedFlows {
	out := []model.TranslatedFlows{}
	for _, k := range c.seen {
		slices.SortFunc(k.Froms, netip.Addr.Compare)
		slices.SortFunc(k.Sockets, netip.AddrPort.Compare)
		out = append(out, *k)
	}
	slices.SortFunc(out, func(a, b model.TranslatedFlows) int {
		return cmp.Or(a.To.Compare(b.To), a.Leads.Compare(b.Leads))
	})
	return out
}

// entry is one connection of the table: who asked, for what, and from where the
// answer comes.
type entry struct {
	protocol     uint8
	from         netip.Addr
	port         uint16 // of from
	asked, leads netip.AddrPort
	status       uint32
	left         time.Duration // until it is forgotten; 0: not said
	state        uint8         // of TCP
}

// parseEntry reads one message: an nfgenmsg and the attributes of
// linux/netfilter/nfnetlink_conntrack.h.
func parseEntry(m []byte) (entry, bool) {
	var e entry
	if len(m) < nl.SizeofNfgenmsg {
		return e, false
	}
	attributes(m[nl.SizeofNfgenmsg:], func(kind uint16, data []byte) {
		switch {
		case kind == nl.CTA_TUPLE_ORIG:
			t := parseTuple(data)
			e.protocol, e.from, e.port, e.asked = t.protocol, t.src.Addr(), t.src.Port(), t.dst
		case kind == nl.CTA_TUPLE_REPLY:
			e.leads = parseTuple(data).src
		case kind == nl.CTA_PROTOINFO:
			e.state = tcpState(data)
		case kind == nl.CTA_STATUS && len(data) == 4:
			e.status = binary.BigEndian.Uint32(data)
		case kind == nl.CTA_TIMEOUT && len(data) == 4:
			e.left = time.Duration(binary.BigEndian.Uint32(data)) * time.Second
		}
	})
	return e, e.from.IsValid() && e.asked.IsValid() && e.leads.IsValid()
}

// tcpState is the state in an entry's protocol information; 0 where there is none.
func tcpState(data []byte) (state uint8) {
	attributes(data, func(kind uint16, data []byte) {
		attributes(data, func(inner uint16, data []byte) {
			if kind == nl.CTA_PROTOINFO_TCP && inner == nl.CTA_PROTOINFO_TCP_STATE && len(data) == 1 {
				state = data[0]
			}
		})
	})
	return state
}

type tuple struct {
	protocol uint8
	src, dst netip.AddrPort
}

func parseTuple(data []byte) tuple {
	var src, dst netip.Addr
	var ports [2]uint16
	var t tuple
	attributes(data, func(kind uint16, data []byte) {
		attributes(data, func(inner uint16, data []byte) {
			switch {
			case kind == nl.CTA_TUPLE_IP && (inner == nl.CTA_IP_V4_SRC || inner == nl.CTA_IP_V6_SRC):
				src, _ = netip.AddrFromSlice(data)
			case kind == nl.CTA_TUPLE_IP && (inner == nl.CTA_IP_V4_DST || inner == nl.CTA_IP_V6_DST):
				dst, _ = netip.AddrFromSlice(data)
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_NUM && len(data) == 1:
				t.protocol = data[0]
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_SRC_PORT && len(data) == 2:
				ports[0] = binary.BigEndian.Uint16(data)
			case kind == nl.CTA_TUPLE_PROTO && inner == nl.CTA_PROTO_DST_PORT && len(data) == 2:
				ports[1] = binary.BigEndian.Uint16(data)
			}
		})
	})
	t.src, t.dst = netip.AddrPortFrom(src, ports[0]), netip.AddrPortFrom(dst, ports[1])
	return t
}

// virtualServers reads what kube-proxy has written for IPVS. A kernel without
// the module has no such file.
func (r *reader) virtualServers() {
	text, err := r.file("proc/net/ip_vs")
	if err != nil {
		r.gap("ipvs tables of the node (/proc/net/ip_vs)", err, "")
		return
	}
	r.facts.IPVS = parseIPVS(text)
}

// parseIPVS reads the format of /proc/net/ip_vs (net/netfilter/ipvs/ip_vs_ctl.c):
// a line for each virtual server, and below it one for each of its servers;
// addresses and ports in hexadecimal, IPv6 in brackets. Those that go by firewall
// mark are not kube-proxy's.
func parseIPVS(text string) []model.VirtualServer {
	var out []model.VirtualServer
	under := false
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		addr, ok := ipvsAddr(words[1])
		switch {
		case words[0] == "->":
			if weight, err := atWord(words, 3); ok && under && err == nil {
				last := &out[len(out)-1]
				last.Servers = append(last.Servers, model.RealServer{Addr: addr, Weight: weight})
			}
		case slices.Contains([]string{"TCP", "UDP", "SCTP"}, words[0]) && ok:
			out, under = append(out, model.VirtualServer{Protocol: words[0], Addr: addr}), true
		default:
			under = false
		}
	}
	return out
}

func atWord(words []string, i int) (int, error) {
	if i >= len(words) {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(words[i])
}

// ipvsAddr reads 0A000001:01BB, or [fd00:0000:…]:01BB.
func ipvsAddr(word string) (netip.AddrPort, bool) {
	host, port, ok := cutLast(word, ':')
	number, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, false
	}
	if text, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(text, "]"))
		return netip.AddrPortFrom(a, uint16(number)), err == nil
	}
	raw, err := strconv.ParseUint(host, 16, 32)
	a := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(raw))))
	return netip.AddrPortFrom(a, uint16(number)), err == nil && len(host) == 8
}

func cutLast(s string, sep byte) (string, string, bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
