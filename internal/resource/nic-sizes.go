package resource

import (
	"regexp"
	"strconv"
	"strings"
)

// bandwidth is what machines of a series may send, in megabits a second, by their
// number of CPUs (of DSv2: by the number in their name). It is metered on what
// leaves the machine, over all its interfaces and to wherever.
// https://learn.microsoft.com/azure/virtual-network/virtual-machine-network-throughput
type bandwidth struct {
	series []string // "d #s_v5": what stands around the number
	mbps   map[int]float64
}

// bandwidths are the series that clusters have most, each from its own page under
// https://learn.microsoft.com/azure/virtual-machines/sizes/. A size that is not
// here has no limit that is known.
var bandwidths = []bandwidth{
	{[]string{"ds #_v2"}, map[int]float64{1: 750, 2: 1500, 3: 3000, 4: 6000, 5: 12000}},
	// The page of Dsv3 now says 2,000 of D8s and D16s; its earlier edition, that of Esv3 and what people measure say this.
	{[]string{"d #s_v3", "e #s_v3"}, map[int]float64{2: 1000, 4: 2000, 8: 4000, 16: 8000, 32: 16000, 48: 24000, 64: 30000}},
	{[]string{"d #s_v4", "d #ds_v4", "e #s_v4"}, map[int]float64{2: 5000, 4: 10000, 8: 12500, 16: 12500, 32: 16000, 48: 24000, 64: 30000}},
	{[]string{"d #_v5", "d #s_v5", "d #ds_v5", "e #s_v5", "e #ds_v5"}, map[int]float64{2: 12500, 4: 12500, 8: 12500, 16: 12500, 32: 16000, 48: 24000, 64: 30000, 96: 35000}},
	{[]string{"e #s_v5", "e #ds_v5"}, map[int]float64{20: 12500}},
	{[]string{"d #s_v6", "d #ds_v6"}, map[int]float64{2: 12500, 4: 12500, 8: 12500, 16: 12500, 32: 16000, 48: 24000, 64: 30000, 96: 41000, 128: 54000}},
	{[]string{"d #as_v4"}, map[int]float64{2: 2000, 4: 4000, 8: 8000, 16: 10000, 32: 16000, 48: 24000, 64: 32000, 96: 40000}},
	{[]string{"d #as_v5", "d #ads_v5"}, map[int]float64{2: 12500, 4: 12500, 8: 12500, 16: 12500, 32: 16000, 48: 24000, 64: 32000, 96: 40000}},
	{[]string{"d #as_v6", "d #ads_v6"}, map[int]float64{2: 12500, 4: 12500, 8: 12500, 16: 16000, 32: 20000, 48: 28000, 64: 36000, 96: 40000}},
	{[]string{"e #as_v5"}, map[int]float64{2: 12500, 4: 12500, 8: 12500, 16: 12500, 20: 12500, 32: 16000, 48: 24000, 64: 32000, 96: 40000}},
	{[]string{"f #s_v2"}, map[int]float64{2: 5000, 4: 10000, 8: 12500, 16: 12500, 32: 16000, 48: 21000, 64: 28000, 72: 30000}},
	{[]string{"b #s_v2", "b #ls_v2"}, map[int]float64{2: 6250, 4: 6250, 8: 6250, 16: 6250, 32: 6250}},
	{[]string{"b #ts_v2"}, map[int]float64{2: 6250}},
}

var sizeName = regexp.MustCompile(`^standard_([a-z]+)([0-9]{1,3})([a-z]*(?:_v[0-9]+)?)$`)

// sends is what machines of a size may send, in megabits a second, and the smallest
// size of the same series that may send more; 0 and "" where that is not known.
func sends(size string) (mbps float64, next string) {
	m := sizeName.FindStringSubmatch(strings.ToLower(size))
	if m == nil {
		return 0, ""
	}
	n, _ := strconv.Atoi(m[2])
	all := map[int]float64{}
	for _, b := range bandwidths {
		for _, s := range b.series {
			if s == m[1]+" #"+m[3] {
				for k, v := range b.mbps {
					all[k] = v
				}
			}
		}
	}
	if all[n] == 0 {
		return 0, ""
	}
	best := 0
	for k, v := range all {
		if k > n && v > all[n] && (best == 0 || k < best) {
			best = k
		}
	}
	if best > 0 { // as the size itself is written
		i := strings.LastIndex(strings.ToLower(size), m[2]+m[3])
		next = size[:i] + strconv.Itoa(best) + size[i+len(m[2]):]
	}
	return all[n], next
}
