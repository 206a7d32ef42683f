package netfilter

import (
	"net/netip"
	"strings"
)

// Packet is what rules can see of a packet. An address that is not valid, and a
// port of 0, are not known.
type Packet struct {
	Protocol         string // tcp, udp, sctp
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16
	In, Out          string // interfaces; "": not known
	State            string // of the connection: new (default), established, related, invalid, untracked
	Reply            bool   // it goes against the direction of the connection
	Mark, CTMark     uint32
	Bridged          bool // it crosses a bridge, and bridge-nf-call-iptables shows it to the rules

	DNAT, SNAT       bool // an end of the connection is another now (IPS_DST_NAT, IPS_SRC_NAT)
	OrigDst          netip.Addr
	OrigDstPort      uint16
	dstDone, srcDone bool // a translation was decided on, if only to stay as it is
	markLost         bool // the mark is not known any more
	ctMarkLost       bool
	leaving, arrived bool // the interface is none rather than not known
}

// Machine is what the walk asks about the machine itself. Each may be nil, and
// then is not known.
type Machine struct {
	// Local says whether an address is one of the machine's own.
	Local func(netip.Addr) bool
	// Route says where a packet goes after prerouting: to the machine itself, or
	// out by an interface ("": not known).
	Route func(Packet) (local bool, out string)
	// Source is the address with which the machine would send from an interface
	// towards dst: what masquerading uses.
	Source func(out string, dst netip.Addr) netip.Addr
}

func (p *Packet) v6() bool {
	if p.Dst.IsValid() {
		return p.Dst.Is6()
	}
	return p.Src.Is6()
}

// The ephemeral ports that a client may have: what is below is for services.
const firstEphemeral = 1024

// key is what is known of one of the packet's values.
func (w *walker) key(p *Packet, key string) val {
	proto, field, _ := strings.Cut(key, " ")
	switch proto {
	case "ip", "ip6":
		return p.network(proto == "ip6", field)
	case "tcp", "udp", "sctp", "th", "dccp", "udplite":
		return p.transport(proto, field)
	case "ct":
		return w.ct(p, field)
	case "meta":
		return p.meta(field)
	case "fib":
		return w.fib(p, field)
	case "icmp", "icmpv6":
		if pr := protocols[p.Protocol]; pr != 1 && pr != 58 {
			return val{none: true}
		}
	}
	return val{}
}

func address(a netip.Addr) val {
	if !a.IsValid() {
		return val{}
	}
	return exactly(addrBytes(a))
}

func (p *Packet) network(v6 bool, field string) val {
	if p.v6() != v6 {
		return val{none: true}
	}
	switch field {
	case "saddr":
		return address(p.Src)
	case "daddr":
		return address(p.Dst)
	case "protocol", "nexthdr":
		return p.meta("l4proto")
	}
	return val{}
}

func (p *Packet) transport(proto, field string) val {
	if proto != "th" && proto != p.Protocol {
		return val{none: true}
	}
	switch field {
	case "sport":
		return port(p.SrcPort, p.Reply)
	case "dport":
		return port(p.DstPort, !p.Reply)
	case "flags":
		if p.State == "new" {
			return exactly(number(2)) // SYN
		}
		return exactly(number(16)) // ACK
	}
	return val{}
}

// port is a port; that of a client is known to be no service's.
func port(n uint16, service bool) val {
	switch {
	case n != 0:
		return exactly(number(uint64(n)))
	case service:
		return val{}
	}
	return val{known: true, r: numberRange(firstEphemeral, 65535)}
}

func device(name string, none bool) val {
	switch {
	case name != "":
		return exactly(name)
	case none:
		return exactly("")
	}
	return val{}
}

func (p *Packet) meta(field string) val {
	switch field {
	case "l4proto":
		return exactly(number(protocols[p.Protocol]))
	case "nfproto":
		return exactly(map[bool]string{false: "ipv4", true: "ipv6"}[p.v6()])
	case "protocol":
		return exactly(map[bool]string{false: "ip", true: "ip6"}[p.v6()])
	case "iifname", "iif":
		return device(p.In, p.leaving)
	case "oifname", "oif":
		return device(p.Out, p.arrived)
	case "mark":
		if p.markLost {
			return val{}
		}
		return exactly(number(uint64(p.Mark)))
	case "bridged":
		return flags(map[bool]string{false: "no", true: "yes"}[p.Bridged])
	}
	return val{}
}

func (w *walker) ct(p *Packet, field string) val {
	if w.untracked && field == "state" { // before conntrack there is no connection (nft_ct.c, xt_conntrack.c)
		return flags(map[bool]string{false: "invalid", true: "untracked"}[p.State == "untracked"])
	}
	switch field {
	case "state":
		return flags(append([]string{p.State}, p.natFlags()...)...)
	case "status":
		return flags(append(map[bool][]string{true: {"seen-reply", "assured", "confirmed"}}[p.State == "established"], append(p.natFlags(), "")...)...)
	case "mark":
		if p.ctMarkLost {
			return val{}
		}
		return exactly(number(uint64(p.CTMark)))
	case "direction":
		return exactly(map[bool]string{false: "original", true: "reply"}[p.Reply])
	case "original daddr":
		return address(p.OrigDst)
	case "original proto-dst":
		return port(p.OrigDstPort, true)
	case "original saddr":
		if !p.SNAT && !p.Reply {
			return address(p.Src)
		}
	}
	return val{}
}

func (p *Packet) natFlags() []string {
	var out []string
	if p.DNAT {
		out = append(out, "dnat")
	}
	if p.SNAT {
		out = append(out, "snat")
	}
	return out
}

// fib tells the kind of an address.
func (w *walker) fib(p *Packet, field string) val {
	a := p.Dst
	if field == "type saddr" {
		a = p.Src
	} else if field != "type daddr" {
		return val{}
	}
	switch {
	case !a.IsValid():
		return val{}
	case a.IsMulticast():
		return exactly("multicast")
	case a.IsLoopback():
		return exactly("local")
	case w.machine.Local == nil:
		return val{}
	case w.machine.Local(a):
		return exactly("local")
	}
	return exactly("unicast")
}
