package check

import (
	"cmp"
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceNoneReady = Check{
	ID: "service-none-ready",
	Doc: `None of the pods behind a Service is ready

The Service's selector is right, its pods are there, and not one of them is ready: they crash, wait for an image or a volume, or their
readiness probe fails. The Service has nobody to send connections to.

Look-alikes: a Service whose selector matches nothing has no pods at all. In the first minutes of a rollout pods are not ready yet;
pods that are younger than that are listed as worth a look only.

Mend what the pods wait for: kubectl describe says it.
`,
	Group: Services, Hop: model.HopService, Needs: []string{"service", "pod", "endpointslice"},
	Source: "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
	Covers: []string{"svc-no-ready-endpoints"},
	Run: func(p *Pass) {
		for _, s := range values(p.World.Kube.Services) {
			if len(s.Selector) == 0 || s.Type == "ExternalName" || p.answers(s) || p.clusterDNS(s) {
				continue
			}
			pods := p.selected(s)
			if len(pods) == 0 || anyReady(pods) {
				continue // ready pods without endpoints: the port is the matter, or the controller is behind
			}
			p.Report(p.noneReady(s, pods))
		}
	},
}

func (p *Pass) noneReady(s *model.Service, pods []*model.Pod) Finding {
	owner := ownerOf(pods[0])
	f := Finding{
		Severity: Broken, Subject: owner, Concerns: len(pods),
		Title:    fmt.Sprintf("None of the %s behind Service %s/%s is ready%s", count(len(pods), "pod"), s.Namespace, s.Name, why(pods[0])),
		Summary:  "The Service has nobody to send a connection to.",
		Evidence: []diagnose.Evidence{kube(fmt.Sprintf("service %s/%s selects %s", s.Namespace, s.Name, labelText(s.Selector)), serviceRef(s))},
		Fix:      []diagnose.Command{do("See what they wait for", diagnose.Kubectl("-n", s.Namespace, "describe", "pod", pods[0].Name))},
	}
	for _, pod := range pods[:min(3, len(pods))] {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("pod %s/%s: %s%s", pod.Namespace, pod.Name, pod.Phase, why(pod)), pod.Ref()))
	}
	if p.young(pods) {
		f.Confidence = diagnose.Possible
		f.Evidence = append(f.Evidence, kube("the youngest of them was made within the last "+settling.String()))
	}
	return f
}

// settling is how long pods of a rollout may take to become ready.
const settling = 3 * time.Minute

func (p *Pass) young(pods []*model.Pod) bool {
	for _, pod := range pods {
		if !p.now.IsZero() && p.now.Sub(pod.Created) < settling {
			return true
		}
	}
	return false
}

func anyReady(pods []*model.Pod) bool {
	for _, pod := range pods {
		if pod.Ready {
			return true
		}
	}
	return false
}

// why is what keeps a pod from being ready, in a clause.
func why(pod *model.Pod) string {
	for _, c := range pod.Containers {
		switch {
		case c.Kind == "ephemeral":
		case c.State == "waiting" && c.Reason != "" && c.Reason != "ContainerCreating" && c.Reason != "PodInitializing":
			return ": " + c.Reason
		case c.State == "terminated" && c.Kind == "" && c.ExitCode != 0:
			return fmt.Sprintf(": %s, exit code %d", cmp.Or(c.Reason, "ended"), c.ExitCode)
		}
	}
	switch {
	case pod.Reason != "":
		return ": " + pod.Reason
	case pod.Phase == "Pending" && pod.Node == "":
		return ": not scheduled"
	case pod.Phase == "Running":
		return ": readiness probe"
	}
	return ""
}
