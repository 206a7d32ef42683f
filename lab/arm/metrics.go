package arm

import (
	"fmt"
	"math"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/podpath/podpath/lab/plan"
)

// Point is one minute of a metric. NoData says that nothing was measured, which is not zero.
type Point struct {
	Time   time.Time
	Value  float64
	NoData bool
}

// Series is a metric for one combination of its dimensions.
type Series struct {
	Dimensions map[string]string
	Points     []Point
}

// definition is what Azure Monitor knows about a metric.
type definition struct {
	name, unit, primary string
	dimensions          []string
}

// definitions are the metrics of each namespace that the lab measures, as Azure names them.
var definitions = map[string][]definition{
	"microsoft.network/loadbalancers": {
		{"SnatConnectionCount", "Count", "Total", []string{"FrontendIPAddress", "BackendIPAddress", "ConnectionState"}},
		{"AllocatedSnatPorts", "Count", "Average", []string{"FrontendIPAddress", "BackendIPAddress", "ProtocolType", "IsAwaitingRemoval"}},
		{"UsedSnatPorts", "Count", "Average", []string{"FrontendIPAddress", "BackendIPAddress", "ProtocolType", "IsAwaitingRemoval"}},
		{"VipAvailability", "Count", "Average", []string{"FrontendIPAddress", "FrontendPort"}},
		{"DipAvailability", "Count", "Average", []string{"ProtocolType", "BackendPort", "FrontendIPAddress", "FrontendPort", "BackendIPAddress"}},
		{"ByteCount", "Bytes", "Total", []string{"FrontendIPAddress", "FrontendPort", "Direction"}},
		{"PacketCount", "Count", "Total", []string{"FrontendIPAddress", "FrontendPort", "Direction"}},
		{"SYNCount", "Count", "Total", []string{"FrontendIPAddress", "FrontendPort", "Direction"}},
	},
	"microsoft.network/natgateways": {
		{"SNATConnectionCount", "Count", "Total", []string{"Protocol", "ConnectionState"}},
		{"TotalConnectionCount", "Count", "Total", []string{"Protocol"}},
		{"PacketDropCount", "Count", "Total", nil},
		{"PacketCount", "Count", "Total", []string{"Protocol", "Direction"}},
		{"ByteCount", "Bytes", "Total", []string{"Protocol", "Direction"}},
		{"DatapathAvailability", "Count", "Average", nil},
	},
	"microsoft.network/azurefirewalls": {
		{"ApplicationRuleHit", "Count", "Total", []string{"Status", "Reason", "Protocol"}},
		{"NetworkRuleHit", "Count", "Total", []string{"Status", "Reason"}},
		{"FirewallHealth", "Percent", "Average", []string{"Status", "Reason"}},
		{"DataProcessed", "Bytes", "Total", nil},
		{"SNATPortUtilization", "Percent", "Average", []string{"Protocol"}},
		{"Throughput", "BitsPerSecond", "Average", nil},
		{"FirewallLatencyPng", "MilliSeconds", "Average", nil},
	},
	"microsoft.network/publicipaddresses": {
		{"PacketCount", "Count", "Total", []string{"Port", "Direction"}},
		{"ByteCount", "Bytes", "Total", []string{"Port", "Direction"}},
		{"VipAvailability", "Count", "Average", []string{"Port"}},
	},
	"microsoft.compute/virtualmachinescalesets": {
		{"Percentage CPU", "Percent", "Average", []string{"VMName"}},
		{"Network In Total", "Bytes", "Total", []string{"VMName"}},
		{"Network Out Total", "Bytes", "Total", []string{"VMName"}},
		{"OS Disk Read Operations/Sec", "CountPerSecond", "Average", []string{"LUN"}},
		{"OS Disk Write Operations/Sec", "CountPerSecond", "Average", []string{"LUN"}},
		{"OS Disk Read Bytes/sec", "BytesPerSecond", "Average", []string{"LUN"}},
		{"OS Disk Write Bytes/sec", "BytesPerSecond", "Average", []string{"LUN"}},
		{"OS Disk Queue Depth", "Count", "Average", []string{"LUN", "VMName"}},
		{"OS Disk IOPS Consumed Percentage", "Percent", "Average", []string{"LUN", "VMName"}},
		{"OS Disk Bandwidth Consumed Percentage", "Percent", "Average", []string{"LUN", "VMName"}},
		{"OS Disk Used Burst IO Credits Percentage", "Percent", "Average", []string{"LUN", "VMName"}},
		{"OS Disk Used Burst BPS Credits Percentage", "Percent", "Average", []string{"LUN", "VMName"}},
		{"VM Cached IOPS Consumed Percentage", "Percent", "Average", []string{"VMName"}},
		{"VM Cached Bandwidth Consumed Percentage", "Percent", "Average", []string{"VMName"}},
		{"VM Uncached IOPS Consumed Percentage", "Percent", "Average", []string{"VMName"}},
		{"VM Uncached Bandwidth Consumed Percentage", "Percent", "Average", []string{"VMName"}},
		{"Inbound Flows", "Count", "Average", []string{"VMName"}},
		{"Outbound Flows", "Count", "Average", []string{"VMName"}},
	},
	"microsoft.containerservice/managedclusters": {
		{"kube_node_status_condition", "Count", "Average", []string{"condition", "status", "node"}},
		{"node_cpu_usage_percentage", "Percent", "Average", []string{"node", "nodepool"}},
		{"node_memory_rss_percentage", "Percent", "Average", []string{"node", "nodepool"}},
	},
}

func (c *call) metricDefinitions(r resourceID) {
	var out []Doc
	for _, d := range definitions[strings.ToLower(r.kind())] {
		var dims []any
		for _, n := range d.dimensions {
			dims = append(dims, Doc{"value": n, "localizedValue": n})
		}
		out = append(out, Doc{
			"id": r.String() + "/providers/microsoft.insights/metricdefinitions/" + d.name, "resourceId": r.String(), "namespace": r.kind(),
			"name": Doc{"value": d.name, "localizedValue": d.name}, "isDimensionRequired": false, "unit": d.unit, "primaryAggregationType": d.primary,
			"supportedAggregationTypes": []any{"None", "Average", "Minimum", "Maximum", "Total", "Count"}, "dimensions": dims,
			"metricAvailabilities": []any{Doc{"timeGrain": "PT1M", "retention": "P93D"}, Doc{"timeGrain": "PT5M", "retention": "P93D"}, Doc{"timeGrain": "PT1H", "retention": "P93D"}},
		})
	}
	c.list(out)
}

// ask is a metrics request, read.
type ask struct {
	names        []definition
	from, to     time.Time
	interval     time.Duration
	text         string // of the interval
	aggregations []string
	filter       filter
}

func (c *call) metrics(r resourceID) {
	a, bad := c.readAsk(r)
	if bad != "" {
		c.json(400, Doc{"code": "BadRequest", "message": bad})
		return
	}
	var value []any
	for _, d := range a.names {
		value = append(value, Doc{
			"id": r.String() + "/providers/Microsoft.Insights/metrics/" + d.name, "type": "Microsoft.Insights/metrics",
			"name": Doc{"value": d.name, "localizedValue": d.name}, "displayDescription": "", "unit": d.unit,
			"timeseries": c.timeseries(r, d, a), "errorCode": "Success",
		})
	}
	c.json(200, Doc{
		"cost": int(a.to.Sub(a.from) / time.Minute), "timespan": a.from.Format(time.RFC3339) + "/" + a.to.Format(time.RFC3339),
		"interval": a.text, "value": value, "namespace": r.kind(), "resourceregion": plan.Location,
	})
}

// readAsk reads the query; what is wrong with it is said as Azure Monitor says it.
func (c *call) readAsk(r resourceID) (ask, string) {
	q := c.r.URL.Query()
	get := func(name string) string { // names of parameters come in any case
		for k, v := range q {
			if strings.EqualFold(k, name) && len(v) > 0 {
				return v[0]
			}
		}
		return ""
	}
	provider, kind, _ := strings.Cut(r.kind(), "/")
	known := definitions[strings.ToLower(r.kind())]
	var names []string
	for _, d := range known {
		names = append(names, d.name)
	}
	if len(known) == 0 {
		return ask{}, fmt.Sprintf("Failed to find metric configuration for provider: %s, resource Type: %s.", provider, kind)
	}
	a := ask{}
	for _, n := range strings.Split(get("metricnames"), ",") {
		found := false
		for _, d := range known {
			if strings.EqualFold(d.name, strings.TrimSpace(n)) || (n == "" && len(a.names) == 0) {
				a.names, found = append(a.names, d), true
			}
		}
		if !found {
			return ask{}, fmt.Sprintf("Failed to find metric configuration for provider: %s, resource Type: %s, metric: %s, Valid metrics: %s",
				provider, kind, n, strings.Join(names, ","))
		}
	}
	if bad := a.times(get("timespan"), get("interval"), c.opts.Now()); bad != "" {
		return ask{}, bad
	}
	for _, n := range strings.Split(get("aggregation"), ",") {
		n = strings.TrimSpace(n)
		if n != "" && !strings.Contains(" average total maximum minimum count none ", " "+strings.ToLower(n)+" ") {
			return ask{}, fmt.Sprintf("Invalid aggregation type: %s", n)
		}
		if n != "" && !strings.EqualFold(n, "none") {
			a.aggregations = append(a.aggregations, strings.ToLower(n))
		}
	}
	f, bad := parseFilter(get("$filter"))
	a.filter = f
	return a, bad
}

var grains = map[string]time.Duration{
	"PT1M": time.Minute, "PT5M": 5 * time.Minute, "PT15M": 15 * time.Minute, "PT30M": 30 * time.Minute,
	"PT1H": time.Hour, "PT6H": 6 * time.Hour, "PT12H": 12 * time.Hour, "P1D": 24 * time.Hour,
}

func (a *ask) times(span, interval string, now time.Time) string {
	a.to = now.UTC().Truncate(time.Minute)
	a.from = a.to.Add(-time.Hour)
	if span != "" {
		from, to, ok := strings.Cut(span, "/")
		f, err1 := time.Parse(time.RFC3339, from)
		t, err2 := time.Parse(time.RFC3339, to)
		if d, isGrain := grains[span]; isGrain {
			f, t, ok, err1, err2 = a.to.Add(-d), a.to, true, nil, nil
		}
		if !ok || err1 != nil || err2 != nil || !f.Before(t) {
			return "Invalid timespan: " + span
		}
		a.from, a.to = f.UTC(), t.UTC()
	}
	if a.to.Sub(a.from) > 31*24*time.Hour {
		return "The timespan is longer than 31 days: " + span
	}
	if interval == "" {
		interval = "PT1M"
	}
	d, ok := grains[strings.ToUpper(interval)]
	if !ok {
		return "Invalid interval: " + interval
	}
	a.interval, a.text = d, strings.ToUpper(interval)
	return ""
}

// filter is a $filter: which dimensions split the answer, and what of each is wanted.
type filter struct {
	split  []string            // lower case
	wanted map[string][]string // empty or "*": all
}

var (
	clause     = regexp.MustCompile(`(?i)^\s*\(?\s*([A-Za-z0-9_ ]+?)\s+eq\s+'([^']*)'\s*\)?\s*$`)
	connective = regexp.MustCompile(`(?i)\s+(?:and|or)\s+`)
)

func parseFilter(text string) (filter, string) {
	f := filter{wanted: map[string][]string{}}
	if strings.TrimSpace(text) == "" {
		return f, ""
	}
	for _, part := range connective.Split(text, -1) {
		m := clause.FindStringSubmatch(part)
		if m == nil {
			return f, "Invalid filter: " + text
		}
		name := strings.ToLower(m[1])
		if _, ok := f.wanted[name]; !ok {
			f.split = append(f.split, name)
		}
		f.wanted[name] = append(f.wanted[name], m[2])
	}
	sort.Strings(f.split)
	return f, ""
}

// key is the group that a series falls into; ok is false when it is filtered out.
func (f filter) key(dims map[string]string) (values []string, ok bool) {
	for _, name := range f.split {
		value, has := "", false
		for k, v := range dims {
			if strings.EqualFold(k, name) {
				value, has = v, true
			}
		}
		admitted := false
		for _, w := range f.wanted[name] {
			admitted = admitted || w == "*" || strings.EqualFold(w, value)
		}
		if !has || !admitted {
			return nil, false
		}
		values = append(values, value)
	}
	return values, true
}

// timeseries measures one metric, split as the filter says.
func (c *call) timeseries(r resourceID, d definition, a ask) []any {
	aggregations := a.aggregations
	if aggregations == nil {
		aggregations = []string{strings.ToLower(d.primary)}
	}
	type group struct {
		values []string
		by     map[string]map[int64][]float64 // aggregation → bucket → what the members say
	}
	groups := map[string]*group{}
	for _, aggregation := range aggregations {
		for _, s := range c.measured(r, d, aggregation, a) {
			values, ok := a.filter.key(s.Dimensions)
			if !ok {
				continue
			}
			k := strings.Join(values, "\x00")
			if groups[k] == nil {
				groups[k] = &group{values: values, by: map[string]map[int64][]float64{}}
			}
			if groups[k].by[aggregation] == nil {
				groups[k].by[aggregation] = map[int64][]float64{}
			}
			for _, p := range s.Points {
				if !p.NoData && !p.Time.Before(a.from) && p.Time.Before(a.to) {
					b := int64(p.Time.Sub(a.from) / a.interval)
					groups[k].by[aggregation][b] = append(groups[k].by[aggregation][b], p.Value)
				}
			}
		}
	}
	out := []any{}
	keys := make([]string, 0, len(groups))
	for k := range groups {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		meta := []any{}
		for i, name := range a.filter.split {
			meta = append(meta, Doc{"name": Doc{"value": name, "localizedValue": name}, "value": groups[k].values[i]})
		}
		data := []any{}
		for b, at := int64(0), a.from; at.Before(a.to); b, at = b+1, at.Add(a.interval) {
			point := Doc{"timeStamp": at.Format(time.RFC3339)}
			for _, aggregation := range aggregations {
				if values := groups[k].by[aggregation][b]; values != nil {
					point[aggregation] = combine(aggregation, values)
				}
			}
			data = append(data, point)
		}
		out = append(out, Doc{"metadatavalues": meta, "data": data})
	}
	return out
}

// combine puts members of a group, or minutes of an interval, together.
func combine(aggregation string, values []float64) float64 {
	sum, low, high := 0.0, math.Inf(1), math.Inf(-1)
	for _, v := range values {
		sum, low, high = sum+v, math.Min(low, v), math.Max(high, v)
	}
	switch aggregation {
	case "average":
		return sum / float64(len(values))
	case "minimum":
		return low
	case "maximum":
		return high
	}
	return sum
}
