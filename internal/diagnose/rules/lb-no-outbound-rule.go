package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var lbNoOutboundRule = diagnose.Rule{
	ID: "lb-no-outbound-rule",
	Doc: `No outbound rule of the load balancer covers the node

The cluster goes out through its load balancer, and no outbound rule with a public frontend covers the backend pool that
holds this node. Nothing gives its packets a public source address, and they are dropped silently.

Look-alikes: an outbound rule that has run out of ports fails for some connections only. A default route to an appliance
takes the packets elsewhere before the load balancer is considered.

Mend it by letting AKS write its rules again (an update of the cluster without changes reconciles the load balancer), or by
adding an outbound rule for the pool.
`,
	Hop:   model.HopSNAT,
	Needs: []string{"loadbalancer", "nic", "cluster"},
	Sees:  diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		noEgress(p, func(e egress) {
			if e.kind != "loadbalancer" || e.subnet.NATGatewayID != "" {
				return
			}
			lb := outboundBalancer(p)
			cluster := p.Case.World.Azure.Cluster
			f := diagnose.Finding{
				Subject: model.NewRef("cluster", cluster.Name),
				Title:   "The cluster has no public load balancer to go out through",
				Summary: "The outbound type is loadBalancer, and no outbound rule gives this node's packets a public source address.",
				Fix: []diagnose.Command{{
					Text: "Let AKS write the load balancer's rules again", Line: diagnose.Az("aks update", cluster.ID, "--name", cluster.Name), Verify: again(p),
				}},
			}
			if lb != nil {
				f.Subject = model.NewRef("loadbalancer", lb.Name)
				f.Title = fmt.Sprintf("No outbound rule of load balancer %s covers this node", lb.Name)
				f.Evidence = append(f.Evidence, arm(outboundText(lb), f.Subject))
			}
			f.Evidence = append(f.Evidence, privateText(p, e.subnet)...)
			p.ReportAt(e.way, e.step, f)
		})
	},
}

// outboundBalancer is the load balancer that AKS uses for the way out.
func outboundBalancer(p *diagnose.Pass) *model.LoadBalancer {
	var found *model.LoadBalancer
	for _, id := range sortedKeys(p.Case.World.Azure.LoadBalancers) {
		lb := p.Case.World.Azure.LoadBalancers[id]
		if strings.EqualFold(lb.Name, "kubernetes") {
			return lb
		}
		if found == nil && len(lb.Outbound) > 0 {
			found = lb
		}
	}
	return found
}

func outboundText(lb *model.LoadBalancer) string {
	if len(lb.Outbound) == 0 {
		return fmt.Sprintf("load balancer %s has no outbound rules", lb.Name)
	}
	var rules []string
	for _, r := range lb.Outbound {
		pool := diagnose.ParseArmID(r.PoolID).Name
		members := 0
		for _, b := range lb.Pools {
			if strings.EqualFold(b.ID, r.PoolID) {
				members = len(b.IPConfigs) + len(b.Addrs)
			}
		}
		rules = append(rules, fmt.Sprintf("%s for pool %s (%d members, %d frontends)", r.Name, pool, members, len(r.FrontendIDs)))
	}
	return fmt.Sprintf("load balancer %s: outbound rules %s", lb.Name, strings.Join(rules, "; "))
}
