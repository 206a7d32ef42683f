package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceNoEndpoints = diagnose.Rule{
	ID: "service-no-endpoints",
	Doc: `The Service has nothing behind it, or does not have this port

The destination is a Service without a ready endpoint, or without the port that was asked for. kube-proxy refuses connections to it, or
lets them vanish. Either its selector matches no pods, or none of its pods is ready.

Look-alikes: pods that crash are named apart. A NetworkPolicy or a node that does not forward gives silence while the endpoints are there.

Mend the selector, or the pods' readiness; see kubectl describe for what they wait for.
`,
	Hop:    model.HopService,
	Covers: []string{"svc-selector-mismatch", "svc-no-ready-endpoints", "svc-named-port-missing", "node-notready-evicts-endpoints"},
	Needs:  []string{"service", "endpointslice"},
	Under:  []string{"crash-loop"},
	Sees: func(o *model.Observation) bool {
		return (o.Failed == "tcp" || o.Failed == "udp") && (o.Result == model.Refused || diagnose.Unanswered(o))
	},
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopService, func(w diagnose.Way, step *model.Step) {
			svc := p.Case.World.Kube.Services[step.At]
			if svc == nil || step.Service != nil {
				return // it has endpoints, not for this one: the rules about its settings say so
			}
			f := diagnose.Finding{
				Subject: step.At,
				Title:   fmt.Sprintf("Service %s/%s has no endpoint for port %d", svc.Namespace, svc.Name, step.In.DstPort),
				Summary: "Nothing behind the Service can take the connection.",
				Fix: []diagnose.Command{
					{Text: "See what it selects, and what is ready", Line: diagnose.Kubectl("-n", svc.Namespace, "get", "pods,endpointslices", "-l", labelText(svc.Selector))},
					{Text: "Mend its selector or ports", Line: diagnose.KubectlFor(step.At, "edit"), Verify: again(p)},
				},
			}
			if other := portElsewhere(svc, step.In.DstPort, step.In.Protocol); other != "" {
				f.Title = fmt.Sprintf("Service %s/%s has port %d for %s alone, not for %s", svc.Namespace, svc.Name, step.In.DstPort, other, strings.ToUpper(step.In.Protocol))
			}
			matching := destinations(p)
			f.Evidence = append(f.Evidence, kube(fmt.Sprintf("its selector %s matches %d pods", firstOf(labelText(svc.Selector), "(none)"), len(matching)), step.At))
			for i, pod := range matching {
				if i < 3 {
					f.Evidence = append(f.Evidence, kube(podState(pod), pod.Ref()))
				}
			}
			if hasPort(svc, step.In.DstPort, step.In.Protocol) {
				blamePods(p, &f, svc, matching)
				if f.Subject != step.At && f.Subject.Kind() != "node" {
					unsurely(p, &f, "node") // it may be their node that is not ready
				}
			}
			p.ReportAt(w, step, f)
		})
	},
}

// blamePods names what keeps all of a Service's pods from being its endpoints, when
// that is something of their own: their node, or that they do not run or are not ready.
func blamePods(p *diagnose.Pass, f *diagnose.Finding, svc *model.Service, matching []*model.Pod) {
	edit := func(what string) []diagnose.Command {
		return []diagnose.Command{
			{Text: "See what the pod says", Line: diagnose.Kubectl("-n", svc.Namespace, "describe", "pod", matching[0].Name)},
			{Text: what, Line: diagnose.KubectlFor(f.Subject, "edit"), Verify: again(p)},
		}
	}
	if n := deadNode(p, matching); n != nil {
		f.Subject = model.NewRef("node", n.Name)
		f.Title = fmt.Sprintf("Node %s is not ready, and all %d pods behind Service %s/%s are on it", n.Name, len(matching), svc.Namespace, svc.Name)
		f.Summary = "The control plane has not heard from the node's kubelet and takes its pods out of the Service, although they may still run."
		for _, c := range n.Conditions {
			if c.Type == "Ready" {
				f.Evidence = append(f.Evidence, kube(fmt.Sprintf("node %s: Ready is %s: %s: %s", n.Name, c.Status, c.Reason, oneLine(c.Message)), f.Subject))
			}
		}
		f.Fix = []diagnose.Command{
			{Text: "See what the node says", Line: diagnose.Kubectl("describe", "node", n.Name)},
			{Text: "Bring its kubelet (or the machine) back; or let the pods start elsewhere", Verify: again(p)},
		}
		return
	}
	if owner := unready(matching); owner != "" {
		f.Subject = owner
		f.Title = fmt.Sprintf("None of the %d pods behind Service %s/%s is ready", len(matching), svc.Namespace, svc.Name)
		f.Summary = "They run, and their readiness probe says that they cannot take a connection, so the Service sends them none."
		f.Evidence = append(f.Evidence, eventEvidence(p, matching[0].Ref())...)
		f.Fix = edit("Mend the server, or the probe's path and port")
		return
	}
	if owner := stuck(matching); owner != "" {
		f.Subject = owner
		f.Title = fmt.Sprintf("None of the %d pods behind Service %s/%s runs", len(matching), svc.Namespace, svc.Name)
		f.Summary = "The Service selects them, and none has come as far as taking a connection."
		f.Evidence = append(f.Evidence, stuckEvidence(p, matching[0])[1:]...) // how it is stands above
		f.Fix = edit("Mend what its events say")
	}
}

// deadNode is the node that is not ready and has all of the pods; nil: there is none such.
func deadNode(p *diagnose.Pass, pods []*model.Pod) *model.Node {
	var n *model.Node
	for _, pod := range pods {
		on := p.Case.World.Kube.Nodes[pod.Node]
		if on == nil || on.Ready || n != nil && n != on {
			return nil
		}
		n = on
	}
	return n
}

// stuck is the workload of pods of which none runs; "" otherwise.
func stuck(pods []*model.Pod) model.Ref {
	owner := model.Ref("")
	for _, pod := range pods {
		if pod.Ready || running(pod) || pod.Deleting {
			return ""
		}
		owner = ownerOf(pod)
	}
	return owner
}

// unready is the workload of pods that all run and of which none is ready; ""
// otherwise.
func unready(pods []*model.Pod) model.Ref {
	owner := model.Ref("")
	for _, pod := range pods {
		if pod.Ready || !running(pod) {
			return ""
		}
		owner = ownerOf(pod)
	}
	return owner
}

func hasPort(svc *model.Service, port uint16, protocol string) bool {
	return slices.ContainsFunc(svc.Ports, func(p model.ServicePort) bool {
		return p.Port == port && strings.EqualFold(firstOf(p.Protocol, "TCP"), firstOf(protocol, "tcp"))
	})
}

// portElsewhere is the protocol for which the Service has the port that it lacks
// for the one that was asked for; "" where it has it for none.
func portElsewhere(svc *model.Service, port uint16, protocol string) string {
	for _, p := range svc.Ports {
		if have := firstOf(p.Protocol, "TCP"); p.Port == port && !hasPort(svc, port, protocol) {
			return have
		}
	}
	return ""
}
