package rules

import (
	"slices"

	"github.com/podpath/podpath/internal/corefile"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

// azureAnswers says that by configuration the name's query ends at Azure's own
// resolver, which alone looks into the private zones of the cluster's VNet. sure
// is false where a part of that way was not read.
func azureAnswers(p *diagnose.Pass) (yes, sure bool) {
	vnet := p.VNet()
	if vnet == nil {
		return false, false
	}
	azure := slices.ContainsFunc(p.Upstreams(), diagnose.IsAzureDNS)
	seen := p.Seen()
	if seen != nil && slices.ContainsFunc(seen.Queries, func(q model.DNSQuery) bool { return diagnose.IsAzureDNS(q.Server.Addr()) }) {
		return true, true
	}
	if !asksClusterDNS(p) {
		return false, false
	}
	file := trace.Corefile(&p.Case.World)
	if file == nil {
		return azure, false
	}
	d := file.Decide(p.LookedUp(), "A")
	if d.Kind != corefile.Forward || d.Rewritten != nil {
		return false, true
	}
	for _, word := range d.Upstreams {
		if up := corefile.Upstream(word); up.IsValid() {
			return diagnose.IsAzureDNS(up.Addr()), true
		}
	}
	return azure, true
}

// zonesFor parts the private zones that hold a name into the one that decides
// (linked, the narrowest) and those that the VNet does not see.
func zonesFor(p *diagnose.Pass, vnet *model.VNet) (linked *model.PrivateZone, unseen []*model.PrivateZone) {
	for _, z := range trace.ZonesFor(&p.Case.World, p.LookedUp()) {
		switch {
		case !z.LinkedTo(vnet.ID):
			unseen = append(unseen, z)
		case linked == nil:
			linked = z
		}
	}
	return linked, unseen
}

func zoneRef(z *model.PrivateZone) model.Ref { return model.NewRef("privatezone", z.Name) }
