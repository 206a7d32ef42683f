package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var clientNotRunning = diagnose.Rule{
	ID: "client-not-running",
	Doc: `The asking pod does not run

No container of the pod that should open the connection is running: it is not scheduled, waits for a volume, its image cannot be
pulled or does not exist, or it has ended. Nothing is sent, so nothing on the network can be at fault.

Look-alikes: an image that cannot be pulled because the node does not reach the registry is a network fault of the node; podpath names
that apart. A pod that starts and crashes again and again is named apart as well.

Mend what the pod's events say.
`,
	Hop:           model.HopPod,
	Covers:        []string{"pod-client-not-running"},
	Needs:         []string{"pod"},
	Under:         []string{"image-pull-blocked", "crash-loop", "network-plugin-not-ready", "pod-addresses-used-up", "pod-range-exhausted"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		all := clients(p)
		workload := p.Case.World.Kube.Workloads[p.Client()]
		if len(all) == 0 {
			if workload != nil && p.Client().Kind() == "cronjob" {
				name := p.Client().Name()
				p.Report(diagnose.Finding{
					Subject:  p.Client(),
					Title:    fmt.Sprintf("%s has no pod at present: none of its runs is left", p.Client()),
					Summary:  "Nothing runs that could open the connection.",
					Evidence: []diagnose.Evidence{kube(fmt.Sprintf("%s: no active Job, no pod", p.Client()), p.Client())},
					Fix:      []diagnose.Command{{Text: "Run it once, and ask while it runs", Line: diagnose.Kubectl("-n", p.Client().Part(0), "create", "job", name+"-once", "--from=cronjob/"+name), Verify: again(p)}},
				})
				return
			}
			if workload != nil && workload.Replicas == 0 {
				p.Report(diagnose.Finding{
					Subject:  p.Client(),
					Title:    fmt.Sprintf("%s has no pods: it is scaled to zero", p.Client()),
					Summary:  "Nothing runs that could open the connection.",
					Evidence: []diagnose.Evidence{kube(fmt.Sprintf("%s: 0 replicas wanted", p.Client()), p.Client())},
					Fix:      []diagnose.Command{{Text: "Scale it up", Line: diagnose.KubectlFor(p.Client(), "scale", "--replicas=1"), Verify: again(p)}},
				})
			}
			return
		}
		for _, pod := range all {
			if running(pod) {
				return
			}
		}
		pod := all[0]
		f := diagnose.Finding{
			Subject:  ownerOf(pod),
			Title:    fmt.Sprintf("Pod %s/%s does not run", pod.Namespace, pod.Name),
			Summary:  "No container of it is running, so nothing opens the connection; the network is not asked.",
			Evidence: append([]diagnose.Evidence{kube(podState(pod), pod.Ref())}, eventEvidence(p, pod.Ref())...),
			Fix:      []diagnose.Command{describe(pod)},
		}
		if c, yes := waitsFor(pod, append(pullReasons, "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError")...); yes {
			f.Title = fmt.Sprintf("Pod %s/%s does not run: %s", pod.Namespace, pod.Name, c.Reason)
			if c.Message != "" {
				f.Evidence = append(f.Evidence, kube(fmt.Sprintf("container %s: %s", c.Name, oneLine(c.Message)), pod.Ref()))
			}
		}
		for _, c := range pod.Conditions {
			if c.Status == "False" && c.Message != "" && c.Type == "PodScheduled" {
				f.Title = fmt.Sprintf("Pod %s/%s is not scheduled", pod.Namespace, pod.Name)
				f.Evidence = append(f.Evidence, kube(fmt.Sprintf("condition %s: %s: %s", c.Type, c.Reason, oneLine(c.Message)), pod.Ref()))
			}
		}
		if f.Subject.Kind() != "pod" {
			f.Fix = append(f.Fix, diagnose.Command{Text: "Mend its template, if that is what is wrong", Line: diagnose.KubectlFor(f.Subject, "edit"), Verify: again(p)})
		}
		p.Report(f)
	},
}
