package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

var privateZoneNotLinked = diagnose.Rule{
	ID: "private-zone-not-linked",
	Doc: `A private DNS zone holds the name, and no link shows it to the cluster's VNet

Azure's resolver looks into a private zone only for VNets that are linked to it. The record is there, the zone is there, and from this VNet
the name does not exist (or is the public one). With DNS servers of your own in the VNet, the link that counts is that of their VNet.

Look-alikes: a misspelt name is in no zone. A zone that is linked and lacks the record hides the public name. A record that points at an
address that is gone resolves, and times out.

Mend it with a link from the zone to the VNet; it takes effect within a minute, and no restart is needed.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-private-zone-not-linked"},
	Needs:  []string{"probe", "privatezone", "vnet"},
	Under:  []string{"corefile-answers", "private-zone-hides-name"},
	Sees:   noName,
	Run: func(p *diagnose.Pass) {
		seen, vnet := p.Seen(), p.VNet()
		if seen == nil || vnet == nil || !noName(seen) {
			return
		}
		yes, sure := azureAnswers(p)
		linked, unseen := zonesFor(p, vnet)
		if !yes || linked != nil {
			return
		}
		for _, z := range unseen {
			record, values := recordOf(z, p.LookedUp())
			if record == "" && z.Records != nil {
				continue
			}
			f := diagnose.Finding{
				Subject: zoneRef(z),
				Title:   fmt.Sprintf("Private zone %s is not linked to VNet %s", z.Name, vnet.Name),
				Summary: "The zone holds the name, but Azure's resolver looks into a private zone only for VNets that are linked to it.",
				Evidence: []diagnose.Evidence{
					arm(fmt.Sprintf("private zone %s has %s, none to %s", z.Name, count(len(z.Links), "virtual network link"), vnet.Name), zoneRef(z), model.NewRef("vnet", vnet.Name)),
				},
				Fix: []diagnose.Command{{
					Text: "Link the zone to the VNet",
					Line: diagnose.Az("network private-dns link vnet create", z.ID, "--zone-name", z.Name, "--name", "link-"+vnet.Name, "--virtual-network", vnet.ID, "--registration-enabled", "false"), Verify: again(p),
				}},
			}
			if record != "" {
				f.Evidence = append(f.Evidence, arm(fmt.Sprintf("its record %s: %s", record, strings.Join(values, " ")), model.NewRef("privatezone", z.Name, record)))
			}
			if !sure || record == "" {
				f.Confidence = diagnose.Possible
				f.Gaps = p.Gaps([]string{"configmap", "privatezone"})
			}
			f.Evidence = append(f.Evidence, queries(seen)...)
			p.ReportOn(dnsWay, f)
			return
		}
	},
}

func recordOf(z *model.PrivateZone, name string) (record string, values []string) {
	for _, kind := range []string{"A", "AAAA", "CNAME"} {
		if record, values, _ = trace.ZoneRecord(z, name, kind); record != "" {
			return record, values
		}
	}
	return "", nil
}

func count(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
