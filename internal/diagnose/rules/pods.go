package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// podState says in one clause how a pod is.
func podState(pod *model.Pod) string {
	text := fmt.Sprintf("pod %s/%s is %s", pod.Namespace, pod.Name, firstOf(pod.Phase, "in an unknown phase"))
	if pod.Reason != "" {
		text += " (" + pod.Reason + ")"
	}
	for _, c := range pod.Containers {
		switch {
		case c.Kind == "ephemeral":
		case c.State == "waiting" && c.Reason != "":
			text += fmt.Sprintf("; container %s waits: %s", c.Name, c.Reason)
		case c.State == "terminated":
			text += fmt.Sprintf("; container %s has ended: %s, exit code %d", c.Name, firstOf(c.Reason, "no reason given"), c.ExitCode)
		}
		if c.Restarts > 0 && c.Kind != "ephemeral" {
			text += fmt.Sprintf("; container %s restarted %d times", c.Name, c.Restarts)
			if c.LastReason != "" {
				text += fmt.Sprintf(" (last: %s, exit code %d)", c.LastReason, c.LastExitCode)
			}
		}
	}
	return text
}

// waitsFor says whether a container of the pod waits with one of the reasons.
func waitsFor(pod *model.Pod, reasons ...string) (model.Container, bool) {
	for _, c := range pod.Containers {
		if c.Kind != "ephemeral" && c.State == "waiting" && slices.Contains(reasons, c.Reason) {
			return c, true
		}
	}
	return model.Container{}, false
}

var pullReasons = []string{"ImagePullBackOff", "ErrImagePull", "ImageInspectError", "RegistryUnavailable"}

// running says that the asking side could send a packet at all: a container of it runs.
func running(pod *model.Pod) bool {
	if pod.Phase != "Running" || pod.Deleting {
		return false
	}
	for _, c := range pod.Containers {
		if c.Kind != "init" && c.Kind != "ephemeral" && c.State == "running" {
			return true
		}
	}
	return len(pod.Containers) == 0
}

// backoffResets is how long a container has to run before the kubelet forgets
// its crashes and restarts it at once again.
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
const backoffResets = 10 * time.Minute

// crashing says whether a container of the pod starts and ends over and over.
// Between two crashes it runs, and is ready for a moment where no readiness
// probe says otherwise.
func crashing(p *diagnose.Pass, pod *model.Pod) (model.Container, bool) {
	if c, yes := waitsFor(pod, "CrashLoopBackOff"); yes {
		return c, true
	}
	for _, c := range pod.Containers {
		between := c.State == "running" && c.LastExitCode != 0 &&
			(!pod.Ready || !c.Started.IsZero() && p.Case.Asked.Sub(c.Started) < backoffResets)
		over := c.State == "terminated" && c.ExitCode != 0
		if c.Kind != "ephemeral" && c.Restarts > 1 && (over || between) {
			return c, true
		}
	}
	return model.Container{}, false
}

// clients are the pods of the asking side: the pod, or all of its workload.
func clients(p *diagnose.Pass) []*model.Pod {
	q := p.Case.Question.From
	pod := p.Pod()
	if q.Kind == "pod" || q.Kind == "" {
		if pod == nil {
			return nil
		}
		return []*model.Pod{pod}
	}
	if owned := p.Owned(model.NewRef(q.Kind, q.Namespace, q.Name)); len(owned) > 0 {
		return owned
	}
	if pod != nil {
		return []*model.Pod{pod}
	}
	return nil
}

// eventsAbout are the warnings about an object, newest last.
func eventsAbout(p *diagnose.Pass, ref model.Ref) []model.Event {
	var out []model.Event
	for _, e := range p.Case.World.Kube.Events {
		if e.About == ref && e.Type != "Normal" {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b model.Event) int { return a.Last.Compare(b.Last) })
	return out
}

func eventEvidence(p *diagnose.Pass, ref model.Ref) []diagnose.Evidence {
	var out []diagnose.Evidence
	events := eventsAbout(p, ref)
	for _, e := range events[max(0, len(events)-3):] {
		out = append(out, kube(fmt.Sprintf("event %s: %s", e.Reason, oneLine(e.Message)), ref))
	}
	return out
}

func describe(pod *model.Pod) diagnose.Command {
	return diagnose.Command{Text: "See what holds it up", Line: diagnose.Kubectl("-n", pod.Namespace, "describe", "pod", pod.Name)}
}

func ownerOf(pod *model.Pod) model.Ref {
	if pod.Owner != "" {
		return pod.Owner
	}
	return pod.Ref()
}

func contains(s string, words ...string) bool {
	s = strings.ToLower(s)
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}
