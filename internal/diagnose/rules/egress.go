package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// egress is how the packets of the question's subnet could get a public source
// address. Several rules ask it, each for the one thing that it is about.
type egress struct {
	step   *model.Step
	way    diagnose.Way
	subnet *model.Subnet
	table  *model.RouteTable
	nat    *model.NATGateway
	kind   string // the outbound type, lower-cased
}

// noEgress calls f for each way that ends because nothing gives its packets a
// public source address.
func noEgress(p *diagnose.Pass, f func(egress)) {
	for _, hop := range []model.Hop{model.HopSNAT, model.HopNATGW, model.HopLB, model.HopRoute} {
		p.Broken(hop, func(w diagnose.Way, step *model.Step) {
			if hop == model.HopRoute && (step.In.Dst.IsPrivate() || step.Decided.Kind() == "routetable" && step.Decided.Part(1) != "") {
				return // a route that leads astray, not the lack of a way out
			}
			if step.Decided.Kind() == "firewallpolicy" || step.Decided.Kind() == "configmap" {
				return // translated wrongly by somebody, not by nobody
			}
			subnet := p.Subnet(step.In.Src)
			if subnet == nil {
				subnet = p.EgressSubnet()
			}
			if subnet == nil {
				return
			}
			f(egress{
				step: step, way: w, subnet: subnet, table: p.TableOf(subnet),
				nat: p.Case.World.Azure.NATGateways[lower(subnet.NATGatewayID)], kind: p.Outbound(),
			})
		})
	}
}

// siblings are the cluster's other node subnets that satisfy ok.
func siblings(p *diagnose.Pass, subnet *model.Subnet, ok func(*model.Subnet) bool) []string {
	cluster := p.Case.World.Azure.Cluster
	if cluster == nil {
		return nil
	}
	var out []string
	for _, pool := range cluster.AgentPools {
		for _, id := range []string{pool.SubnetID, pool.PodSubnetID} {
			s := p.Case.World.Azure.Subnets[lower(id)]
			if s != nil && s != subnet && ok(s) && !slices.Contains(out, s.Name) {
				out = append(out, s.Name)
			}
		}
	}
	slices.Sort(out)
	return out
}

// subnetUpdate is the command that attaches something to a subnet.
func subnetUpdate(p *diagnose.Pass, subnet *model.Subnet, flag, id string) string {
	return diagnose.Az("network vnet subnet update", subnet.ID, "--vnet-name", p.SubnetRef(subnet).Part(0), "--name", subnet.Name, flag, id)
}

func privateText(p *diagnose.Pass, subnet *model.Subnet) []diagnose.Evidence {
	if subnet.DefaultOutbound != nil && !*subnet.DefaultOutbound {
		return []diagnose.Evidence{arm(fmt.Sprintf("subnet %s is private (defaultOutboundAccess is false): without a device of its own nothing in it reaches the internet", subnet.Name), p.SubnetRef(subnet))}
	}
	return nil
}

// defaultRoute is the table's route for 0.0.0.0/0, or nil.
func defaultRoute(table *model.RouteTable) *model.Route {
	if table == nil {
		return nil
	}
	for i := range table.Routes {
		if table.Routes[i].Prefix == "0.0.0.0/0" {
			return &table.Routes[i]
		}
	}
	return nil
}

func isNATType(kind string) bool { return strings.Contains(kind, "natgateway") }
