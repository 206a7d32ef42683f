package resource

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// CPU is the kind of a container's CPU quota.
const CPU = "container-cpu"

// throttledShare is from which share of stopped periods on a container is held up
// for good: below it, one in ten requests waits for the next period.
const throttledShare = 0.1

// cpuQuota is how often containers were stopped by their CPU limit. Usage alone
// does not tell: one that wants all of its quota in each period's first half
// waits the other half, and uses "half of its limit".
func cpuQuota(c *model.Case) []Use {
	var out []Use
	for i := range c.World.Usage {
		if u, ok := CPUOf(&c.World, &c.World.Usage[i]); ok {
			out = append(out, u)
		}
	}
	return out
}

// CPUOf is the use of one container's quota; ok: it has one.
func CPUOf(w *model.World, use *model.Usage) (Use, bool) {
	share, periods, lately, ok := use.Share()
	if !ok {
		return Use{}, false
	}
	u := Use{
		Kind: CPU, Name: "CPU periods stopped", Of: use.Pod, Toward: use.Container, Unit: "% of its periods", Source: "kubelet",
		Used: math.Round(share*1000) / 10, Limit: 0, State: Room,
	}
	since := "since it started"
	if lately {
		since = "while it was looked at"
	}
	u.Says = append(u.Says, fmt.Sprintf("%s was stopped in %.0f %% of the %d periods in which it wanted to run, %s", ofPod(use), share*100, periods, since))
	limit := limitOf(w, use)
	if limit > 0 {
		u.Says = append(u.Says, fmt.Sprintf("limits.cpu is %s: %s of each 100 ms", cores(limit), time.Duration(limit*float64(100*time.Millisecond)).Round(100*time.Microsecond)))
	}
	if share >= throttledShare && limit > 0 && use.Container != "" {
		u.Says = append(u.Says, requestOf(w, use))
	}
	if use.CPU > 0 && limit > 0 {
		u.Says = append(u.Says, fmt.Sprintf("it uses %s (metrics API)", cores(use.CPU)))
	}
	switch {
	case share >= throttledShare && lately:
		u.State = Out
	case share >= throttledShare:
		u.State = Unknown // it was so; whether it is so now was not seen
	}
	u.Remedy = []diagnose.Command{{Text: "Raise or remove limits.cpu (requests.cpu keeps its share), or let more replicas do the work", Line: setLimit(w, use, limit)}}
	return u, true
}

func ofPod(use *model.Usage) string {
	if use.Container == "" {
		return string(use.Pod) + " as a whole"
	}
	return "container " + use.Container + " of " + string(use.Pod)
}

// limitOf is the container's limit in cores, or of all of them for the pod as a whole.
func limitOf(w *model.World, use *model.Usage) (limit float64) {
	pod := w.Kube.Pods[use.Pod]
	if pod == nil {
		return 0
	}
	for _, c := range pod.Containers {
		if c.Kind != "ephemeral" && c.Kind != "init" && (use.Container == "" || c.Name == use.Container) {
			limit += c.CPUQuota
		}
	}
	return limit
}

func cores(n float64) string {
	if n < 1 {
		return fmt.Sprintf("%.0fm", n*1000)
	}
	return fmt.Sprintf("%.3g", n)
}

// setLimit gives a container four times its limit, at least half a core.
func setLimit(w *model.World, use *model.Usage, limit float64) string {
	pod := w.Kube.Pods[use.Pod]
	if pod == nil || use.Container == "" {
		return ""
	}
	parts := cmp.Or(pod.Owner, use.Pod).Parts()
	if len(parts) != 2 || !slices.Contains([]string{"deployment", "statefulset", "daemonset"}, pod.Owner.Kind()) {
		return ""
	}
	return diagnose.Kubectl("-n", parts[0], "set", "resources", pod.Owner.Kind()+"/"+parts[1], "--containers="+use.Container, "--limits=cpu="+cores(max(0.5, limit*4)))
}
