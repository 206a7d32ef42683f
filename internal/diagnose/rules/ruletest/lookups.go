package ruletest

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// lookups are the tries of a series by how the name's lookup fared at each place,
// one character a try: . at once, w after it was asked again, F not at all.
func (s *Spec) lookups(c *model.Case) []model.Try {
	var out []model.Try
	for _, v := range slices.Sorted(maps.Keys(s.Lookups)) {
		for i, how := range s.Lookups[v] {
			t := model.Try{At: Asked.Add(time.Duration(i) * 250 * time.Millisecond), Vantage: v, From: places[v], Target: c.Question.To.Raw, Result: model.OK}
			t.Resolver = netip.MustParseAddrPort("10.0.0.10:53")
			if v == model.VantageNode { // it asks the VNet's resolver
				t.Resolver = netip.MustParseAddrPort("168.63.129.16:53")
			}
			dns := model.Phase{Name: "dns", Result: model.OK, Duration: 3 * time.Millisecond}
			switch how {
			case 'w':
				dns.Duration = 2003 * time.Millisecond
			case 'F':
				dns.Result, dns.Duration = model.TimedOut, 5*time.Second
				t.Result, t.Failed = model.TimedOut, "dns"
			}
			if v == model.VantagePod {
				t.From = sender(c)
			}
			t.Phases, t.Took = []model.Phase{dns}, dns.Duration
			out = append(out, t)
		}
	}
	return out
}
