package node

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"

	"github.com/podpath/podpath/internal/model"
)

// attribute is one netlink attribute, padded.
func attribute(kind uint16, parts ...[]byte) []byte {
	data := slices.Concat(parts...)
	out := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	out = append(binary.NativeEndian.AppendUint16(out, kind), data...)
	return append(out, make([]byte, (4-len(out)%4)%4)...)
}

func number(kind uint16, n uint32) []byte {
	return attribute(kind, binary.BigEndian.AppendUint32(nil, n))
}

func port(kind uint16, n uint16) []byte {
	return attribute(kind, binary.BigEndian.AppendUint16(nil, n))
}

func tupleOf(kind uint16, protocol byte, src, dst string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	from, to := uint16(nl.CTA_IP_V4_SRC), uint16(nl.CTA_IP_V4_DST)
	if s.Addr().Is6() {
		from, to = nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	return attribute(kind|1<<15,
		attribute(nl.CTA_TUPLE_IP|1<<15, attribute(from, s.Addr().AsSlice()), attribute(to, d.Addr().AsSlice())),
		attribute(nl.CTA_TUPLE_PROTO|1<<15, attribute(nl.CTA_PROTO_NUM, []byte{protocol}), port(nl.CTA_PROTO_SRC_PORT, s.Port()), port(nl.CTA_PROTO_DST_PORT, d.Port())))
}

func message(protocol byte, from, asked, leads string, status, left uint32) []byte {
	return slices.Concat([]byte{2, 0, 0, 0}, tupleOf(nl.CTA_TUPLE_ORIG, protocol, from, asked), tupleOf(nl.CTA_TUPLE_REPLY, protocol, leads, from),
		number(nl.CTA_STATUS, status), number(nl.CTA_TIMEOUT, left))
}

func TestTranslated(t *testing.T) {
	c := counting{plain: 30 * time.Second, stream: 120 * time.Second, seen: map[[2]netip.AddrPort]*model.TranslatedFlows{}}
	const vip, dead = "10.0.0.10:53", "10.244.1.9:5353"
	for _, m := range [][]byte{
		message(17, "10.244.0.5:4000", vip, dead, 0, 28),           // sent two seconds ago, never answered
		message(17, "10.244.0.5:4001", vip, dead, ctAssured, 118),  // sent two seconds ago, was answered once
		message(17, "10.244.0.6:4000", vip, dead, ctAssured, 28),   // has been still for 92 seconds
		message(17, "10.244.0.6:4000", vip, "10.0.0.10:53", 0, 28), // is not translated
		message(6, "10.244.0.6:4000", "10.0.0.10:53", dead, 0, 28), // TCP
		message(17, "[fd00::5]:4000", "[fd00::a]:53", "[fd00:1::9]:53", 0, 0),
		nil,
		{2, 0, 0, 0, 9},
	} {
		c.add(m)
	}
	got := c.list()
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	one := got[0]
	if one.To.String() != vip || one.Leads.String() != dead || one.Count != 3 || one.Alive != 2 || len(one.Froms) != 1 || one.Froms[0].String() != "10.244.0.5" || one.Silent != 2 ||
		one.SocketOf(one.Froms).String() != "10.244.0.5:4000" || one.SocketOf(nil).IsValid() {
		t.Errorf("%+v", one)
	}
	if six := got[1]; six.To.String() != "[fd00::a]:53" || six.Count != 1 || six.Alive != 0 {
		t.Errorf("%+v: what does not say how long it has left is not alive", six)
	}
}

func TestHeld(t *testing.T) {
	c := counting{plain: 30 * time.Second, syn: 120 * time.Second, seen: map[[2]netip.AddrPort]*model.TranslatedFlows{}, held: map[heldKey]*model.HeldFlows{}}
	state := func(n byte) []byte {
		return attribute(nl.CTA_PROTOINFO|1<<15, attribute(nl.CTA_PROTOINFO_TCP|1<<15, attribute(nl.CTA_PROTOINFO_TCP_STATE, []byte{n})))
	}
	const far = "203.0.113.10:443"
	for _, m := range [][]byte{
		slices.Concat(message(6, "10.244.0.5:4000", far, far, 0, 28), state(3)),
		slices.Concat(message(6, "10.244.0.5:4001", far, far, 0, 28), state(7)),           // TIME_WAIT
		slices.Concat(message(6, "10.244.0.5:4002", far, far, 0, 119), state(1)),          // SYN_SENT
		slices.Concat(message(6, "10.244.0.5:4003", far, far, 0, 28), state(1)),           // the same, given up
		slices.Concat(message(6, "10.244.0.6:4000", "10.0.0.9:80", far, 0, 28), state(3)), // by a Service: where it leads counts
		message(17, "10.244.0.6:4000", far, far, 0, 28),
	} {
		c.add(m)
	}
	want := []model.HeldFlows{
		{From: netip.MustParseAddr("10.244.0.5"), To: netip.MustParseAddrPort(far), Count: 3, Over: 1, Asking: 1, Silent: 1},
		{From: netip.MustParseAddr("10.244.0.6"), To: netip.MustParseAddrPort(far), Count: 1},
		{From: netip.MustParseAddr("10.244.0.6"), To: netip.MustParseAddrPort(far), UDP: true, Count: 1, Asking: 1},
	}
	if got := c.holders(); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	for i := range 600 {
		for range i + 2 {
			c.hold(&entry{from: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), leads: netip.MustParseAddrPort(far)})
		}
	}
	if got := c.holders(); len(got) != maxHeld || got[0].Count != 601 {
		t.Errorf("%d are kept, the first with %d", len(got), got[0].Count)
	}
}

const ipvs = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A000001:01BB rr
  -> 0A64000A:192B      Masq    1      3          0
UDP  0A00000A:0035 rr persistent 10800
  -> 0AF40105:0035      Masq    1      0          12
  -> 0AF40209:0035      Masq    0      0          1
FWM  00000005 rr
  -> 0AF40205:0035      Masq    1      0          0
TCP  [fd00:0000:0000:0000:0000:0000:0000:000a]:0050 rr
  -> [fd00:0001:0000:0000:0000:0000:0000:0009]:1F90      Masq    1      0          0
SCTP 0A000002:0050 rr
`

func TestParseIPVS(t *testing.T) {
	got := parseIPVS(ipvs)
	want := []string{"TCP 10.0.0.1:443 [10.100.0.10:6443*1]", "UDP 10.0.0.10:53 [10.244.1.5:53*1 10.244.2.9:53*0]", "TCP [fd00::a]:80 [[fd00:1::9]:8080*1]", "SCTP 10.0.0.2:80 []"}
	var words []string
	for _, v := range got {
		words = append(words, v.String())
	}
	if !slices.Equal(words, want) {
		t.Errorf("got  %q\nwant %q", words, want)
	}
}

func FuzzConntrack(f *testing.F) {
	f.Add(message(17, "10.244.0.5:4000", "10.0.0.10:53", "10.244.1.9:5353", 0, 28))
	f.Fuzz(func(t *testing.T, data []byte) {
		if e, ok := parseEntry(data); ok && (!e.from.IsValid() || !e.asked.IsValid() || !e.leads.IsValid()) {
			t.Errorf("%+v", e)
		}
	})
}

func FuzzIPVS(f *testing.F) {
	f.Add(ipvs)
	f.Fuzz(func(t *testing.T, text string) {
		for _, v := range parseIPVS(text) {
			if !v.Addr.IsValid() {
				t.Errorf("%s", v)
			}
		}
	})
}
