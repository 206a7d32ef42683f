package azure

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// nextHops finds out who owns the addresses that routes point at: an Azure
// Firewall, an interface of somebody's appliance, or an internal load balancer.
func (c *collector) nextHops(ctx context.Context) {
	c.mu.Lock()
	az := &c.w.Azure
	known := addressesOf(az)
	var unknown []netip.Addr
	wantFirewall := false
	for _, id := range sorted(az.RouteTables) {
		for _, route := range az.RouteTables[id].Routes {
			if strings.EqualFold(route.NextHopType, "VirtualAppliance") && route.NextHop.IsValid() && known[route.NextHop] == "" && !slices.Contains(unknown, route.NextHop) {
				unknown = append(unknown, route.NextHop)
			}
		}
	}
	// Firewalls matter also where the route to them is what is missing.
	scopes := c.scopes()
	for _, id := range sorted(az.VNets) {
		for _, subnet := range az.VNets[id].SubnetIDs {
			if strings.EqualFold(Name(subnet), "AzureFirewallSubnet") {
				wantFirewall = true
			}
		}
	}
	if az.Cluster != nil && strings.EqualFold(az.Cluster.OutboundType, "userDefinedRouting") {
		wantFirewall = true
	}
	hubs := c.hubs(unknown)
	c.mu.Unlock()
	if len(unknown) == 0 && !wantFirewall {
		return
	}
	if len(hubs) > 0 {
		c.want(ctx, hubs...)
		c.work.Wait()
		c.mu.Lock()
		scopes = c.scopes()
		c.mu.Unlock()
	}
	c.eachScope(ctx, scopes, "Microsoft.Network/azureFirewalls", func(x value) bool {
		f := decodeFirewall(x)
		if slices.Contains(unknown, f.PrivateIP) {
			unknown = slices.DeleteFunc(unknown, func(a netip.Addr) bool { return a == f.PrivateIP })
			return true
		}
		// A firewall beside the nodes, or one that has lost its address, is worth knowing.
		return c.near(x)
	})
	c.work.Wait()
	if len(unknown) == 0 {
		return
	}
	c.eachScope(ctx, scopes, "Microsoft.Network/networkInterfaces", func(x value) bool {
		return slices.ContainsFunc(decodeNIC(x).IPConfigs, func(i model.IPConfig) bool {
			if !slices.Contains(unknown, i.Addr) {
				return false
			}
			unknown = slices.DeleteFunc(unknown, func(a netip.Addr) bool { return a == i.Addr })
			return true
		})
	})
	c.work.Wait()
	if len(unknown) > 0 {
		c.eachScope(ctx, scopes, "Microsoft.Network/loadBalancers", func(x value) bool {
			return slices.ContainsFunc(decodeLoadBalancer(x).Frontends, func(f model.Frontend) bool {
				return slices.Contains(unknown, f.PrivateIP)
			})
		})
	}
	// An appliance that is a machine: whether it runs.
	c.mu.Lock()
	var vms []string
	for _, id := range sorted(az.NICs) {
		if vm := az.NICs[id].VMID; vm != "" && !strings.Contains(vm, "/virtualmachinescalesets/") && az.VMSSs[vm] == nil {
			vms = append(vms, vm)
		}
	}
	c.mu.Unlock()
	c.want(ctx, vms...)
	c.work.Wait()
}

// unused reads the route tables and NAT gateways beside the networks and the
// machines that nothing refers to: a table that is not associated is invisible
// from the subnet that lacks it. Not being allowed to look is no gap; what is
// referred to has been read.
func (c *collector) unused(ctx context.Context) {
	c.mu.Lock()
	groups := []string{"/subscriptions/" + c.where.sub + "/resourceGroups/" + c.where.nodeGroup}
	for _, id := range sorted(c.w.Azure.VNets) {
		if group := ParseID(id).group(); !slices.ContainsFunc(groups, func(g string) bool { return strings.EqualFold(g, group) }) {
			groups = append(groups, group)
		}
	}
	c.mu.Unlock()
	for _, group := range groups {
		for _, typ := range []string{"Microsoft.Network/routeTables", "Microsoft.Network/natGateways"} {
			c.spawn(func() {
				path := group + "/providers/" + typ
				var e *Error
				if err := c.tryListing(ctx, path, typ, nil); err != nil && !(errors.As(err, &e) && e.Status == http.StatusNotFound) {
					// Nothing that the cluster refers to is missing for it: a gap, and the kind is no less complete.
					c.gap(model.Gap{What: "unused " + plural(words(typ)) + " in resource group " + ParseID(path).Group, Reason: reason(err), Permission: permission(err, typ, path)})
				}
			})
		}
	}
}

// near says that a firewall stands in one of the networks that were read.
func (c *collector) near(x value) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, config := range x.props().get("ipConfigurations").list() {
		if c.w.Azure.VNets[parent(config.props().ref("subnet"))] != nil {
			return true
		}
	}
	// One without addresses was stopped; it still lives in the group of its network.
	if len(x.props().get("ipConfigurations").list()) > 0 {
		return false
	}
	group := strings.ToLower(ParseID(x.get("id").str()).group())
	for id := range c.w.Azure.VNets {
		if strings.ToLower(ParseID(id).group()) == group {
			return true
		}
	}
	return false
}

// scope is a subscription and the resource groups of the networks in it.
type scope struct {
	sub    string
	groups []string
}

// scopes are where the networks that were read live. The lock is held.
func (c *collector) scopes() []scope {
	var out []scope
	for _, id := range sorted(c.w.Azure.VNets) {
		parsed := ParseID(id)
		sub, group := "/subscriptions/"+parsed.Subscription, parsed.group()
		i := slices.IndexFunc(out, func(s scope) bool { return s.sub == sub })
		if i < 0 {
			out = append(out, scope{sub: sub})
			i = len(out) - 1
		}
		if !slices.Contains(out[i].groups, group) {
			out[i].groups = append(out[i].groups, group)
		}
	}
	return out
}

// eachScope lists a type over whole subscriptions, or where that is not allowed
// over the networks' groups, and keeps the elements that pick chooses.
func (c *collector) eachScope(ctx context.Context, scopes []scope, typ string, pick func(value) bool) {
	read := func(path string) error {
		return c.pages(ctx, path+"/providers/"+typ, typ, nil, func(x value) error {
			if !pick(x) {
				return nil
			}
			return c.keep(ctx, x.get("id").id(), typ, x)
		})
	}
	for _, s := range scopes {
		err := read(s.sub)
		if err == nil {
			continue
		}
		for _, group := range s.groups {
			if err := read(group); err != nil {
				c.failed(kindOf(typ), group, typ, err)
			}
		}
	}
}

// hubs are the peered networks that hold one of the addresses, or whose
// gateways are used. The lock is held.
func (c *collector) hubs(addrs []netip.Addr) []string {
	var out []string
	for _, id := range sorted(c.w.Azure.VNets) {
		v := c.w.Azure.VNets[id]
		for _, p := range v.Peerings {
			if p.RemoteVNetID == "" || c.w.Azure.VNets[p.RemoteVNetID] != nil || slices.Contains(out, p.RemoteVNetID) {
				continue
			}
			holds := p.UseRemoteGateways
			for _, prefix := range p.RemotePrefixes {
				holds = holds || slices.ContainsFunc(addrs, prefix.Contains)
			}
			if holds {
				out = append(out, p.RemoteVNetID)
			}
		}
	}
	return out
}

// gateways reads the VPN and ExpressRoute gateways that the networks use, and
// what routes those have learned.
func (c *collector) gateways(ctx context.Context) {
	const typ = "Microsoft.Network/virtualNetworkGateways"
	c.mu.Lock()
	var groups []string
	certain := map[string]bool{} // a group where there is a gateway: not being allowed to see it is a gap
	for _, id := range sorted(c.w.Azure.VNets) {
		group := ParseID(id).group()
		if !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
		for _, subnet := range c.w.Azure.VNets[id].SubnetIDs {
			if strings.EqualFold(Name(subnet), "GatewaySubnet") {
				certain[group] = true
			}
		}
	}
	groups = slices.DeleteFunc(groups, func(group string) bool {
		key := group + "/gateways"
		defer func() { c.asked[key] = true }()
		return c.asked[key]
	})
	c.mu.Unlock()
	for _, group := range groups {
		c.spawn(func() {
			var ids []string
			path := group + "/providers/" + typ
			err := c.pages(ctx, path, typ, nil, func(x value) error {
				id := x.get("id").id()
				ids = append(ids, id)
				return c.keep(ctx, id, typ, x)
			})
			if err != nil && certain[group] {
				c.failed("vnetgateway", path, typ, err)
			}
			for _, id := range ids {
				c.learned(ctx, id)
			}
		})
	}
}

// learned asks a gateway for its learned routes: a POST that changes nothing.
func (c *collector) learned(ctx context.Context, id string) {
	const typ = "Microsoft.Network/virtualNetworkGateways/getLearnedRoutes"
	prefixes := []netip.Prefix{}
	err := c.call(ctx, func() error {
		x, header, err := c.arm.send(ctx, http.MethodPost, id+"/getLearnedRoutes", typ, nil)
		for err == nil && x.missing() {
			next := header.Get("Location")
			if next == "" {
				return errors.New("malformed answer: 202 without a Location")
			}
			if !sameHost(next, c.arm.endpoint) {
				return errors.New("malformed answer: Location leads to another host")
			}
			select {
			case <-time.After(pause(header.Get("Retry-After"))):
			case <-ctx.Done():
				return ctx.Err()
			}
			x, header, err = c.arm.once(ctx, http.MethodGet, next, "", nil)
		}
		if err != nil {
			return err
		}
		for _, route := range x.get("value").list() {
			if p := route.get("network").prefix(); p.IsValid() && !strings.EqualFold(route.get("origin").str(), "Network") {
				prefixes = append(prefixes, p)
			}
		}
		return x.err()
	})
	if err != nil {
		c.failed("vnetgateway", id, typ, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if g := c.w.Azure.Gateways[id]; g != nil {
		g.Learned = prefixes
	}
}

// pause is how long to wait for a long-running operation.
func pause(retryAfter string) time.Duration {
	if d, err := time.ParseDuration(retryAfter + "s"); err == nil && d > 0 && d <= 15*time.Second {
		return d
	}
	return time.Second
}
