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
holds this node, or the one that does is for another protocol (UDP alone, TCP alone). Nothing gives its packets a public source address, and they are dropped silently.

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
				ruleThere(&f, e.step)
			}
			f.Evidence = append(f.Evidence, privateText(p, e.subnet)...)
			p.ReportAt(e.way, e.step, f)
		})
	},
}

// ruleThere names the rule that covers the node and gives it no address all the same.
func ruleThere(f *diagnose.Finding, step *model.Step) {
	if step.Decided.Kind() != "loadbalancer" || step.Decided.Part(1) == "" {
		return
	}
	_, why, ok := strings.Cut(step.Reason, "outbound rule "+step.Decided.Part(1)+" ")
	if !ok {
		return
	}
	f.Subject = step.Decided
	f.Title = "Outbound rule " + step.Decided.Part(1) + " " + why
	f.Summary = "The outbound type is loadBalancer, and its rule gives this connection no public source address: the packets are dropped silently."
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
		pool, members := diagnose.ParseArmID(r.PoolID).Name, 0
		for _, b := range lb.Pools {
			if strings.EqualFold(b.ID, r.PoolID) {
				pool, members = b.Name, len(b.IPConfigs)+len(b.Addrs)
			}
		}
		rules = append(rules, fmt.Sprintf("%s for %s of pool %s (%d members) by %s", r.Name, protocolText(r.Protocol), pool, members, frontendsText(lb, r.FrontendIDs)))
	}
	return fmt.Sprintf("load balancer %s: outbound rules %s", lb.Name, strings.Join(rules, "; "))
}

func protocolText(protocol string) string {
	if protocol == "" || strings.EqualFold(protocol, "all") {
		return "all protocols"
	}
	return strings.ToUpper(protocol) + " alone"
}

// frontendsText names frontends, and says of which there is no public address.
func frontendsText(lb *model.LoadBalancer, ids []string) string {
	var names []string
	for _, id := range ids {
		text := diagnose.ParseArmID(id).Name + ", which is not there"
		for _, f := range lb.Frontends {
			if strings.EqualFold(f.ID, id) {
				text = f.Name
				if f.PublicIPID == "" && f.PrefixID == "" {
					text += " without a public address"
				}
			}
		}
		names = append(names, text)
	}
	if len(names) == 0 {
		return "no frontend"
	}
	return "frontend " + strings.Join(names, ", ")
}
