package rules

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var crashLoop = diagnose.Rule{
	ID: "crash-loop",
	Doc: `The pod crashes again and again

A container of the asking pod, or of the pods behind the destination, starts and ends over and over (CrashLoopBackOff). While it is down
nothing asks, or nothing answers: the Service has no endpoint, connections are refused, and between two crashes some
get through.

Look-alikes: a pod that never started has no restarts. A Service whose selector matches nothing has no pods at all. A single restart
long ago is no fault.

Mend the crash: the log of the previous run says why it ended; exit code 137 with reason OOMKilled is a memory limit.
`,
	Hop:           model.HopPod,
	Covers:        []string{"pod-crashloop", "pod-oomkilled"},
	Under:         []string{"oom-killed"},
	Needs:         []string{"pod", "service", "probe"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		if all := clients(p); len(all) > 0 {
			for _, pod := range all {
				if running(pod) {
					all = nil
					break
				}
			}
			for _, pod := range all {
				if c, yes := crashing(p, pod); yes {
					reportCrash(p, pod, c, "the asking side")
					return
				}
			}
		}
		if crashedMeanwhile(p) {
			return
		}
		seen := p.Seen()
		if seen == nil || !diagnose.Fails(seen) {
			return
		}
		targets := destinations(p)
		for _, pod := range targets {
			if _, yes := crashing(p, pod); pod.Ready && !(yes && seen.Result == model.Refused) {
				return // somebody answers
			}
		}
		for _, pod := range targets {
			if c, yes := crashing(p, pod); yes {
				reportCrash(p, pod, c, "the destination")
				return
			}
		}
	},
}

// crashedMeanwhile reports a pod behind the destination whose container ended by
// itself, and was restarted, while the question was asked again and again and failed.
func crashedMeanwhile(p *diagnose.Pass) bool {
	if !p.FailedOnce() {
		return false
	}
	for _, pod := range served(p) {
		for i := range pod.Containers {
			c := &pod.Containers[i]
			if c.Kind == "ephemeral" || c.Watched == 0 || c.LastExitCode == 0 && c.ExitCode == 0 {
				continue
			}
			f := crashFinding(p, pod, *c)
			f.Sometimes = true
			f.Title = fmt.Sprintf("Container %s of pod %s/%s crashes, %d times while it was watched", c.Name, pod.Namespace, pod.Name, c.Watched)
			if !c.LastFinished.IsZero() {
				f.Evidence = append(f.Evidence, kube("its last run ended at "+c.LastFinished.UTC().Format(time.TimeOnly)+" UTC"+failedThen(p, c.LastFinished), pod.Ref()))
			}
			p.Report(f)
			return true
		}
	}
	return false
}

// destinations are the pods that the question leads to: the pod itself, or those behind a Service.
func destinations(p *diagnose.Pass) []*model.Pod {
	path := p.Question()
	if path == nil {
		return nil
	}
	to := path.Flow.To
	if pod := p.Case.World.Kube.Pods[to]; pod != nil {
		return []*model.Pod{pod}
	}
	if svc := askedService(p); svc != nil {
		return selected(p, svc)
	}
	return nil
}

func reportCrash(p *diagnose.Pass, pod *model.Pod, c model.Container, side string) {
	f := crashFinding(p, pod, c)
	f.Title = fmt.Sprintf("Pod %s/%s of %s crashes again and again", pod.Namespace, pod.Name, side)
	p.Report(f)
}

func crashFinding(p *diagnose.Pass, pod *model.Pod, c model.Container) diagnose.Finding {
	subject := ownerOf(pod)
	return diagnose.Finding{
		Subject:  subject,
		Summary:  fmt.Sprintf("Container %s ends soon after each start, and the kubelet waits longer and longer before the next.", c.Name),
		Evidence: append([]diagnose.Evidence{kube(podState(pod), pod.Ref())}, eventEvidence(p, pod.Ref())...),
		Fix: []diagnose.Command{
			{Text: "Read why it ended last time", Line: diagnose.Kubectl("-n", pod.Namespace, "logs", pod.Name, "-c", c.Name, "--previous")},
			{Text: "Mend what the log says (its command, its configuration, its memory limit)", Line: diagnose.KubectlFor(subject, "edit"), Verify: again(p)},
		},
	}
}
