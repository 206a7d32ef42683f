package rules

import (
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var natgwPorts = diagnose.Rule{
	ID: "natgw-ports",
	Doc: `The NAT gateway has no source port left towards this destination

A NAT gateway has 64,512 source ports for each of its public addresses. All machines of its subnets share them, and each connection to the
same destination address and port takes one; after it has closed, for a minute more. When all are taken, new connections to that
destination are dropped silently, from every node behind the gateway; other destinations go on working. While ports come free one by
one, it fails now and then.

Look-alikes: a load balancer's ports run out on one node, not on all. A destination that does not accept the cluster's address never answers it. A
destination that is down answers nobody. A gateway that is itself ill shows in DatapathAvailability, and fails to all destinations.

Mend it by keeping connections open and using them again, by more public addresses (up to 16), or by private endpoints, which need no source port at all.

Sources: https://learn.microsoft.com/azure/nat-gateway/nat-gateway-resource#nat-gateway-and-source-network-address-translation,
https://learn.microsoft.com/azure/nat-gateway/nat-metrics
`,
	Hop:    model.HopNATGW,
	Covers: []string{"natgw-snat-exhaustion"},
	Needs:  []string{"probe", "probe:here", "natgateway", "subnet", "metric"},
	Sees:   noPort,
	Run: func(p *diagnose.Pass) {
		reportSharedPorts(p, "natgateway", "snat-natgw", "NAT gateway",
			"Each connection to the same address and port takes one of the ports that all machines behind the gateway share; without one left the next is dropped silently.")
	},
}

// withAgain lets the last command of a remedy be followed by the question.
func withAgain(p *diagnose.Pass, fix []diagnose.Command) []diagnose.Command {
	for i := len(fix) - 1; i >= 0; i-- {
		if fix[i].Line != "" {
			fix[i].Verify = again(p)
			break
		}
	}
	if len(fix) == 0 {
		return []diagnose.Command{{Text: "Let the application keep its connections and use them again (a pool, keep-alive), or add public addresses to the device"}}
	}
	return fix
}
