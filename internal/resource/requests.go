package resource

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/podpath/podpath/internal/model"
)

// far is how many times its request a pod uses that is told: the scheduler gave it
// the place for a fraction of that.
const far = 2

// placed are the pods of a node that count for what is requested there: those that
// run, or are about to (https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/).
func placed(c *model.Case, node string) []*model.Pod {
	var out []*model.Pod
	for _, ref := range slices.Sorted(maps.Keys(c.World.Kube.Pods)) {
		if p := c.World.Kube.Pods[ref]; p != nil && p.Node == node && p.Phase != "Succeeded" && p.Phase != "Failed" {
			out = append(out, p)
		}
	}
	return out
}

// summed is what the containers of a pod have together of one thing. Those that
// prepare it run one after the other, before it: the largest of them counts where it
// is more than all others need.
func summed[T int64 | float64](p *model.Pod, of func(*model.Container) T) (sum T) {
	first := T(0)
	for i := range p.Containers {
		switch k := &p.Containers[i]; k.Kind {
		case "ephemeral":
		case "init":
			first = max(first, of(k))
		default:
			sum += of(k)
		}
	}
	return max(sum, first)
}

func cpuRequest(k *model.Container) float64  { return k.CPURequest }
func memoryRequest(k *model.Container) int64 { return k.MemoryRequest }
func memoryLimit(k *model.Container) int64   { return k.MemoryLimit }

// cpuRequests is what the pods of a node request of the CPUs that pods may have there.
func cpuRequests(c *model.Case, node string) []string {
	n, pods := c.World.Kube.Nodes[node], placed(c, node)
	if n == nil || n.CPUs <= 0 || len(pods) == 0 {
		return nil
	}
	sum := 0.0
	for _, p := range pods {
		sum += summed(p, cpuRequest)
	}
	return []string{fmt.Sprintf("%s %s of the %s cores that pods may have there (%.0f %%)", whose(c, len(pods)), cores(sum), cores(n.CPUs), 100*sum/n.CPUs)}
}

// memoryRequests is the same of a node's memory, with what their limits allow.
func memoryRequests(c *model.Case, node string) []string {
	n, pods := c.World.Kube.Nodes[node], placed(c, node)
	if n == nil || n.Memory <= 0 || len(pods) == 0 {
		return nil
	}
	sum, limits, without := int64(0), int64(0), 0
	for _, p := range pods {
		sum, limits = sum+summed(p, memoryRequest), limits+summed(p, memoryLimit)
		if slices.ContainsFunc(p.Containers, func(k model.Container) bool {
			return k.Kind != "ephemeral" && k.Kind != "init" && k.MemoryLimit == 0
		}) {
			without++
		}
	}
	text := fmt.Sprintf("%s %s of the %s MiB that pods may have there (%.0f %%)", whose(c, len(pods)), number(float64(sum/mib)), number(float64(n.Memory/mib)), 100*float64(sum)/float64(n.Memory))
	if limits > n.Memory {
		text += fmt.Sprintf("; their limits allow %s MiB, more than there is", number(float64(limits/mib)))
	}
	if without > 0 {
		text += fmt.Sprintf("; %s without a limit", plural(without, "is", "are"))
	}
	return []string{text}
}

// whose begins a sentence about the requests of so many pods.
func whose(c *model.Case, n int) string {
	if !c.World.Read["pod"] {
		return fmt.Sprintf("of its pods the %d that were read request at least", n)
	}
	return map[bool]string{true: "its one pod requests", false: fmt.Sprintf("its %d pods request", n)}[n == 1]
}

// Shares says who gets how much of a node's CPUs while all want to run, and who
// uses far more than it asked for. Of a node that has room it tells nothing that matters.
func Shares(c *model.Case, node string) []string {
	return append(entitled(c, node), beyondRequest(c, node)...)
}

// entitled says what the question's own pods are sure to get of a node's CPUs when
// everything there wants to run: the kernel shares them by the requests (cpu.shares,
// cpu.weight).
func entitled(c *model.Case, node string) []string {
	var out []string
	var told []model.Ref
	for i := range c.World.Usage {
		p := c.World.Kube.Pods[c.World.Usage[i].Pod]
		if p == nil || p.Node != node || slices.Contains(told, p.Ref()) || len(told) == 3 {
			continue
		}
		told = append(told, p.Ref())
		if r := summed(p, cpuRequest); r > 0 {
			out = append(out, fmt.Sprintf("%s requests %s of CPU: so much it is sure to get while all want to run", p.Ref(), cores(r)))
		} else {
			out = append(out, fmt.Sprintf("%s requests no CPU: it gets what others leave", p.Ref()))
		}
	}
	return out
}

// beyondRequest are the pods of a node that use far more CPU than they request:
// who placed others there did not count with it.
func beyondRequest(c *model.Case, node string) []string {
	var list []Share
	for ref, used := range coresOf(c, node) {
		if p := c.World.Kube.Pods[ref]; p != nil && used >= 0.1 && used >= far*summed(p, cpuRequest) {
			list = append(list, Share{Ref: ref, Count: used})
		}
	}
	slices.SortFunc(list, func(a, b Share) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Ref, b.Ref)) })
	var out []string
	for _, s := range list[:min(3, len(list))] {
		requests := "no CPU"
		if r := summed(c.World.Kube.Pods[s.Ref], cpuRequest); r > 0 {
			requests = cores(r) + " only"
		}
		out = append(out, fmt.Sprintf("%s uses %.2f cores and requests %s: nobody reckoned with it when pods were placed there, and while all want to run it gets no larger share than it requests", s.Ref, s.Count, requests))
	}
	return out
}

// container is one container of a pod as the API has it.
func container(p *model.Pod, name string) *model.Container {
	if p == nil {
		return nil
	}
	for i := range p.Containers {
		if p.Containers[i].Name == name {
			return &p.Containers[i]
		}
	}
	return nil
}

// requestOf is what a throttled container requests beside its limit.
func requestOf(w *model.World, use *model.Usage) string {
	if k := container(w.Kube.Pods[use.Pod], use.Container); k != nil && k.CPURequest > 0 {
		return fmt.Sprintf("requests.cpu is %s: that share it has on a busy node, its limit is what stops it on an idle one as well", cores(k.CPURequest))
	}
	return "it requests no CPU: on a busy node it gets what others leave"
}

// memoryRequestOf is what a container near its memory limit requests beside it.
func memoryRequestOf(use *model.Usage, k *model.Container) string {
	switch {
	case k.MemoryRequest == 0:
		return "it requests no memory: where the node is short of it, this pod is among the first to be evicted"
	case k.MemoryRequest < use.Memory:
		return fmt.Sprintf("requests.memory is %d MiB, less than it uses: where the node is short of memory, this pod is among the first to be evicted", k.MemoryRequest/mib)
	}
	return fmt.Sprintf("requests.memory is %d MiB", k.MemoryRequest/mib)
}
