package rules

import (
	"fmt"
	"regexp"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// pluginErrors are the words of a container runtime whose network plugin is not
// there, or cannot do its work (containerd's go-cni, CRI-O, and the plugins'
// own: Flannel's subnet file, Cilium's and Calico's agents).
var pluginErrors = regexp.MustCompile(`(?i)cni plugin not initialized|NetworkPluginNotReady|network is not ready|no networks found in|failed to find plugin|loadFlannelSubnetEnv|failed to load CNI|cni config uninitialized|nodename file|unable to connect to Cilium|plugin type="?[\w-]+"? failed`)

var networkPluginNotReady = diagnose.Rule{
	ID: "network-plugin-not-ready",
	Doc: `The network plugin does not work on the node

Pods that start on this node get no network: they stay in ContainerCreating, or are not scheduled at all because the node says that it is not ready. The plugin's
configuration is missing in /etc/cni/net.d, its program is missing in /opt/cni/bin, or its agent on the node has not left what the program needs (Flannel's
/run/flannel/subnet.env, Calico's nodename file, Cilium's socket). Pods that run already go on, which is why it is noticed late: after a restart, a rollout,
a node's upgrade.

Look-alikes: a plugin that works and has no address left says so (no IP addresses available). A pod that waits for a volume or an image waits with an address
or without, but its events do not speak of the network.

Mend the plugin's agent on that node: look at its pod and its logs, and start it anew. What its init container installs (configuration, programs) comes back
with it.
`,
	Hop:           model.HopCNI,
	Covers:        []string{"cni-plugin-not-ready"},
	Needs:         []string{"node", "event", "nodefacts"},
	Under:         []string{"pod-addresses-used-up", "pod-range-exhausted"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		pod := homeless(p)
		if pod == nil {
			return
		}
		net := cni.Detect(&p.Case.World)
		problem, name := fatal(p, net, candidates(p, pod))
		event := newest(sandboxErrors(p, pod), pluginErrors)
		if problem == nil && (event == nil || pod.Node == "") {
			return
		}
		if name == "" {
			name = pod.Node
		}
		reportPlugin(p, net, pod, name, problem, event)
	},
}

func reportPlugin(p *diagnose.Pass, net cni.Network, pod *model.Pod, name string, problem *cni.Problem, event *model.Event) {
	ref := model.NewRef("node", name)
	f := diagnose.Finding{
		Subject:    ref,
		Confidence: surely(pod),
		Title:      fmt.Sprintf("The network plugin does not work on node %s, and pod %s/%s has no address", name, pod.Namespace, pod.Name),
		Summary:    "Nothing opens the connection: the pod gets no network before the plugin works on that node. Pods that run there already are not touched by it.",
		Evidence:   append([]diagnose.Evidence{kube(podState(pod), pod.Ref())}, scheduling(pod)...),
	}
	if problem != nil {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("node %s: %s", name, oneLine(problem.Text)), ref))
	}
	if event != nil {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("event %s: %s", event.Reason, oneLine(event.Message)), pod.Ref()))
	}
	for _, other := range net.Health(&p.Case.World, name) {
		if !other.Fatal {
			f.Evidence = append(f.Evidence, kube(oneLine(other.Text), other.Subject))
		}
	}
	f.Fix = []diagnose.Command{{Text: "See what the node has of the plugin", Line: onNode(name, "ls -l /etc/cni/net.d /opt/cni/bin; journalctl -u containerd -n 50 | grep -i cni")}}
	if net.Agent != "" {
		f.Fix = append(f.Fix, diagnose.Command{
			Text:   fmt.Sprintf("Start %s's agent on this node anew", net.Name()),
			Line:   diagnose.Kubectl("-n", net.Agent.Part(0), "delete", "pod", "--field-selector=spec.nodeName="+name, "-l", agentLabel(p, net)),
			Verify: again(p),
		})
	}
	p.Report(f)
}
