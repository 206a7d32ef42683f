package resource

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// VMDisk is the kind of what a machine's size allows all its disks together.
const VMDisk = "vm-disk"

// sizeLimit is one of the limits that a machine's size sets its disks, beside those
// of each disk: what goes past the machine's cache, and what is served through it.
// https://learn.microsoft.com/azure/virtual-machines/disks-performance,
// https://learn.microsoft.com/azure/virtual-machines/disks-metrics#storage-io-utilization-metrics
type sizeLimit struct {
	metric, unit, where string
	of                  func(*model.VMSize) int64
}

// number is the limit of a size in its unit.
func (l sizeLimit) number(s *model.VMSize) string {
	if l.unit == "MB a second" {
		return number(megabytes(l.of(s)))
	}
	return number(float64(l.of(s)))
}

var sizeLimits = []sizeLimit{
	{"VM Uncached IOPS Consumed Percentage", "operations a second", "past its cache", func(s *model.VMSize) int64 { return s.UncachedIOPS }},
	{"VM Uncached Bandwidth Consumed Percentage", "MB a second", "past its cache", func(s *model.VMSize) int64 { return s.UncachedBytes }},
	{"VM Cached IOPS Consumed Percentage", "operations a second", "through its cache", func(s *model.VMSize) int64 { return s.CachedIOPS }},
	{"VM Cached Bandwidth Consumed Percentage", "MB a second", "through its cache", func(s *model.VMSize) int64 { return s.CachedBytes }},
}

// machineDisks is how much of what its machine's size allows all its disks each
// node takes. A larger disk changes nothing about that.
func machineDisks(c *model.Case) []Use { return ofNodes(c, machineDiskOf) }

func machineDiskOf(c *model.Case, n *model.Node) (Use, bool) {
	m := machineOf(c, n)
	u := Use{Kind: VMDisk, Name: "machine's quota for all disks", Of: model.NewRef("node", n.Name), Unit: "%", Used: math.NaN(), Limit: 100, Source: "metric"}
	var tightest sizeLimit
	for _, l := range sizeLimits {
		list := m.series(l.metric, "Average")
		v := last(list)
		if v > 0 {
			u.Says = append(u.Says, fmt.Sprintf("%.0f %% of the %s that its machine's size allows all disks together %s (%s)", v, l.unit, l.where, l.metric))
		}
		if !math.IsNaN(v) && (math.IsNaN(u.Used) || v > u.Used) {
			u.Used, tightest = v, l
		}
		u.Pace = max(u.Pace, pace(list))
	}
	if m.set == "" || math.IsNaN(u.Used) {
		return u, false
	}
	if u.Used >= saturated {
		u.State = Out
	}
	u.settle()
	if u.State == Room {
		return u, true
	}
	u.Says = append(u.Says, allowed(c, m.set)...)
	if own := last(m.ownDisk()); own > 0 && own < saturated {
		u.Says = append(u.Says, fmt.Sprintf("its OS disk does %.0f %% of what it may itself: a larger disk would not help", own))
	}
	u.Says = append(u.Says, writers(c.World.NodeUsage[n.Name].Written)...)
	u.Says = append(u.Says, advisedOf(c, m.set)...)
	u.Remedy = sizeRemedy(c, m.set, tightest)
	return u, true
}

// machineMetrics are the metrics of one machine of a scale set.
type machineMetrics struct {
	c         *model.Case
	set, name string
}

func machineOf(c *model.Case, n *model.Node) machineMetrics {
	set, name := model.MachineOf(n.ProviderID)
	return machineMetrics{c, set, name}
}

// series are the machine's, or those of its set where that has no other machine.
func (m machineMetrics) series(metric, aggregate string) []*model.Series {
	list := find(m.c, want{m.set, metric, aggregate, map[string]string{"VMName": m.name}})
	if len(list) == 0 && alone(m.c, m.set) {
		list = find(m.c, want{m.set, metric, aggregate, nil})
	}
	return list
}

// ownDisk is what the OS disk takes of its own limits.
func (m machineMetrics) ownDisk() []*model.Series {
	return slices.Concat(m.series("OS Disk IOPS Consumed Percentage", "Average"), m.series("OS Disk Bandwidth Consumed Percentage", "Average"))
}

// allDisks is what all disks together take of the limits of the machine's size.
func (m machineMetrics) allDisks() (out []*model.Series) {
	for _, l := range sizeLimits {
		out = append(out, m.series(l.metric, "Average")...)
	}
	return out
}

// sizeOf is what Azure says of the size of a scale set's machines; nil: that was not read.
func sizeOf(c *model.Case, set string) *model.VMSize {
	if s := c.World.Azure.VMSSs[set]; s != nil {
		return c.World.Azure.Sizes[strings.ToLower(s.Size)]
	}
	return nil
}

// allowed is what the size allows in numbers, or that they were not read.
func allowed(c *model.Case, set string) []string {
	s := c.World.Azure.VMSSs[set]
	if s == nil || s.Size == "" {
		return nil
	}
	size := sizeOf(c, set)
	switch {
	case size == nil:
		return []string{fmt.Sprintf("what machines of size %s may do in numbers was not read", s.Size)}
	case size.UncachedIOPS == 0:
		return []string{fmt.Sprintf("Azure says nothing of what %s allows its disks", size.Name)}
	}
	text := fmt.Sprintf("a %s does %s operations and %s MB a second, all its disks together", size.Name, number(float64(size.UncachedIOPS)), number(megabytes(size.UncachedBytes)))
	if size.CachedIOPS > 0 {
		text += fmt.Sprintf("; %s operations and %s MB through its cache", number(float64(size.CachedIOPS)), number(megabytes(size.CachedBytes)))
	}
	return []string{text}
}

// megabytes are of 1,000,000 bytes, as disks are sold.
func megabytes(n int64) float64 { return math.Round(float64(n) / 1e6) }

// larger are the sizes of a size's family that allow more, the smallest of them first.
func larger(c *model.Case, size *model.VMSize, l sizeLimit) []*model.VMSize {
	var out []*model.VMSize
	for _, name := range slices.Sorted(maps.Keys(c.World.Azure.Sizes)) {
		if s := c.World.Azure.Sizes[name]; s != nil && s.Family == size.Family && !s.Restricted && l.of(s) > l.of(size) && l.of(size) > 0 {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b *model.VMSize) int {
		return cmp.Or(cmp.Compare(a.CPUs, b.CPUs), cmp.Compare(l.of(a), l.of(b)))
	})
	return out
}

// sizeRemedy is a pool of larger machines: the size of a pool cannot be changed.
func sizeRemedy(c *model.Case, set string, l sizeLimit) []diagnose.Command {
	fix := []diagnose.Command{{Text: "At once: find who writes (image pulls, logs, emptyDir volumes, data disks), and spread it over more nodes or slow it down; a larger disk does not help, the limit is the machine's"}}
	s, size := c.World.Azure.VMSSs[set], sizeOf(c, set)
	if s == nil {
		return fix
	}
	bigger := []*model.VMSize(nil)
	if size != nil {
		bigger = larger(c, size, l)
	}
	if len(bigger) == 0 {
		if region := cmp.Or(s.Location, regionOf(c)); region != "" && s.Size != "" {
			fix = append(fix, diagnose.Command{Text: "Choose a size whose UncachedDiskIOPS and UncachedDiskBytesPerSecond are larger", Line: "az vm list-skus --resource-type virtualMachines --location " + diagnose.Quote(region) + " --output json"})
		}
		return fix
	}
	p, args, ok := poolOf(c, set)
	if !ok {
		return fix
	}
	args = append(args, "--node-vm-size", bigger[0].Name)
	if p.OSDiskSizeGB > 0 {
		args = append(args, "--node-osdisk-size", fmt.Sprint(p.OSDiskSizeGB))
	}
	return append(fix,
		diagnose.Command{Text: fmt.Sprintf("A pool of larger machines beside it: a %s does %s %s %s", bigger[0].Name, l.number(bigger[0]), l.unit, l.where), Line: diagnose.Az("aks nodepool add", c.World.Azure.Cluster.ID, args...)},
		leave(c, p))
}

func regionOf(c *model.Case) string {
	if c.World.Azure.Cluster == nil {
		return ""
	}
	return c.World.Azure.Cluster.Location
}

// poolOf is the node pool of a scale set, with the arguments of a pool beside it,
// but for what is to differ.
func poolOf(c *model.Case, set string) (p model.AgentPool, args []string, ok bool) {
	cluster, s := c.World.Azure.Cluster, c.World.Azure.VMSSs[set]
	if cluster == nil || s == nil || s.Pool == "" {
		return p, nil, false
	}
	i := slices.IndexFunc(cluster.AgentPools, func(p model.AgentPool) bool { return strings.EqualFold(p.Name, s.Pool) })
	if i < 0 {
		return p, nil, false
	}
	p = cluster.AgentPools[i]
	return p, append([]string{"--cluster-name", cluster.Name, "--name", other(p.Name), "--node-count", fmt.Sprint(p.Count)}, alike(p)...), true
}

// alike are the arguments that make a pool beside another one like it: without its
// subnet the API refuses a pool of a cluster in a VNet of one's own, and without a
// pool of mode System left it refuses to delete the old one.
// https://learn.microsoft.com/cli/azure/aks/nodepool#az-aks-nodepool-add
func alike(p model.AgentPool) []string {
	var args []string
	if p.SubnetID != "" {
		args = append(args, "--vnet-subnet-id", p.SubnetID)
	}
	if p.PodSubnetID != "" {
		args = append(args, "--pod-subnet-id", p.PodSubnetID)
	}
	if strings.EqualFold(p.Mode, "System") {
		args = append(args, "--mode", "System")
	}
	if p.MaxPods > 0 {
		args = append(args, "--max-pods", fmt.Sprint(p.MaxPods))
	}
	return args
}

// leave takes the old pool away.
func leave(c *model.Case, p model.AgentPool) diagnose.Command {
	cluster := c.World.Azure.Cluster
	return diagnose.Command{Text: "Then move the pods there (its labels, taints and zones are not in that command: give the new one the same), and delete the old pool", Line: diagnose.Az("aks nodepool delete", cluster.ID, "--cluster-name", cluster.Name, "--name", p.Name)}
}
