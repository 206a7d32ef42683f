package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nsgDenies = diagnose.Rule{
	ID: "nsg-denies",
	Doc: `A network security group denies the connection

A rule of a network security group (NSG) on the subnet or on the network interface matches the packet before any rule
that allows it. Azure drops the packet silently: the client waits until its own time-out, and nothing answers, neither
a reset nor an HTTP status. Outbound the interface's group is asked first, then the subnet's; inbound the other way
round; both must allow. The first match by priority ends the search.

Look-alikes: a route of type None and a firewall without a matching network rule are as silent; podpath tells them by
reading which line matches first. A NAT gateway or load balancer behind the group is innocent: the group is asked
before the source is translated. A closed port answers with a reset at once, which a group never does, and a 403 never
comes from a group. In overlay and kubenet clusters the group sees the pods' own addresses between nodes, so a rule
that allows only the nodes' range cuts pods (and the cluster's DNS) off while nodes reach each other.
In an overlay of a plugin of your own (Flannel, Calico, Cilium) it sees packets from node to node (UDP 8472, 4789, 6081, 51820).

Mend it by allowing this connection with a lower priority number than the rule that denies it, or by deleting that
rule when nobody needs it. Existing connections are not cut by a change and not revived by one.
`,
	Hop: model.HopNSG,
	Covers: []string{
		"nsg-deny-egress-internet", "nsg-deny-egress-port", "nsg-natgw-combined", "nsg-pod-cidr-not-allowed", "nsg-block-10250",
		"cni-vxlan-port-blocked", "svc-nodeport-nsg-blocked",
	},
	Needs: []string{"nsg", "subnet", "nic"},
	Under: []string{"proxy-not-used", "nsg-list-outdated"},
	Sees:  diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopNSG, func(w diagnose.Way, step *model.Step) { reportNSG(p, w, step) })
	},
}

func reportNSG(p *diagnose.Pass, w diagnose.Way, step *model.Step) {
	nsg, rule := p.NSG(step.Decided)
	if nsg == nil {
		return
	}
	f := diagnose.Finding{Title: fmt.Sprintf("NSG %s denies %s", nsg.Name, flowText(step.In))}
	if rule == nil {
		f.Summary = fmt.Sprintf("No rule of network security group %s allows it, and the packet is dropped without an answer.", nsg.Name)
		p.ReportAt(w, step, f)
		return
	}
	direction := "Outbound"
	if rule.Inbound {
		direction = "Inbound"
	}
	f.Title = fmt.Sprintf("Rule %s of NSG %s denies %s", rule.Name, nsg.Name, flowText(step.In))
	f.Summary = fmt.Sprintf("%s rule %s (priority %d) matches before any rule that allows it. Azure drops the packet silently, so the client only sees a time-out.",
		direction, rule.Name, rule.Priority)
	f.Evidence = append(f.Evidence, arm(ruleText(nsg, rule), model.NewRef("nsg", nsg.Name, rule.Name)))
	f.Evidence = append(f.Evidence, outerEvidence(p, step)...)
	if text := podRangeText(p, step, rule); text != "" {
		f.Evidence = append(f.Evidence, arm(text))
	}
	if subnet := p.EgressSubnet(); subnet != nil && subnet.NATGatewayID != "" && w.Kind == "question" && !rule.Inbound {
		f.Evidence = append(f.Evidence, arm("the NAT gateway of subnet "+subnet.Name+" is not at fault: a group is asked before the source is translated", p.SubnetRef(subnet)))
	}
	f.Fix = nsgFix(p, nsg, rule, step.In)
	changing(p, step, &f)
	p.ReportAt(w, step, f)
}

func ruleText(nsg *model.NSG, r *model.NSGRule) string {
	direction := "outbound"
	if r.Inbound {
		direction = "inbound"
	}
	access := "denies"
	if r.Allow {
		access = "allows"
	}
	any := func(words ...[]string) string {
		var all []string
		for _, w := range words {
			all = append(all, w...)
		}
		if len(all) == 0 {
			return "*"
		}
		return strings.Join(all, ",")
	}
	return fmt.Sprintf("NSG %s, rule %s: priority %d, %s, %s %s from %s to %s port %s", nsg.Name, r.Name, r.Priority, direction, access,
		r.Protocol, any(r.Sources, r.SourceASGs), any(r.Destinations, r.DestASGs), any(r.DestPorts))
}

// podRangeText notes that the packet carries a pod's own address, which people
// who wrote the rule for nodes' addresses did not expect.
func podRangeText(p *diagnose.Pass, step *model.Step, rule *model.NSGRule) string {
	cluster := p.Case.World.Azure.Cluster
	if cluster == nil {
		return ""
	}
	for _, prefix := range cluster.PodCIDRs {
		if prefix.Contains(step.In.Src) || prefix.Contains(step.In.Dst) {
			return fmt.Sprintf("the packet carries pod addresses (range %s) here: they are not encapsulated, so the group must allow pods' range as well as nodes' (rule %s decides instead)", prefix, rule.Name)
		}
	}
	return ""
}

func nsgFix(p *diagnose.Pass, nsg *model.NSG, rule *model.NSGRule, in model.Flow) []diagnose.Command {
	direction, port := "Outbound", fmt.Sprint(in.DstPort)
	if rule.Inbound {
		direction = "Inbound"
	}
	if in.DstPort == 0 {
		port = "*"
	}
	var out []diagnose.Command
	if priority := freePriority(nsg, rule); priority > 0 {
		out = append(out, diagnose.Command{
			Text: fmt.Sprintf("Allow this connection before %s is asked (a narrower source or destination is up to you)", rule.Name),
			Line: diagnose.Az("network nsg rule create", nsg.ID, "--nsg-name", nsg.Name, "--name", fmt.Sprintf("Allow-%s-%s", direction, strings.ReplaceAll(port, "*", "any")),
				"--priority", fmt.Sprint(priority), "--direction", direction, "--access", "Allow", "--protocol", protocolWord(in.Protocol),
				"--source-address-prefixes", nsgSource(p, in), "--destination-address-prefixes", in.Dst.String(), "--destination-port-ranges", port),
			Verify: again(p),
		})
	}
	word := "Or delete"
	if len(out) == 0 {
		word = "Delete"
	}
	if rule.Priority < 65000 {
		out = append(out, diagnose.Command{
			Text:   fmt.Sprintf("%s the rule, when nobody needs %s", word, rule.Name),
			Line:   diagnose.Az("network nsg rule delete", nsg.ID, "--nsg-name", nsg.Name, "--name", rule.Name),
			Verify: again(p),
		})
	}
	return out
}

func protocolWord(protocol string) string {
	switch protocol {
	case "tcp":
		return "Tcp"
	case "udp":
		return "Udp"
	}
	return "*"
}

// nsgSource is the source to allow: the subnet's or the pods' range rather than
// one address, which the next pod will not have.
func nsgSource(p *diagnose.Pass, in model.Flow) string {
	if cluster := p.Case.World.Azure.Cluster; cluster != nil {
		for _, prefix := range cluster.PodCIDRs {
			if prefix.Contains(in.Src) {
				return prefix.String()
			}
		}
	}
	if s := p.Subnet(in.Src); s != nil {
		for _, prefix := range s.Prefixes {
			if prefix.Contains(in.Src) {
				return prefix.String()
			}
		}
	}
	return in.Src.String()
}

// freePriority is the highest number below the rule's that nobody uses in its
// direction, or 0 when there is none.
func freePriority(nsg *model.NSG, rule *model.NSGRule) int {
	used := map[int]bool{}
	for _, r := range nsg.Rules {
		if r.Inbound == rule.Inbound {
			used[r.Priority] = true
		}
	}
	for n := min(rule.Priority-1, 4096); n >= 100; n-- {
		if !used[n] {
			return n
		}
	}
	return 0
}
