package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// decodeMetric reads one element of a metrics answer. A point without a value
// is left out: no data is not zero.
func decodeMetric(x value) []model.Series {
	name := x.get("name", "value").str()
	unit := x.get("unit").str()
	resource, _, _ := strings.Cut(Key(x.get("id").str()), "/providers/microsoft.insights/")
	var out []model.Series
	for _, series := range x.get("timeseries").list() {
		dimension := map[string]string{}
		for _, d := range series.get("metadatavalues").list() {
			dimension[strings.ToLower(d.get("name", "value").str())] = d.get("value").str()
		}
		byAggregate := map[string]*model.Series{}
		for _, point := range series.get("data").list() {
			at := point.get("timeStamp").moment()
			for _, aggregate := range []string{"Total", "Average", "Maximum", "Minimum", "Count"} {
				v, ok := point.get(strings.ToLower(aggregate)).float()
				if !ok {
					continue
				}
				s := byAggregate[aggregate]
				if s == nil {
					s = &model.Series{Resource: resource, Metric: name, Unit: unit, Aggregate: aggregate, Dimension: dimension}
					byAggregate[aggregate] = s
				}
				s.Points = append(s.Points, model.Point{At: at, Value: v})
			}
		}
		for _, aggregate := range sorted(byAggregate) {
			out = append(out, *byAggregate[aggregate])
		}
	}
	return out
}

// measure is one request to Azure Monitor. All metrics of a request must have the
// filter's dimensions and the aggregation.
type measure struct {
	names, aggregation, filter string
	running                    bool // the minute that is not over as well: of an average it is no less true
}

// What is asked of each kind of device. Names, aggregations and dimensions:
// https://learn.microsoft.com/azure/azure-monitor/reference/metrics-index
var (
	ofBalancer = []measure{
		{names: "SnatConnectionCount", aggregation: "Total", filter: "ConnectionState eq '*' and BackendIPAddress eq '*'"},
		{names: "UsedSnatPorts,AllocatedSnatPorts", aggregation: "Average", filter: "BackendIPAddress eq '*' and ProtocolType eq '*'"},
	}
	ofInbound = []measure{
		{names: "DipAvailability", aggregation: "Average", filter: "BackendIPAddress eq '*' and BackendPort eq '*' and FrontendIPAddress eq '*' and FrontendPort eq '*'", running: true},
	}
	ofNATGateway = []measure{
		{names: "SNATConnectionCount", aggregation: "Total", filter: "ConnectionState eq '*'"},
		{names: "TotalConnectionCount", aggregation: "Total", filter: "Protocol eq '*'"},
		{names: "PacketDropCount", aggregation: "Total", filter: ""},
		{names: "DatapathAvailability", aggregation: "Average", filter: ""},
	}
	ofFirewall = []measure{
		{names: "SNATPortUtilization", aggregation: "Average,Maximum", filter: "Protocol eq '*'"},
		{names: "FirewallHealth", aggregation: "Average", filter: "Status eq '*' and Reason eq '*'"},
	}
	ofDisk = measure{names: "OS Disk IOPS Consumed Percentage,OS Disk Bandwidth Consumed Percentage,OS Disk Queue Depth,OS Disk Used Burst IO Credits Percentage", aggregation: "Average,Maximum", filter: ""}
	// Those of all disks of a machine together: the size of the machine has limits of its own.
	ofVMDisks = measure{names: "VM Uncached IOPS Consumed Percentage,VM Uncached Bandwidth Consumed Percentage,VM Cached IOPS Consumed Percentage,VM Cached Bandwidth Consumed Percentage", aggregation: "Average,Maximum", filter: ""}
	ofNIC     = measure{names: "Network Out Total,Network In Total", aggregation: "Total", filter: ""}
	ofVM      = measure{names: "Percentage CPU,Inbound Flows,Outbound Flows", aggregation: "Average,Maximum", filter: ""}
)

// metrics asks for those of a device, once, as soon as it is known. The lock is held.
func (c *collector) metrics(ctx context.Context, id string) {
	az := &c.w.Azure
	if !c.o.Metrics || c.asked["metrics:"+id] {
		return
	}
	var list []measure
	switch {
	case az.LoadBalancers[id] != nil && len(az.LoadBalancers[id].Outbound) > 0:
		list = ofBalancer
	case az.LoadBalancers[id] != nil && len(az.LoadBalancers[id].Rules) > 0 && slices.ContainsFunc(az.LoadBalancers[id].Frontends, func(f model.Frontend) bool { return f.PrivateIP.IsValid() }):
		list = ofInbound
	case az.NATGateways[id] != nil:
		list = ofNATGateway
	case az.Firewalls[id] != nil:
		list = ofFirewall
	default:
		return
	}
	c.asked["metrics:"+id] = true
	for _, m := range list {
		c.spawn(func() { c.measure(ctx, id, m) })
	}
}

// load asks for the metrics of scale sets: of those whose machines are asked for,
// machine by machine.
func (c *collector) load(ctx context.Context) {
	sets := map[string][]string{}
	for _, node := range sorted(c.w.Kube.Nodes) {
		set, name := model.MachineOf(c.w.Kube.Nodes[node].ProviderID)
		switch {
		case set == "":
		case c.o.Fleet:
			sets[set] = []string{"*"}
		case slices.Contains(c.o.Machines, node):
			sets[set] = append(sets[set], name)
		}
	}
	for _, set := range sorted(sets) {
		each := make([]string, len(sets[set]))
		for i, name := range sets[set] {
			each[i] = "VMName eq '" + name + "'"
		}
		for _, m := range []measure{ofDisk, ofVMDisks, ofNIC, ofVM} {
			m.filter = strings.Join(each, " or ")
			c.spawn(func() { c.measure(ctx, set, m) })
		}
	}
}

// measure reads metrics of the last half hour. A region whose metric has none of
// the filter's dimensions says 400: asked again without, it gives the sum of all.
func (c *collector) measure(ctx context.Context, id string, m measure) {
	const typ = "Microsoft.Insights/metrics"
	path := id + "/providers/" + typ
	end := c.o.Resolved.UTC().Truncate(time.Minute)
	if m.running {
		end = end.Add(time.Minute)
	}
	query := url.Values{
		"metricnames": {m.names}, "aggregation": {m.aggregation}, "interval": {"PT1M"},
		"timespan": {end.Add(-30*time.Minute).Format(time.RFC3339) + "/" + end.Format(time.RFC3339)},
	}
	if m.filter != "" {
		query.Set("$filter", m.filter)
		query.Set("top", "2000") // ten series, if nothing is said
	}
	ctx, cancel := context.WithTimeout(ctx, c.besideLimit())
	defer cancel()
	series, err := c.series(ctx, path, typ, query)
	var e *Error
	if errors.As(err, &e) && e.Status == http.StatusBadRequest && m.filter != "" {
		query.Del("$filter")
		query.Del("top")
		series, err = c.series(ctx, path, typ, query)
	}
	if err != nil {
		c.failed("metric", path, typ, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.w.Azure.Metrics = append(c.w.Azure.Metrics, series...)
}

func (c *collector) series(ctx context.Context, path, typ string, query url.Values) (out []model.Series, err error) {
	err = c.call(ctx, func() error {
		x, err := c.arm.get(ctx, path, typ, query)
		if err != nil {
			return err
		}
		for _, m := range x.get("value").list() {
			out = append(out, decodeMetric(m)...)
		}
		if err := x.err(); err != nil {
			return fmt.Errorf("malformed answer: %w", err)
		}
		return nil
	})
	return out, err
}
