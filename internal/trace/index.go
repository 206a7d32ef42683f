package trace

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/gaissmai/bart"

	"github.com/podpath/podpath/internal/cni"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

// Index is a World prepared for tracing. It is read-only after Build and may be
// used by several goroutines at once.
type Index struct {
	w  *model.World
	az *model.Azure

	policies *policy.Index
	podByIP  map[netip.Addr]*model.Pod // living pods with an address of their own
	podOf    map[model.Ref]*model.Pod  // one pod of each workload
	portSvc  map[string]*model.Service // by "tcp/30080": node ports
	nodeByIP map[netip.Addr]*model.Node
	svcByIP  map[netip.Addr]*model.Service
	slices   map[model.Ref][]*model.EndpointSlice

	nicByIP  map[netip.Addr]nicAddr
	subnets  *bart.Table[*model.Subnet] // of every VNet that was read
	vnets    map[string]*model.VNet     // by lower-cased id
	routing  map[string]*routing        // by lower-cased subnet id
	nsgs     map[string]*nsg
	fwByIP   map[netip.Addr]*firewall // private and public addresses
	stopped  []*firewall
	lbByIP   map[netip.Addr]*model.LoadBalancer
	lbOf     map[string][]lbMembership // by lower-cased id of an ip configuration
	gateways map[string][]*model.VNetGateway
	asgs     map[netip.Addr][]string
	required []model.RequiredEndpoint

	podCIDRs, serviceCIDRs []netip.Prefix
	masq                   masqConfig
	filters                map[string]*nodeFilter // of the nodes that were entered
	net                    cni.Network            // what connects pods
	cilium                 bool                   // the dataplane is Cilium's: its own forwarding, no kube-proxy
}

// nicAddr is one address of a network interface.
type nicAddr struct {
	nic *model.NIC
	cfg *model.IPConfig
}

// Build prepares a World. It does not change it, and keeps references into it.
func Build(w *model.World) *Index {
	x := &Index{w: w, az: &w.Azure, policies: policy.Build(w)}
	x.indexKube()
	x.indexAzure()
	x.masq = masqFrom(w)
	x.net = cni.Detect(w)
	x.filters = filtersOf(w)
	x.cilium = x.policies.Dialect() == policy.Cilium
	return x
}

// Policies is the NetworkPolicy evaluator of the same World.
func (x *Index) Policies() *policy.Index { return x.policies }

func (x *Index) indexKube() {
	k := &x.w.Kube
	x.podByIP = make(map[netip.Addr]*model.Pod, len(k.Pods))
	x.podOf = map[model.Ref]*model.Pod{}
	for _, p := range k.Pods {
		if p != nil && p.Owner != "" && firstOf(p, x.podOf[p.Owner]) {
			x.podOf[p.Owner] = p
		}
		if p == nil || p.HostNetwork || p.Phase == "Succeeded" || p.Phase == "Failed" {
			continue
		}
		for _, ip := range p.IPs {
			// Two living pods with one address: the one that sorts first, so that the answer does not depend on map order.
			if old := x.podByIP[ip.Unmap()]; old == nil || p.Ref() < old.Ref() {
				x.podByIP[ip.Unmap()] = p
			}
		}
	}
	x.nodeByIP = make(map[netip.Addr]*model.Node, len(k.Nodes))
	for _, name := range sorted(k.Nodes) {
		n := k.Nodes[name]
		if n == nil {
			continue
		}
		for _, ip := range slices.Concat(n.InternalIPs, n.ExternalIPs) {
			x.nodeByIP[ip.Unmap()] = n
		}
		x.podCIDRs = append(x.podCIDRs, n.PodCIDRs...)
	}
	x.indexServices()
	if c := x.az.Cluster; c != nil {
		x.serviceCIDRs = c.ServiceCIDRs
		if len(c.PodCIDRs) > 0 {
			x.podCIDRs = c.PodCIDRs
		}
	}
}

func (x *Index) indexServices() {
	k := &x.w.Kube
	x.portSvc = map[string]*model.Service{}
	x.svcByIP = make(map[netip.Addr]*model.Service, len(k.Services))
	for _, ref := range sorted(k.Services) {
		s := k.Services[ref]
		if s == nil {
			continue
		}
		for _, ip := range slices.Concat(s.ClusterIPs, s.ExternalIPs, s.LoadBalancerIPs) {
			x.svcByIP[ip.Unmap()] = s
		}
		for _, p := range s.Ports {
			if p.NodePort != 0 {
				x.portSvc[portKey(p.Protocol, p.NodePort)] = s
			}
		}
	}
	x.slices = make(map[model.Ref][]*model.EndpointSlice, len(k.EndpointSlices))
	for _, ref := range sorted(k.EndpointSlices) {
		if s := k.EndpointSlices[ref]; s != nil {
			svc := model.NewRef("service", s.Namespace, s.Service)
			x.slices[svc] = append(x.slices[svc], s)
		}
	}
}

func (x *Index) indexAzure() {
	az := x.az
	x.vnets = map[string]*model.VNet{}
	for _, id := range sorted(az.VNets) {
		if v := az.VNets[id]; v != nil {
			x.vnets[strings.ToLower(id)] = v
		}
	}
	x.subnets = new(bart.Table[*model.Subnet])
	for _, id := range sorted(az.Subnets) {
		if s := az.Subnets[id]; s != nil {
			for _, p := range s.Prefixes {
				x.subnets.Insert(p.Masked(), s)
			}
		}
	}
	x.indexNICs()
	x.indexLoadBalancers()
	x.gateways = map[string][]*model.VNetGateway{}
	for _, id := range sorted(az.Gateways) {
		if g := az.Gateways[id]; g != nil {
			v := strings.ToLower(g.VNetID)
			x.gateways[v] = append(x.gateways[v], g)
		}
	}
	x.nsgs = make(map[string]*nsg, len(az.NSGs))
	for _, id := range sorted(az.NSGs) {
		if n := az.NSGs[id]; n != nil {
			x.nsgs[strings.ToLower(id)] = compileNSG(n)
		}
	}
	x.routing = make(map[string]*routing, len(az.Subnets))
	for _, id := range sorted(az.Subnets) {
		if s := az.Subnets[id]; s != nil {
			x.routing[strings.ToLower(id)] = x.buildRouting(s)
		}
	}
	x.required = RequiredEndpoints(x.w)
	x.indexFirewalls()
}

func (x *Index) indexNICs() {
	x.nicByIP = make(map[netip.Addr]nicAddr, len(x.az.NICs))
	x.asgs = map[netip.Addr][]string{}
	for _, id := range sorted(x.az.NICs) {
		n := x.az.NICs[id]
		if n == nil {
			continue
		}
		for i := range n.IPConfigs {
			c := &n.IPConfigs[i]
			if !c.Addr.IsValid() {
				continue
			}
			x.nicByIP[c.Addr.Unmap()] = nicAddr{n, c}
			for _, a := range c.ASGs {
				x.asgs[c.Addr.Unmap()] = append(x.asgs[c.Addr.Unmap()], strings.ToLower(a))
			}
		}
	}
}

func (x *Index) indexLoadBalancers() {
	x.lbByIP = map[netip.Addr]*model.LoadBalancer{}
	x.lbOf = map[string][]lbMembership{}
	for _, id := range sorted(x.az.LoadBalancers) {
		lb := x.az.LoadBalancers[id]
		if lb == nil {
			continue
		}
		for _, f := range lb.Frontends {
			if f.PrivateIP.IsValid() {
				x.lbByIP[f.PrivateIP.Unmap()] = lb
			}
		}
		for i := range lb.Pools {
			for _, cfg := range lb.Pools[i].IPConfigs {
				key := ipConfigKey(cfg)
				x.lbOf[key] = append(x.lbOf[key], lbMembership{lb, &lb.Pools[i]})
			}
		}
	}
}

// origin is who opens the connection.
type origin struct {
	ref  model.Ref
	addr netip.Addr
	pod  *model.Pod // nil: a node, or somebody unknown
	node *model.Node
}

// origin finds the sender from From, else from Src.
func (x *Index) origin(f model.Flow) origin {
	o := origin{ref: f.From, addr: f.Src}
	switch f.From.Kind() {
	case "":
		if p := x.podByIP[f.Src]; p != nil {
			o.pod, o.ref = p, p.Ref()
		} else if n := x.nodeByIP[f.Src]; n != nil {
			o.node, o.ref = n, model.NewRef("node", n.Name)
		}
	case "pod":
		o.pod = x.w.Kube.Pods[f.From]
	case "node":
		o.node = x.w.Kube.Nodes[f.From.Name()]
	default:
		o.pod = x.podOf[f.From]
	}
	if o.pod != nil {
		o.ref = o.pod.Ref()
		o.node = x.w.Kube.Nodes[o.pod.Node]
		if !o.addr.IsValid() {
			o.addr = sameFamily(o.pod.IPs, f.Dst)
		}
	}
	if !o.addr.IsValid() && o.node != nil {
		o.addr = sameFamily(o.node.InternalIPs, f.Dst)
	}
	return o
}

// firstOf says whether a pod speaks for its workload rather than another one:
// running pods first, then by name.
func firstOf(p, other *model.Pod) bool {
	if other == nil || (p.Phase == "Running") != (other.Phase == "Running") {
		return other == nil || p.Phase == "Running"
	}
	return p.Ref() < other.Ref()
}

// addrOf is the address of an object that a flow names as its destination.
func (x *Index) addrOf(ref model.Ref) netip.Addr {
	switch ref.Kind() {
	case "pod":
		if p := x.w.Kube.Pods[ref]; p != nil {
			return sameFamily(p.IPs, netip.Addr{})
		}
	case "node":
		if n := x.w.Kube.Nodes[ref.Name()]; n != nil {
			return sameFamily(n.InternalIPs, netip.Addr{})
		}
	case "service":
		if s := x.w.Kube.Services[ref]; s != nil {
			return sameFamily(s.ClusterIPs, netip.Addr{})
		}
	}
	return netip.Addr{}
}

// sameFamily picks the address that can talk to dst; the first when dst is not known.
func sameFamily(addrs []netip.Addr, dst netip.Addr) netip.Addr {
	for _, a := range addrs {
		if !dst.IsValid() || a.Unmap().Is4() == dst.Is4() {
			return a.Unmap()
		}
	}
	return netip.Addr{}
}

// read says whether the list of a kind is complete for the question.
func (x *Index) read(kind string) bool { return x.w.Read[kind] }

// gap is the Gap for one document that is missing: the recorded one when the
// collector noted why, else one that names the read that nobody made.
func (x *Index) gap(kind, what string, ref model.Ref, permission string) model.Gap {
	best := -1
	for i, g := range x.w.Gaps {
		switch {
		case ref != "" && strings.EqualFold(string(g.Ref), string(ref)): // Azure is not consistent in case
			return g
		case g.Ref != "" && g.Ref.Kind() == kind && len(g.Ref.Parts()) == 0,
			g.Ref == "" && permission != "" && strings.Contains(g.Permission, permission),
			g.Ref.Kind() == kind && permission != "" && strings.Contains(g.Permission, permission) && ref == "":
			best = i
		}
	}
	if best >= 0 {
		g := x.w.Gaps[best]
		g.What, g.Ref = cmp.Or(what, g.What), cmp.Or(ref, g.Ref)
		return g
	}
	return model.Gap{What: what, Ref: ref, Reason: "it was not read", Permission: permission}
}

// sorted gives a map's keys in order: no answer may depend on map order.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// lastOf is the last segment of an ARM id: the resource's own name.
func lastOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// segment is the name after a type in an ARM id, in the id's own case.
func segment(id, kind string) string {
	parts := strings.Split(id, "/")
	for i := range len(parts) - 1 {
		if strings.EqualFold(parts[i], kind) {
			return parts[i+1]
		}
	}
	return ""
}

// subnetRef is subnet/VNET/NAME.
func (x *Index) subnetRef(s *model.Subnet) model.Ref {
	vnet := segment(s.ID, "virtualNetworks")
	if v := x.vnetOf(s); v != nil {
		vnet = cmp.Or(v.Name, vnet)
	}
	return model.NewRef("subnet", vnet, cmp.Or(s.Name, lastOf(s.ID)))
}

// ipConfigKey makes the ids of an ip configuration comparable: Azure writes them in any case.
func ipConfigKey(id string) string { return strings.ToLower(strings.TrimSuffix(id, "/")) }
