package azure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/podpath/podpath/internal/model"
)

const (
	busyPercent = 80    // from which the limits of a machine's size matter
	mostSizes   = 20000 // that a list of sizes may hold; a region has some thousands, disks and snapshots among them
)

// sizes asks what the machines' sizes allow their disks, where a disk, or all of
// a machine's disks together, do most of what they may. The list is of a whole
// region, some megabytes, and answers nothing else.
func (c *collector) sizes(ctx context.Context) {
	c.mu.Lock()
	busy := c.busySizes()
	c.mu.Unlock()
	for _, region := range sorted(busy) {
		c.spawn(func() { c.sizesIn(ctx, region, busy[region]) })
	}
}

// busySizes are the sizes of machines whose disks are at their end, by region. The lock is held.
func (c *collector) busySizes() map[string][]string {
	out := map[string][]string{}
	for i := range c.w.Azure.Metrics {
		m := &c.w.Azure.Metrics[i]
		s := c.w.Azure.VMSSs[m.Resource]
		if s == nil || s.Size == "" || len(m.Points) == 0 || m.Points[len(m.Points)-1].Value < busyPercent || !strings.HasSuffix(strings.ToLower(m.Metric), " consumed percentage") {
			continue
		}
		if region := regionOf(&c.w.Azure, s); region != "" && !slices.Contains(out[region], s.Size) {
			out[region] = append(out[region], s.Size)
		}
	}
	return out
}

// regionOf is the region's name as a filter takes it: "westeurope" also of "West
// Europe"; "" where it is not told, or is no name.
func regionOf(az *model.Azure, s *model.VMSS) string {
	region := s.Location
	if region == "" && az.Cluster != nil {
		region = az.Cluster.Location
	}
	region = strings.ToLower(strings.ReplaceAll(region, " ", ""))
	if strings.ContainsFunc(region, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		return ""
	}
	return region
}

// sizesIn reads the sizes of a region and keeps those that are wanted, and what
// else there is in their families: one of them may be the remedy.
func (c *collector) sizesIn(ctx context.Context, region string, wanted []string) {
	const typ = "Microsoft.Compute/skus"
	path := "/subscriptions/" + c.where.sub + "/providers/" + typ
	var all []value
	seen := 0
	err := c.pages(ctx, path, typ, url.Values{"$filter": {"location eq '" + region + "'"}}, func(x value) error {
		if seen++; seen > mostSizes {
			return fmt.Errorf("malformed answer: more than %d sizes in %s", mostSizes, region)
		}
		if strings.EqualFold(x.get("resourceType").str(), "virtualMachines") {
			all = append(all, x)
		}
		return nil
	})
	found := map[string]*model.VMSize{}
	if err == nil {
		found, err = chosen(all, wanted)
	}
	if err != nil {
		c.failed("vmsize", path, typ, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w.Azure.Sizes == nil {
		c.w.Azure.Sizes = map[string]*model.VMSize{}
	}
	maps.Copy(c.w.Azure.Sizes, found)
}

// chosen decodes the sizes that are wanted and their families. A size that is not
// in the list is an error: what it allows is then unknown, not unlimited.
func chosen(all []value, wanted []string) (map[string]*model.VMSize, error) {
	families := map[string]bool{}
	missing := slices.Clone(wanted)
	for _, x := range all {
		if i := slices.IndexFunc(missing, func(name string) bool { return strings.EqualFold(name, x.get("name").str()) }); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			families[x.get("family").str()] = true
		}
	}
	var az model.Azure
	for _, x := range all {
		if !families[x.get("family").str()] {
			continue
		}
		before := len(*x.errs)
		keepSize(&az, x)
		if errs := (*x.errs)[before:]; len(errs) > 0 {
			return nil, fmt.Errorf("malformed answer: %w", errors.Join(errs[:min(3, len(errs))]...))
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("the list of sizes does not have %s", strings.Join(missing, ", "))
	}
	return az.Sizes, nil
}

// keepSize decodes a size of machines; other things that have sizes are left out.
func keepSize(az *model.Azure, x value) {
	if s := decodeSize(x); s.Name != "" && strings.EqualFold(x.get("resourceType").str(), "virtualMachines") {
		set(&az.Sizes, strings.ToLower(s.Name), s)
	}
}

// decodeSize reads one element of Microsoft.Compute/skus: what a size can do are
// pairs of names and values, all of them strings.
// https://learn.microsoft.com/rest/api/compute/resource-skus/list
func decodeSize(x value) *model.VMSize {
	s := &model.VMSize{Name: x.get("name").str(), Family: x.get("family").str(), Restricted: len(x.get("restrictions").list()) > 0}
	for _, c := range x.get("capabilities").list() {
		v := c.get("value")
		switch strings.ToLower(c.get("name").str()) {
		case "vcpus":
			s.CPUs = v.num()
		case "uncacheddiskiops":
			s.UncachedIOPS = v.big()
		case "uncacheddiskbytespersecond":
			s.UncachedBytes = v.big()
		case "combinedtempdiskandcachediops":
			s.CachedIOPS = v.big()
		case "combinedtempdiskandcachedreadbytespersecond":
			s.CachedBytes = v.big()
		case "ephemeralosdisksupported":
			s.EphemeralOS = v.truth()
		}
	}
	return s
}

// big is a count that may have more than 32 bits, as a number or as a string.
func (x value) big() int64 {
	text := x.str()
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n < 0 {
		x.wrong("a whole number that is not negative")
		return 0
	}
	return n
}
