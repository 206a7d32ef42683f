package resource

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// defaultIdle is the idle time-out, in minutes, of NAT gateways and outbound rules
// that do not say, and of Azure Firewall, where nobody can set it (TCP, outbound).
// https://learn.microsoft.com/azure/firewall/tcp-session-behavior
const defaultIdle = 4

// idleTimeout is for how long the device that translates the question's source
// remembers a silent connection. It does not run out: what a connection keeps
// open in silence for longer does.
func idleTimeout(c *model.Case) []Use {
	var out []Use
	for i := range c.Paths {
		minutes, after, ok := idleOf(c, c.Paths[i].Device)
		if !ok || slices.ContainsFunc(out, func(u Use) bool { return u.Of == c.Paths[i].Device }) {
			continue
		}
		out = append(out, Use{
			Kind: "idle-timeout", Name: "idle time-out", Of: c.Paths[i].Device, Unit: "min", Used: float64(minutes), State: Room, Source: "arm",
			Says: []string{fmt.Sprintf("kept connections are forgotten after %d min without a byte by %s; %s", minutes, c.Paths[i].Device, after)},
		})
	}
	return out
}

// idleOf is a device's idle time-out, and what happens to what comes later.
func idleOf(c *model.Case, device model.Ref) (minutes int, after string, ok bool) {
	az := &c.World.Azure
	switch device.Kind() {
	case "natgateway":
		for _, g := range az.NATGateways {
			if strings.EqualFold(g.Name, device.Part(0)) {
				return cmp.Or(g.IdleMinutes, defaultIdle), "what comes later is answered with a reset", true
			}
		}
	case "loadbalancer":
		return outboundIdle(az, device)
	case "firewall":
		for _, f := range az.Firewalls {
			if strings.EqualFold(f.Name, device.Part(0)) {
				return defaultIdle, "it closes what was silent for longer (a support request raises that to 15 min)", true
			}
		}
	}
	return 0, "", false
}

func outboundIdle(az *model.Azure, device model.Ref) (minutes int, after string, ok bool) {
	for _, lb := range az.LoadBalancers {
		for _, r := range lb.Outbound {
			if !strings.EqualFold(lb.Name, device.Part(0)) || !strings.EqualFold(r.Name, device.Part(1)) {
				continue
			}
			after := "what comes later is dropped without a word: enableTcpReset is off"
			if r.TCPReset {
				after = "both ends get a reset then"
			}
			return cmp.Or(r.IdleMinutes, defaultIdle), after, true
		}
	}
	return 0, "", false
}
