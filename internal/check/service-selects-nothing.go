package check

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceSelectsNothing = Check{
	ID: "service-selects-nothing",
	Doc: `A Service selects no pod

The Service has a selector, and no pod of its namespace has those labels, so it has no endpoint: connections to it are refused, or
vanish. Most often a label was changed on one side only.

Look-alikes: a workload that was scaled to zero on purpose has no pods either; that is told apart by the workload's own selector, and
listed as worth a look only.

Mend the selector, or the labels in the workload's template.
`,
	Group: Services, Hop: model.HopService, Needs: []string{"service", "pod", "endpointslice"},
	Source: "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
	Covers: []string{"svc-selector-mismatch"},
	Run: func(p *Pass) {
		for _, s := range values(p.World.Kube.Services) {
			if len(s.Selector) == 0 || s.Type == "ExternalName" || p.answers(s) || len(p.selected(s)) > 0 || p.clusterDNS(s) {
				continue
			}
			ref := serviceRef(s)
			f := Finding{
				Severity: Broken, Subject: ref,
				Title:    fmt.Sprintf("Service %s/%s selects no pod: none has %s", s.Namespace, s.Name, labelText(s.Selector)),
				Summary:  "It has no endpoint, so connections to it are refused or vanish.",
				Evidence: []diagnose.Evidence{kube(fmt.Sprintf("selector %s matches 0 of %s in namespace %s", labelText(s.Selector), count(len(p.pods[s.Namespace]), "pod"), s.Namespace), ref)},
				Fix: []diagnose.Command{
					do("See which labels the pods have", diagnose.Kubectl("-n", s.Namespace, "get", "pods", "--show-labels")),
					do("Mend the selector", diagnose.KubectlFor(ref, "edit")),
				},
			}
			p.weighEmpty(s, &f)
			p.Report(f)
		}
	},
}

// weighEmpty lowers a finding about a Service without pods where that may be
// meant: its workload wants none, or what could make pods was not read.
func (p *Pass) weighEmpty(s *model.Service, f *Finding) {
	for _, w := range p.workloads[s.Namespace] {
		if w.Selector == nil || !subset(s.Selector, w.Selector.MatchLabels) {
			continue
		}
		if w.Replicas == 0 {
			f.Severity, f.Title = Notice, fmt.Sprintf("Service %s/%s has no pods: %s is scaled to zero", s.Namespace, s.Name, w.Ref)
		} else {
			f.Subject, f.Title = w.Ref, fmt.Sprintf("Service %s/%s has no pods: %s has made none of its %d", s.Namespace, s.Name, w.Ref, w.Replicas)
		}
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s: %d wanted, %d ready", w.Ref, w.Replicas, w.Ready), w.Ref))
		return
	}
	if !p.World.Read["deployment"] || !p.World.Read["statefulset"] || !p.World.Read["daemonset"] {
		f.Confidence = diagnose.Possible
		f.Gaps = append(f.Gaps, model.Gap{What: "workloads", Reason: "not wholly read: its workload may be scaled to zero"})
	}
}
