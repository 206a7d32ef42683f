package rules

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var pathBreaks = diagnose.Rule{
	ID: "path-breaks",
	Doc: `A line of the configuration stops the packets on their way

podpath follows the connection by what it has read, and at one place the packets cannot go on: a route that leads to where nobody takes them, a
rule of a node's routing, an address that no device translates. The probe failed in the way in which that place makes it fail. No page
describes this mechanism by itself; the line that decides and the reason are what the finding shows.

Look-alikes: every cause that has a page of its own is named by that, and then this one is silent. It is silent as well when something
before that place could not be read, and when a probe that the same line should have stopped got through.

Mend the line that is shown. It is proven when the prediction also says rightly which other places or hosts get through.
`,
	Hop:        model.HopRoute,
	Needs:      []string{"probe", "routetable", "subnet", "vnet", "vnetgateway", "nic", "nodefacts"},
	LastResort: true,
	Run: func(p *diagnose.Pass) {
		for _, w := range p.Ways() {
			step := w.Path.Broken()
			if w.Kind != "question" || step == nil || p.Reported(step) || !p.Certain(w, step) || !p.Fits(w, step) {
				continue
			}
			reportBreak(p, w, step)
		}
	},
}

func reportBreak(p *diagnose.Pass, w diagnose.Way, step *model.Step) {
	agree := p.Agree(step)
	if len(agree.Through) > 0 {
		return
	}
	subject := model.Ref(firstOf(string(step.Decided), string(step.At)))
	f := diagnose.Finding{
		Subject: subject, Hop: step.Hop, Confidence: diagnose.Likely,
		Title:   fmt.Sprintf("%s stops %s", subject, flowText(step.In)),
		Summary: fmt.Sprintf("The way was followed by everything that was read, and it ends here: %s.", step.Reason),
		Fix:     lineFix(p, subject, step),
	}
	told := map[string]bool{}
	for _, o := range agree.With {
		text := fmt.Sprintf("from %s to %s: gets through, and nothing that was read stops it", diagnose.PlaceOf(o), o.Address)
		if len(told) < 3 && !told[text] {
			told[text] = true
			f.Evidence = append(f.Evidence, probe(text, o.From))
		}
	}
	if len(agree.With) > 0 && len(agree.Odd) == 0 {
		f.Confidence = diagnose.Proven
	}
	if subject.Kind() == "cluster" && step.Hop == model.HopCNI && p.Case.Question.To.Host == p.Host() && len(p.Asked(p.Origin())) > 0 {
		noService(p, &f, step)
	}
	if step.Hop == model.HopSNAT || step.Hop == model.HopNATGW {
		unsurely(p, &f, "cluster") // its outbound type says what should have given an address
	}
	p.ReportAt(w, step, f)
}

// noService says of a name that leads to an address of the Service range which no
// Service has: it is the answer that is old, and nothing on the way.
func noService(p *diagnose.Pass, f *diagnose.Finding, step *model.Step) {
	if _, err := netip.ParseAddr(p.Host()); err == nil {
		return
	}
	f.Subject, f.Hop, f.Confidence = p.Endpoint(), model.HopDNS, min(f.Confidence, diagnose.Likely)
	f.Title = fmt.Sprintf("%s is answered with %s, which no Service has", p.Host(), step.In.Dst)
	f.Summary = "A Service that was made anew has another address. Whoever looked its name up before keeps the old one for a while, CoreDNS too, and a record outside the cluster's own names until somebody changes it."
	f.Fix = []diagnose.Command{{Text: "See which address the Service has now; let clients look its name up again", Line: diagnose.Kubectl("get", "services", "-A"), Verify: again(p)}}
}

// lineFix shows the line that decides, and says how it is changed.
func lineFix(p *diagnose.Pass, ref model.Ref, step *model.Step) []diagnose.Command {
	fix := azureFix(p, ref, step.In.Dst)
	switch kind := ref.Kind(); {
	case fix != nil:
	case kind == "node" && step.Hop == model.HopMasquerade:
		fix = show("See which rule of the node translates the source", onNode(ref.Name(), "iptables -t nat -S POSTROUTING; nft list ruleset"), "Take the rule away, and away from what writes it (iptables -t nat -D POSTROUTING, nft delete rule)")
	case kind == "node":
		fix = show("See by which of its rules and routes the node decides", onNode(ref.Name(), "ip rule list; ip route get "+step.In.Dst.String()+"; ip route show table all"), "Take the rule or route away, and away from what writes it (ip rule del, ip route del)")
	case kubeKinds[kind]:
		fix = show("Look at it", diagnose.KubectlFor(ref, "get", "-o", "yaml"), "Change what keeps the packets")
		fix[1].Line = diagnose.KubectlFor(ref, "edit")
	default:
		fix = []diagnose.Command{{Text: fmt.Sprintf("Look at %s, and change what keeps the packets", ref)}}
	}
	last := &fix[len(fix)-1]
	if last.Verify == "" {
		last.Verify = again(p)
	}
	return fix
}

var kubeKinds = map[string]bool{
	"pod": true, "service": true, "configmap": true, "networkpolicy": true, "deployment": true, "daemonset": true, "statefulset": true, "namespace": true,
}

func show(look, line, change string) []diagnose.Command {
	return []diagnose.Command{{Text: look, Line: line}, {Text: change}}
}

// azureFix is lineFix for what Azure holds; nil for anything else, and for what was not read.
func azureFix(p *diagnose.Pass, ref model.Ref, dst netip.Addr) []diagnose.Command {
	switch ref.Kind() {
	case "routetable":
		return routeLineFix(p, ref, dst)
	case "nsg":
		return nsgLineFix(p, ref)
	case "subnet":
		return subnetLineFix(p, ref)
	case "peering":
		return peeringLineFix(p, ref)
	}
	return nil
}

func routeLineFix(p *diagnose.Pass, ref model.Ref, dst netip.Addr) []diagnose.Command {
	table, route := p.Route(ref)
	switch {
	case table == nil:
		return nil
	case route != nil:
		look := diagnose.Command{Text: "Look at the route", Line: diagnose.Az("network route-table route show", table.ID, "--route-table-name", table.Name, "--name", route.Name)}
		return append([]diagnose.Command{look}, routeFix(p, table, route)...)
	}
	fix := show("See which routes the table holds", diagnose.Az("network route-table route list", table.ID, "--route-table-name", table.Name), "Add a route to where the destination is")
	if dst.IsValid() {
		fix[1].Line = diagnose.Az("network route-table route create", table.ID, "--route-table-name", table.Name, "--name", "to-destination",
			"--address-prefix", netip.PrefixFrom(dst, dst.BitLen()).String(), "--next-hop-type", "VirtualAppliance", "--next-hop-ip-address", "APPLIANCE-ADDRESS")
	}
	return fix
}

func nsgLineFix(p *diagnose.Pass, ref model.Ref) []diagnose.Command {
	nsg, rule := p.NSG(ref)
	if nsg == nil || rule == nil {
		return nil
	}
	args := []string{"--nsg-name", nsg.Name, "--name", rule.Name}
	fix := show("Look at the rule", diagnose.Az("network nsg rule show", nsg.ID, args...), "Let it allow the packets, or put one that does before it")
	fix[1].Line = diagnose.Az("network nsg rule update", nsg.ID, append(args, "--access", "Allow")...)
	return fix
}

func subnetLineFix(p *diagnose.Pass, ref model.Ref) []diagnose.Command {
	for _, id := range sortedKeys(p.Case.World.Azure.Subnets) {
		if s := p.Case.World.Azure.Subnets[id]; p.SubnetRef(s) == ref {
			return show("Look at what is attached to the subnet", diagnose.Az("network vnet subnet show", s.ID, "--vnet-name", ref.Part(0), "--name", s.Name),
				"Attach what it lacks (az network vnet subnet update --route-table, --nat-gateway or --network-security-group)")
		}
	}
	return nil
}

func peeringLineFix(p *diagnose.Pass, ref model.Ref) []diagnose.Command {
	for _, id := range sortedKeys(p.Case.World.Azure.VNets) {
		v := p.Case.World.Azure.VNets[id]
		if lower(v.Name) != lower(ref.Part(0)) {
			continue
		}
		args := []string{"--vnet-name", v.Name, "--name", ref.Part(1)}
		fix := show("Look at the peering", diagnose.Az("network vnet peering show", v.ID, args...), "Let it carry the packets, on both sides")
		fix[1].Line = diagnose.Az("network vnet peering update", v.ID, append(args, "--set", "allowVirtualNetworkAccess=true")...)
		return fix
	}
	return nil
}
