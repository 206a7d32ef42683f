package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var privateRecordStale = diagnose.Rule{
	ID: "private-record-stale",
	Doc: `A private DNS record points at an address that nobody has

The zone is linked and answers, and the address is one of the VNet that no network interface has: the private endpoint or machine behind
the record was made anew with another address, and no DNS zone group keeps the record up to date. The connection times out.

Look-alikes: an NSG on the far subnet drops packets to an address that somebody has. A record that is right leads to a machine that is
stopped; its interface is still there.

Mend the record, and let a private endpoint keep it itself (a DNS zone group).
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-private-endpoint-wrong-record"},
	Needs:  []string{"probe", "privatezone", "nic", "subnet"},
	Under:  []string{"nsg-denies", "policy-denies"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		seen, vnet := p.Seen(), p.VNet()
		if seen == nil || vnet == nil || nameFailed(seen) || !seen.Address.IsValid() {
			return
		}
		z, _ := zonesFor(p, vnet)
		if z == nil {
			return
		}
		addr := seen.Address.Addr()
		record, values := recordOf(z, p.LookedUp())
		if record == "" || !slices.Contains(values, addr.String()) || !unowned(p, []netip.Addr{addr}) {
			return
		}
		ref := model.NewRef("privatezone", z.Name, record)
		p.Report(diagnose.Finding{
			Subject:    ref,
			Confidence: diagnose.Likely,
			Title:      fmt.Sprintf("Record %s of private zone %s points at %s, which nobody has", record, z.Name, addr),
			Summary:    "The address lies in a subnet of the VNet, and no network interface, load balancer or firewall that was read has it.",
			Evidence: append([]diagnose.Evidence{
				arm(fmt.Sprintf("private zone %s, record %s A %s", z.Name, record, list(values)), ref),
				arm(fmt.Sprintf("%s is in subnet %s, and belongs to nothing that was read there", addr, p.Subnet(addr).Name)),
			}, queries(seen)...),
			Fix: []diagnose.Command{
				{
					Text: "Put the right address into the record",
					Line: diagnose.Az("network private-dns record-set a add-record", z.ID, "--zone-name", z.Name, "--record-set-name", record, "--ipv4-address", "ADDRESS"),
				},
				{
					Text: "And take the old one out",
					Line: diagnose.Az("network private-dns record-set a remove-record", z.ID, "--zone-name", z.Name, "--record-set-name", record, "--ipv4-address", addr.String()), Verify: again(p),
				},
			},
		})
	},
}
