package check

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var natgwNoAddress = Check{
	ID: "natgw-without-address",
	Doc: `A NAT gateway of the cluster's subnets has no public address

The gateway takes the subnet's packets to the internet and has nothing to translate their source to: they are dropped silently.

Look-alikes: a route to a firewall goes before the gateway, which then sees nothing; the gateway is still listed, as worth a look.

Attach a public address or a prefix to it.
`,
	Group: Egress, Hop: model.HopNATGW, Needs: []string{"subnet", "natgateway"},
	Source: "https://learn.microsoft.com/azure/nat-gateway/nat-gateway-resource",
	Covers: []string{"natgw-no-public-ip"},
	Run: func(p *Pass) {
		for _, s := range p.clusterSubnets() {
			g := p.World.Azure.NATGateways[strings.ToLower(s.NATGatewayID)]
			if g == nil || len(g.PublicIPs)+len(g.Prefixes) > 0 {
				continue
			}
			ref := model.NewRef("natgateway", g.Name)
			if p.reported(ref) {
				continue // what it stops was traced
			}
			f := Finding{
				Severity: Broken, Subject: ref, Title: fmt.Sprintf("NAT gateway %s of subnet %s has no public address", g.Name, s.Name),
				Summary:  "It takes the subnet's packets to the internet and drops them.",
				Evidence: []diagnose.Evidence{arm(fmt.Sprintf("NAT gateway %s: publicIpAddresses and publicIpPrefixes are empty", g.Name), ref, p.subnetRef(s))},
				Fix:      []diagnose.Command{do("Attach one", diagnose.Az("network nat gateway update", g.ID, "--name", g.Name, "--public-ip-addresses", g.Name+"-ip"))},
			}
			if p.elsewhere(s) {
				f.Severity, f.Confidence = Risk, diagnose.Possible
			}
			p.Report(f)
		}
	},
}

// elsewhere says that a subnet's default route leads to something before its NAT gateway.
func (p *Pass) elsewhere(s *model.Subnet) bool {
	for _, r := range p.index().EffectiveRoutes(s.ID) {
		if r.Active && r.Prefix.IsValid() && r.Prefix.Bits() == 0 && r.Prefix.Addr().Is4() && !strings.EqualFold(r.Type, "Internet") {
			return true
		}
	}
	return false
}
