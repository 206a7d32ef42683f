package check

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

var requiredEndpoints = Check{
	ID: "required-endpoints",
	Doc: `Something on the way out stops the nodes from what AKS needs

Nodes need some endpoints of the internet: their images, the API server's name, Azure's management and login. The way of each is traced
from a node of each subnet, as podpath why does; a line that stops one is reported as the diagnosis that names it (an NSG rule, a route,
a firewall without a rule), and once for all endpoints.

Look-alikes: endpoints that are optional (updates of the operating system, time) are listed as worth a look only. A cluster whose
outbound type is none or block is meant to have no way out, and nothing is traced.

Mend it as the diagnosis says; podpath why node/NAME https://HOST shows the way.
`,
	Group: Egress, Hop: model.HopRoute, Needs: []string{"cluster", "subnet", "node"},
	Source: "https://learn.microsoft.com/azure/aks/outbound-rules-control-egress",
	Covers: []string{"cp-api-egress-blocked", "nva-missing-aks-fqdn"},
	Run: func(p *Pass) {
		if isolated(p.World.Azure.Cluster) {
			p.note("outbound type " + p.World.Azure.Cluster.OutboundType + ": the nodes are meant to have no way out, so none was traced")
			return
		}
		e := expectation{group: Egress, severity: Outage, noun: "endpoints that AKS needs"}
		for _, r := range p.index().CheckRequired() {
			host := r.Path.Flow.Host
			to := fmt.Sprintf("%s://%s:%d", strings.ToLower(r.Endpoint.Protocol), host, r.Port)
			if r.Path.Flow.Scheme == "https" && r.Port == 443 {
				to = "https://" + host
			}
			e.list = append(e.list, connection{
				flow: r.Path.Flow, from: string(r.From), to: to, optional: r.Endpoint.Optional, hops: beyondName,
				what: fmt.Sprintf("%s:%d", r.Endpoint.Domain, r.Port),
			})
		}
		p.hold(&e)
	},
}

// beyondName are the hops behind the lookup of a name.
var beyondName = []model.Hop{
	model.HopCNI, model.HopNodeKernel, model.HopMasquerade, model.HopNSG, model.HopRoute, model.HopGateway, model.HopAppliance, model.HopNATGW, model.HopSNAT, model.HopLB,
}

// isolated says that a cluster is meant to have no way out.
func isolated(c *model.ManagedCluster) bool {
	return c != nil && (strings.EqualFold(c.OutboundType, "none") || strings.EqualFold(c.OutboundType, "block"))
}
