package azure

import (
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// The decoders: one for each type of document, from its JSON to its noun. Ids
// that refer to something are lower-cased, because they are map keys; the own
// id of a resource and all names keep their case, because commands show them.

func decodeCluster(x value) *model.ManagedCluster {
	p := x.props()
	net := p.get("networkProfile")
	access := p.get("apiServerAccessProfile")
	c := &model.ManagedCluster{
		ID: x.get("id").str(), Name: x.get("name").str(), Location: x.get("location").str(),
		KubernetesVersion: p.get("currentKubernetesVersion").str(),
		ProvisioningState: p.get("provisioningState").str(),
		PowerState:        p.get("powerState", "code").str(),
		NodeResourceGroup: p.get("nodeResourceGroup").str(),
		FQDN:              p.get("fqdn").str(),
		PrivateFQDN:       p.get("privateFQDN").str(),
		Private:           access.get("enablePrivateCluster").is(),
		AuthorizedRanges:  access.get("authorizedIPRanges").strs(),
		NetworkPlugin:     net.get("networkPlugin").str(),
		PluginMode:        net.get("networkPluginMode").str(),
		Dataplane:         net.get("networkDataplane").str(),
		NetworkPolicy:     net.get("networkPolicy").str(),
		ProxyMode:         net.get("kubeProxyConfig", "mode").str(),
		OutboundType:      net.get("outboundType").str(),
		PodCIDRs:          net.get("podCidrs").prefixes(),
		ServiceCIDRs:      net.get("serviceCidrs").prefixes(),
		DNSServiceIP:      net.get("dnsServiceIP").addr(),
		ArtifactSource:    p.get("bootstrapProfile", "artifactSource").str(),
	}
	if c.KubernetesVersion == "" {
		c.KubernetesVersion = p.get("kubernetesVersion").str()
	}
	if len(c.PodCIDRs) == 0 {
		c.PodCIDRs = net.get("podCidr").prefixes()
	}
	if len(c.ServiceCIDRs) == 0 {
		c.ServiceCIDRs = net.get("serviceCidr").prefixes()
	}
	if lb := net.get("loadBalancerProfile"); !lb.missing() {
		c.LBProfile = &model.LBProfile{
			AllocatedPorts: lb.get("allocatedOutboundPorts").num(),
			IdleMinutes:    lb.get("idleTimeoutInMinutes").num(),
			ManagedIPs:     lb.get("managedOutboundIPs", "count").num(),
			EffectiveIPs:   lb.refs("effectiveOutboundIPs"),
		}
	}
	if nat := net.get("natGatewayProfile"); !nat.missing() {
		c.NATProfileIPs = nat.refs("effectiveOutboundIPs")
		c.NATIdleMinutes = nat.get("idleTimeoutInMinutes").num()
	}
	if proxy := p.get("httpProxyConfig"); !proxy.missing() {
		c.HTTPProxy = &model.HTTPProxy{
			HTTP: withoutUser(proxy.get("httpProxy").str()), HTTPS: withoutUser(proxy.get("httpsProxy").str()),
			NoProxy: proxy.get("effectiveNoProxy").strs(),
		}
		if c.HTTPProxy.NoProxy == nil {
			c.HTTPProxy.NoProxy = proxy.get("noProxy").strs()
		}
	}
	addons := p.get("addonProfiles")
	for _, name := range addons.keys() {
		if addons.get(name, "enabled").is() {
			c.Addons = append(c.Addons, name)
		}
	}
	if p.get("ingressProfile", "webAppRouting", "enabled").is() {
		c.Addons = append(c.Addons, "webAppRouting")
	}
	for _, pool := range p.get("agentPoolProfiles").list() {
		c.AgentPools = append(c.AgentPools, decodePool(pool, pool))
	}
	return c
}

// decodePool reads a node pool, as the cluster embeds it (p is x) or as a
// resource of its own (p is x's properties).
func decodePool(x, p value) model.AgentPool {
	most := 0
	if p.get("enableAutoScaling").is() {
		most = p.get("maxCount").num()
	}
	return model.AgentPool{
		MaxCount: most,
		Name:     x.get("name").str(), Type: p.get("type").str(), Mode: p.get("mode").str(),
		Count: p.get("count").num(), VMSize: p.get("vmSize").str(),
		SubnetID: p.get("vnetSubnetID").id(), PodSubnetID: p.get("podSubnetID").id(),
		MaxPods: p.get("maxPods").num(), OSType: p.get("osType").str(),
		OSDiskType: p.get("osDiskType").str(), OSDiskSizeGB: p.get("osDiskSizeGB").num(),
		MaxSurge: p.get("upgradeSettings", "maxSurge").str(), PublicIP: p.get("enableNodePublicIP").is(),
		State: p.get("provisioningState").str(), Power: p.get("powerState", "code").str(),
		LocalDNS: strings.EqualFold(p.get("localDNSProfile", "state").str(), "Enabled"),
	}
}

// withoutUser takes user and password out of a proxy's URL: nobody needs them for a diagnosis.
func withoutUser(url string) string {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok {
		scheme, rest = "", url
	}
	host, path, slash := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if slash {
		host += "/" + path
	}
	if ok {
		return scheme + "://" + host
	}
	return host
}

func decodeVNet(x value) *model.VNet {
	p := x.props()
	v := &model.VNet{
		ID: x.get("id").str(), Name: x.get("name").str(),
		Prefixes:   p.get("addressSpace", "addressPrefixes").prefixes(),
		DNSServers: p.get("dhcpOptions", "dnsServers").addrs(),
		SubnetIDs:  p.refs("subnets"),
	}
	for _, peering := range p.get("virtualNetworkPeerings").list() {
		v.Peerings = append(v.Peerings, decodePeering(peering))
	}
	return v
}

func decodePeering(x value) model.Peering {
	p := x.props()
	peering := model.Peering{
		ID: x.get("id").id(), Name: x.get("name").str(), State: p.get("peeringState").str(),
		RemoteVNetID:      p.ref("remoteVirtualNetwork"),
		RemotePrefixes:    p.get("remoteVirtualNetworkAddressSpace", "addressPrefixes").prefixes(),
		AllowForwarded:    p.get("allowForwardedTraffic").is(),
		UseRemoteGateways: p.get("useRemoteGateways").is(),
	}
	// Not said means yes: it is the API's default.
	allow := p.get("allowVirtualNetworkAccess").truth()
	peering.AllowAccess = allow == nil || *allow
	if peering.RemotePrefixes == nil {
		peering.RemotePrefixes = p.get("remoteAddressSpace", "addressPrefixes").prefixes()
	}
	return peering
}

func decodeSubnet(x value) *model.Subnet {
	p := x.props()
	id := x.get("id").id()
	s := &model.Subnet{
		ID: x.get("id").str(), Name: x.get("name").str(), VNetID: parent(id),
		Prefixes: p.get("addressPrefixes").prefixes(),
		NSGID:    p.ref("networkSecurityGroup"), RouteTableID: p.ref("routeTable"), NATGatewayID: p.ref("natGateway"),
		DefaultOutbound: p.get("defaultOutboundAccess").truth(),
	}
	if s.Name == "" {
		s.Name = Name(s.ID)
	}
	if len(s.Prefixes) == 0 {
		s.Prefixes = p.get("addressPrefix").prefixes()
	}
	for _, config := range p.get("ipConfigurations").list() {
		// …/azureFirewalls/fw/azureFirewallIpConfigurations/c is the firewall's.
		if owner := parent(config.get("id").id()); owner != "" && !slices.Contains(s.Attached, owner) {
			s.Attached = append(s.Attached, owner)
		}
	}
	for _, endpoint := range p.get("serviceEndpoints").list() {
		s.ServiceEndpoints = append(s.ServiceEndpoints, endpoint.get("service").str())
	}
	for _, delegation := range p.get("delegations").list() {
		s.Delegations = append(s.Delegations, delegation.props().get("serviceName").str())
	}
	return s
}

func decodeNSG(x value) *model.NSG {
	p := x.props()
	n := &model.NSG{
		ID: x.get("id").str(), Name: x.get("name").str(),
		SubnetIDs: p.refs("subnets"), NICIDs: p.refs("networkInterfaces"),
	}
	for _, rule := range p.get("securityRules").list() {
		n.Rules = append(n.Rules, decodeNSGRule(rule))
	}
	for _, rule := range p.get("defaultSecurityRules").list() {
		n.Defaults = append(n.Defaults, decodeNSGRule(rule))
	}
	if len(n.Defaults) == 0 {
		n.Defaults = defaultRules()
	}
	return n
}

func decodeNSGRule(x value) model.NSGRule {
	p := x.props()
	r := model.NSGRule{
		Name: x.get("name").str(), Priority: p.get("priority").num(),
		Inbound: strings.EqualFold(p.get("direction").str(), "Inbound"), Allow: strings.EqualFold(p.get("access").str(), "Allow"),
		Protocol:     p.get("protocol").str(),
		Sources:      both(p, "sourceAddressPrefix", "sourceAddressPrefixes"),
		Destinations: both(p, "destinationAddressPrefix", "destinationAddressPrefixes"),
		SourcePorts:  both(p, "sourcePortRange", "sourcePortRanges"),
		DestPorts:    both(p, "destinationPortRange", "destinationPortRanges"),
		SourceASGs:   p.refs("sourceApplicationSecurityGroups"),
		DestASGs:     p.refs("destinationApplicationSecurityGroups"),
	}
	if direction := p.get("direction"); !r.Inbound && !strings.EqualFold(direction.str(), "Outbound") {
		direction.wrong("Inbound or Outbound")
	}
	if access := p.get("access"); !r.Allow && !strings.EqualFold(access.str(), "Deny") {
		access.wrong("Allow or Deny")
	}
	return r
}

// both merges a singular and a plural property; either may be empty.
func both(p value, one, many string) []string {
	out := p.get(one).strs()
	for _, s := range p.get(many).strs() {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// defaultRules are the six that every network security group has.
func defaultRules() []model.NSGRule {
	rule := func(name string, priority int, inbound, allow bool, from, to string) model.NSGRule {
		return model.NSGRule{
			Name: name, Priority: priority, Inbound: inbound, Allow: allow, Protocol: "*",
			Sources: []string{from}, Destinations: []string{to}, SourcePorts: []string{"*"}, DestPorts: []string{"*"},
		}
	}
	return []model.NSGRule{
		rule("AllowVnetInBound", 65000, true, true, "VirtualNetwork", "VirtualNetwork"),
		rule("AllowAzureLoadBalancerInBound", 65001, true, true, "AzureLoadBalancer", "*"),
		rule("DenyAllInBound", 65500, true, false, "*", "*"),
		rule("AllowVnetOutBound", 65000, false, true, "VirtualNetwork", "VirtualNetwork"),
		rule("AllowInternetOutBound", 65001, false, true, "*", "Internet"),
		rule("DenyAllOutBound", 65500, false, false, "*", "*"),
	}
}

func decodeRouteTable(x value) *model.RouteTable {
	p := x.props()
	t := &model.RouteTable{
		ID: x.get("id").str(), Name: x.get("name").str(),
		DisablePropagation: p.get("disableBgpRoutePropagation").is(), SubnetIDs: p.refs("subnets"),
	}
	for _, route := range p.get("routes").list() {
		t.Routes = append(t.Routes, decodeRoute(route))
	}
	return t
}

func decodeRoute(x value) model.Route {
	p := x.props()
	return model.Route{
		Name: x.get("name").str(), Prefix: p.get("addressPrefix").str(),
		NextHopType: p.get("nextHopType").str(), NextHop: p.get("nextHopIpAddress").addr(),
	}
}

func decodeNATGateway(x value) *model.NATGateway {
	p := x.props()
	return &model.NATGateway{
		ID: x.get("id").str(), Name: x.get("name").str(), SKU: x.get("sku", "name").str(),
		IdleMinutes: p.get("idleTimeoutInMinutes").num(),
		PublicIPs:   append(p.refs("publicIpAddresses"), p.refs("publicIpAddressesV6")...),
		Prefixes:    append(p.refs("publicIpPrefixes"), p.refs("publicIpPrefixesV6")...),
		SubnetIDs:   p.refs("subnets"), State: p.get("provisioningState").str(), Zones: x.get("zones").strs(),
	}
}

func decodePublicIP(x value) *model.PublicIP {
	p := x.props()
	ip := &model.PublicIP{
		ID: x.get("id").str(), Name: x.get("name").str(), Addr: p.get("ipAddress").addr(),
		SKU: x.get("sku", "name").str(), Attached: p.ref("ipConfiguration"),
	}
	if ip.Attached == "" {
		ip.Attached = p.ref("natGateway")
	}
	return ip
}

func decodePublicIPPrefix(x value) *model.PublicIPPrefix {
	return &model.PublicIPPrefix{ID: x.get("id").str(), Name: x.get("name").str(), Prefix: x.props().get("ipPrefix").prefix()}
}

func decodeNIC(x value) *model.NIC {
	p := x.props()
	n := &model.NIC{
		ID: x.get("id").str(), Name: x.get("name").str(), VMID: p.ref("virtualMachine"),
		Primary: p.get("primary").is(), NSGID: p.ref("networkSecurityGroup"), IPForwarding: p.get("enableIPForwarding").is(),
		DefaultOutboundConnectivity: p.get("defaultOutboundConnectivityEnabled").truth(),
	}
	for _, c := range p.get("ipConfigurations").list() {
		q := c.props()
		n.IPConfigs = append(n.IPConfigs, model.IPConfig{
			Name: c.get("name").str(), Primary: q.get("primary").is(), Addr: q.get("privateIPAddress").addr(),
			SubnetID: q.ref("subnet"), PublicIPID: q.ref("publicIPAddress"),
			BackendPools: q.refs("loadBalancerBackendAddressPools"), ASGs: q.refs("applicationSecurityGroups"),
		})
	}
	if n.VMID == "" && strings.Contains(Key(n.ID), "/virtualmachines/") {
		n.VMID = parent(Key(n.ID)) // a scale set's interface is a child of its instance
	}
	return n
}

func decodeVMSS(x value) *model.VMSS {
	tags := decodeTags(x)
	s := &model.VMSS{ID: x.get("id").str(), Name: x.get("name").str(), Tags: tags, Size: x.get("sku", "name").str(), Location: x.get("location").str()}
	if disk := x.props().get("virtualMachineProfile", "storageProfile", "osDisk"); !disk.missing() {
		s.OSDisk = &model.OSDisk{
			SizeGB: disk.get("diskSizeGB").num(), SKU: disk.get("managedDisk", "storageAccountType").str(),
			Ephemeral: strings.EqualFold(disk.get("diffDiskSettings", "option").str(), "Local"),
		}
	}
	for _, key := range []string{"aks-managed-poolName", "poolName"} {
		for k, v := range tags {
			if strings.EqualFold(k, key) && s.Pool == "" {
				s.Pool = v
			}
		}
	}
	return s
}

func decodeTags(x value) model.Labels {
	tags := x.get("tags")
	out := model.Labels{}
	for _, key := range tags.keys() {
		out[key] = tags.get(key).str()
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func decodeInstance(x value) model.VMSSInstance {
	p := x.props()
	i := model.VMSSInstance{
		ID: x.get("id").id(), Computer: p.get("osProfile", "computerName").str(), State: p.get("provisioningState").str(),
	}
	for _, status := range p.get("instanceView", "statuses").list() {
		if code := status.get("code").str(); strings.HasPrefix(strings.ToLower(code), "powerstate/") {
			i.Power = code
		}
	}
	return i
}

// decodeVM is a machine that is no scale set's: a scale set of one.
func decodeVM(x value) *model.VMSS {
	s := decodeVMSS(x)
	s.Single = true
	s.Instances = []model.VMSSInstance{decodeInstance(x)}
	return s
}

func decodeLoadBalancer(x value) *model.LoadBalancer {
	p := x.props()
	lb := &model.LoadBalancer{ID: x.get("id").str(), Name: x.get("name").str(), SKU: x.get("sku", "name").str()}
	for _, f := range p.get("frontendIPConfigurations").list() {
		q := f.props()
		lb.Frontends = append(lb.Frontends, model.Frontend{
			ID: f.get("id").id(), Name: f.get("name").str(), PublicIPID: q.ref("publicIPAddress"),
			PrefixID: q.ref("publicIPPrefix"), PrivateIP: q.get("privateIPAddress").addr(), SubnetID: q.ref("subnet"),
		})
	}
	for _, b := range p.get("backendAddressPools").list() {
		lb.Pools = append(lb.Pools, decodePoolOfLB(b))
	}
	for _, r := range p.get("loadBalancingRules").list() {
		q := r.props()
		rule := model.LBRule{
			Name: r.get("name").str(), FrontendID: q.ref("frontendIPConfiguration"),
			PoolID: q.ref("backendAddressPool"), ProbeID: q.ref("probe"), Protocol: q.get("protocol").str(),
			FrontendPort: q.get("frontendPort").num(), BackendPort: q.get("backendPort").num(),
			FloatingIP: q.get("enableFloatingIP").is(), DisableSNAT: q.get("disableOutboundSnat").is(),
			IdleMinutes: q.get("idleTimeoutInMinutes").num(), TCPReset: q.get("enableTcpReset").is(),
			Distribution: q.get("loadDistribution").str(),
		}
		if pools := q.refs("backendAddressPools"); rule.PoolID == "" && len(pools) > 0 {
			rule.PoolID = pools[0]
		}
		lb.Rules = append(lb.Rules, rule)
	}
	for _, r := range p.get("outboundRules").list() {
		q := r.props()
		lb.Outbound = append(lb.Outbound, model.OutboundRule{
			Name: r.get("name").str(), FrontendIDs: q.refs("frontendIPConfigurations"), PoolID: q.ref("backendAddressPool"),
			Protocol: q.get("protocol").str(), AllocatedPorts: q.get("allocatedOutboundPorts").num(),
			IdleMinutes: q.get("idleTimeoutInMinutes").num(), TCPReset: q.get("enableTcpReset").is(),
		})
	}
	for _, b := range p.get("probes").list() {
		q := b.props()
		lb.Probes = append(lb.Probes, model.LBProbe{
			ID: b.get("id").id(), Name: b.get("name").str(), Protocol: q.get("protocol").str(), Port: q.get("port").num(),
			Path: q.get("requestPath").str(), Interval: q.get("intervalInSeconds").num(), Count: q.get("numberOfProbes").num(), Threshold: q.get("probeThreshold").num(),
		})
	}
	return lb
}

func decodePoolOfLB(x value) model.BackendPool {
	p := x.props()
	pool := model.BackendPool{ID: x.get("id").id(), Name: x.get("name").str(), IPConfigs: p.refs("backendIPConfigurations")}
	for _, a := range p.get("loadBalancerBackendAddresses").list() {
		if addr := a.props().get("ipAddress").addr(); addr.IsValid() {
			pool.Addrs = append(pool.Addrs, addr)
		}
	}
	return pool
}

func decodePrivateZone(x value) *model.PrivateZone {
	return &model.PrivateZone{ID: x.get("id").str(), Name: x.get("name").str()}
}

// decodeRecordSet is one record set of a private zone: "name TYPE" and its values.
func decodeRecordSet(x value) (string, []string) {
	p := x.props()
	name := x.get("name").str() + " " + strings.ToUpper(Name(x.get("type").str()))
	var values []string
	for _, r := range p.get("aRecords").list() {
		values = append(values, r.get("ipv4Address").str())
	}
	for _, r := range p.get("aaaaRecords").list() {
		values = append(values, r.get("ipv6Address").str())
	}
	if cname := p.get("cnameRecord", "cname").str(); cname != "" {
		values = append(values, cname)
	}
	for _, r := range p.get("txtRecords").list() {
		values = append(values, strings.Join(r.get("value").strs(), ""))
	}
	return name, values
}

func decodeGateway(x value) *model.VNetGateway {
	p := x.props()
	g := &model.VNetGateway{
		ID: x.get("id").str(), Name: x.get("name").str(), Type: p.get("gatewayType").str(),
		BGP: p.get("enableBgp").is(), DefaultSite: p.ref("gatewayDefaultSite"),
	}
	for _, c := range p.get("ipConfigurations").list() {
		if subnet := c.props().ref("subnet"); subnet != "" {
			g.VNetID = parent(subnet)
		}
	}
	return g
}

func decodeRequired(x value) []model.RequiredEndpoint {
	var out []model.RequiredEndpoint
	category := x.get("category").str()
	for _, endpoint := range x.get("endpoints").list() {
		domain := endpoint.get("domainName").str()
		details := endpoint.get("endpointDetails").list()
		if len(details) == 0 && domain != "" { // needed, without a word on how
			out = append(out, model.RequiredEndpoint{Category: category, Domain: domain})
		}
		for _, detail := range details {
			r := model.RequiredEndpoint{Category: category, Domain: domain, Protocol: detail.get("protocol").str()}
			if r.Domain == "" {
				r.Domain = detail.get("ipAddress").str()
			}
			if port := detail.get("port").num(); port > 0 && port <= 65535 {
				r.Ports = []uint16{uint16(port)}
			}
			r.Optional = strings.Contains(strings.ToLower(category), "optional")
			out = append(out, r)
		}
	}
	return out
}

func decodeAdvice(x value) model.Advice {
	p := x.props()
	a := model.Advice{
		Category: p.get("category").str(), Impact: p.get("impact").str(),
		Resource: p.get("resourceMetadata", "resourceId").str(), Problem: p.get("shortDescription", "problem").str(),
		Solution: p.get("shortDescription", "solution").str(),
	}
	if a.Resource == "" {
		a.Resource = p.get("impactedValue").str()
	}
	return a
}
