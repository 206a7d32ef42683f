package rules

import (
	"regexp"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// homeless is a pod of the asking side that has no address yet: it waits for the
// network plugin, or for a node on which one works. Nil: there is none, or one
// of its siblings runs.
func homeless(p *diagnose.Pass) *model.Pod {
	var found *model.Pod
	for _, pod := range clients(p) {
		if running(pod) {
			return nil
		}
		if found == nil && len(pod.IPs) == 0 && !pod.HostNetwork && pod.Phase == "Pending" {
			found = pod
		}
	}
	return found
}

// sandboxErrors are what the kubelet says about a pod whose network could not be
// set up, newest last.
func sandboxErrors(p *diagnose.Pass, pod *model.Pod) []model.Event {
	return slices.DeleteFunc(eventsAbout(p, pod.Ref()), func(e model.Event) bool {
		return e.Reason != "FailedCreatePodSandBox" && e.Reason != "NetworkNotReady"
	})
}

// usedUp are the words of address managers that have none left: host-local,
// Azure's own (azure-vnet-ipam, CNS), Calico, Cilium.
var usedUp = regexp.MustCompile(`(?i)no IP addresses available in range|no available addresses|not enough IPs available|failed to allocate address|subnetisfull|no free addresses|range is full|cannot allocate new block|no more IPs available`)

// noRange are the words of agents whose node was given no range.
var noRange = regexp.MustCompile(`(?i)pod ?cidr (is )?not (assigned|available|set)|no podCIDR|CIDRNotAvailable|CIDRAssignmentFailed|no remaining CIDRs`)

// newest is the last of the events whose message matches, or nil.
func newest(events []model.Event, words *regexp.Regexp) *model.Event {
	for i := len(events) - 1; i >= 0; i-- {
		if words.MatchString(events[i].Message) || words.MatchString(events[i].Reason) {
			return &events[i]
		}
	}
	return nil
}

// candidates are the nodes on which a pod that has none might have been placed:
// its own, where it has one, else those that are not ready, where the scheduler
// says that it passed over nodes for a taint (since Kubernetes 1.36 it does not
// say which).
func candidates(p *diagnose.Pass, pod *model.Pod) []string {
	if pod.Node != "" {
		return []string{pod.Node}
	}
	if !slices.ContainsFunc(pod.Conditions, func(c model.Condition) bool {
		return c.Type == "PodScheduled" && c.Status == "False" && strings.Contains(c.Message, "untolerated taint")
	}) {
		return nil
	}
	var out []string
	for _, name := range sortedKeys(p.Case.World.Kube.Nodes) {
		if n := p.Case.World.Kube.Nodes[name]; n != nil && (!n.Ready || slices.ContainsFunc(n.Taints, notReadyTaint)) {
			out = append(out, name)
		}
	}
	return out
}

// notReadyTaint says whether a taint is one that Kubernetes puts on nodes that are not ready.
func notReadyTaint(taint string) bool {
	for _, name := range []string{"not-ready", "network-unavailable", "unreachable"} {
		if strings.HasPrefix(taint, "node.kubernetes.io/"+name) {
			return true
		}
	}
	return false
}

// surely is how sure a finding about a pod's node is: where the pod has none yet,
// another node may be the one that was meant.
func surely(pod *model.Pod) diagnose.Confidence {
	if pod.Node == "" {
		return diagnose.Likely
	}
	return diagnose.Proven
}

// fatal is the first problem of the network plugin on a node that keeps new pods
// from getting a network, with the node; nil when there is none.
func fatal(p *diagnose.Pass, net cni.Network, nodes []string) (*cni.Problem, string) {
	for _, name := range nodes {
		for _, problem := range net.Health(&p.Case.World, name) {
			if problem.Fatal {
				return &problem, name
			}
		}
	}
	return nil, ""
}

// scheduling is what the scheduler says about a pod.
func scheduling(pod *model.Pod) []diagnose.Evidence {
	for _, c := range pod.Conditions {
		if c.Type == "PodScheduled" && c.Status == "False" && c.Message != "" {
			return []diagnose.Evidence{kube("scheduler: "+oneLine(c.Message), pod.Ref())}
		}
	}
	return nil
}

// lacksRange says that a node was given no range of addresses for pods, where
// others were.
func lacksRange(p *diagnose.Pass, name string) bool {
	w := &p.Case.World
	n := w.Kube.Nodes[name]
	if n == nil || len(n.PodCIDRs) > 0 || !w.Read["node"] {
		return false
	}
	return slices.ContainsFunc(sortedKeys(w.Kube.Nodes), func(o string) bool { return w.Kube.Nodes[o] != nil && len(w.Kube.Nodes[o].PodCIDRs) > 0 })
}
