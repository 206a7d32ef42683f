package azure

import (
	"context"
	"net/url"
	"strings"
	"time"
)

// onNeed reads what only some questions need.
func (c *collector) onNeed(ctx context.Context) {
	if c.o.Host != "" {
		c.spawn(func() { c.privateZones(ctx) })
	}
	c.sizes(ctx)
}

// advice reads what Advisor recommends for what is in the node resource group.
func (c *collector) advice(ctx context.Context) {
	if !c.o.Advisor || c.where.nodeGroup == "" {
		return
	}
	c.spawn(func() {
		const typ = "Microsoft.Advisor/recommendations"
		path := "/subscriptions/" + c.where.sub + "/providers/" + typ
		ctx, cancel := context.WithTimeout(ctx, c.besideLimit())
		defer cancel()
		c.listing(ctx, path, typ, url.Values{"$filter": {"ResourceGroup eq '" + c.where.nodeGroup + "'"}})
	})
}

// besideLimit bounds what is read beside the configuration and answers no
// question alone: nobody waits for long for it.
func (c *collector) besideLimit() time.Duration { return min(c.o.CallTimeout, 5*time.Second) }

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
