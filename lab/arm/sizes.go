package arm

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/lab/plan"
)

// machineSize is a size of machines with what it allows its disks past the cache.
type machineSize struct {
	cpus, memory, disks int
	iops, mb            int
}

// dsv5 are the sizes of the family that the lab's machines are of.
// https://learn.microsoft.com/azure/virtual-machines/sizes/general-purpose/dsv5-series
var dsv5 = []machineSize{
	{2, 8, 4, 3750, 85},
	{4, 16, 8, 6400, 145},
	{8, 32, 16, 12800, 290},
	{16, 64, 32, 25600, 600},
	{32, 128, 32, 51200, 865},
	{48, 192, 32, 76800, 1315},
	{64, 256, 32, 80000, 1735},
	{96, 384, 32, 80000, 2600},
}

var locationFilter = regexp.MustCompile(`(?i)^\s*location\s+eq\s+'([^']+)'\s*$`)

// skus lists what there is to rent in a region: sizes of machines, and disks, which
// have no such limits. The real list has no pages, so neither has this.
func (c *call) skus() {
	filter := c.r.URL.Query().Get("$filter")
	m := locationFilter.FindStringSubmatch(filter)
	if filter != "" && m == nil {
		c.fail(refuse(400, "InvalidParameter", "The filter '%s' is invalid: only location eq '…' is supported.", filter))
		return
	}
	value := []any{}
	if m == nil || strings.EqualFold(m[1], plan.Location) {
		value = append(value, Doc{"resourceType": "disks", "name": "Premium_LRS", "tier": "Premium", "size": "P10", "locations": []any{plan.Location}, "restrictions": []any{}})
		for _, s := range dsv5 {
			value = append(value, s.doc())
		}
	}
	c.json(200, Doc{"value": value})
}

// doc is the size as the list has it: every value is a string.
func (s machineSize) doc() Doc {
	size := fmt.Sprintf("D%ds_v5", s.cpus)
	var can []any
	for _, pair := range slices.Collect(slices.Chunk([]string{
		"vCPUs", strconv.Itoa(s.cpus), "MemoryGB", strconv.Itoa(s.memory), "MaxDataDiskCount", strconv.Itoa(s.disks), "PremiumIO", "True",
		"UncachedDiskIOPS", strconv.Itoa(s.iops), "UncachedDiskBytesPerSecond", strconv.Itoa(s.mb * 1000000), "EphemeralOSDiskSupported", "False",
	}, 2)) {
		can = append(can, Doc{"name": pair[0], "value": pair[1]})
	}
	return Doc{
		"resourceType": "virtualMachines", "name": "Standard_" + size, "tier": "Standard", "size": size, "family": "standardDSv5Family",
		"locations":    []any{plan.Location},
		"locationInfo": []any{Doc{"location": plan.Location, "zones": []any{"1", "2", "3"}, "zoneDetails": []any{}}},
		"capabilities": can, "restrictions": []any{},
	}
}
