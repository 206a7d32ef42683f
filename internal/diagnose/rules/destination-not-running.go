package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var destinationNotRunning = diagnose.Rule{
	ID: "destination-not-running",
	Doc: `The pod that is asked does not run

The destination is a pod (or a workload) and has no address: it is not scheduled, waits for a volume or its image, or there is none. There is nothing to send a
packet to, so nothing on the network can be at fault.

Look-alikes: a Service whose pods do not run refuses connections; its pods are named then. A pod that runs and is not ready has an address, and answers there.

Mend what the pod's events say.
`,
	Hop:   model.HopPod,
	Needs: []string{"pod"},
	Under: []string{"crash-loop"},
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopPod, func(w diagnose.Way, step *model.Step) {
			to := w.Path.Flow.To
			if w.Path.Flow.Dst.IsValid() || to == "" || step.Decided != to {
				return
			}
			pod := p.Case.World.Kube.Pods[step.At]
			f := diagnose.Finding{
				Subject: to, Title: fmt.Sprintf("%s has no pod", to), Summary: "It has no address: nothing can be sent to it.",
				Fix: []diagnose.Command{{Text: "See why it has none", Line: diagnose.Kubectl("-n", to.Part(0), "describe", to.Kind(), to.Part(1)), Verify: again(p)}},
			}
			if pod != nil {
				f.Subject, f.Title = ownerOf(pod), fmt.Sprintf("Pod %s/%s does not run", pod.Namespace, pod.Name)
				f.Evidence = stuckEvidence(p, pod)
				f.Fix = []diagnose.Command{describe(pod), {Text: "Mend what its events say", Line: diagnose.KubectlFor(f.Subject, "edit"), Verify: again(p)}}
			}
			p.ReportAt(w, step, f)
		})
	},
}

// stuckEvidence is why a pod does not run: its containers, its conditions, its events.
func stuckEvidence(p *diagnose.Pass, pod *model.Pod) []diagnose.Evidence {
	out := []diagnose.Evidence{kube(podState(pod), pod.Ref())}
	for _, c := range pod.Conditions {
		if c.Type == "PodScheduled" && c.Status == "False" && c.Message != "" {
			out = append(out, kube(fmt.Sprintf("condition %s: %s: %s", c.Type, c.Reason, oneLine(c.Message)), pod.Ref()))
		}
	}
	return append(out, eventEvidence(p, pod.Ref())...)
}
