package rules

import (
	"fmt"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var oomKilled = diagnose.Rule{
	ID: "oom-killed",
	Doc: `The kernel kills a container for its memory limit

A container of a pod behind the destination reaches limits.memory, and the kernel kills its largest process (reason OOMKilled, exit code 137). Connections that
stood are reset or end in the middle of an answer; until it runs again new ones are refused. The kubelet starts it at once, then after 10, 20, 40
seconds and longer, so that failures come in bursts that grow.

Look-alikes: a container that crashes by itself has another reason and exit code. A node without memory evicts whole pods (Evicted), and
kills containers that are below their limits. One that was killed hours ago explains no failure of now.

Mend the leak, or raise limits.memory to what it needs at its peak.
`,
	Hop:           model.HopPod,
	Covers:        []string{"pod-oomkilled"},
	Needs:         []string{"pod", "probe"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		if !p.FailedOnce() {
			return
		}
		for _, pod := range served(p) {
			for i := range pod.Containers {
				if c := &pod.Containers[i]; c.Kind != "ephemeral" && killedLately(p, c) {
					reportOOM(p, pod, c)
				}
			}
		}
	},
}

// killedLately says that a container was killed while the question was asked, or
// so shortly before that its restarts are still held back.
func killedLately(p *diagnose.Pass, c *model.Container) bool {
	switch {
	case c.State == "terminated" && c.Reason == "OOMKilled":
		return true
	case c.LastReason != "OOMKilled":
		return false
	case c.Watched > 0 || c.State == "waiting":
		return true
	}
	return c.Restarts > 0 && !c.LastFinished.IsZero() && p.Case.Asked.Sub(c.LastFinished) < 30*time.Second
}

func reportOOM(p *diagnose.Pass, pod *model.Pod, c *model.Container) {
	f := diagnose.Finding{
		Subject:   ownerOf(pod),
		Sometimes: true,
		Title:     fmt.Sprintf("Container %s of pod %s/%s is killed for its memory limit", c.Name, pod.Namespace, pod.Name),
		Summary:   "When it reaches limits.memory the kernel kills it: connections that stood are reset, and until it runs again new ones are refused.",
		Evidence: []diagnose.Evidence{
			kube(fmt.Sprintf("%s; OOMKilled (exit code 137), restarted %d times", memoryText(c), c.Restarts)+watchedText(c), pod.Ref()),
			kube(podState(pod), pod.Ref()),
		},
		Fix: []diagnose.Command{
			{Text: "Give it what it needs at its peak, if that is no leak", Line: memoryLimit(pod, c), Verify: again(p)},
			{Text: "See what it did when it was killed", Line: diagnose.Kubectl("-n", pod.Namespace, "logs", pod.Name, "-c", c.Name, "--previous", "--tail=50")},
		},
	}
	if !c.LastFinished.IsZero() {
		f.Evidence = append(f.Evidence, kube("its last run ended at "+c.LastFinished.UTC().Format(time.TimeOnly)+" UTC"+failedThen(p, c.LastFinished), pod.Ref()))
	}
	f.Evidence = append(f.Evidence, eventEvidence(p, pod.Ref())...)
	p.Report(f)
}

func memoryText(c *model.Container) string {
	if c.MemoryLimit == 0 {
		return "container " + c.Name + " has no limits.memory of its own"
	}
	return fmt.Sprintf("limits.memory of container %s is %s", c.Name, mebibytes(c.MemoryLimit))
}

func mebibytes(n int64) string { return fmt.Sprintf("%dMi", (n+1<<20-1)>>20) }

func watchedText(c *model.Container) string {
	if c.Watched == 0 {
		return ""
	}
	return fmt.Sprintf(", %d of them while it was watched", c.Watched)
}

// failedThen says how many tries failed in the ten seconds after a moment.
func failedThen(p *diagnose.Pass, at time.Time) string {
	n := 0
	for _, t := range p.Case.Tries {
		if after := t.At.Sub(at); t.Result != model.OK && after > -2*time.Second && after < 10*time.Second && t.Vantage == p.Origin() {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %d tries failed within ten seconds of that", n)
}

// memoryLimit doubles the limit.
func memoryLimit(pod *model.Pod, c *model.Container) string {
	parts := ownerOf(pod).Parts()
	if len(parts) != 2 || pod.Owner == "" || c.MemoryLimit == 0 {
		return ""
	}
	return diagnose.Kubectl("-n", parts[0], "set", "resources", pod.Owner.Kind()+"/"+parts[1], "--containers="+c.Name, "--limits=memory="+mebibytes(c.MemoryLimit*2))
}
