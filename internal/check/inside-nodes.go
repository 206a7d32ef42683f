package check

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/model"
)

var insideNodes = Check{
	ID: "inside-nodes",
	Doc: `The kernel of a node, or its packet filter, stops what its pods send

Where the inside of nodes was read (check --all-nodes), connections of a pod of each are followed through its kernel: to the cluster's DNS, to
a pod of another node, to some Services, and to the internet. What stops one (forwarding that is off, a FORWARD policy, a strict reverse path
filter, a rule that drops, rules of kube-proxy that are missing or stale) is reported as the diagnosis that names it.

Look-alikes: a Service without endpoints is refused by every node, and is told by itself.

Mend it as the diagnosis says.
`,
	Group: Nodes, Hop: model.HopNodeKernel, Needs: []string{"node", "pod", "service", "endpointslice"},
	Source: "https://kubernetes.io/docs/concepts/services-networking/",
	Covers: []string{"nk-ip-forward-off", "nk-forward-policy-drop", "nk-rp-filter-strict", "kp-rules-not-programmed", "kp-stale-rules"},
	Run: func(p *Pass) {
		if len(p.World.Nodes) == 0 {
			return
		}
		services := p.sampledServices()
		e := expectation{group: Nodes, severity: Outage, noun: "connections that were followed inside the nodes"}
		for _, name := range sortedNames(p.World.Nodes) {
			if pod := p.podOn(name); pod != nil {
				e.list = append(e.list, p.fromInside(name, pod, services)...)
			}
		}
		p.hold(&e)
	},
}

// kernel are the hops inside a node.
var kernel = []model.Hop{model.HopKubeProxy, model.HopNodeKernel, model.HopMasquerade}

// sampled is how many Services are tried from each node: each is a walk through all its rules.
const sampled = 20

// sampledServices are Services with endpoints, spread over all of them.
func (p *Pass) sampledServices() []*model.Service {
	var list []*model.Service
	for _, s := range values(p.World.Kube.Services) {
		if len(s.ClusterIPs) > 0 && len(s.Ports) > 0 && p.answers(s) {
			list = append(list, s)
		}
	}
	if len(list) <= sampled {
		return list
	}
	p.note(fmt.Sprintf("%d of %d Services were followed through the rules of each node that was entered", sampled, len(list)))
	var out []*model.Service
	for i := range sampled {
		out = append(out, list[i*len(list)/sampled])
	}
	return out
}

func sortedNames(m map[string]*model.NodeFacts) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// anywhere is an address of the internet that belongs to nobody: documentation (RFC 5737).
var anywhere = netip.AddrFrom4([4]byte{198, 51, 100, 1})

// fromInside are connections of a node's pod.
func (p *Pass) fromInside(node string, pod *model.Pod, services []*model.Service) []connection {
	from := pod.Namespace + "/" + pod.Name
	make := func(dst netip.Addr, to model.Ref, protocol string, port uint16, word string) connection {
		what := word
		if to.Kind() == "service" {
			what = string(to)
		}
		return connection{
			flow: model.Flow{From: pod.Ref(), Src: pod.IPs[0], Dst: dst, To: to, Protocol: protocol, DstPort: port}, from: from, to: word, what: node + " to " + what, hops: kernel,
		}
	}
	out := []connection{make(anywhere, "", "tcp", 443, anywhere.String()+":443")}
	for _, other := range values(p.World.Kube.Nodes) {
		if b := p.podOn(other.Name); other.Name != node && b != nil {
			out = append(out, make(b.IPs[0], b.Ref(), "tcp", 8080, fmt.Sprintf("%s:8080", b.IPs[0])))
			break
		}
	}
	for _, s := range services {
		port := s.Ports[0]
		protocol := "tcp"
		if port.Protocol == "UDP" {
			protocol = "udp"
		}
		out = append(out, make(s.ClusterIPs[0], serviceRef(s), protocol, port.Port, fmt.Sprintf("%s:%d", s.ClusterIPs[0], port.Port)))
	}
	return out
}
