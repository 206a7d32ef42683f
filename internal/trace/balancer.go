package trace

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Balanced is the rule of a load balancer that serves a frontend address and port,
// with the probe that takes backends out; nil where there is none. A rule for port
// 0 and all protocols (HA ports) serves every port.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-ha-ports-overview
func Balanced(lb *model.LoadBalancer, to netip.AddrPort, udp bool) (*model.LBRule, *model.LBProbe) {
	protocol := "tcp"
	if udp {
		protocol = "udp"
	}
	for i := range lb.Rules {
		r := &lb.Rules[i]
		all := strings.EqualFold(r.Protocol, "all")
		if !all && (!strings.EqualFold(r.Protocol, protocol) || r.FrontendPort != int(to.Port())) || !fronts(lb, r.FrontendID, to.Addr()) {
			continue
		}
		for k := range lb.Probes {
			if strings.EqualFold(lastOf(r.ProbeID), lb.Probes[k].Name) {
				return r, &lb.Probes[k]
			}
		}
		return r, nil
	}
	return nil, nil
}

// fronts says that a frontend has the address.
func fronts(lb *model.LoadBalancer, id string, addr netip.Addr) bool {
	for _, f := range lb.Frontends {
		if strings.EqualFold(lastOf(id), f.Name) && f.PrivateIP.Unmap() == addr.Unmap() {
			return true
		}
	}
	return false
}

// balanced is the step at an internal load balancer: the rule is known, the backend is its choice.
func (t *tracer) balanced(lb *model.LoadBalancer) model.Step {
	at := netip.AddrPortFrom(t.flow.Dst, t.flow.DstPort)
	step := model.Step{
		Hop: model.HopLB, At: model.NewRef("loadbalancer", lb.Name), Title: "internal load balancer " + lb.Name,
		Reason: fmt.Sprintf("no rule of it that was read serves %s", at),
	}
	rule, probe := Balanced(lb, at, t.flow.Protocol == "udp")
	if rule == nil {
		return step
	}
	step.Reason = fmt.Sprintf("rule %s sends it to port %d of a backend of pool %s; which one is its choice", rule.Name, rule.BackendPort, lastOf(rule.PoolID))
	if probe != nil {
		step.Reason += fmt.Sprintf(", among those that answer probe %s", probe.Name)
	}
	return step
}
