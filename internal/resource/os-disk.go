package resource

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

// premium are what Premium SSDs of a size can do, the smallest first: gibibytes,
// operations a second, megabytes a second.
// https://learn.microsoft.com/azure/virtual-machines/disks-types#premium-ssd-size
var premium = []struct {
	name           string
	size, iops, mb int
}{
	{"P4", 32, 120, 25},
	{"P6", 64, 240, 50},
	{"P10", 128, 500, 100},
	{"P15", 256, 1100, 125},
	{"P20", 512, 2300, 150},
	{"P30", 1024, 5000, 200},
	{"P40", 2048, 7500, 250},
	{"P50", 4096, 7500, 250},
}

// saturated is the share from which requests wait: what is measured is the mean of a minute.
const saturated = 95

// osDisk is how much of what its operating system's disk may do each node takes:
// what it asks for beyond that waits, and with it the container runtime, the
// kubelet and whatever writes its log.
func osDisk(c *model.Case) []Use { return ofNodes(c, diskOf) }

// ofNodes is one resource of each node, where it was read.
func ofNodes(c *model.Case, of func(*model.Case, *model.Node) (Use, bool)) []Use {
	var out []Use
	for _, node := range slices.Sorted(maps.Keys(c.World.Kube.Nodes)) {
		if n := c.World.Kube.Nodes[node]; n != nil {
			if u, ok := of(c, n); ok {
				out = append(out, u)
			}
		}
	}
	return out
}

func diskOf(c *model.Case, n *model.Node) (Use, bool) {
	m := machineOf(c, n)
	own := m.ownDisk()
	u := Use{Kind: "os-disk", Name: "OS disk", Of: model.NewRef("node", n.Name), Unit: "%", Used: last(own), Limit: 100, Pace: pace(own), Source: "metric"}
	if m.set == "" || math.IsNaN(u.Used) {
		return u, false
	}
	for _, one := range []struct{ metric, text string }{
		{"OS Disk IOPS Consumed Percentage", "%.0f %% of its operations a second (OS Disk IOPS Consumed Percentage)"},
		{"OS Disk Bandwidth Consumed Percentage", "%.0f %% of its bandwidth (OS Disk Bandwidth Consumed Percentage)"},
		{"OS Disk Queue Depth", "%.0f operations wait in its queue (OS Disk Queue Depth)"},
		{"OS Disk Used Burst IO Credits Percentage", "%.0f %% of its burst credits are used up (OS Disk Used Burst IO Credits Percentage)"},
	} {
		if v := last(m.series(one.metric, "Average")); v > 0 {
			u.Says = append(u.Says, fmt.Sprintf(one.text, v))
		}
	}
	u.Says = append(u.Says, diskSize(c, m.set)...)
	if u.Used >= saturated {
		u.State = Out
	}
	u.Says = append(u.Says, besideSize(m, u.State == Out)...)
	u.Says = append(u.Says, writers(c.World.NodeUsage[n.Name].Written)...)
	u.Says = append(u.Says, advisedOf(c, m.set)...)
	u.Remedy = diskRemedy(c, m.set)
	u.settle()
	return u, true
}

// besideSize says whether the limits of the machine's size are in the way as well:
// the smaller of both holds.
func besideSize(m machineMetrics, out bool) []string {
	most := last(m.allDisks()) // NaN, where none was read, is in no case
	switch {
	case most >= saturated:
		return []string{fmt.Sprintf("all disks of its machine together do %.0f %% of what its size allows: a larger disk alone does not help", most)}
	case most >= 0 && out:
		return append(allowed(m.c, m.set), fmt.Sprintf("its machine's size is not the limit: %.0f %% of what it allows all disks together is used", most))
	}
	return nil
}

// writers says which pods wrote most to the node's disks while the probes ran, or,
// where nothing changed or it was read once, since their containers started. The
// kubelet tells of all disks together; what the runtime writes (image pulls) is no pod's.
func writers(written map[model.Ref]model.Written) []string { return grown(written, "wrote") }

// grown says of which pods a count of bytes grew most while the probes ran, or,
// where none did or it was read once, is highest.
func grown(counts map[model.Ref]model.Written, did string) []string {
	var lately, ever []Share
	for _, pod := range slices.Sorted(maps.Keys(counts)) {
		w := counts[pod]
		if n := w.After - w.Before; w.After > 0 && n >= mib {
			lately = append(lately, Share{Ref: pod, Count: float64(n) / mib})
		}
		if n := max(w.Before, w.After); n >= mib {
			ever = append(ever, Share{Ref: pod, Count: float64(n) / mib})
		}
	}
	list, when := lately, "while the probes ran"
	if len(list) == 0 {
		list, when = ever, "since its containers started"
	}
	var out []string
	for _, s := range most(list) {
		out = append(out, fmt.Sprintf("%s %s %.0f MiB %s", s.Ref, did, s.Count, when))
	}
	return out
}

// alone says that a scale set has one machine: a metric of the set is its own.
func alone(c *model.Case, set string) bool {
	s := c.World.Azure.VMSSs[set]
	return s != nil && len(s.Instances) == 1
}

// diskSize is what the disk's size allows, where that is documented.
func diskSize(c *model.Case, set string) []string {
	s := c.World.Azure.VMSSs[set]
	if s == nil || s.OSDisk == nil {
		return nil
	}
	d := s.OSDisk
	switch {
	case d.Ephemeral:
		return []string{fmt.Sprintf("it is an ephemeral disk of %d GiB: the machine's own limits hold (%s)", d.SizeGB, s.Size)}
	case !strings.HasPrefix(strings.ToLower(d.SKU), "premium_"):
		return []string{fmt.Sprintf("it is a %s disk of %d GiB on %s", d.SKU, d.SizeGB, s.Size)}
	}
	for _, p := range premium {
		if d.SizeGB > 0 && d.SizeGB <= p.size {
			return []string{fmt.Sprintf("a %s disk of %d GiB (%s) does %d operations and %d MB a second%s", d.SKU, d.SizeGB, p.name, p.iops, p.mb, mayAllowLess(c, set))}
		}
	}
	return nil
}

// mayAllowLess reminds of the machine's own limits where they were not read.
func mayAllowLess(c *model.Case, set string) string {
	if sizeOf(c, set) != nil {
		return ""
	}
	return "; machines of size " + c.World.Azure.VMSSs[set].Size + " may allow less"
}

// advisedOf is what Azure Advisor says of a scale set or one of its machines.
func advisedOf(c *model.Case, set string) []string {
	var out []string
	for _, a := range c.World.Azure.Advisor {
		if id := strings.ToLower(a.Resource); (id == set || strings.HasPrefix(id, set+"/")) && len(out) < 3 {
			out = append(out, fmt.Sprintf("Azure Advisor (%s, %s impact): %s", a.Category, strings.ToLower(a.Impact), a.Problem))
		}
	}
	return out
}

// diskRemedy is a pool with another disk: that of a pool cannot be changed.
// https://learn.microsoft.com/azure/aks/concepts-storage#default-os-disk-sizing
func diskRemedy(c *model.Case, set string) []diagnose.Command {
	fix := []diagnose.Command{{Text: "At once: find who writes (image pulls, logs, emptyDir volumes), and move that to a data disk or slow it down"}}
	p, args, ok := poolOf(c, set)
	if !ok {
		return fix
	}
	args = append(args, "--node-vm-size", p.VMSize)
	size := sizeOf(c, set)
	if size == nil || size.EphemeralOS == nil || *size.EphemeralOS {
		fix = append(fix, diagnose.Command{Text: "A pool beside it whose OS disk is ephemeral: the machine's own disk, without a quota of its own (where the size of the machine has room for one)", Line: diagnose.Az("aks nodepool add", c.World.Azure.Cluster.ID, append(slices.Clone(args), "--node-osdisk-type", "Ephemeral")...)})
	}
	bigger := max(p.OSDiskSizeGB, 128) * 4
	return append(fix,
		diagnose.Command{Text: fmt.Sprintf("%s with a larger one: %d GiB%s", map[bool]string{true: "A pool beside it", false: "Or"}[len(fix) == 1], bigger, capped(size, bigger)), Line: diagnose.Az("aks nodepool add", c.World.Azure.Cluster.ID, append(slices.Clone(args), "--node-osdisk-size", fmt.Sprint(bigger))...)},
		leave(c, p))
}

// capped says where the machine's size ends before a larger premium disk does.
func capped(size *model.VMSize, gib int) string {
	for _, p := range premium {
		if gib > p.size {
			continue
		}
		if size != nil && size.UncachedIOPS > 0 && int64(p.iops) > size.UncachedIOPS {
			return fmt.Sprintf("; of its %s operations a second a %s allows %s", number(float64(p.iops)), size.Name, number(float64(size.UncachedIOPS)))
		}
		break
	}
	return ""
}

// other is a name for a pool beside another; a Linux pool's has at most twelve characters.
func other(name string) string { return name[:min(len(name), 10)] + "b" }
