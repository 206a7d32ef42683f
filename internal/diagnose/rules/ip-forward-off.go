package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var ipForwardOff = diagnose.Rule{
	ID: "ip-forward-off",
	Doc: `The node's kernel does not forward packets (net.ipv4.ip_forward is 0)

Packets of pods are forwarded by their node. With net.ipv4.ip_forward (or forwarding on one interface) switched off the
kernel discards them silently: this node's pods reach neither other nodes, nor Services that end there, nor the
internet, while pods on the node reach each other and the node itself reaches everything. Each lost packet adds one to
the counter IpInAddrErrors. Hardening scripts and scanners switch it off, and a reboot can bring it back.

Look-alikes: a FORWARD chain that drops leaves the sysctl at 1 and the counter still. A missing route to the node's
pods hits other nodes' packets to it. An NSG or a route that drops hits the node's own connections too.

Mend it with sysctl, keep it in /etc/sysctl.d, and find what resets it.
`,
	Hop:    model.HopNodeKernel,
	Covers: []string{"nk-ip-forward-off"},
	Needs:  []string{"nodefacts"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		if !forwarded(p) {
			return
		}
		for _, facts := range entered(p) {
			for _, key := range sortedKeys(facts.Sysctls) {
				if facts.Sysctls[key] != "0" || key != "net.ipv4.ip_forward" && !stopsHere(p, facts.Node, key) {
					continue
				}
				reportForwarding(p, facts, key)
				break
			}
		}
	},
}

// stopsHere says that the prediction drops the packet on the node because of a
// sysctl: forwarding of the one interface that carries it.
func stopsHere(p *diagnose.Pass, name, key string) bool {
	stops := false
	p.Broken(model.HopNodeKernel, func(_ diagnose.Way, step *model.Step) {
		stops = stops || step.At == model.NewRef("node", name) && strings.HasSuffix(key, ".forwarding") && strings.Contains(step.Reason, key+" ")
	})
	return stops
}

func reportForwarding(p *diagnose.Pass, facts *model.NodeFacts, key string) {
	ref := model.NewRef("node", facts.Node)
	f := diagnose.Finding{
		Subject:  ref,
		Title:    fmt.Sprintf("Node %s does not forward packets: %s is 0", facts.Node, key),
		Summary:  "Every packet between this node's pods and anything outside the node is discarded by its kernel, without an answer.",
		Evidence: []diagnose.Evidence{node(fmt.Sprintf("node %s: %s = 0", facts.Node, key), ref)},
		Fix: []diagnose.Command{{
			Text:   "Switch forwarding on, and keep it on",
			Line:   onNode(facts.Node, "sysctl -w "+key+"=1 && echo "+key+"=1 > /etc/sysctl.d/99-forwarding.conf"),
			Verify: again(p),
		}},
	}
	f.Evidence = append(f.Evidence, atBoot(facts, key, "1")...)
	if n := grew(facts, "IpInAddrErrors"); n > 0 {
		f.Evidence = append(f.Evidence, node(fmt.Sprintf("node %s: IpInAddrErrors grew by %d while the probes ran; it grows by one for each packet that is not forwarded", facts.Node, n), ref))
	}
	reportOnNode(p, facts.Node, f)
}

// reportOnNode ties a finding about a node to the step of a way that breaks there, if one does.
func reportOnNode(p *diagnose.Pass, name string, f diagnose.Finding) {
	reported := false
	p.Broken(model.HopNodeKernel, func(w diagnose.Way, step *model.Step) {
		if !reported && (step.At == model.NewRef("node", name) || step.Decided == model.NewRef("node", name)) {
			reported = true
			p.ReportAt(w, step, f)
		}
	})
	if !reported {
		p.ReportOn(wayTo(p, name), f)
	}
}
