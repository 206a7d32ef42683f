package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

var privateZoneHidesName = diagnose.Rule{
	ID: "private-zone-hides-name",
	Doc: `A private DNS zone that the VNet sees has no record of the name

A private zone that is linked to the VNet answers for every name in it, also for those that it does not hold: they do not exist, although
public DNS has them. It happens with a zone for a whole public domain of which only some names are private, and with a privatelink zone
that is shared and lacks this endpoint's record.

Look-alikes: a misspelt name exists nowhere. A zone that is not linked is not asked at all.

Mend it by adding the record to the zone; by a narrower zone (one for the private name alone); or by a link with the resolution policy
NxDomainRedirect, with which Azure asks public DNS for what the zone lacks.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-private-zone-not-linked"},
	Needs:  []string{"probe", "privatezone", "vnet"},
	Under:  []string{"corefile-answers"},
	Sees:   noName,
	Run: func(p *diagnose.Pass) {
		seen, vnet := p.Seen(), p.VNet()
		if seen == nil || vnet == nil || !noName(seen) {
			return
		}
		yes, sure := azureAnswers(p)
		z, _ := zonesFor(p, vnet)
		if !yes || z == nil || z.Records == nil {
			return
		}
		if record, _ := recordOf(z, p.LookedUp()); record != "" {
			return
		}
		_, _, exists := trace.ZoneRecord(z, p.LookedUp(), "A")
		f := diagnose.Finding{
			Subject: zoneRef(z),
			Title:   fmt.Sprintf("Private zone %s is linked to VNet %s and has no record of %s", z.Name, vnet.Name, p.LookedUp()),
			Summary: "A linked private zone answers for every name in it; what it does not hold does not exist for the VNet, whatever public DNS says.",
			Evidence: []diagnose.Evidence{
				arm(fmt.Sprintf("private zone %s has %s, and a link to %s", z.Name, count(len(z.Records), "record set"), vnet.Name), zoneRef(z), model.NewRef("vnet", vnet.Name)),
			},
			Fix: []diagnose.Command{
				{
					Text: "Add the record, when the name shall be private",
					Line: diagnose.Az("network private-dns record-set a add-record", z.ID, "--zone-name", z.Name, "--record-set-name", recordName(z, p.LookedUp()), "--ipv4-address", "ADDRESS"), Verify: again(p),
				},
				{Text: "Or let public DNS answer for what the zone lacks: set the link's resolution policy to NxDomainRedirect, or make the zone narrower"},
			},
		}
		if exists {
			f.Evidence = append(f.Evidence, arm("it holds the name with other types, or names below it", zoneRef(z)))
		}
		if !sure {
			f.Confidence = diagnose.Possible
			f.Gaps = p.Gaps([]string{"configmap"})
		}
		if o := p.At(model.VantageHere); o != nil && o.Failed != "dns" {
			f.Evidence = append(f.Evidence, probe("this machine, which is not in the VNet, finds the name in public DNS"))
		}
		f.Evidence = append(f.Evidence, queries(seen)...)
		p.ReportOn(dnsWay, f)
	},
}

// recordName is a name's part within a zone.
func recordName(z *model.PrivateZone, name string) string {
	name, zone := lower(trimDot(name)), lower(trimDot(z.Name))
	if name == zone {
		return "@"
	}
	return name[:max(0, len(name)-len(zone)-1)]
}
