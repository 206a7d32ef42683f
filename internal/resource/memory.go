package resource

import (
	"fmt"
	"math"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// Memory is the kind of a container's memory limit.
const Memory = "container-memory"

// memory is how much containers use of limits.memory, and whether the kernel has
// killed them for it. A working set near the limit is normal for some runtimes:
// it tells more when it grows.
func memory(c *model.Case) []Use {
	var out []Use
	for i := range c.World.Usage {
		use := &c.World.Usage[i]
		pod := c.World.Kube.Pods[use.Pod]
		if m := container(pod, use.Container); use.Container != "" && m != nil && m.MemoryLimit > 0 && use.Memory > 0 {
			out = append(out, memoryOf(c, use, pod, m))
		}
	}
	return out
}

func memoryOf(c *model.Case, use *model.Usage, pod *model.Pod, m *model.Container) Use {
	u := Use{
		Kind: Memory, Name: "memory", Of: use.Pod, Toward: use.Container, Unit: "MiB", Used: float64(use.Memory / mib), Limit: float64(m.MemoryLimit / mib), Source: "metrics-api",
		Remedy: []diagnose.Command{{Text: "Mend the leak, or raise limits.memory of container " + m.Name, Line: diagnose.KubectlFor(pod.Ref(), "describe")}},
	}
	if m.LastReason == "OOMKilled" || m.Reason == "OOMKilled" {
		u.Says = append(u.Says, fmt.Sprintf("it was killed for its limit (OOMKilled), restarted %d times", m.Restarts))
	}
	if m.Watched > 0 && m.LastReason == "OOMKilled" {
		u.State = Out
	}
	u.settle()
	u.leaks(c)
	if u.State != Room {
		u.Says = append(u.Says, memoryRequestOf(use, m))
	}
	return u
}

// leaks tells how a container's memory grew while it was watched.
func (u *Use) leaks(c *model.Case) {
	points := read(c, u.Of, func(l *model.Level) bool { return l.Kind == model.LevelWorkingSet && l.Container == u.Toward })
	for i := range points {
		points[i].Value = math.Round(points[i].Value / mib)
	}
	u.Used = newest(u.Used, points)
	u.moves(points, nil, containerSpan)
}
