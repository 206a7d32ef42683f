package rules

import (
	"encoding/json"
	"fmt"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var podMTUTooLarge = diagnose.Rule{
	ID: "pod-mtu-too-large",
	Doc: `Pods' links take larger packets than the overlay carries (MTU)

An overlay puts each packet into another one and needs room for that: 50 bytes for vxlan and geneve, 60 and more for WireGuard, 20 for IP in IP. Pods' links
have to be smaller than the nodes' by as much. They are not: pods send full packets that do not fit, the node would have to say so by an ICMP message
("fragmentation needed"), and that message is filtered or never sent. Small exchanges pass, pods of one node talk to each other without trouble, and between
nodes large answers and uploads hang; TLS often stops when the certificate is sent.

Look-alikes: a smaller link beyond the nodes (a VPN, an appliance) loses full packets too, but of nodes as well, and to places outside. A blocked overlay
port loses everything between pods of two nodes, small packets too.

Mend it by taking the MTU out of the plugin's configuration, so that it works it out by itself, or by setting the right one; pods get it when they are made
anew. Let ICMP "fragmentation needed" pass in any case.
`,
	Hop:    model.HopCNI,
	Covers: []string{"cni-mtu-mismatch"},
	Needs:  []string{"probe", "node", "nodefacts"},
	Sees: func(o *model.Observation) bool {
		return (o.Failed == "tls" || o.Failed == "http" || o.Failed == "body") && o.Result == model.TimedOut
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || smallPasses(p) == nil && largeFails(p) == nil {
			return
		}
		for _, w := range p.Ways() {
			if w.Kind == "question" && overlaid(w) {
				reportMTU(p, w)
				return
			}
		}
	},
}

// narrow is a device of the overlay that takes less than a link before it.
type narrow struct {
	node         *model.NodeFacts
	wide, device model.Link
	room         int // what the device takes
}

// narrows are where a node's links to pods, or an overlay's device, are wider than what comes next.
func narrows(p *diagnose.Pass, net cni.Network) []narrow {
	var out []narrow
	for _, facts := range entered(p) {
		up := uplinkOf(p, facts)
		for _, d := range tunnels(facts) {
			for _, l := range facts.Links {
				toPod := l.Kind == "veth" && (up == nil || l.Name != up.Name) // a node that is itself a container has one outwards
				if toPod && l.MTU > d.MTU {
					out = append(out, narrow{facts, l, d, d.MTU})
					break
				}
			}
			if up != nil && d.MTU+net.Overhead() > up.MTU {
				out = append(out, narrow{facts, d, *up, up.MTU - net.Overhead()})
			}
		}
	}
	return out
}

// uplinkOf is the link with the node's own address, or nil.
func uplinkOf(p *diagnose.Pass, facts *model.NodeFacts) *model.Link {
	n := p.Case.World.Kube.Nodes[facts.Node]
	if n == nil {
		return nil
	}
	for i := range facts.Links {
		for _, a := range facts.Links[i].Addrs {
			for _, ip := range n.InternalIPs {
				if a.Addr() == ip {
					return &facts.Links[i]
				}
			}
		}
	}
	return nil
}

func reportMTU(p *diagnose.Pass, way diagnose.Way) {
	w := &p.Case.World
	net := cni.Detect(w)
	all := narrows(p, net)
	if len(all) == 0 {
		return
	}
	f := diagnose.Finding{
		Subject: model.NewRef("node", all[0].node.Node),
		Title:   fmt.Sprintf("Pods' packets of %d bytes do not fit into %s's overlay, which takes %d", all[0].wide.MTU, net.Name(), all[0].room),
		Summary: "Small packets pass and full ones are lost without a word between pods of two nodes: their links believe in more room than the overlay has, and the ICMP message that would tell them does not come.",
	}
	for _, n := range all {
		ref := model.NewRef("node", n.node.Node)
		f.Evidence = append(f.Evidence, node(fmt.Sprintf("node %s: %s has an MTU of %d, %s one of %d, of which the overlay leaves %d", n.node.Node, n.wide.Name, n.wide.MTU, n.device.Name, n.device.MTU, n.room), ref))
	}
	f.Fix = []diagnose.Command{{Text: fmt.Sprintf("Set the pods' MTU to %d in the plugin's configuration, or take it out there, and make pods anew", all[0].room), Verify: again(p)}}
	if mtu := configuredMTU(p, net); mtu > all[0].room {
		f.Subject = net.Config
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s sets an MTU of %d", net.Config, mtu), net.Config))
		f.Fix[0].Line = diagnose.KubectlFor(net.Config, "edit")
	} else {
		f.Evidence = append(f.Evidence, fileMTU(all[0].node)...)
		if w.Kube.ConfigMaps[net.Config] == nil && !w.Read["configmap"] {
			f.Confidence = diagnose.Likely // the plugin's configuration may set it
			f.Gaps = append(f.Gaps, model.Gap{What: "configuration of " + net.Name(), Ref: net.Config, Reason: "its ConfigMap was not read", Permission: "get configmaps in the namespace of " + net.Name()})
		}
	}
	if o := smallPasses(p); o != nil {
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s with small segments (MSS 536): %s", diagnose.PlaceOf(o), diagnose.OutcomeOf(o)), o.From))
	}
	p.ReportOn(way, f)
}

// configuredMTU is the MTU that the plugin's ConfigMap sets for pods' links, 0
// where it sets none.
func configuredMTU(p *diagnose.Pass, net cni.Network) int {
	var list struct {
		Plugins []struct {
			MTU      int
			Delegate struct{ MTU int }
		}
	}
	text := p.Case.World.Kube.ConfigMaps[net.Config]["cni-conf.json"]
	if json.Unmarshal([]byte(text), &list) != nil {
		return net.MTU
	}
	most := net.MTU
	for _, plugin := range list.Plugins {
		most = max(most, plugin.MTU, plugin.Delegate.MTU)
	}
	return most
}

// fileMTU is what the plugin's file on the node says.
func fileMTU(facts *model.NodeFacts) []diagnose.Evidence {
	var out []diagnose.Evidence
	for _, c := range facts.CNI {
		if c.MTU != 0 {
			out = append(out, node(fmt.Sprintf("node %s: /etc/cni/net.d/%s sets an MTU of %d", facts.Node, c.File, c.MTU), model.NewRef("node", facts.Node)))
		}
	}
	return out
}
