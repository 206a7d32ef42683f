package check

import (
	"fmt"

	"github.com/podpath/podpath/internal/model"
)

var betweenNodes = Check{
	ID: "between-nodes",
	Doc: `Nodes, or pods of different nodes, cannot reach each other

Kubernetes promises that every pod reaches every pod, and nodes reach nodes (kubelets on 10250 among them). From the first node of each
subnet the way to a pod of every other node is traced, whatever NetworkPolicies say; a line that stops it (a route table without the node's
route, an NSG between the subnets, a node that does not forward) is reported as the diagnosis that names it.

Look-alikes: a NetworkPolicy that separates pods is meant, and is none of this.

Mend it as the diagnosis says.
`,
	Group: Nodes, Hop: model.HopRoute, Needs: []string{"node", "pod", "subnet"},
	Source: "https://learn.microsoft.com/azure/aks/concepts-network",
	Covers: []string{"route-kubenet-missing-node-route", "nsg-block-10250", "nsg-pod-cidr-not-allowed", "route-intra-vnet-udr"},
	Run: func(p *Pass) {
		e := expectation{group: Nodes, severity: Outage, noun: "nodes"}
		for _, from := range p.firstOfSubnets() {
			for _, n := range values(p.World.Kube.Nodes) {
				if n == from || !n.Ready || len(n.InternalIPs) == 0 {
					continue
				}
				e.list = append(e.list, p.toNode(from, n)...)
			}
		}
		p.hold(&e)
	},
}

// network are the hops that are the network's own: no policy, no Service, no process.
var network = []model.Hop{
	model.HopCNI, model.HopNodeKernel, model.HopMasquerade, model.HopNSG, model.HopRoute, model.HopGateway, model.HopAppliance,
}

// toNode are the connections from one node to another's kubelet and to a pod of it.
func (p *Pass) toNode(from, to *model.Node) []connection {
	out := []connection{{
		flow: model.Flow{From: model.NewRef("node", from.Name), Src: from.InternalIPs[0], Dst: to.InternalIPs[0], To: model.NewRef("node", to.Name), Protocol: "tcp", DstPort: 10250},
		from: "node/" + from.Name, to: "node/" + to.Name + ":10250", what: to.Name, hops: network,
	}}
	a, b := p.podOn(from.Name), p.podOn(to.Name)
	if a == nil || b == nil {
		return out
	}
	port := uint16(8080)
	for i := range b.Containers {
		if list := b.Containers[i].Ports; len(list) > 0 {
			port = list[0].Port
			break
		}
	}
	return append(out, connection{
		flow: model.Flow{From: a.Ref(), Src: a.IPs[0], Dst: b.IPs[0], To: b.Ref(), Protocol: "tcp", DstPort: port},
		from: a.Namespace + "/" + a.Name, to: fmt.Sprintf("%s:%d", b.IPs[0], port), what: to.Name, hops: network,
	})
}

// podOn is a pod of a node with an address of its own; nil where there is none.
func (p *Pass) podOn(node string) *model.Pod {
	if p.onNode == nil {
		p.onNode = map[string]*model.Pod{}
		for _, pod := range values(p.World.Kube.Pods) {
			if _, have := p.onNode[pod.Node]; !have && pod.Phase == "Running" && !pod.HostNetwork && !pod.Deleting && len(pod.IPs) > 0 {
				p.onNode[pod.Node] = pod
			}
		}
	}
	return p.onNode[node]
}

// firstOfSubnets are the first ready node of each subnet, by name.
func (p *Pass) firstOfSubnets() []*model.Node {
	seen := map[*model.Subnet]bool{}
	var out []*model.Node
	for _, n := range values(p.World.Kube.Nodes) {
		if !n.Ready || len(n.InternalIPs) == 0 {
			continue
		}
		if s := p.subnetOf(n.InternalIPs[0]); !seen[s] {
			seen[s] = true
			out = append(out, n)
		}
	}
	return out
}
