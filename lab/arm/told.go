package arm

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// toldKind is the type of the documents that say what a metric is, for what the
// lab has none of: disks that throttle, machines with a limit of flows. They are
// written, read and deleted as any resource:
//
//	PUT …/resourceGroups/rg-lab/providers/Podpath.Lab/metrics/NAME
//	{"properties": {"resource": "/subscriptions/…", "metric": "OS Disk Queue Depth", "dimensions": {"LUN": "0"}, "values": [2, 9, 31]}}
//
// The values are of the last minutes, one each; the first holds for all before.
const toldKind = "podpath.lab/metrics"

// measured are the series of a metric: those that documents tell, else those of the fabric.
func (c *call) measured(r resourceID, d definition, aggregation string, a ask) []Series {
	if out := c.told(r, d, a); len(out) > 0 {
		return out
	}
	if c.opts.Metric == nil {
		return nil
	}
	return c.opts.Metric(r.String(), d.name, aggregation, a.from, a.to)
}

func (c *call) told(r resourceID, d definition, a ask) []Series {
	var out []Series
	for _, doc := range c.store.List("") {
		if kindOf(doc) != toldKind || !strings.EqualFold(strings.Trim(Str(doc, "properties", "resource"), "/"), strings.Trim(r.String(), "/")) ||
			!strings.EqualFold(Str(doc, "properties", "metric"), d.name) {
			continue
		}
		values, _ := At(doc, "properties", "values").([]any)
		if s := toldSeries(values, a, c.opts.Now()); len(s.Points) > 0 {
			s.Dimensions = toldDimensions(At(doc, "properties", "dimensions"))
			out = append(out, s)
		}
	}
	return out
}

func toldDimensions(x any) map[string]string {
	out := map[string]string{}
	dims, _ := x.(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(dims)) {
		out[k], _ = dims[k].(string)
	}
	return out
}

// toldSeries gives the last value to the minute before now, which is the last
// whole one, and those before it to the minutes before it.
func toldSeries(values []any, a ask, now time.Time) Series {
	var s Series
	last := now.UTC().Truncate(time.Minute).Add(-time.Minute)
	for at := a.from.Truncate(time.Minute); at.Before(a.to) && len(values) > 0; at = at.Add(time.Minute) {
		i := max(0, len(values)-1-int(last.Sub(at)/time.Minute))
		if v, ok := values[min(i, len(values)-1)].(float64); ok && !at.After(last) {
			s.Points = append(s.Points, Point{Time: at, Value: v})
		}
	}
	return s
}
