package azure

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// onNeed reads what only some questions need.
func (c *collector) onNeed(ctx context.Context) {
	if c.o.Host != "" {
		c.spawn(func() { c.privateZones(ctx) })
	}
	if c.o.Metrics {
		c.metrics(ctx)
	}
	if c.o.Advisor {
		c.spawn(func() {
			const typ = "Microsoft.Advisor/recommendations"
			path := "/subscriptions/" + c.where.sub + "/providers/" + typ
			c.listing(ctx, path, typ, nil)
		})
	}
}

// privateZones reads the zones that could hold the name, their links and records.
func (c *collector) privateZones(ctx context.Context) {
	const typ = "Microsoft.Network/privateDnsZones"
	path := "/subscriptions/" + c.where.sub + "/providers/" + typ
	var ids []string
	err := c.pages(ctx, path, typ, nil, func(x value) error {
		if !holds(x.get("name").str(), c.o.Host) {
			return nil
		}
		id := x.get("id").id()
		ids = append(ids, id)
		return c.keep(ctx, id, typ, x)
	})
	if err != nil {
		c.failed("privatezone", path, typ, err)
	}
	for _, id := range ids {
		c.spawn(func() { c.listing(ctx, id+"/virtualNetworkLinks", typ+"/virtualNetworkLinks", nil) })
		c.spawn(func() {
			err := c.pages(ctx, id+"/ALL", typ+"/ALL", nil, func(x value) error {
				return c.keep(ctx, x.get("id").id(), x.get("type").str(), x)
			})
			if err != nil {
				c.failed("privatezone", id+"/ALL", typ+"/ALL", err)
			}
		})
	}
}

// holds says that a name may be answered from a zone, directly or through the
// privatelink name that Azure's public DNS points it to.
func holds(zone, host string) bool {
	zone = strings.ToLower(strings.TrimSuffix(zone, "."))
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, z := range []string{zone, strings.TrimPrefix(zone, "privatelink.")} {
		if host == z || strings.HasSuffix(host, "."+z) {
			return true
		}
	}
	return false
}

// metrics reads how many source ports are in use, and how many connections failed for want of one.
func (c *collector) metrics(ctx context.Context) {
	type query struct{ id, names, aggregation, filter string }
	var queries []query
	c.mu.Lock()
	for _, id := range sorted(c.w.Azure.LoadBalancers) {
		if lb := c.w.Azure.LoadBalancers[id]; len(lb.Outbound) > 0 {
			queries = append(queries,
				query{id, "SnatConnectionCount", "Total", "ConnectionState eq '*' and BackendIPAddress eq '*'"},
				query{id, "UsedSnatPorts,AllocatedSnatPorts", "Average", "BackendIPAddress eq '*' and ProtocolType eq '*'"})
		}
	}
	for _, id := range sorted(c.w.Azure.NATGateways) {
		queries = append(queries, query{id, "SNATConnectionCount", "Total", "ConnectionState eq '*'"})
	}
	c.mu.Unlock()
	end := c.o.Resolved.UTC().Truncate(time.Minute)
	span := end.Add(-30*time.Minute).Format(time.RFC3339) + "/" + end.Format(time.RFC3339)
	for _, q := range queries {
		c.spawn(func() {
			const typ = "Microsoft.Insights/metrics"
			path := q.id + "/providers/" + typ
			var series []model.Series
			err := c.call(ctx, func() error {
				x, err := c.arm.get(ctx, path, typ, url.Values{
					"metricnames": {q.names}, "aggregation": {q.aggregation}, "$filter": {q.filter},
					"interval": {"PT1M"}, "timespan": {span},
				})
				if err != nil {
					return err
				}
				for _, m := range x.get("value").list() {
					series = append(series, decodeMetric(m)...)
				}
				return x.err()
			})
			if err != nil {
				c.failed("metric", path, typ, err)
				return
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			c.w.Azure.Metrics = append(c.w.Azure.Metrics, series...)
		})
	}
}
