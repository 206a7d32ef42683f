package check

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var kubeletSkew = Check{
	ID: "kubelet-skew",
	Doc: `Nodes run a kubelet that this API server does not support

A kubelet may be up to three minor releases older than the API server, and never newer. Beyond that nobody has tried what becomes of it,
and the next upgrade of the control plane is refused.

Upgrade the node pool.
`,
	Group: Ahead, Hop: model.HopControlPlane, Needs: []string{"node"},
	Source: "https://kubernetes.io/releases/version-skew-policy/#kubelet",
	Run: func(p *Pass) {
		server, ok := minor(p.World.Kube.Version)
		if !ok {
			return
		}
		byVersion := map[string][]string{}
		for _, n := range values(p.World.Kube.Nodes) {
			if kubelet, ok := minor(n.KubeletVersion); ok && (kubelet > server || kubelet < server-3) {
				byVersion[n.KubeletVersion] = append(byVersion[n.KubeletVersion], n.Name)
			}
		}
		for _, list := range values(byVersion) {
			n := p.World.Kube.Nodes[list[0]]
			p.Report(Finding{
				Severity: Risk, Subject: model.NewRef("node", list[0]), Concerns: len(list),
				Title:    fmt.Sprintf("%s run kubelet %s, which API server %s does not support", count(len(list), "node"), n.KubeletVersion, p.World.Kube.Version),
				Evidence: []diagnose.Evidence{kube(all(list))},
				Fix:      []diagnose.Command{{Text: "Upgrade their node pool: az aks nodepool upgrade"}},
			})
		}
	},
}
