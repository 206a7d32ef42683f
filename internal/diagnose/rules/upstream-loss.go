package rules

import (
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/watch"
)

// upstreamLoses is how often the node's own lookups, which ask the servers that
// CoreDNS forwards to and not CoreDNS, lose a query, where lookups of pods on this
// node and on another one are late too: what they have in common is not CoreDNS.
// nil: they do not, or all of them do.
func upstreamLoses(p *diagnose.Pass, servers []netip.Addr) *watch.Rate {
	direct := slices.DeleteFunc(slices.Clone(p.Case.Tries), func(t model.Try) bool {
		return t.Vantage != model.VantageNode || !slices.Contains(servers, t.Resolver.Addr())
	})
	node := watch.LookupsLost(direct)[model.VantageNode]
	slow := watch.SlowLookups(p.Case.Tries, lateAnswer)
	if node.Count < fewestLost || node.Low < 0.02 || node.Count == node.Of || slow[p.Origin()].Count < fewestLost || slow[model.VantageOtherNode].Count < fewestLost {
		return nil
	}
	return &node
}
