package resource

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// NodeCPU, NodeMemory and Neighbours are the kinds of a node's CPUs, of its
// memory, and of its neighbour table.
const (
	NodeCPU    = "node-cpu"
	NodeMemory = "node-memory"
	Neighbours = "neighbours"
)

// Signs that CPUs are all busy: nearly no time idle, and processes that wait.
const (
	busyShare     = 0.95
	waitingShare  = 60 // PSI, percent of the last ten seconds
	waitingPerCPU = 2  // processes that run or wait, for each CPU
)

// machine are the CPUs, the memory and the neighbour table of the nodes that were read.
func machine(c *model.Case) []Use {
	var out []Use
	for _, name := range slices.Sorted(maps.Keys(c.World.Nodes)) {
		facts := c.World.Nodes[name]
		if facts == nil {
			continue
		}
		for _, one := range []func(*model.Case, *model.NodeFacts) (Use, bool){nodeCPU, nodeMemory, neighbours} {
			if u, ok := one(c, facts); ok {
				u.Of, u.Source = model.NewRef("node", name), "node"
				u.settle()
				u.watched(c)
				out = append(out, u)
			}
		}
	}
	return out
}

// watched tells how a node's memory or neighbour table moved while it was watched.
func (u *Use) watched(c *model.Case) {
	switch u.Kind {
	case Neighbours:
		points := read(c, u.Of, kind(model.LevelNeighbours))
		u.Used = newest(u.Used, points)
		u.moves(points, nil, tableSpan)
	case NodeMemory:
		points := read(c, u.Of, kind(model.LevelMemory))
		for i := range points {
			points[i].Value = math.Round(u.Limit - points[i].Value/mib)
		}
		u.Used = newest(u.Used, points)
		u.moves(points, nil, memorySpan)
	}
}

func nodeCPU(c *model.Case, facts *model.NodeFacts) (Use, bool) {
	busy, steal, ok := facts.Busy()
	if !ok {
		return Use{}, false
	}
	u := Use{Kind: NodeCPU, Name: "CPUs", Unit: "% of their time", Used: math.Round(busy * 100), Limit: 100, State: Room, Who: busiestPods(c, facts.Node)}
	u.Says = append(u.Says, fmt.Sprintf("%.0f CPUs were busy %.0f %% of the time; load %.1f, %.0f processes ran or waited to run", facts.LevelsAfter["cpus"], busy*100, facts.LevelsAfter["load"], facts.LevelsAfter["running"]))
	pressure := facts.Pressure["cpu.some"]
	if pressure > 0 {
		u.Says = append(u.Says, fmt.Sprintf("something waited for a CPU %.0f %% of ten seconds (PSI)", pressure))
	}
	if steal > 0.05 {
		u.Says = append(u.Says, fmt.Sprintf("%.0f %% of the time was taken by its host (steal)", steal*100))
	}
	if n := facts.After["SoftnetDropped"] - facts.Counters["SoftnetDropped"]; n > 0 {
		u.Says = append(u.Says, fmt.Sprintf("%d packets were dropped since no CPU took them in time (softnet_stat)", n))
	}
	u.Says = append(u.Says, cpuRequests(c, facts.Node)...)
	if busy >= near {
		u.Says = append(u.Says, Shares(c, facts.Node)...)
	}
	if busy >= busyShare && (pressure >= waitingShare || facts.LevelsAfter["load"] >= waitingPerCPU*max(1, facts.LevelsAfter["cpus"])) {
		u.State = Out
	}
	u.Remedy = []diagnose.Command{
		{Text: "See who uses the CPUs, and move or limit it", Line: diagnose.Kubectl("top", "pods", "-A", "--sort-by=cpu")},
		{Text: "Let no more pods be placed there until it has room; then more or larger nodes, and requests.cpu that say what pods need", Line: diagnose.Kubectl("cordon", facts.Node)},
	}
	return u, true
}

// busiestPods are those of a node that use most CPU, of those that were read.
func busiestPods(c *model.Case, node string) []Share {
	by := coresOf(c, node)
	out := make([]Share, 0, len(by))
	for _, ref := range slices.Sorted(maps.Keys(by)) {
		if by[ref] > 0.05 {
			out = append(out, Share{Ref: ref, Count: by[ref]})
		}
	}
	slices.SortStableFunc(out, func(a, b Share) int { return int(1000 * (b.Count - a.Count)) })
	return out[:min(3, len(out))]
}

// coresOf is what the pods of a node use: by their kubelet while the probes ran,
// else by the metrics API, which has only those that the question is about.
func coresOf(c *model.Case, node string) map[model.Ref]float64 {
	by := map[model.Ref]float64{}
	for _, u := range c.World.Usage {
		if p := c.World.Kube.Pods[u.Pod]; p != nil && p.Node == node {
			by[u.Pod] += u.CPU
		}
	}
	for ref, s := range c.World.NodeUsage[node].Spent {
		if cores, ok := s.Cores(); ok {
			by[ref] = cores
		}
	}
	return by
}

func nodeMemory(c *model.Case, facts *model.NodeFacts) (Use, bool) {
	total, left := facts.Levels["memory.total"], facts.Levels["memory.available"]
	if total <= 0 {
		return Use{}, false
	}
	u := Use{Kind: NodeMemory, Name: "memory", Unit: "MiB", Used: math.Round((total - left) / mib), Limit: math.Round(total / mib)}
	if p := facts.Pressure["memory.some"]; p > 0 {
		u.Says = append(u.Says, fmt.Sprintf("something waited for memory %.0f %% of ten seconds (PSI)", p))
	}
	u.Says = append(u.Says, memoryRequests(c, facts.Node)...)
	u.Remedy = []diagnose.Command{{Text: "See who uses the memory; set limits.memory, or use larger nodes", Line: diagnose.Kubectl("top", "pods", "-A", "--sort-by=memory")}}
	return u, true
}

// neighbours is the table of addresses on the node's own networks: entries beyond
// gc_thresh3 are refused (arp(7)).
func neighbours(_ *model.Case, facts *model.NodeFacts) (Use, bool) {
	const key = "net.ipv4.neigh.default.gc_thresh3"
	limit, ok := sysctlNumber(facts, key)
	used, read := facts.Counters["NeighbourEntries"]
	if !ok || !read {
		return Use{}, false
	}
	u := Use{
		Kind: Neighbours, Name: "neighbour table", Unit: "entries", Used: float64(used), Limit: limit,
		Remedy: []diagnose.Command{{Text: "Make room (on AKS in the node pool's custom node configuration)", Line: diagnose.OnNode(facts.Node, fmt.Sprintf("sysctl -w %s=%.0f", key, limit*4))}},
	}
	if n := facts.After["NeighbourTableFull"] - facts.Counters["NeighbourTableFull"]; n > 0 {
		u.State, u.Says = Out, append(u.Says, fmt.Sprintf("it was full %d times while the probes ran", n))
	}
	return u, true
}

// sysctlNumber is a sysctl that is a number.
func sysctlNumber(facts *model.NodeFacts, key string) (float64, bool) {
	n, err := strconv.ParseFloat(facts.Sysctls[key], 64)
	return n, err == nil && n > 0
}
