package check

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nodeCondition = Check{
	ID: "node-condition",
	Doc: `A node is not ready, or says that something is wrong with it

The kubelet, the network plugin or AKS's node problem detector reports a condition: NotReady, NetworkUnavailable, pressure of memory, disk or
processes, a file system that became read-only, a kubelet or container runtime that restarts. Pods of a node that is not ready are taken
out of their Services, and after five minutes made elsewhere.

Look-alikes: a node that has just joined is not ready for a minute or two; that is listed as worth a look only. A cordoned node is meant.

See what the node says: kubectl describe node. podpath why node/NAME https://HOST tells whether it reaches the API server.
`,
	Group: Nodes, Hop: model.HopNodeResource, Needs: []string{"node"},
	Source: "https://learn.microsoft.com/azure/aks/node-problem-detector",
	Covers: []string{"node-notready-evicts-endpoints", "cni-plugin-not-ready", "node-disk-pressure", "node-memory-pressure"},
	Run: func(p *Pass) {
		for _, n := range values(p.World.Kube.Nodes) {
			for _, c := range n.Conditions {
				if severity, bad := judgement(&c); bad {
					p.Report(p.conditionOf(n, &c, severity))
				}
			}
		}
	},
}

// troubles are conditions that mean trouble when they are True.
var troubles = map[string]Severity{
	"NetworkUnavailable": Outage, "MemoryPressure": Broken, "DiskPressure": Broken, "PIDPressure": Broken,
	"KernelDeadlock": Broken, "ReadonlyFilesystem": Broken, "FilesystemCorruptionProblem": Broken, "KubeletProblem": Broken, "ContainerRuntimeProblem": Broken,
	"FrequentKubeletRestart": Risk, "FrequentContainerdRestart": Risk, "FrequentDockerRestart": Risk, "FrequentUnregisterNetDevice": Risk,
}

func judgement(c *model.Condition) (Severity, bool) {
	if c.Type == "Ready" {
		return Outage, c.Status != "True"
	}
	severity, known := troubles[c.Type]
	return severity, known && c.Status == "True"
}

func (p *Pass) conditionOf(n *model.Node, c *model.Condition, severity Severity) Finding {
	ref := model.NewRef("node", n.Name)
	says := c.Type
	if c.Type == "Ready" {
		says = "not ready"
	}
	f := Finding{
		Severity: severity, Subject: ref,
		Title:    fmt.Sprintf("Node %s is %s: %s", n.Name, says, firstWords(cmp.Or(c.Message, c.Reason))),
		Evidence: []diagnose.Evidence{kube(fmt.Sprintf("condition %s is %s (%s): %s", c.Type, c.Status, c.Reason, clip(c.Message)), ref)},
		Fix:      []diagnose.Command{do("See what it says", diagnose.Kubectl("describe", "node", n.Name))},
	}
	if c.Type != "Ready" {
		f.Title = fmt.Sprintf("Node %s reports %s: %s", n.Name, c.Type, firstWords(cmp.Or(c.Message, c.Reason)))
	}
	if strings.Contains(strings.ToLower(c.Message), "cni") || c.Type == "NetworkUnavailable" {
		f.Hop = model.HopCNI
	}
	joining := slices.ContainsFunc(n.Taints, func(t string) bool { return strings.HasPrefix(t, "node.cloudprovider.kubernetes.io/uninitialized") })
	if joining || !p.now.IsZero() && !c.Since.IsZero() && p.now.Sub(c.Since) < settling || severity == Risk {
		f.Confidence = diagnose.Possible
	}
	return f
}

// firstWords are the beginning of a message: what fits a line.
func firstWords(s string) string {
	const most = 70
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return cmp.Or(s, "no reason given")
}
