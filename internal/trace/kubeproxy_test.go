package trace

import (
	"net/netip"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/netfilter"
)

// TestStaleTableOfTheSamePriority: of two tables that translate at one priority the
// kernel always asks the same one first, so that what goes astray is all or nothing.
func TestStaleTableOfTheSamePriority(t *testing.T) {
	good, stale := netip.MustParseAddrPort("10.244.1.11:8080"), netip.MustParseAddrPort("10.244.1.99:8080")
	to := func(a netip.AddrPort) netfilter.Outcome {
		return netfilter.Outcome{Chance: 0.5, Packet: netfilter.Packet{DNAT: true, Dst: a.Addr(), DstPort: a.Port()}}
	}
	for order, share := range map[bool]float64{true: 1, false: 0.5} {
		r := netfilter.Result{Order: order, Outcomes: []netfilter.Outcome{to(good), to(stale)}}
		got := compareProxy(&nodeFilter{rules: &netfilter.RuleSet{}}, r, &backends{list: []backend{{addr: good}}}, model.Flow{})
		if got.Share != share || got.Order != order || len(got.Stale) != 1 {
			t.Errorf("order %v: %+v", order, got)
		}
	}
}
