package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var masqueradeMissing = diagnose.Rule{
	ID: "masquerade-missing",
	Doc: `Pods' addresses leave the node untranslated

In overlay and kubenet clusters only the nodes' addresses are known outside; ip-masq-agent translates pods' addresses to the
node's, except for destinations listed in nonMasqueradeCIDRs. A list that is too wide (0.0.0.0/0, or the range of
the destination) lets the pod's own address out, and nobody can answer it: the packets are dropped or the answers are
lost. The node itself reaches the same destination.

Look-alikes: an NSG or a firewall that drops hits the node's connections too. A firewall that does not translate the source (SNAT
private ranges) loses nodes' packets as well. One node whose kernel does not forward affects its own pods only.

Mend it by narrowing nonMasqueradeCIDRs in the ConfigMap; the agent reads it again within a minute.
`,
	Hop:    model.HopMasquerade,
	Covers: []string{"cni-masquerade-missing"},
	Needs:  []string{"configmap", "cluster", "subnet"},
	Sees:   diagnose.Silence,
	Run: func(p *diagnose.Pass) {
		for _, w := range p.Ways() {
			step := w.Path.Broken()
			if step == nil || step.Hop != model.HopMasquerade && step.Decided.Kind() != "configmap" {
				continue
			}
			if byNode(w) != nil {
				continue // node-translation says which rule
			}
			if step.Decided.Kind() != "configmap" {
				p.ReportAt(w, step, diagnose.Finding{
					Title:   fmt.Sprintf("The pod's own address leaves the node towards %s", step.In.Dst),
					Summary: "Nobody outside the cluster can answer a pod's address, and no device on the way translates it.",
					Fix:     []diagnose.Command{{Text: "Let ip-masq-agent translate this destination: list only the pods' and the VNet's ranges in nonMasqueradeCIDRs", Line: diagnose.Kubectl("-n", "kube-system", "edit", "configmap", "azure-ip-masq-agent-config"), Verify: again(p)}},
				})
				continue
			}
			ns, name := step.Decided.Part(0), step.Decided.Part(1)
			f := diagnose.Finding{
				Hop:     model.HopMasquerade,
				Title:   fmt.Sprintf("ConfigMap %s/%s lets pods' own addresses out towards %s", ns, name, step.In.Dst),
				Summary: fmt.Sprintf("The destination is within nonMasqueradeCIDRs, so the packet leaves with the pod's address %s, which nobody outside the cluster can answer.", step.In.Src),
				Fix: []diagnose.Command{{
					Text: "Take the range out of nonMasqueradeCIDRs (keep the pods' and the VNet's ranges); the agent reads it within a minute",
					Line: diagnose.KubectlFor(step.Decided, "edit"), Verify: again(p),
				}},
			}
			data := p.Case.World.Kube.ConfigMaps[step.Decided]
			for _, key := range sortedKeys(data) {
				f.Evidence = append(f.Evidence, kube(fmt.Sprintf("configmap %s/%s, %s: %s", ns, name, key, oneLine(data[key])), step.Decided))
			}
			p.ReportAt(w, step, f)
		}
	},
}
