package diagnose

import "github.com/podpath/podpath/internal/model"

// Pruned is a world without empty entries. A snapshot comes from anybody, and
// may say null where an object belongs; no rule should have to ask.
func Pruned(w model.World) model.World {
	w.Nodes = without(w.Nodes)
	k := &w.Kube
	k.Namespaces, k.Pods, k.Nodes, k.Services = without(k.Namespaces), without(k.Pods), without(k.Nodes), without(k.Services)
	k.EndpointSlices, k.Policies, k.Workloads = without(k.EndpointSlices), without(k.Policies), without(k.Workloads)
	a := &w.Azure
	a.VNets, a.Subnets, a.NSGs, a.RouteTables = without(a.VNets), without(a.Subnets), without(a.NSGs), without(a.RouteTables)
	a.NATGateways, a.PublicIPs, a.NICs, a.VMSSs = without(a.NATGateways), without(a.PublicIPs), without(a.NICs), without(a.VMSSs)
	a.LoadBalancers, a.Firewalls, a.FirewallPolicies, a.Gateways = without(a.LoadBalancers), without(a.Firewalls), without(a.FirewallPolicies), without(a.Gateways)
	return w
}

// without is the map itself unless it holds an empty entry.
func without[K comparable, V any](m map[K]*V) map[K]*V {
	empty := 0
	for _, v := range m {
		if v == nil {
			empty++
		}
	}
	if empty == 0 {
		return m
	}
	out := make(map[K]*V, len(m)-empty)
	for k, v := range m {
		if v != nil {
			out[k] = v
		}
	}
	return out
}
