package arm

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/lab/plan"
)

// complete fills in what ARM fills in: system fields, defaults of the type, and
// what is kept from the document that is replaced.
func (t *tx) complete(r resourceID, d, old Doc) error {
	kind := strings.ToLower(r.kind())
	p := props(d)
	p["provisioningState"] = "Succeeded"
	if guid := Str(old, "properties", "resourceGuid"); guid != "" {
		p["resourceGuid"] = guid
	} else if strings.HasPrefix(kind, "microsoft.network/") && len(r.types) == 1 && Str(p, "resourceGuid") == "" {
		p["resourceGuid"] = newGUID()
	}
	if loc := Str(old, "location"); loc != "" {
		setDefault(d, "location", loc)
	}
	if f, ok := completers()[kind]; ok {
		if err := f(t, r, d, old); err != nil {
			return err
		}
	}
	return t.completeInline(r, d)
}

// completeInline gives nested resources their id, type and state.
func (t *tx) completeInline(r resourceID, d Doc) error {
	for _, in := range inlines[strings.ToLower(r.kind())] {
		list, isList := props(d)[in.property].([]any)
		if props(d)[in.property] != nil && !isList {
			return refuse(400, "InvalidRequestFormat", "properties.%s of %s must be a list.", in.property, r)
		}
		if len(Items(d, "properties", in.property)) != len(list) {
			return refuse(400, "InvalidRequestFormat", "Every entry of properties.%s of %s must be an object.", in.property, r)
		}
		seen := map[string]bool{}
		for _, e := range Items(d, "properties", in.property) {
			name := Str(e, "name")
			if name == "" {
				return refuse(400, "InvalidRequestFormat", "An entry of properties.%s of %s has no name.", in.property, r)
			}
			if seen[strings.ToLower(name)] {
				return refuse(400, "InvalidRequestContent", "Two entries of properties.%s of %s are called %s.", in.property, r, name)
			}
			seen[strings.ToLower(name)] = true
			if err := shaped(r.String()+"/"+in.segment+"/"+name, e); err != nil {
				return err
			}
			if in.flat {
				setDefault(e, "provisioningState", "Succeeded")
				continue
			}
			e["id"] = r.String() + "/" + in.segment + "/" + name
			e["type"] = r.kind() + "/" + in.segment
			props(e)["provisioningState"] = "Succeeded"
			if f, ok := nestedDefaults[strings.ToLower(in.segment)]; ok {
				f(props(e))
			}
		}
	}
	return nil
}

// nestedDefaults are what ARM writes where the caller wrote nothing.
var nestedDefaults = map[string]func(Doc){
	"securityrules": func(p Doc) {
		for _, one := range []string{"sourcePortRange", "destinationPortRange", "sourceAddressPrefix", "destinationAddressPrefix"} {
			list, _ := p[one+plural(one)].([]any)
			group := strings.TrimSuffix(one, "AddressPrefix") + "ApplicationSecurityGroups"
			if groups, _ := p[group].([]any); len(list) == 0 && len(groups) == 0 {
				setDefault(p, one, "*")
			}
			setDefault(p, one+plural(one), []any{})
		}
	},
	"routes": func(p Doc) { setDefault(p, "hasBgpOverride", false) },
	"subnets": func(p Doc) {
		setDefault(p, "delegations", []any{})
		setDefault(p, "privateEndpointNetworkPolicies", "Disabled")
		setDefault(p, "privateLinkServiceNetworkPolicies", "Enabled")
	},
	"virtualnetworkpeerings": func(p Doc) {
		setDefault(p, "allowVirtualNetworkAccess", true)
		setDefault(p, "allowForwardedTraffic", false)
		setDefault(p, "allowGatewayTransit", false)
		setDefault(p, "useRemoteGateways", false)
	},
	"frontendipconfigurations": func(p Doc) { setDefault(p, "privateIPAllocationMethod", "Dynamic") },
	"outboundrules": func(p Doc) {
		setDefault(p, "allocatedOutboundPorts", 0.0)
		setDefault(p, "enableTcpReset", false)
		setDefault(p, "idleTimeoutInMinutes", 4.0)
		setDefault(p, "protocol", "All")
	},
	"loadbalancingrules": func(p Doc) {
		setDefault(p, "enableFloatingIP", false)
		setDefault(p, "enableTcpReset", false)
		setDefault(p, "disableOutboundSnat", false)
		setDefault(p, "idleTimeoutInMinutes", 4.0)
		setDefault(p, "loadDistribution", "Default")
	},
	"probes": func(p Doc) {
		setDefault(p, "intervalInSeconds", 15.0)
		setDefault(p, "numberOfProbes", 2.0)
		setDefault(p, "probeThreshold", 1.0)
	},
	"ipconfigurations": func(p Doc) {
		setDefault(p, "privateIPAllocationMethod", "Dynamic")
		setDefault(p, "privateIPAddressVersion", "IPv4")
	},
}

func plural(one string) string {
	if strings.HasSuffix(one, "Prefix") {
		return "es"
	}
	return "s"
}

type completer func(t *tx, r resourceID, d, old Doc) error

// completers are the defaults of the top-level types. (A function, since one
// completer changes another resource and so comes back here.)
func completers() map[string]completer {
	return map[string]completer{
		"microsoft.resources/resourcegroups":                                          completeGroup,
		"microsoft.network/networksecuritygroups":                                     completeNSG,
		"microsoft.network/routetables":                                               completeRouteTable,
		"microsoft.network/virtualnetworks":                                           completeVNet,
		"microsoft.network/natgateways":                                               completeNAT,
		"microsoft.network/publicipaddresses":                                         completePublicIP,
		"microsoft.network/publicipprefixes":                                          completePrefix,
		"microsoft.network/loadbalancers":                                             completeLB,
		"microsoft.network/networkinterfaces":                                         completeNIC,
		"microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces": completeNIC,
		"microsoft.compute/virtualmachinescalesets/virtualmachines":                   completeInstance,
		"microsoft.network/firewallpolicies":                                          completeFirewallPolicy,
		"microsoft.network/azurefirewalls":                                            completeFirewall,
		"microsoft.network/privatednszones":                                           completeZone,
		"microsoft.network/privatednszones/virtualnetworklinks":                       completeZoneLink,
		"microsoft.containerservice/managedclusters":                                  completeCluster,
	}
}

func completeGroup(_ *tx, _ resourceID, d, _ Doc) error {
	d["properties"] = Doc{"provisioningState": "Succeeded"}
	d["type"] = "Microsoft.Resources/resourceGroups"
	return nil
}

func completeNSG(_ *tx, _ resourceID, d, _ Doc) error {
	setDefault(props(d), "securityRules", []any{})
	props(d)["defaultSecurityRules"] = defaultRules()
	return nil
}

func completeRouteTable(_ *tx, _ resourceID, d, _ Doc) error {
	setDefault(props(d), "disableBgpRoutePropagation", false)
	setDefault(props(d), "routes", []any{})
	return nil
}

// completeVNet: a PUT without subnets or peerings leaves them as they are; an empty list empties them.
func completeVNet(_ *tx, _ resourceID, d, old Doc) error {
	p := props(d)
	for _, k := range []string{"subnets", "virtualNetworkPeerings"} {
		if kept := At(old, "properties", k); kept != nil {
			setDefault(p, k, clone(kept))
		}
		setDefault(p, k, []any{})
	}
	setDefault(p, "enableDdosProtection", false)
	return nil
}

func standardSKU(d Doc) { setDefault(d, "sku", Doc{"name": "Standard", "tier": "Regional"}) }

func completeNAT(_ *tx, _ resourceID, d, _ Doc) error {
	setDefault(props(d), "idleTimeoutInMinutes", 4.0)
	standardSKU(d)
	return nil
}

func completeLB(t *tx, r resourceID, d, _ Doc) error {
	p := props(d)
	for _, in := range inlines["microsoft.network/loadbalancers"] {
		setDefault(p, in.property, []any{})
	}
	standardSKU(d)
	return t.allocate(r, Items(p, "frontendIPConfigurations"))
}

func completeInstance(_ *tx, r resourceID, d, _ Doc) error {
	d["name"], d["instanceId"] = instanceName(r), r.name()
	return nil
}

func completeFirewallPolicy(_ *tx, _ resourceID, d, _ Doc) error {
	p := props(d)
	setDefault(p, "sku", Doc{"tier": "Standard"})
	setDefault(p, "threatIntelMode", "Alert")
	setDefault(p, "childPolicies", []any{})
	return nil
}

func completeFirewall(t *tx, r resourceID, d, _ Doc) error {
	p := props(d)
	setDefault(p, "sku", Doc{"name": "AZFW_VNet", "tier": "Standard"})
	setDefault(p, "threatIntelMode", "Alert")
	for _, k := range []string{"networkRuleCollections", "applicationRuleCollections", "natRuleCollections", "ipConfigurations"} {
		setDefault(p, k, []any{})
	}
	return t.allocate(r, Items(p, "ipConfigurations"))
}

func completeZone(_ *tx, _ resourceID, d, _ Doc) error {
	d["location"] = "global"
	p := props(d)
	delete(p, "resourceGuid")
	p["maxNumberOfRecordSets"], p["maxNumberOfVirtualNetworkLinks"] = 25000.0, 1000.0
	p["maxNumberOfVirtualNetworkLinksWithRegistration"] = 100.0
	return nil
}

func completeZoneLink(_ *tx, _ resourceID, d, _ Doc) error {
	d["location"] = "global"
	p := props(d)
	setDefault(p, "registrationEnabled", false)
	setDefault(p, "resolutionPolicy", "Default")
	p["virtualNetworkLinkState"] = "Completed"
	return nil
}

// completeCluster spells the id and the type as AKS does, and keeps the pools that a PUT leaves out.
func completeCluster(t *tx, _ resourceID, d, old Doc) error {
	d["type"] = "Microsoft.ContainerService/ManagedClusters"
	d["id"] = strings.Replace(Str(d, "id"), "/resourceGroups/", "/resourcegroups/", 1)
	if kept := At(old, "properties", "agentPoolProfiles"); kept != nil {
		setDefault(props(d), "agentPoolProfiles", clone(kept))
	}
	return t.followProfile(d, old)
}

// followProfile does what AKS does when a cluster's loadBalancerProfile changes:
// it writes ports and idle time into the outbound rule of its load balancer.
func (t *tx) followProfile(d, old Doc) error {
	path := []string{"properties", "networkProfile", "loadBalancerProfile"}
	was, is := At(old, path...), At(d, path...)
	if old == nil || is == nil {
		return nil
	}
	id, err := parseID("/subscriptions/" + plan.Subscription + "/resourceGroups/" + Str(d, "properties", "nodeResourceGroup") +
		"/providers/Microsoft.Network/loadBalancers/kubernetes")
	if err != nil {
		return nil // no node resource group: nothing to follow
	}
	lb, ok := t.get(id)
	if !ok {
		return nil
	}
	lb = clone(lb)
	changed := false
	for _, k := range []string{"allocatedOutboundPorts", "idleTimeoutInMinutes"} {
		n, given := Int(is, k)
		if before, _ := Int(was, k); !given || n == before {
			continue
		}
		for _, rule := range Items(lb, "properties", "outboundRules") {
			props(rule)[k], changed = float64(n), true
		}
	}
	if !changed {
		return nil
	}
	_, _, err = t.put(id.String(), lb)
	return err
}

// instanceName is how a scale set's instance is called: not by its id's last segment.
func instanceName(r resourceID) string {
	if !strings.EqualFold(r.kind(), "Microsoft.Compute/virtualMachineScaleSets/virtualMachines") {
		return ""
	}
	return r.names[0] + "_" + r.names[1]
}

// defaultRules are the six that every NSG has.
func defaultRules() []any {
	rule := func(name, about, direction, access string, priority float64, from, to string) Doc {
		return Doc{"name": name, "properties": Doc{
			"description": about, "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "*",
			"sourceAddressPrefix": from, "destinationAddressPrefix": to, "access": access, "priority": priority,
			"direction": direction, "sourcePortRanges": []any{}, "destinationPortRanges": []any{},
			"sourceAddressPrefixes": []any{}, "destinationAddressPrefixes": []any{},
		}}
	}
	return []any{
		rule("AllowVnetInBound", "Allow inbound traffic from all VMs in VNET", "Inbound", "Allow", 65000, "VirtualNetwork", "VirtualNetwork"),
		rule("AllowAzureLoadBalancerInBound", "Allow inbound traffic from azure load balancer", "Inbound", "Allow", 65001, "AzureLoadBalancer", "*"),
		rule("DenyAllInBound", "Deny all inbound traffic", "Inbound", "Deny", 65500, "*", "*"),
		rule("AllowVnetOutBound", "Allow outbound traffic from all VMs to all VMs in VNET", "Outbound", "Allow", 65000, "VirtualNetwork", "VirtualNetwork"),
		rule("AllowInternetOutBound", "Allow outbound traffic from all VMs to Internet", "Outbound", "Allow", 65001, "*", "Internet"),
		rule("DenyAllOutBound", "Deny all outbound traffic", "Outbound", "Deny", 65500, "*", "*"),
	}
}

// The lab's public addresses: the fixed ones lie below firstPublic.
var (
	publicPool   = netip.MustParsePrefix("192.0.2.0/24")
	firstPublic  = netip.MustParseAddr("192.0.2.64")
	prefixPool   = netip.MustParsePrefix("192.0.2.192/26") // for publicIPPrefixes
	publicPoolV6 = netip.MustParsePrefix("2001:db8:1::/64")
)

// completePublicIP allocates the address. One that the caller names is taken
// when it is one of the lab's and free: scenarios need addresses they can know.
func completePublicIP(t *tx, r resourceID, d, old Doc) error {
	p := props(d)
	setDefault(p, "publicIPAddressVersion", "IPv4")
	setDefault(p, "publicIPAllocationMethod", "Static")
	setDefault(p, "idleTimeoutInMinutes", 4.0)
	setDefault(p, "ipTags", []any{})
	standardSKU(d)
	if kept := Str(old, "properties", "ipAddress"); kept != "" && Str(p, "ipAddress") == "" {
		p["ipAddress"] = kept
	}
	used := map[netip.Addr]string{}
	for k, other := range t.docs {
		if a, err := netip.ParseAddr(Str(other, "properties", "ipAddress")); err == nil && k != key(r) {
			used[a] = Str(other, "name")
		}
	}
	if given := Str(p, "ipAddress"); given != "" {
		a, err := netip.ParseAddr(given)
		if err != nil || (!publicPool.Contains(a) && !publicPoolV6.Contains(a)) {
			return refuse(400, "InvalidParameter", "The address %q of %s is none of the lab's public ones (%s, %s).", given, r, publicPool, publicPoolV6)
		}
		if by, taken := used[a]; taken {
			return refuse(400, "PublicIPAddressInUse", "The address %s is already that of public IP address %s.", a, by)
		}
		return nil
	}
	from, pool := firstPublic, publicPool
	if Str(p, "publicIPAddressVersion") == "IPv6" {
		from, pool = publicPoolV6.Addr().Next(), publicPoolV6
	} else if id := Str(p, "publicIPPrefix", "id"); id != "" {
		pr, err := netip.ParsePrefix(Str(t.docs[strings.ToLower(id)], "properties", "ipPrefix"))
		if err != nil {
			return invalidReference(id, r)
		}
		from, pool = pr.Addr(), pr
	}
	for a := from; pool.Contains(a); a = a.Next() {
		if _, taken := used[a]; taken || (pool == publicPool && prefixPool.Contains(a)) {
			continue
		}
		p["ipAddress"] = a.String()
		return nil
	}
	return refuse(400, "PublicIPCountLimitReached", "No public address is left in %s.", pool)
}

// completePrefix allocates a prefix of the asked length.
func completePrefix(t *tx, r resourceID, d, old Doc) error {
	p := props(d)
	standardSKU(d)
	setDefault(p, "publicIPAddressVersion", "IPv4")
	if kept := Str(old, "properties", "ipPrefix"); kept != "" {
		p["ipPrefix"] = kept
		return nil
	}
	bits, ok := Int(p, "prefixLength")
	if !ok || bits < 28 || bits > 31 {
		return refuse(400, "InvalidPrefixLength", "prefixLength of %s must be 28 to 31.", r)
	}
	var used []netip.Prefix
	for _, other := range t.docs {
		if q, err := netip.ParsePrefix(Str(other, "properties", "ipPrefix")); err == nil {
			used = append(used, q)
		}
	}
	base := prefixPool.Addr().As4()
	for n := binary.BigEndian.Uint32(base[:]); ; n += 1 << (32 - bits) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], n)
		q := netip.PrefixFrom(netip.AddrFrom4(b), bits)
		if !prefixPool.Contains(q.Addr()) {
			return refuse(400, "PublicIPPrefixCountLimitReached", "No public prefix of length %d is left in %s.", bits, prefixPool)
		}
		if !overlapsAny(q, used) {
			p["ipPrefix"] = q.String()
			return nil
		}
	}
}

func overlapsAny(p netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if u.Overlaps(p) {
			return true
		}
	}
	return false
}

// completeNIC allocates private addresses and marks one ip configuration primary.
func completeNIC(t *tx, r resourceID, d, _ Doc) error {
	p := props(d)
	setDefault(p, "enableIPForwarding", false)
	setDefault(p, "enableAcceleratedNetworking", false)
	setDefault(p, "dnsSettings", Doc{"dnsServers": []any{}, "appliedDnsServers": []any{}})
	setDefault(p, "macAddress", "60-45-BD-00-00-00")
	setDefault(p, "nicType", "Standard")
	configs := Items(p, "ipConfigurations")
	primary := false
	for _, c := range configs {
		if err := shaped(r.String(), c); err != nil {
			return err
		}
		if yes, _ := At(c, "properties", "primary").(bool); yes {
			primary = true
		}
	}
	for i, c := range configs {
		cp := props(c)
		if !primary && i == 0 {
			cp["primary"] = true
		}
		setDefault(cp, "primary", false)
	}
	return t.allocate(r, configs)
}

// allocate gives private addresses to the configurations that are in a subnet and name none.
func (t *tx) allocate(r resourceID, configs []Doc) error {
	for _, c := range configs {
		if err := shaped(r.String(), c); err != nil {
			return err
		}
		cp := props(c)
		if Str(cp, "privateIPAddress") != "" || Str(cp, "subnet", "id") == "" {
			continue
		}
		a, err := t.freeAddress(r, Str(cp, "subnet", "id"), configs)
		if err != nil {
			return err
		}
		cp["privateIPAddress"] = a.String()
	}
	return nil
}

// freeAddress is the first address of a subnet that no NIC or frontend holds;
// Azure keeps the first four and the last for itself.
func (t *tx) freeAddress(r resourceID, subnet string, own []Doc) (netip.Addr, error) {
	id, err := parseID(subnet)
	if err != nil {
		return netip.Addr{}, err
	}
	d, ok := t.get(id)
	if !ok {
		return netip.Addr{}, invalidReference(subnet, r)
	}
	used := map[string]bool{}
	note := func(configs []Doc) {
		for _, c := range configs {
			used[Str(c, "properties", "privateIPAddress")] = true
		}
	}
	note(own)
	for k, other := range t.docs {
		if k == key(r) {
			continue
		}
		note(Items(other, "properties", "ipConfigurations"))
		note(Items(other, "properties", "frontendIPConfigurations"))
	}
	for _, p := range subnetPrefixes(d) {
		a := p.Addr()
		for range 4 {
			a = a.Next()
		}
		for ; p.Contains(a) && p.Contains(a.Next()); a = a.Next() {
			if !used[a.String()] {
				return a, nil
			}
		}
	}
	return netip.Addr{}, refuse(400, "SubnetIsFull", "Subnet %s with address prefix %s does not have enough capacity for 1 IP addresses.",
		Str(d, "name"), Str(d, "properties", "addressPrefix"))
}

// subnetPrefixes reads addressPrefix and addressPrefixes; what is no prefix is left out.
func subnetPrefixes(d Doc) []netip.Prefix {
	texts := []string{Str(d, "properties", "addressPrefix")}
	list, _ := At(d, "properties", "addressPrefixes").([]any)
	for _, e := range list {
		if s, ok := e.(string); ok {
			texts = append(texts, s)
		}
	}
	var out []netip.Prefix
	for _, s := range texts {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}
