package check

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

var snatPorts = Check{
	ID: "snat-headroom",
	Doc: `The load balancer has too few source ports for the nodes

Each public address of an outbound rule has 64,000 source ports, which all machines of its pool share. Where the rule gives each machine a
fixed number, the product limits how many machines there can be, those of an upgrade among them: beyond it the operation is refused
(InvalidLoadBalancerProfileAllocatedOutboundPorts). Where it does not say, the number falls by half when the pool grows past 50, 100, 200 …
machines, and flows are disturbed.

Look-alikes: ports that run out under load are a matter of the connections that pods hold; podpath why tells it by the metrics.

Add public addresses, give each machine fewer ports, or use a NAT gateway, which shares its ports among all machines.
`,
	Group: Egress, Hop: model.HopSNAT, Needs: []string{"cluster", "loadbalancer"},
	Source: "https://learn.microsoft.com/azure/load-balancer/load-balancer-outbound-connections",
	Covers: []string{"snat-infeasible-allocation", "snat-scale-out-shrinks-ports"},
	Run: func(p *Pass) {
		c := p.World.Azure.Cluster
		if c == nil {
			return
		}
		for _, lb := range values(p.World.Azure.LoadBalancers) {
			for i := range lb.Outbound {
				p.headroom(c, lb, &lb.Outbound[i])
			}
		}
	},
}

// portsPerAddress are the source ports of one public address.
const portsPerAddress = 64000

func (p *Pass) headroom(c *model.ManagedCluster, lb *model.LoadBalancer, rule *model.OutboundRule) {
	addresses := p.addresses(lb, rule)
	now, later := machines(c)
	if addresses == 0 || now == 0 {
		return
	}
	ref := model.NewRef("loadbalancer", lb.Name, rule.Name)
	f := Finding{
		Severity: Risk, Subject: ref,
		Fix: []diagnose.Command{
			do("Add public addresses", diagnose.Az("aks update", c.ID, "--name", c.Name, "--load-balancer-managed-outbound-ip-count", fmt.Sprint(addresses+1))),
		},
		Evidence: []diagnose.Evidence{arm(fmt.Sprintf("rule %s of %s: %d ports a machine (0: by the number of machines), %s; %d machines with the surge of an upgrade, at most %d",
			rule.Name, lb.Name, rule.AllocatedPorts, counted(addresses, "public address", "public addresses"), now, later), ref)},
	}
	if rule.AllocatedPorts == 0 {
		have := now - surges(c)
		if trace.DefaultPorts(now) < trace.DefaultPorts(have) {
			f.Confidence = diagnose.Possible
			f.Title = fmt.Sprintf("An upgrade takes the pool from %d to %d machines, and each one's source ports from %d to %d", have, now, trace.DefaultPorts(have), trace.DefaultPorts(now))
			p.Report(f)
		}
		return
	}
	room := addresses * portsPerAddress / rule.AllocatedPorts
	switch {
	case now > room:
		f.Title = fmt.Sprintf("Outbound rule %s has source ports for %d machines, and an upgrade needs %d", rule.Name, room, now)
	case later > room:
		f.Confidence = diagnose.Possible
		f.Title = fmt.Sprintf("Outbound rule %s has source ports for %d machines, and the pools may grow to %d", rule.Name, room, later)
	default:
		return
	}
	p.Report(f)
}

// surges are the machines that an upgrade of all pools adds.
func surges(c *model.ManagedCluster) int {
	n := 0
	for i := range c.AgentPools {
		n += surge(&c.AgentPools[i])
	}
	return n
}

// addresses are the public addresses of an outbound rule; 0 where one of its frontends is not known.
func (p *Pass) addresses(lb *model.LoadBalancer, rule *model.OutboundRule) int {
	n := 0
	for _, id := range rule.FrontendIDs {
		for _, f := range lb.Frontends {
			if !strings.EqualFold(f.ID, id) {
				continue
			}
			switch prefix := p.World.Azure.PublicIPPrefixes[strings.ToLower(f.PrefixID)]; {
			case f.PublicIPID != "":
				n++
			case prefix != nil:
				n += size(prefix.Prefix)
			default:
				return 0
			}
		}
	}
	return n
}
