package rules

import (
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var firewallPorts = diagnose.Rule{
	ID: "firewall-ports",
	Doc: `The firewall has no source port left towards this destination

An Azure Firewall has 2,496 source ports for each public address and instance (at least two), an appliance of another kind has what its own rule
gives. Each connection to the same destination takes one. When all are taken, new connections there are dropped silently, from every client
behind the firewall; other destinations, and everything inside the network, go on working. While ports come free one by one, it fails now and then.

Look-alikes: a rule that denies never lets anything through. A firewall that is overloaded or down is so for all destinations. Where a load balancer or
NAT gateway translates, its own ports run out.

Mend it by keeping connections open and using them again, by more public addresses (AKS advises 20 for production), or by a NAT gateway on AzureFirewallSubnet.

Sources: https://learn.microsoft.com/azure/firewall/firewall-known-issues, https://learn.microsoft.com/azure/firewall/metrics,
https://learn.microsoft.com/azure/aks/limit-egress-traffic
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-snat-exhaustion"},
	Needs:  []string{"probe", "probe:here", "firewall", "routetable", "metric"},
	Sees:   noPort,
	Run: func(p *diagnose.Pass) {
		reportSharedPorts(p, "firewall", "snat-firewall", "Firewall",
			"Each connection to the same address and port takes one of the ports of the firewall's public addresses; without one left the next is dropped silently.")
	},
}
