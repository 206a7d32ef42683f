package node

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/internal/model"
)

func (r *reader) links() {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		r.gap("network interfaces", err, "")
		return
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	addrs := map[int][]netip.Prefix{}
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		r.gap("addresses of network interfaces", err, "")
	}
	for _, a := range list {
		if p, ok := prefixOf(a.IPNet); ok {
			addrs[a.LinkIndex] = append(addrs[a.LinkIndex], p)
		}
	}
	ports := r.bridgePorts()
	for _, l := range links {
		a := l.Attrs()
		link := model.Link{
			Promisc: a.Promisc > 0, Port: ports[a.Index],
			Name: a.Name, Up: a.Flags&net.FlagUp != 0, MTU: a.MTU, Kind: l.Type(), Master: names[a.MasterIndex], Addrs: addrs[a.Index],
		}
		link.Tunnel = r.tunnel(l)
		if s := a.Statistics; s != nil {
			link.Drops = int64(s.RxDropped + s.TxDropped)
		}
		r.facts.Links = append(r.facts.Links, link)
	}
	slices.SortFunc(r.facts.Links, func(a, b model.Link) int { return strings.Compare(a.Name, b.Name) })
}

// prefixOf keeps the address with its length: 10.0.0.4/16, not 10.0.0.0/16.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	addr = addr.Unmap()
	ones, bits := n.Mask.Size()
	if bits == 128 && addr.Is4() {
		ones -= 96
	}
	p := netip.PrefixFrom(addr, ones)
	return p, p.IsValid()
}

var routeTypes = map[int]string{
	unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast", unix.RTN_ANYCAST: "anycast", unix.RTN_MULTICAST: "multicast",
	unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable", unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw",
}

func (r *reader) routes() {
	names := map[int]string{}
	if links, err := netlink.LinkList(); err == nil {
		for _, l := range links {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		// A filter on table "unspecified" means all tables; without it the library leaves out all but the main one.
		list, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			if family == netlink.FAMILY_V6 && errors.Is(err, syscall.EAFNOSUPPORT) {
				continue
			}
			r.gap("routes", err, "")
			continue
		}
		for i := range list {
			r.route(&list[i], family, names)
		}
	}
}

func (r *reader) route(route *netlink.Route, family int, names map[int]string) {
	if route.Type == unix.RTN_MULTICAST || route.Type == unix.RTN_ANYCAST || route.Type == unix.RTN_BROADCAST {
		return // never the way of a connection
	}
	out := model.KernelRoute{
		Table: uint32(route.Table), Dev: names[route.LinkIndex], Type: routeTypes[route.Type], Metric: route.Priority,
		Gw: addrOf(route.Gw), Src: addrOf(route.Src),
	}
	if dst, ok := prefixOf(route.Dst); ok {
		out.Dst = dst.Masked()
	} else if family == netlink.FAMILY_V6 {
		out.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	} else {
		out.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	if via, ok := route.Via.(*netlink.Via); ok && !out.Gw.IsValid() {
		out.Gw = addrOf(via.Addr)
	}
	if len(route.MultiPath) == 0 {
		r.facts.Routes = append(r.facts.Routes, out)
		return
	}
	for _, hop := range route.MultiPath { // one line for each way that may be taken
		way := out
		way.Dev, way.Gw = names[hop.LinkIndex], addrOf(hop.Gw)
		r.facts.Routes = append(r.facts.Routes, way)
	}
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// The actions of policy rules (linux/fib_rules.h).
var ruleActions = map[uint8]string{1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}

// rules asks by itself: the library leaves out what a rule does.
func (r *reader) rules() {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(nl.NewIfInfomsg(family))
		messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
		if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
			if family == netlink.FAMILY_V6 && errors.Is(err, syscall.EAFNOSUPPORT) {
				continue
			}
			r.gap("policy routing rules", err, "")
			continue
		}
		for _, m := range messages {
			// The three default rules of both families are alike: once is enough.
			if rule, ok := parseRule(m); ok && !slices.Contains(r.facts.Rules, rule) {
				r.facts.Rules = append(r.facts.Rules, rule)
			}
		}
	}
}

// parseRule reads one message: a fib_rule_hdr and its attributes.
func parseRule(m []byte) (model.KernelRule, bool) {
	const header = 12
	if len(m) < header {
		return model.KernelRule{}, false
	}
	rule := model.KernelRule{Table: uint32(m[4]), Action: ruleActions[m[7]]}
	prefix := func(data []byte, bits byte) netip.Prefix {
		addr, ok := netip.AddrFromSlice(data)
		if !ok {
			return netip.Prefix{}
		}
		return netip.PrefixFrom(addr, int(bits)).Masked()
	}
	attributes(m[header:], func(kind uint16, data []byte) {
		switch kind {
		case nl.FRA_DST:
			rule.Dst = prefix(data, m[1])
		case nl.FRA_SRC:
			rule.Src = prefix(data, m[2])
		case nl.FRA_IIFNAME:
			rule.IIF = strings.TrimRight(string(data), "\x00")
		}
		if len(data) != 4 {
			return
		}
		switch n := binary.NativeEndian.Uint32(data); kind {
		case nl.FRA_PRIORITY:
			rule.Priority = int(n)
		case nl.FRA_FWMARK:
			rule.Mark = n
		case unix.RTA_TABLE:
			rule.Table = n
		}
	})
	return rule, true
}

// nftables' netlink constants (linux/netfilter/nf_tables.h); x/sys has only some of them.
const (
	nftChain       = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN
	nftNewChain    = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWCHAIN
	nftaTable      = 1
	nftaName       = 3
	nftaHook       = 4
	nftaPolicy     = 5
	nftaHookNumber = 1
	attributeMask  = 0x3fff // without the "nested" and "byte order" bits
)

var (
	nftFamilies = map[uint8]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_ARP: "arp", unix.NFPROTO_NETDEV: "netdev"}
	nftHooks    = []string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}
	deviceHooks = []string{"ingress", "egress"} // of family netdev
)

// chains asks for the packet filter's base chains. Without NET_ADMIN the kernel
// refuses, and that is the usual case: it becomes a gap, because a FORWARD
// policy of DROP would explain much.
func (r *reader) chains() {
	req := nl.NewNetlinkRequest(nftChain, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.NFPROTO_UNSPEC, Version: nl.NFNETLINK_V0})
	messages, err := req.Execute(unix.NETLINK_NETFILTER, nftNewChain)
	if err != nil {
		permission := ""
		if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
			permission = "NET_ADMIN capability"
		}
		r.gap("packet filter of the node (policy and rules of its FORWARD chain)", err, permission)
		return
	}
	r.facts.Chains = []model.FilterChain{}
	for _, m := range messages {
		if chain, ok := parseChain(m); ok {
			r.facts.Chains = append(r.facts.Chains, chain)
		}
	}
}

// parseChain reads one message; a chain without a hook is none of the kernel's own entry points.
func parseChain(m []byte) (model.FilterChain, bool) {
	if len(m) < nl.SizeofNfgenmsg {
		return model.FilterChain{}, false
	}
	chain := model.FilterChain{Family: nftFamilies[m[0]], Policy: "accept"}
	hooked := false
	attributes(m[nl.SizeofNfgenmsg:], func(kind uint16, data []byte) {
		switch kind {
		case nftaTable:
			chain.Table = strings.TrimRight(string(data), "\x00")
		case nftaName:
			chain.Name = strings.TrimRight(string(data), "\x00")
		case nftaPolicy:
			if len(data) == 4 && binary.BigEndian.Uint32(data) == 0 {
				chain.Policy = "drop"
			}
		case nftaHook:
			attributes(data, func(kind uint16, data []byte) {
				if kind != nftaHookNumber || len(data) != 4 {
					return
				}
				names := nftHooks
				if m[0] == unix.NFPROTO_NETDEV {
					names = deviceHooks
				}
				if n := binary.BigEndian.Uint32(data); n < uint32(len(names)) {
					chain.Hook, hooked = names[n], true
				}
			})
		}
	})
	return chain, hooked
}

// attributes walks netlink attributes; a broken one ends the walk.
func attributes(data []byte, each func(kind uint16, data []byte)) {
	for len(data) >= 4 {
		length := int(binary.NativeEndian.Uint16(data))
		if length < 4 || length > len(data) {
			return
		}
		each(binary.NativeEndian.Uint16(data[2:])&attributeMask, data[4:length])
		data = data[min((length+3)&^3, len(data)):]
	}
}
