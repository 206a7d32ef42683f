// Package ruletest holds what the cases of rules share: a small healthy
// AKS-like world in each combination of pod network and outbound type, which a
// case then changes with a merge patch.
package ruletest

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/model"
)

// Names and addresses of the world, for cases to refer to.
const (
	subscription = "11111111-2222-3333-4444-555555555555"
	group        = "rg-prod"
	nodeGroup    = "MC_rg-prod_aks-prod_northeurope"
	vnetName     = "vnet-prod"
)

// Asked is when every case was asked.
var Asked = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

func id(rg, kind, name string) string {
	return "/subscriptions/" + subscription + "/resourceGroups/" + rg + "/providers/" + kind + "/" + name
}

func vnetID() string              { return id(group, "Microsoft.Network/virtualNetworks", vnetName) }
func subnetID(name string) string { return vnetID() + "/subnets/" + name }

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// World builds a healthy world: cni is kubenet, node-subnet, pod-subnet,
// overlay or flannel; outbound is an outbound type as Azure writes it.
func World(cni, outbound string) (*model.World, error) {
	b := builder{cni: cni, outbound: outbound, w: &model.World{Read: map[string]bool{}}}
	for _, kind := range []string{
		"pod", "node", "service", "endpointslice", "networkpolicy", "namespace", "configmap", "event", "deployment",
		"nsg", "subnet", "vnet", "routetable", "nic", "natgateway", "loadbalancer", "publicip", "firewall", "firewallpolicy", "vnetgateway", "vmss", "cluster",
	} {
		b.w.Read[kind] = true
	}
	switch cni {
	case "kubenet", "node-subnet", "pod-subnet", "overlay", "flannel":
	default:
		return nil, fmt.Errorf("base %q: no such pod network", cni)
	}
	b.kube()
	b.azure()
	if err := b.egress(); err != nil {
		return nil, err
	}
	return b.w, nil
}

type builder struct {
	cni, outbound string
	w             *model.World
}

// podAddr is pod number n (from 0) on node i.
func (b *builder) podAddr(i, n int) netip.Addr {
	switch b.cni {
	case "node-subnet":
		return addr(fmt.Sprintf("10.20.%d.%d", 1+i, 10+n))
	case "pod-subnet":
		return addr(fmt.Sprintf("10.20.%d.%d", 32+i, 10+n))
	}
	return addr(fmt.Sprintf("10.244.%d.%d", i, 10+n))
}

func nodeName(i int) string     { return fmt.Sprintf("aks-np-%d", i) }
func nodeAddr(i int) netip.Addr { return addr(fmt.Sprintf("10.20.0.%d", 4+i)) }
func nicID(i int) string {
	return id(nodeGroup, "Microsoft.Network/networkInterfaces", fmt.Sprintf("nic-np-%d", i))
}

func (b *builder) routed() bool {
	return b.cni == "kubenet" || b.cni == "overlay" || b.cni == "flannel"
}
func (b *builder) lb() string     { return id(nodeGroup, "Microsoft.Network/loadBalancers", "kubernetes") }
func (b *builder) subnet() string { return subnetID("snet-machines") }

func (b *builder) kube() {
	k := &b.w.Kube
	k.Version = "v1.33.2"
	k.Namespaces = map[string]*model.Namespace{}
	for _, ns := range []string{"shop", "ops", "kube-system"} {
		k.Namespaces[ns] = &model.Namespace{Name: ns, Labels: model.Labels{"kubernetes.io/metadata.name": ns}}
	}
	k.Nodes = map[string]*model.Node{}
	b.w.Nodes = map[string]*model.NodeFacts{}
	for i := range 2 {
		n := &model.Node{
			Name: nodeName(i), Ready: true, InternalIPs: []netip.Addr{nodeAddr(i)}, Labels: model.Labels{"kubernetes.azure.com/agentpool": "np"},
			ProviderID: "azure://" + id(nodeGroup, "Microsoft.Compute/virtualMachineScaleSets", "vmss-np") + fmt.Sprintf("/virtualMachines/%d", i),
		}
		if b.routed() {
			n.PodCIDRs = []netip.Prefix{prefix(fmt.Sprintf("10.244.%d.0/24", i))}
		}
		k.Nodes[n.Name] = n
	}
	b.w.Nodes[nodeName(0)] = &model.NodeFacts{
		Node: nodeName(0),
		Sysctls: map[string]string{
			"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.eth0.rp_filter": "0", "net.ipv4.conf.lo.rp_filter": "0",
		},
		Counters: map[string]int64{"IpInAddrErrors": 3, "TcpExtIPReversePathFilter": 0},
		After:    map[string]int64{"IpInAddrErrors": 3, "TcpExtIPReversePathFilter": 0},
	}
	k.Pods, k.Workloads = map[model.Ref]*model.Pod{}, map[model.Ref]*model.Workload{}
	b.pod("shop", "checkout", 0, 0, nil)
	b.pod("shop", "web", 1, 1, nil)
	b.pod("ops", "tools", 0, 2, nil)
	b.pod("kube-system", "coredns", 0, 3, model.Labels{"k8s-app": "kube-dns"})
	b.pod("kube-system", "coredns", 1, 4, model.Labels{"k8s-app": "kube-dns"})
	k.Services, k.EndpointSlices = map[model.Ref]*model.Service{}, map[model.Ref]*model.EndpointSlice{}
	b.service("kube-system", "kube-dns", "10.0.0.10", model.Labels{"k8s-app": "kube-dns"}, "UDP", 53)
	b.service("shop", "web", "10.0.40.7", model.Labels{"app": "web"}, "TCP", 8080)
	k.ConfigMaps = map[model.Ref]map[string]string{}
	if b.cni == "flannel" {
		b.flannel()
	} else if b.routed() {
		k.ConfigMaps["configmap/kube-system/azure-ip-masq-agent-config-reconciled"] = map[string]string{
			"ip-masq-agent-reconciled": "nonMasqueradeCIDRs:\n- 10.244.0.0/16\nmasqLinkLocal: true\n",
		}
	}
}

func (b *builder) pod(ns, app string, on, n int, labels model.Labels) {
	if labels == nil {
		labels = model.Labels{"app": app}
	}
	owner := model.NewRef("deployment", ns, app)
	p := &model.Pod{
		Namespace: ns, Name: fmt.Sprintf("%s-%d", app, on), Node: nodeName(on), IPs: []netip.Addr{b.podAddr(on, n)}, Phase: "Running", Ready: true,
		Owner: owner, Labels: labels, DNSPolicy: "ClusterFirst",
		Containers: []model.Container{{Name: app, Image: "registry.test/" + app + ":1", State: "running", Ready: true}},
	}
	b.w.Kube.Pods[p.Ref()] = p
	w := b.w.Kube.Workloads[owner]
	if w == nil {
		w = &model.Workload{Ref: owner, Selector: &model.Selector{MatchLabels: labels}, Labels: labels}
		b.w.Kube.Workloads[owner] = w
	}
	w.Replicas++
	w.Ready++
}

func (b *builder) service(ns, name, ip string, selector model.Labels, protocol string, target uint16) {
	port := uint16(80)
	if protocol == "UDP" {
		port = target
	}
	b.w.Kube.Services[model.NewRef("service", ns, name)] = &model.Service{
		Namespace: ns, Name: name, Type: "ClusterIP", ClusterIPs: []netip.Addr{addr(ip)}, Selector: selector, Labels: selector,
		Ports: []model.ServicePort{{Name: "main", Protocol: protocol, Port: port, TargetPort: fmt.Sprint(target)}},
	}
	s := &model.EndpointSlice{Namespace: ns, Name: name, Service: name, AddressType: "IPv4", Ports: []model.EndpointPort{{Name: "main", Port: target, Protocol: protocol}}}
	for _, i := range []int{0, 1} {
		for ref, p := range b.w.Kube.Pods {
			if p.Namespace == ns && p.Node == nodeName(i) && matches(selector, p.Labels) {
				s.Endpoints = append(s.Endpoints, model.SliceEndpoint{Addresses: []string{p.IPs[0].String()}, Ready: true, Serving: true, Node: p.Node, Target: ref})
			}
		}
	}
	b.w.Kube.EndpointSlices[model.NewRef("endpointslice", ns, name)] = s
}

func matches(want, have model.Labels) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

func (b *builder) azure() {
	az := &b.w.Azure
	az.Found, az.Cloud, az.SubscriptionID = true, "AzurePublicCloud", subscription
	c := &model.ManagedCluster{
		ID: id(group, "Microsoft.ContainerService/managedClusters", "aks-prod"), Name: "aks-prod", Location: "northeurope", NodeResourceGroup: nodeGroup,
		NetworkPlugin: "azure", NetworkPolicy: "azure", Dataplane: "azure", OutboundType: b.outbound, ServiceCIDRs: []netip.Prefix{prefix("10.0.0.0/16")}, DNSServiceIP: addr("10.0.0.10"),
		AgentPools: []model.AgentPool{{Name: "np", Type: "VirtualMachineScaleSets", Count: 2, SubnetID: b.subnet()}},
	}
	switch b.cni {
	case "kubenet":
		c.NetworkPlugin, c.NetworkPolicy = "kubenet", "calico"
		c.PodCIDRs = []netip.Prefix{prefix("10.244.0.0/16")}
	case "flannel":
		c.NetworkPlugin, c.Dataplane, c.NetworkPolicy = "none", "", "calico"
		c.PodCIDRs = []netip.Prefix{prefix("10.244.0.0/16")}
	case "overlay":
		c.PluginMode = "overlay"
		c.PodCIDRs = []netip.Prefix{prefix("10.244.0.0/16")}
	case "pod-subnet":
		c.AgentPools[0].PodSubnetID = subnetID("snet-workloads")
	}
	az.Cluster = c
	private := false
	az.Subnets = map[string]*model.Subnet{}
	ids := []string{}
	for _, s := range []struct{ name, prefix string }{{"snet-machines", "10.20.0.0/19"}, {"snet-workloads", "10.20.32.0/19"}, {"AzureFirewallSubnet", "10.20.255.0/26"}} {
		one := &model.Subnet{ID: subnetID(s.name), Name: s.name, VNetID: vnetID(), Prefixes: []netip.Prefix{prefix(s.prefix)}, DefaultOutbound: &private}
		if s.name != "AzureFirewallSubnet" {
			one.NSGID = id(group, "Microsoft.Network/networkSecurityGroups", "nsg-aks")
		}
		az.Subnets[strings.ToLower(one.ID)] = one
		ids = append(ids, one.ID)
	}
	az.VNets = map[string]*model.VNet{strings.ToLower(vnetID()): {ID: vnetID(), Name: vnetName, Prefixes: []netip.Prefix{prefix("10.20.0.0/16")}, SubnetIDs: ids}}
	nsg := id(group, "Microsoft.Network/networkSecurityGroups", "nsg-aks")
	az.NSGs = map[string]*model.NSG{strings.ToLower(nsg): {ID: nsg, Name: "nsg-aks"}}
	az.NICs = map[string]*model.NIC{}
	for i := range 2 {
		nic := &model.NIC{ID: nicID(i), Name: fmt.Sprintf("nic-np-%d", i), Primary: true, IPForwarding: true, IPConfigs: []model.IPConfig{
			{Name: "ipconfig1", Primary: true, Addr: nodeAddr(i), SubnetID: b.subnet()},
		}}
		if b.cni == "node-subnet" || b.cni == "pod-subnet" {
			in := b.subnet()
			if b.cni == "pod-subnet" {
				in = subnetID("snet-workloads")
			}
			for n := range 8 {
				nic.IPConfigs = append(nic.IPConfigs, model.IPConfig{Name: fmt.Sprintf("pod%d", n), Addr: b.podAddr(i, n), SubnetID: in})
			}
		}
		az.NICs[strings.ToLower(nic.ID)] = nic
	}
	if b.cni == "kubenet" {
		b.table().Routes = append(b.table().Routes,
			model.Route{Name: nodeName(0), Prefix: "10.244.0.0/24", NextHopType: "VirtualAppliance", NextHop: nodeAddr(0)},
			model.Route{Name: nodeName(1), Prefix: "10.244.1.0/24", NextHopType: "VirtualAppliance", NextHop: nodeAddr(1)})
	}
}

// table is the route table of the nodes' and pods' subnets, made when it is first wanted.
func (b *builder) table() *model.RouteTable {
	az := &b.w.Azure
	rt := id(group, "Microsoft.Network/routeTables", "rt-aks")
	if az.RouteTables == nil {
		az.RouteTables = map[string]*model.RouteTable{strings.ToLower(rt): {ID: rt, Name: "rt-aks"}}
		for _, name := range []string{"snet-machines", "snet-workloads"} {
			az.Subnets[strings.ToLower(subnetID(name))].RouteTableID = rt
		}
	}
	return az.RouteTables[strings.ToLower(rt)]
}

func (b *builder) publicIP(name, ip string) string {
	az := &b.w.Azure
	pip := id(nodeGroup, "Microsoft.Network/publicIPAddresses", name)
	if az.PublicIPs == nil {
		az.PublicIPs = map[string]*model.PublicIP{}
	}
	az.PublicIPs[strings.ToLower(pip)] = &model.PublicIP{ID: pip, Name: name, Addr: addr(ip), SKU: "Standard", Attached: "yes"}
	return pip
}

func (b *builder) egress() error {
	switch b.outbound {
	case "loadBalancer":
		b.loadBalancer()
	case "managedNATGateway", "userAssignedNATGateway":
		nat := id(group, "Microsoft.Network/natGateways", "nat-prod")
		b.w.Azure.NATGateways = map[string]*model.NATGateway{strings.ToLower(nat): {ID: nat, Name: "nat-prod", PublicIPs: []string{b.publicIP("pip-nat", "192.0.2.20")}}}
		for _, name := range []string{"snet-machines", "snet-workloads"} {
			b.w.Azure.Subnets[strings.ToLower(subnetID(name))].NATGatewayID = nat
		}
	case "userDefinedRouting":
		b.firewall()
	case "none":
	default:
		return fmt.Errorf("base: no outbound type %q", b.outbound)
	}
	return nil
}

func (b *builder) loadBalancer() {
	pool, frontend := b.lb()+"/backendAddressPools/aksOutboundBackendPool", b.lb()+"/frontendIPConfigurations/egress"
	lb := &model.LoadBalancer{
		ID: b.lb(), Name: "kubernetes", SKU: "Standard",
		Frontends: []model.Frontend{{ID: frontend, Name: "egress", PublicIPID: b.publicIP("pip-egress", "192.0.2.10")}},
		Pools:     []model.BackendPool{{ID: pool, Name: "aksOutboundBackendPool"}},
		Outbound:  []model.OutboundRule{{Name: "aksOutboundRule", FrontendIDs: []string{frontend}, PoolID: pool, Protocol: "All", IdleMinutes: 30, TCPReset: true}},
	}
	for i := range 2 {
		lb.Pools[0].IPConfigs = append(lb.Pools[0].IPConfigs, nicID(i)+"/ipConfigurations/ipconfig1")
		b.w.Azure.NICs[strings.ToLower(nicID(i))].IPConfigs[0].BackendPools = []string{pool}
	}
	b.w.Azure.LoadBalancers = map[string]*model.LoadBalancer{strings.ToLower(lb.ID): lb}
}

func (b *builder) firewall() {
	az := &b.w.Azure
	fw, policy := id(group, "Microsoft.Network/azureFirewalls", "fw-hub"), id(group, "Microsoft.Network/firewallPolicies", "fwp-hub")
	az.Firewalls = map[string]*model.Firewall{strings.ToLower(fw): {
		ID: fw, Name: "fw-hub", PolicyID: policy, PrivateIP: addr("10.20.255.4"), PublicIPs: []string{b.publicIP("pip-fw", "192.0.2.30")}, State: "Succeeded", Allocated: true,
	}}
	az.FirewallPolicies = map[string]*model.FirewallPolicy{strings.ToLower(policy): {ID: policy, Name: "fwp-hub", Groups: []model.RuleGroup{{
		Name: "rcg-apps", Priority: 300, Collections: []model.RuleCollection{
			{Name: "apps", Priority: 100, Action: "Allow", Rules: []model.FirewallRule{
				{Name: "partner", Kind: "application", Sources: []string{"10.20.0.0/16"}, Protocols: []string{"Https:443"}, FQDNs: []string{"api.partner.test"}},
				{Name: "aks", Kind: "application", Sources: []string{"10.20.0.0/16"}, Protocols: []string{"Https:443"}, FQDNTags: []string{"AzureKubernetesService"}},
			}},
			{Name: "nets", Priority: 200, Action: "Allow", Rules: []model.FirewallRule{
				{Name: "ntp", Kind: "network", Sources: []string{"10.20.0.0/16"}, Protocols: []string{"UDP"}, Destinations: []string{"*"}, DestPorts: []string{"123"}},
			}},
		},
	}}}}
	b.table().Routes = append(b.table().Routes, model.Route{Name: "default", Prefix: "0.0.0.0/0", NextHopType: "VirtualAppliance", NextHop: addr("10.20.255.4")})
}
