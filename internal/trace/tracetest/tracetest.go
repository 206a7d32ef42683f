// Package tracetest makes Worlds for tests and benchmarks: small healthy AKS
// clusters of every shape, and large ones from a seed.
package tracetest

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// The shapes that Cluster knows.
var (
	CNIs      = []string{"kubenet", "azure-node-subnet", "azure-pod-subnet", "azure-overlay"}
	Outbounds = []string{"loadBalancer", "managedNATGateway", "userAssignedNATGateway", "userDefinedRouting", "none"}
)

const (
	sub   = "/subscriptions/00000000-0000-0000-0000-0000000000aa"
	group = sub + "/resourceGroups/rg-net/providers/Microsoft.Network"
	nodes = sub + "/resourceGroups/mc-rg/providers"
	vnet  = group + "/virtualNetworks/vnet1"
)

// ID is the ARM id, lower-cased as World keys it, of a resource of the small
// cluster: ID("networkSecurityGroups", "nsg1").
func ID(kind, name string) string { return strings.ToLower(group + "/" + kind + "/" + name) }

func subnetID(name string) string { return strings.ToLower(vnet + "/subnets/" + name) }

// Cluster is a healthy cluster of two nodes with everything read: pods a/client
// and a/server on n1, b/other and kube-system/dns on n2; VNet 10.1.0.0/16 with
// subnets nodes, pods and AzureFirewallSubnet.
func Cluster(cni, outbound string) *model.World {
	w := &model.World{Read: map[string]bool{}}
	for _, kind := range []string{
		"pod", "node", "service", "endpointslice", "networkpolicy", "configmap", "daemonset", "namespace", "cluster", "vmss", "nic", "loadbalancer",
		"subnet", "vnet", "nsg", "routetable", "natgateway", "publicip", "firewall", "firewallpolicy", "vnetgateway",
	} {
		w.Read[kind] = true
	}
	s := small{w: w, cni: cni, outbound: outbound}
	s.network()
	s.cluster()
	s.egress()
	s.kube()
	return w
}

type small struct {
	w             *model.World
	cni, outbound string
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

// podAddr is the address of pod i on node n (both from 1).
func (s *small) podAddr(n, i int) netip.Addr {
	switch s.cni {
	case "azure-node-subnet":
		return addr(fmt.Sprintf("10.1.0.%d", 10*n+40+i))
	case "azure-pod-subnet":
		return addr(fmt.Sprintf("10.1.16.%d", 10*n+i))
	}
	return addr(fmt.Sprintf("10.50.%d.%d", n, 4+i))
}

func nodeAddr(n int) netip.Addr { return addr(fmt.Sprintf("10.1.0.%d", 3+n)) }

func (s *small) network() {
	az := &s.w.Azure
	az.Found, az.Cloud, az.SubscriptionID = true, "AzurePublicCloud", sub[len("/subscriptions/"):]
	off := false
	subnet := func(name, p, nsg string) *model.Subnet {
		n := &model.Subnet{ID: subnetID(name), Name: name, VNetID: strings.ToLower(vnet), Prefixes: []netip.Prefix{prefix(p)}, DefaultOutbound: &off}
		if nsg != "" {
			n.NSGID = ID("networkSecurityGroups", nsg)
		}
		return n
	}
	list := []*model.Subnet{
		subnet("nodes", "10.1.0.0/20", "nsg1"), subnet("pods", "10.1.16.0/20", "nsg2"), subnet("AzureFirewallSubnet", "10.1.32.0/24", ""),
	}
	az.Subnets = map[string]*model.Subnet{}
	v := &model.VNet{ID: strings.ToLower(vnet), Name: "vnet1", Prefixes: []netip.Prefix{prefix("10.1.0.0/16")}}
	for _, n := range list {
		// ids keep the case in which Azure writes the VNet's name
		n.ID = strings.Replace(n.ID, "virtualnetworks/vnet1", "virtualNetworks/vnet1", 1)
		az.Subnets[strings.ToLower(n.ID)] = n
		v.SubnetIDs = append(v.SubnetIDs, strings.ToLower(n.ID))
	}
	az.VNets = map[string]*model.VNet{v.ID: v}
	az.NSGs = map[string]*model.NSG{}
	for _, name := range []string{"nsg1", "nsg2"} {
		az.NSGs[ID("networkSecurityGroups", name)] = &model.NSG{ID: ID("networkSecurityGroups", name), Name: name}
	}
	az.RouteTables, az.PublicIPs = map[string]*model.RouteTable{}, map[string]*model.PublicIP{}
	az.NATGateways, az.LoadBalancers = map[string]*model.NATGateway{}, map[string]*model.LoadBalancer{}
	az.Firewalls, az.FirewallPolicies = map[string]*model.Firewall{}, map[string]*model.FirewallPolicy{}
	az.NICs, az.VMSSs = map[string]*model.NIC{}, map[string]*model.VMSS{}
}

func (s *small) cluster() {
	c := &model.ManagedCluster{
		ID: sub + "/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/c1", Name: "c1", Location: "northeurope", NodeResourceGroup: "mc-rg",
		FQDN: "c1-dns.hcp.northeurope.azmk8s.io", NetworkPlugin: "azure", Dataplane: "azure", NetworkPolicy: "calico", OutboundType: s.outbound,
		ServiceCIDRs: []netip.Prefix{prefix("10.2.0.0/16")}, DNSServiceIP: addr("10.2.0.10"),
		AgentPools: []model.AgentPool{{Name: "pool1", Type: "VirtualMachineScaleSets", Count: 2, SubnetID: subnetID("nodes")}},
	}
	switch s.cni {
	case "kubenet":
		c.NetworkPlugin = "kubenet"
		c.PodCIDRs = []netip.Prefix{prefix("10.50.0.0/16")}
	case "azure-overlay":
		c.PluginMode = "overlay"
		c.PodCIDRs = []netip.Prefix{prefix("10.50.0.0/16")}
	case "azure-pod-subnet":
		c.AgentPools[0].PodSubnetID = subnetID("pods")
	case "flannel":
		c.NetworkPlugin, c.Dataplane, c.NetworkPolicy = "none", "", "none"
		c.PodCIDRs = []netip.Prefix{prefix("10.50.0.0/16")}
	}
	s.w.Azure.Cluster = c
	vm := &model.VMSS{ID: strings.ToLower(nodes + "/Microsoft.Compute/virtualMachineScaleSets/vmss1"), Name: "vmss1", Pool: "pool1"}
	for n := 1; n <= 2; n++ {
		id := fmt.Sprintf("%s/virtualmachines/%d", vm.ID, n-1)
		vm.Instances = append(vm.Instances, model.VMSSInstance{ID: id, Computer: fmt.Sprintf("n%d", n), Power: "PowerState/running", State: "Succeeded"})
		nic := &model.NIC{ID: id + "/networkinterfaces/nic1", Name: fmt.Sprintf("nic-n%d", n), VMID: id, Primary: true, IPForwarding: s.cni == "kubenet"}
		nic.IPConfigs = []model.IPConfig{{Name: "ipconfig1", Primary: true, Addr: nodeAddr(n), SubnetID: subnetID("nodes")}}
		for i := 1; i <= 3 && s.cni == "azure-node-subnet"; i++ {
			nic.IPConfigs = append(nic.IPConfigs, model.IPConfig{Name: fmt.Sprintf("ipconfig%d", i+1), Addr: s.podAddr(n, i), SubnetID: subnetID("nodes")})
		}
		s.w.Azure.NICs[nic.ID] = nic
	}
	s.w.Azure.VMSSs[vm.ID] = vm
}

func (s *small) egress() {
	az := &s.w.Azure
	var routes []model.Route
	if s.cni == "kubenet" {
		for n := 1; n <= 2; n++ {
			routes = append(routes, model.Route{Name: fmt.Sprintf("n%d", n), Prefix: fmt.Sprintf("10.50.%d.0/24", n), NextHopType: "VirtualAppliance", NextHop: nodeAddr(n)})
		}
	}
	pip := func(name, a string) string {
		id := ID("publicIPAddresses", name)
		az.PublicIPs[id] = &model.PublicIP{ID: id, Name: name, Addr: addr(a), SKU: "Standard"}
		return id
	}
	switch s.outbound {
	case "loadBalancer":
		s.loadBalancer(pip("pip-lb", "20.0.0.1"))
	case "managedNATGateway", "userAssignedNATGateway":
		id := ID("natGateways", "nat1")
		az.NATGateways[id] = &model.NATGateway{ID: id, Name: "nat1", IdleMinutes: 4, PublicIPs: []string{pip("pip-nat", "20.0.0.2")}, State: "Succeeded"}
		az.Subnets[subnetID("nodes")].NATGatewayID = id
		az.Subnets[subnetID("pods")].NATGatewayID = id
	case "userDefinedRouting":
		routes = append(routes, model.Route{Name: "default", Prefix: "0.0.0.0/0", NextHopType: "VirtualAppliance", NextHop: addr("10.1.32.4")})
		s.firewall(pip("pip-fw", "20.0.0.3"))
	}
	if len(routes) > 0 {
		id := ID("routeTables", "rt1")
		az.RouteTables[id] = &model.RouteTable{ID: id, Name: "rt1", Routes: routes}
		az.Subnets[subnetID("nodes")].RouteTableID = id
		az.Subnets[subnetID("pods")].RouteTableID = id
	}
}

func (s *small) loadBalancer(pip string) {
	id := ID("loadBalancers", "kubernetes")
	pool := id + "/backendaddresspools/egress"
	lb := &model.LoadBalancer{
		ID: id, Name: "kubernetes", SKU: "Standard", Frontends: []model.Frontend{{ID: id + "/frontendipconfigurations/f1", Name: "f1", PublicIPID: pip}},
		Pools:    []model.BackendPool{{ID: pool, Name: "egress"}},
		Outbound: []model.OutboundRule{{Name: "out1", FrontendIDs: []string{id + "/frontendipconfigurations/f1"}, PoolID: pool, Protocol: "All", IdleMinutes: 30, TCPReset: true}},
	}
	for _, nic := range s.w.Azure.NICs {
		nic.IPConfigs[0].BackendPools = []string{pool}
	}
	lb.Pools[0].IPConfigs = []string{"n1", "n2"}
	s.w.Azure.LoadBalancers[id] = lb
}

func (s *small) firewall(pip string) {
	id, pid := ID("azureFirewalls", "fw1"), ID("firewallPolicies", "pol1")
	s.w.Azure.Firewalls[id] = &model.Firewall{ID: id, Name: "fw1", PolicyID: pid, PrivateIP: addr("10.1.32.4"), PublicIPs: []string{pip}, State: "Succeeded", Allocated: true}
	s.w.Azure.FirewallPolicies[pid] = &model.FirewallPolicy{
		ID: pid, Name: "pol1", ThreatIntel: "Alert",
		Groups: []model.RuleGroup{{Name: "apps", Priority: 200, Collections: []model.RuleCollection{
			{Name: "net", Priority: 100, Action: "Allow", Rules: []model.FirewallRule{
				{Name: "ntp", Kind: "network", Sources: []string{"*"}, Destinations: []string{"*"}, DestPorts: []string{"123"}, Protocols: []string{"UDP"}},
			}},
			{Name: "web", Priority: 200, Action: "Allow", Rules: []model.FirewallRule{
				{Name: "aks", Kind: "application", Sources: []string{"*"}, Protocols: []string{"Https:443", "Http:80"}, FQDNTags: []string{"AzureKubernetesService"}},
				{Name: "shop", Kind: "application", Sources: []string{"10.1.0.0/16"}, Protocols: []string{"Https:443"}, FQDNs: []string{"api.shop.test", "*.cdn.test"}},
			}},
		}}},
	}
}

func (s *small) kube() {
	k := &s.w.Kube
	k.Namespaces = map[string]*model.Namespace{}
	for _, ns := range []string{"a", "b", "kube-system"} {
		k.Namespaces[ns] = &model.Namespace{Name: ns, Labels: model.Labels{"kubernetes.io/metadata.name": ns}}
	}
	k.Nodes, s.w.Nodes = map[string]*model.Node{}, map[string]*model.NodeFacts{}
	for n := 1; n <= 2; n++ {
		name := fmt.Sprintf("n%d", n)
		node := &model.Node{Name: name, Labels: model.Labels{"kubernetes.azure.com/agentpool": "pool1"}, InternalIPs: []netip.Addr{nodeAddr(n)}, Ready: true}
		if s.cni == "kubenet" || s.cni == "azure-overlay" || s.cni == "flannel" {
			node.PodCIDRs = []netip.Prefix{prefix(fmt.Sprintf("10.50.%d.0/24", n))}
		}
		k.Nodes[name] = node
		s.w.Nodes[name] = s.facts(name, n)
	}
	k.Pods = map[model.Ref]*model.Pod{}
	add := func(ns, name string, n, i int) {
		p := &model.Pod{
			Namespace: ns, Name: name, Labels: model.Labels{"app": name}, Node: fmt.Sprintf("n%d", n), IPs: []netip.Addr{s.podAddr(n, i)}, Phase: "Running", Ready: true,
			Containers: []model.Container{{Name: "c", Ports: []model.ContainerPort{{Name: "http", Port: 80, Protocol: "TCP"}}}},
		}
		k.Pods[p.Ref()] = p
	}
	add("a", "client", 1, 1)
	add("a", "server", 1, 2)
	add("b", "other", 2, 1)
	add("kube-system", "dns", 2, 2)
	k.Pods["pod/kube-system/host"] = &model.Pod{Namespace: "kube-system", Name: "host", Node: "n1", HostNetwork: true, IPs: []netip.Addr{nodeAddr(1)}, Phase: "Running"}
	if s.cni == "flannel" {
		s.flannel()
	}
	k.Services = map[model.Ref]*model.Service{"service/kube-system/kube-dns": {
		Namespace: "kube-system", Name: "kube-dns", Type: "ClusterIP", ClusterIPs: []netip.Addr{addr("10.2.0.10")}, Selector: model.Labels{"app": "dns"},
		Ports: []model.ServicePort{{Name: "dns", Protocol: "UDP", Port: 53, TargetPort: "53"}, {Name: "dns-tcp", Protocol: "TCP", Port: 53, TargetPort: "53"}},
	}}
	k.EndpointSlices = map[model.Ref]*model.EndpointSlice{"endpointslice/kube-system/kube-dns-1": {
		Namespace: "kube-system", Name: "kube-dns-1", Service: "kube-dns", AddressType: "IPv4",
		Ports:     []model.EndpointPort{{Name: "dns", Port: 53, Protocol: "UDP"}, {Name: "dns-tcp", Port: 53, Protocol: "TCP"}},
		Endpoints: []model.SliceEndpoint{{Addresses: []string{s.podAddr(2, 2).String()}, Ready: true, Serving: true, Node: "n2", Target: "pod/kube-system/dns"}},
	}}
	if k.ConfigMaps == nil {
		k.ConfigMaps = map[model.Ref]map[string]string{}
	}
	if keep := map[string]string{"azure-overlay": "10.50.0.0/16", "azure-node-subnet": "10.1.0.0/16", "kubenet": "10.50.0.0/16"}[s.cni]; keep != "" {
		k.ConfigMaps["configmap/kube-system/azure-ip-masq-agent-config-reconciled"] = map[string]string{
			"ip-masq-agent-reconciled": "nonMasqueradeCIDRs:\n- " + keep + "\nmasqLinkLocal: true\n",
		}
	}
}

func (s *small) facts(name string, n int) *model.NodeFacts {
	f := &model.NodeFacts{
		Node:   name,
		Chains: []model.FilterChain{{Family: "ip", Table: "filter", Name: "FORWARD", Hook: "forward", Policy: "accept"}},
		Sysctls: map[string]string{
			"net.ipv4.ip_forward": "1", "net.ipv4.conf.eth0.forwarding": "1", "net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.eth0.rp_filter": "0",
		},
		Links: []model.Link{
			{Name: "eth0", Up: true, MTU: 1500, Addrs: []netip.Prefix{netip.PrefixFrom(nodeAddr(n), 20)}},
			{Name: "azure0", Up: true, MTU: 1500, Kind: "bridge"},
		},
		Routes: []model.KernelRoute{
			{Table: 254, Dst: prefix("0.0.0.0/0"), Gw: addr("10.1.0.1"), Dev: "eth0"},
			{Table: 254, Dst: prefix("10.1.0.0/20"), Dev: "eth0"},
		},
	}
	switch s.cni {
	case "flannel":
		s.vxlan(f, n)
	case "kubenet", "azure-overlay":
		f.Routes = append(f.Routes, model.KernelRoute{Table: 254, Dst: prefix(fmt.Sprintf("10.50.%d.0/24", n)), Dev: "azure0"})
	default:
		for i := 1; i <= 3; i++ {
			f.Routes = append(f.Routes, model.KernelRoute{Table: 254, Dst: netip.PrefixFrom(s.podAddr(n, i), 32), Dev: "azure0"})
		}
	}
	maps.DeleteFunc(f.Sysctls, func(_, v string) bool { return v == "" })
	return f
}
