package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var podAddressesUsedUp = diagnose.Rule{
	ID: "pod-addresses-used-up",
	Doc: `No address is left for another pod

The pod stays in ContainerCreating: the network plugin works, and has no address to give. With Azure CNI on a subnet the subnet is full (nodes, surge nodes of
an upgrade and pods draw on it), or the node's part of it. With a range for each node (Flannel, kubenet, overlays) that range is used up: by as many pods, or by
addresses of pods that are gone and were never given back, which happens when a node is powered off or the container runtime's state is deleted.

Look-alikes: a plugin that does not work says so in other words (not initialized, failed to find plugin). A cluster whose range is used up gives a new node
none at all.

Mend it with a larger or another pod subnet, fewer pods on a node, or, where addresses leaked, by taking those that no pod has out of the plugin's state
(/var/lib/cni/networks) after draining the node.
`,
	Hop:           model.HopCNI,
	Covers:        []string{"cni-ipam-subnet-full", "cni-cns-batch-delay"},
	Needs:         []string{"event"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		pod := homeless(p)
		if pod == nil {
			return
		}
		event := newest(sandboxErrors(p, pod), usedUp)
		if event == nil {
			return
		}
		net := cni.Detect(&p.Case.World)
		f := diagnose.Finding{
			Subject: model.NewRef("node", pod.Node),
			Title:   fmt.Sprintf("No address is left for pod %s/%s on node %s", pod.Namespace, pod.Name, pod.Node),
			Summary: "Nothing opens the connection: the network plugin has no address to give, and the pod waits for one.",
			Evidence: []diagnose.Evidence{
				kube(podState(pod), pod.Ref()), kube(fmt.Sprintf("event %s: %s", event.Reason, oneLine(event.Message)), pod.Ref()),
			},
		}
		f.Evidence = append(f.Evidence, living(p, pod.Node)...)
		f.Fix = []diagnose.Command{
			{Text: "See which addresses the plugin believes in use, and which pods are there", Line: onNode(pod.Node, "ls /var/lib/cni/networks/*")},
			{Text: "Drain the node and take out addresses that no pod has; or let fewer pods on it", Line: diagnose.Kubectl("drain", pod.Node, "--ignore-daemonsets"), Verify: again(p)},
		}
		if net.Kind == cni.AzureNodes || net.Kind == cni.AzurePods {
			fullSubnet(p, net, &f)
		}
		if f.Subject.Kind() == "node" && !ownRanges[net.Kind] {
			unsurely(p, &f, "cluster", "subnet") // it may be the subnet that is full
		}
		p.Report(f)
	},
}

// ownRanges are the plugins that give each node a part of a range of their own.
var ownRanges = map[cni.Kind]bool{cni.Kubenet: true, cni.AzureOver: true, cni.Flannel: true, cni.Canal: true, cni.Weave: true}

// living counts the pods of a node that have an address of their own: fewer than
// the range holds means that addresses leaked.
func living(p *diagnose.Pass, name string) []diagnose.Evidence {
	n, has := p.Case.World.Kube.Nodes[name], 0
	for _, pod := range p.Case.World.Kube.Pods {
		if pod != nil && pod.Node == name && !pod.HostNetwork && len(pod.IPs) > 0 && pod.Phase == "Running" {
			has++
		}
	}
	if n == nil || len(n.PodCIDRs) == 0 || !p.Case.World.Read["pod"] {
		return nil
	}
	room := 1<<(n.PodCIDRs[0].Addr().BitLen()-n.PodCIDRs[0].Bits()) - 3 // network, gateway and broadcast
	return []diagnose.Evidence{kube(fmt.Sprintf("node %s: %d running pods have an address of %s, which has room for %d", name, has, n.PodCIDRs[0], room), model.NewRef("node", name))}
}

// fullSubnet names the subnet where pods' addresses are the subnet's own.
func fullSubnet(p *diagnose.Pass, net cni.Network, f *diagnose.Finding) {
	c := p.Case.World.Azure.Cluster
	if c == nil {
		return
	}
	for i := range c.AgentPools {
		pool := c.AgentPools[i].SubnetID
		if net.Kind == cni.AzurePods {
			pool = c.AgentPools[i].PodSubnetID
		}
		s := p.Case.World.Azure.Subnets[lower(pool)]
		if s == nil && pool != "" {
			f.Confidence = diagnose.Likely // the subnet may be full, or this node's part of it
			f.Gaps = append(f.Gaps, model.Gap{What: "the pods' subnet", Reason: "it was not read", Permission: "Microsoft.Network/virtualNetworks/subnets/read on " + pool})
		}
		if s == nil {
			continue
		}
		f.Subject = p.SubnetRef(s)
		f.Title = fmt.Sprintf("Subnet %s has no address left for pods", s.Name)
		f.Evidence = append(f.Evidence, arm(fmt.Sprintf("subnet %s: %v, %d nodes of pool %s with up to %d pods each", s.Name, s.Prefixes, c.AgentPools[i].Count, c.AgentPools[i].Name, c.AgentPools[i].MaxPods), f.Subject))
		f.Fix = []diagnose.Command{
			{Text: "Count what the subnet has given out", Line: diagnose.Az("network vnet subnet show", s.ID, "--vnet-name", p.SubnetRef(s).Part(0), "--name", s.Name, "--query", "length(ipConfigurations)")},
			{Text: "Give a new node pool a larger pod subnet (--pod-subnet-id), or move to Azure CNI Overlay; a subnet in use cannot be made larger in place", Verify: again(p)},
		}
		return
	}
}
