package check

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var agents = Check{
	ID: "network-agent",
	Doc: `A network agent does not run on nodes that should have it

kube-proxy, the network plugin, the policy engine and their like run as DaemonSets, a pod a node. On a node without its pod Services are not
updated, new pods get no address, or policies are not carried out, and pods that are there already go on working: so it shows late.

Look-alikes: on a node that is not ready its agents are not either; that is told by itself. During a rollout one pod after another is young.

See the pod's log and events.
`,
	Group: Nodes, Hop: model.HopCNI, Needs: []string{"daemonset", "pod", "node"},
	Source: "https://learn.microsoft.com/azure/aks/concepts-network",
	Covers: []string{"cni-plugin-not-ready", "kp-rules-not-programmed", "cp-konnectivity-down"},
	Run: func(p *Pass) {
		for _, w := range values(p.World.Kube.Workloads) {
			what, known := agentNames[w.Ref.Name()]
			if !known || w.Ready >= w.Replicas {
				continue
			}
			missing, young := p.without(w)
			if w.Ref.Kind() == "daemonset" && len(missing) == 0 {
				continue // all that is missing is on nodes that are not ready
			}
			p.Report(agentFinding(w, what, missing, young))
		}
	},
}

// agentNames are the workloads that a cluster's network lives on, with what is missing without them.
var agentNames = map[string]string{
	"kube-proxy": "Services are not updated there", "azure-cns": "new pods get no address there", "azure-ip-masq-agent": "masquerading is not kept up there",
	"cilium": "pods and Services are not updated there", "calico-node": "policies are not carried out there", "azure-npm": "policies are not carried out there",
	"kube-flannel-ds": "the overlay is not kept up there", "canal": "the overlay is not kept up there", "weave-net": "the overlay is not kept up there",
	"antrea-agent": "pods and policies are not updated there", "kube-router": "routes and Services are not updated there", "node-local-dns": "lookups have no cache there",
	"konnectivity-agent": "kubectl logs, exec and webhooks fail", "cilium-operator": "new nodes get no addresses for pods", "calico-typha": "policies are not updated",
}

// without are the ready nodes on which a workload's pod is missing or not ready,
// and whether that may be a rollout.
func (p *Pass) without(w *model.Workload) (missing []string, young bool) {
	for _, pod := range p.pods[w.Ref.Part(0)] {
		if n := p.World.Kube.Nodes[pod.Node]; pod.Owner != w.Ref || pod.Ready || n != nil && !n.Ready {
			continue
		}
		missing = append(missing, pod.Node)
		young = young || !p.now.IsZero() && p.now.Sub(pod.Created) < settling
	}
	slices.Sort(missing)
	return slices.Compact(missing), young
}

func agentFinding(w *model.Workload, what string, missing []string, young bool) Finding {
	f := Finding{
		Severity: Broken, Subject: w.Ref, Concerns: len(missing),
		Title:    fmt.Sprintf("%s of the %d %s pods are not ready: %s", fmt.Sprint(w.Replicas-w.Ready), w.Replicas, w.Ref.Name(), what),
		Evidence: []diagnose.Evidence{kube(fmt.Sprintf("%s: %d wanted, %d ready; missing on %s", w.Ref, w.Replicas, w.Ready, all(missing)), w.Ref)},
		Fix:      []diagnose.Command{do("See its pods", diagnose.Kubectl("-n", w.Ref.Part(0), "get", "pods", "-o", "wide", "--field-selector=status.phase!=Succeeded", "-l", selectorText(w)))},
	}
	switch {
	case w.Ref.Name() == "kube-proxy":
		f.Hop = model.HopKubeProxy
	case w.Ref.Name() == "konnectivity-agent":
		f.Hop, f.Group = model.HopControlPlane, Control
	}
	if w.Ref.Kind() == "deployment" && w.Ready > 0 || young {
		f.Severity, f.Confidence = Risk, diagnose.Possible
	}
	return f
}

func selectorText(w *model.Workload) string {
	if w.Selector == nil {
		return ""
	}
	return labelText(w.Selector.MatchLabels)
}
