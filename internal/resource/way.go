package resource

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// nodesOf are the nodes that a case is about: that of the asking pod, and those
// whose inside was read; all of them where nothing was asked.
func nodesOf(c *model.Case) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.World.Kube.Nodes)) {
		if c.World.Kube.Nodes[name] != nil && (len(c.Paths) == 0 || c.World.Nodes[name] != nil || senders(c)[name]) {
			out = append(out, name)
		}
	}
	return out
}

// senders are the nodes from which the question's own flows come.
func senders(c *model.Case) map[string]bool {
	out := map[string]bool{}
	for i := range c.Paths {
		switch from := c.Paths[i].Flow.From; from.Kind() {
		case "node":
			out[from.Name()] = true
		case "pod":
			if p := c.World.Kube.Pods[from]; p != nil {
				out[p.Node] = true
			}
		}
	}
	return out
}

// onTheWay says that a device translates a flow of the question, or that nothing was asked.
func onTheWay(c *model.Case, device model.Ref) bool {
	return len(c.Paths) == 0 || slices.ContainsFunc(c.Paths, func(p model.Path) bool {
		return p.Device == device || p.Device.Kind() == device.Kind() && strings.EqualFold(p.Device.Part(0), device.Part(0)) && len(p.Device.Parts()) == 1
	})
}

// asked are the question's destinations behind a device, with their protocol.
func asked(c *model.Case, device model.Ref) []flow {
	var out []flow
	for i := range c.Paths {
		f := c.Paths[i].Flow
		if one := (flow{netip.AddrPortFrom(f.Dst, f.DstPort), f.Protocol == "udp"}); f.Dst.IsValid() && c.Paths[i].Device.Kind() == device.Kind() && !slices.Contains(out, one) {
			out = append(out, one)
		}
	}
	return out
}

// flow is a destination of one protocol.
type flow struct {
	to  netip.AddrPort
	udp bool
}

func (f flow) String() string {
	if f.udp {
		return f.to.String() + "/udp"
	}
	return f.to.String() + "/tcp"
}

// holding is what nodes hold towards destinations.
type holding struct {
	count, over, asking int
	who                 []Share
	read                bool // the table of at least one node
}

// held adds up what nodes hold of what matches.
func held(c *model.Case, nodes []string, match func(model.Holder) bool) holding {
	var h holding
	by := map[Share]float64{}
	for _, node := range nodes {
		if facts := c.World.Nodes[node]; facts == nil || facts.Held == nil {
			continue
		}
		h.read = true
		for _, one := range c.World.Holders(node) {
			if match(one) {
				h.count, h.over, h.asking = h.count+one.Count, h.over+one.Over, h.asking+one.Asking
				by[Share{Ref: one.Ref, Toward: flow{one.To, one.UDP}.String()}] += float64(one.Count)
			}
		}
	}
	for key, n := range by {
		h.who = append(h.who, Share{Ref: key.Ref, Toward: key.Toward, Count: n})
	}
	slices.SortFunc(h.who, func(a, b Share) int { return strings.Compare(string(a.Ref)+a.Toward, string(b.Ref)+b.Toward) })
	h.who = most(h.who)
	return h
}

// outward says that a connection leaves for the internet, so that its source is translated.
func outward(h model.Holder) bool {
	a := h.To.Addr()
	return a.IsValid() && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && a.String() != "168.63.129.16" && !shared.Contains(a)
}

// shared is the range of RFC 6598, private to Azure too.
var shared = netip.MustParsePrefix("100.64.0.0/10")
