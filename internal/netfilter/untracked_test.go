package netfilter

import (
	"net/netip"
	"testing"
)

// TestMarkBeforeTracking: in the raw table a packet has no connection yet that
// could be marked, so nothing later finds the mark.
func TestMarkBeforeTracking(t *testing.T) {
	for chain, want := range map[string]Verdict{"raw": Accept, "mangle": Drop} {
		rs, err := ParseSave("*"+chain+"\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j CONNMARK --set-xmark 0x4/0xffffffff\nCOMMIT\n"+
			"*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m connmark --mark 0x4 -j DROP\nCOMMIT\n", "ip", BackendNFT)
		if err != nil {
			t.Fatal(err)
		}
		if got := forwardNew(rs, netip.MustParseAddrPort("10.0.0.2:80")); got.Verdict() != want {
			t.Errorf("%s: %s, want %s: %+v", chain, got.Verdict(), want, got.Outcomes)
		}
	}
}
