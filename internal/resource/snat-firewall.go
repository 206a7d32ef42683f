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

// firewallPorts are the source ports that an Azure Firewall has for each public
// address and instance; it runs at least two instances.
// https://learn.microsoft.com/azure/firewall/firewall-known-issues
const (
	firewallPorts = 2496
	instances     = 2
)

// degraded is the utilisation from which Azure calls a firewall's health degraded.
// https://learn.microsoft.com/azure/firewall/metrics
const degraded = 95

// snatFirewall is the share of their source ports that the Azure Firewalls use.
func snatFirewall(c *model.Case) []Use {
	var out []Use
	for _, id := range slices.Sorted(maps.Keys(c.World.Azure.Firewalls)) {
		f := c.World.Azure.Firewalls[id]
		if !onTheWay(c, model.NewRef("firewall", f.Name)) {
			continue
		}
		if u, ok := firewallUse(c, id, f); ok {
			out = append(out, u)
		}
	}
	return out
}

func firewallUse(c *model.Case, id string, f *model.Firewall) (Use, bool) {
	ref := model.NewRef("firewall", f.Name)
	level := find(c, want{id, "SNATPortUtilization", "Maximum", nil})
	if len(level) == 0 {
		level = find(c, want{id, "SNATPortUtilization", "Average", nil})
	}
	u := Use{Kind: "snat-firewall", Name: "source ports in use", Of: ref, Unit: "%", Used: last(level), Limit: 100, Pace: pace(level), Source: "metric", Remedy: firewallRemedy(f)}
	if math.IsNaN(u.Used) {
		return u, false
	}
	n := max(len(f.PublicIPs), 1)
	u.Says = append(u.Says, fmt.Sprintf("%s × %d ports × at least %d instances = %d ports towards each destination", plural(n, "public address", "public addresses"), firewallPorts, instances, n*firewallPorts*instances))
	for _, s := range find(c, want{id, "FirewallHealth", "Average", nil}) {
		if status := Dimension(s, "Status"); !strings.EqualFold(status, "Healthy") && s.Points[len(s.Points)-1].Value > 0 {
			u.Says = append(u.Says, fmt.Sprintf("FirewallHealth: %s, because of %s", status, Dimension(s, "Reason")))
		}
	}
	if u.Used > degraded {
		u.State = Out
	}
	h := held(c, nodesOf(c), outward)
	u.Who = toThe(c, ref, h)
	u.settle()
	return u, true
}

// toThe are those who hold connections through a device, of which the unit is not its own.
func toThe(c *model.Case, ref model.Ref, h holding) []Share {
	to := asked(c, ref)
	if len(to) == 0 {
		return h.who
	}
	return held(c, nodesOf(c), func(one model.Holder) bool { return slices.Contains(to, flow{one.To, one.UDP}) }).who
}

// firewallRemedy adds public addresses to the firewall, or puts a NAT gateway before it.
func firewallRemedy(f *model.Firewall) []diagnose.Command {
	name := fmt.Sprintf("%s-ip-%d", f.Name, len(f.PublicIPs)+1)
	return []diagnose.Command{
		{Text: "At once: let the application keep its connections and use them again (a pool, keep-alive); restart the pods that leak them"},
		{Text: fmt.Sprintf("Make another public address: each adds %d ports for each instance", firewallPorts), Line: diagnose.Az("network public-ip create", f.ID, "--name", name, "--sku", "Standard", "--allocation-method", "Static")},
		{Text: "Give it to the firewall", Line: diagnose.Az("network firewall ip-config create", f.ID, "--firewall-name", f.Name, "--name", name, "--public-ip-address", name)},
		{Text: fmt.Sprintf("Or put a NAT gateway on AzureFirewallSubnet: %d ports for each of its addresses", natPorts)},
	}
}
