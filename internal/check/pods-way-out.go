package check

import (
	"strings"

	"github.com/podpath/podpath/internal/model"
)

var podsWayOut = Check{
	ID: "pods-way-out",
	Doc: `Pods cannot reach the API server, or their subnet has no way to the internet

CoreDNS, metrics-server and every controller in a pod ask the API server by the Service kubernetes; its address may be a public one, and then pods
need a way out. From a pod of each subnet that way is traced, whatever NetworkPolicies say. Where pods have a subnet of their own, its NSG, routes and
NAT gateway decide, not those of the nodes; that such a subnet has no way to the internet at all is listed as worth a look.

Look-alikes: a firewall that lets only some names through is meant, and is none of this.

Mend it as the diagnosis says.
`,
	Group: Egress, Hop: model.HopRoute, Needs: []string{"cluster", "subnet", "node", "pod", "service", "endpointslice"},
	Source: "https://learn.microsoft.com/azure/aks/concepts-network-azure-cni-pod-subnet",
	Covers: []string{"natgw-second-pool-subnet", "natgw-not-associated"},
	Run: func(p *Pass) {
		api := expectation{group: Control, severity: Outage, noun: "ways from a subnet's pods to the API server"}
		out := expectation{group: Egress, severity: Risk, noun: "subnets of pods on their way to the internet"}
		seen := map[*model.Subnet]bool{}
		s := p.World.Kube.Services["service/default/kubernetes"]
		for _, pod := range values(p.World.Kube.Pods) {
			at := p.podSubnet(pod)
			if at == nil || seen[at] {
				continue
			}
			seen[at] = true
			if s != nil && len(s.ClusterIPs) > 0 && p.answers(s) {
				api.list = append(api.list, connection{
					flow: model.Flow{From: pod.Ref(), Src: pod.IPs[0], Dst: s.ClusterIPs[0], To: serviceRef(s), Protocol: "tcp", DstPort: 443, Scheme: "https"},
					from: "pod/" + pod.Namespace + "/" + pod.Name, to: s.ClusterIPs[0].String() + ":443", what: at.Name, hops: beyondName,
				})
			}
			if p.ownSubnet(at) && !isolated(p.World.Azure.Cluster) {
				out.list = append(out.list, connection{
					flow: model.Flow{From: pod.Ref(), Src: pod.IPs[0], Protocol: "tcp", DstPort: 443, Scheme: "https"},
					from: "pod/" + pod.Namespace + "/" + pod.Name, to: "internet", what: at.Name, maybe: true,
					hops: []model.Hop{model.HopMasquerade, model.HopNSG, model.HopRoute, model.HopNATGW, model.HopSNAT},
				})
			}
		}
		p.hold(&api)
		p.hold(&out)
	},
}

// podSubnet is the subnet whose rules decide over a pod's packets; nil where the
// pod sends none of its own.
func (p *Pass) podSubnet(pod *model.Pod) *model.Subnet {
	n := p.World.Kube.Nodes[pod.Node]
	if pod.Phase != "Running" || pod.HostNetwork || pod.Deleting || len(pod.IPs) == 0 || n == nil || !n.Ready || len(n.InternalIPs) == 0 {
		return nil
	}
	if s := p.subnetOf(pod.IPs[0]); s != nil {
		return s
	}
	return p.subnetOf(n.InternalIPs[0])
}

// ownSubnet says that a subnet is for pods alone.
func (p *Pass) ownSubnet(s *model.Subnet) bool {
	c := p.World.Azure.Cluster
	if c == nil {
		return false // not known: it may be the nodes' own, which the nodes' way out is told for
	}
	for i := range c.AgentPools {
		if strings.EqualFold(c.AgentPools[i].PodSubnetID, s.ID) {
			return true
		}
	}
	return false
}
