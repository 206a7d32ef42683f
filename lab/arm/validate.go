package arm

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// validate judges a completed resource as ARM does; t holds it already.
func (t *tx) validate(r resourceID, d Doc) error {
	if f, ok := validators[strings.ToLower(r.kind())]; ok {
		if err := f(t, r, d); err != nil {
			return err
		}
	}
	return t.references(r, d)
}

var validators = map[string]func(*tx, resourceID, Doc) error{
	"microsoft.network/networksecuritygroups": validateNSG,
	"microsoft.network/routetables":           validateRouteTable,
	"microsoft.network/virtualnetworks":       validateVNet,
	"microsoft.network/natgateways": func(_ *tx, r resourceID, d Doc) error {
		return inRange(r, d, "idleTimeoutInMinutes", 4, 120)
	},
	"microsoft.network/loadbalancers": validateLB,
	"microsoft.network/firewallpolicies/rulecollectiongroups": func(_ *tx, r resourceID, d Doc) error {
		return inRange(r, d, "priority", 100, 65000)
	},
}

func inRange(r resourceID, d Doc, property string, low, high int) error {
	n, ok := Int(d, "properties", property)
	if !ok || n < low || n > high {
		return refuse(400, "InvalidParameter", "properties.%s of %s is %v; it must be a number from %d to %d.",
			property, r, At(d, "properties", property), low, high)
	}
	return nil
}

func oneOf(rule, property, value string, allowed ...string) error {
	for _, a := range allowed {
		if strings.EqualFold(a, value) {
			return nil
		}
	}
	return refuse(400, "InvalidRequestFormat", "Cannot parse the request: %s of %s is %q; it must be one of %s.",
		property, rule, value, strings.Join(allowed, ", "))
}

func validateNSG(_ *tx, _ resourceID, d Doc) error {
	taken := map[string]string{}
	for _, rule := range Items(d, "properties", "securityRules") {
		p, name := props(rule), Str(rule, "name")
		if err := oneOf(name, "direction", Str(p, "direction"), "Inbound", "Outbound"); err != nil {
			return err
		}
		if err := oneOf(name, "access", Str(p, "access"), "Allow", "Deny"); err != nil {
			return err
		}
		if err := oneOf(name, "protocol", Str(p, "protocol"), "Tcp", "Udp", "Icmp", "Esp", "Ah", "*"); err != nil {
			return err
		}
		priority, ok := Int(p, "priority")
		if !ok || priority < 100 || priority > 4096 {
			return refuse(400, "SecurityRuleInvalidPriority",
				"Security rule has invalid Priority. Value provided: %v Allowed range 100-4096.", At(p, "priority"))
		}
		k := fmt.Sprintf("%s/%d", strings.ToLower(Str(p, "direction")), priority)
		if other, conflict := taken[k]; conflict {
			return refuse(400, "SecurityRuleConflict",
				"Security rule %s conflicts with rule %s. Rules cannot have the same Priority and Direction.", name, other)
		}
		taken[k] = name
		if err := validateSides(p); err != nil {
			return err
		}
	}
	return nil
}

// validateSides checks ports and addresses of a security rule.
func validateSides(p Doc) error {
	for _, side := range []string{"source", "destination"} {
		for _, port := range both(p, side+"PortRange") {
			if !validPorts(port) {
				return refuse(400, "SecurityRuleInvalidPortRange", "Security rule has invalid Port range. Value provided: %s. "+
					"Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535.", port)
			}
		}
		for _, a := range both(p, side+"AddressPrefix") {
			if !validAddressOrTag(a) {
				return refuse(400, "SecurityRuleInvalidAddressPrefix", "Security rule has invalid Address prefix. Value provided: %s", a)
			}
		}
	}
	return nil
}

// both reads the singular and the plural property.
func both(p Doc, one string) []string {
	var out []string
	if s := Str(p, one); s != "" {
		out = append(out, s)
	}
	list, _ := p[one+plural(one)].([]any)
	for _, e := range list {
		s, _ := e.(string)
		out = append(out, s)
	}
	return out
}

func validPorts(s string) bool {
	if s == "*" {
		return true
	}
	low, high, isRange := strings.Cut(s, "-")
	a, err := strconv.ParseUint(low, 10, 16)
	if err != nil {
		return false
	}
	if !isRange {
		return true
	}
	b, err := strconv.ParseUint(high, 10, 16)
	return err == nil && a <= b
}

// validAddressOrTag takes an address, a CIDR, "*" or the name of a service tag.
func validAddressOrTag(s string) bool {
	if s == "*" {
		return true
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	if from, to, ok := strings.Cut(s, "-"); ok {
		_, err1 := netip.ParseAddr(from)
		_, err2 := netip.ParseAddr(to)
		return err1 == nil && err2 == nil
	}
	return s != "" && (s[0] >= 'A' && s[0] <= 'Z' || s[0] >= 'a' && s[0] <= 'z') && !strings.ContainsAny(s, "/: ")
}

func validateRouteTable(_ *tx, _ resourceID, d Doc) error {
	taken := map[string]string{}
	for _, route := range Items(d, "properties", "routes") {
		p, name := props(route), Str(route, "name")
		prefix := Str(p, "addressPrefix")
		if _, err := netip.ParsePrefix(prefix); err != nil && (strings.Contains(prefix, "/") || !validAddressOrTag(prefix)) {
			return refuse(400, "InvalidRouteAddressPrefix", "Route %s has the invalid AddressPrefix '%s'.", name, prefix)
		}
		if err := oneOf(name, "nextHopType", Str(p, "nextHopType"),
			"VirtualNetworkGateway", "VnetLocal", "Internet", "VirtualAppliance", "None"); err != nil {
			return err
		}
		hop := Str(p, "nextHopIpAddress")
		if strings.EqualFold(Str(p, "nextHopType"), "VirtualAppliance") {
			if _, err := netip.ParseAddr(hop); err != nil {
				return refuse(400, "RouteInvalidNextHopIpAddress",
					"Route %s has NextHopType VirtualAppliance and needs a valid NextHopIpAddress; it has '%s'.", name, hop)
			}
		} else if hop != "" {
			return refuse(400, "RouteNextHopIpAddressNotAllowed",
				"Route %s: NextHopIpAddress may only be set when NextHopType is VirtualAppliance.", name)
		}
		if other, conflict := taken[strings.ToLower(prefix)]; conflict {
			return refuse(400, "RouteConflict", "Route %s conflicts with route %s. Routes cannot have the same AddressPrefix.", name, other)
		}
		taken[strings.ToLower(prefix)] = name
	}
	return nil
}

func validateVNet(t *tx, r resourceID, d Doc) error {
	var space []netip.Prefix
	list, _ := At(d, "properties", "addressSpace", "addressPrefixes").([]any)
	for _, e := range list {
		s, _ := e.(string)
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return refuse(400, "InvalidAddressPrefixFormat", "Address prefix %v of resource %s is not formatted correctly. It should follow CIDR notation.", e, r)
		}
		space = append(space, p)
	}
	if len(space) == 0 {
		return refuse(400, "InvalidRequestFormat", "properties.addressSpace.addressPrefixes of %s is required.", r)
	}
	type held struct {
		name   string
		prefix netip.Prefix
	}
	var used []held
	for _, s := range Items(d, "properties", "subnets") {
		prefixes := subnetPrefixes(s)
		if len(prefixes) == 0 {
			return refuse(400, "InvalidAddressPrefixFormat", "Subnet %s has no valid addressPrefix.", Str(s, "name"))
		}
		for _, p := range prefixes {
			inside := slices.ContainsFunc(space, func(v netip.Prefix) bool { return v.Contains(p.Addr()) && v.Bits() <= p.Bits() })
			if !inside {
				return refuse(400, "NetcfgInvalidSubnet", "Subnet '%s' is not valid because its IP address range is outside the IP address range of virtual network '%s'.",
					Str(s, "name"), r.name())
			}
			for _, u := range used {
				if u.prefix.Overlaps(p) {
					return refuse(400, "NetcfgSubnetRangesOverlap", "Subnet '%s' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '%s': %s.",
						Str(s, "name"), r.name(), u.name)
				}
			}
			used = append(used, held{Str(s, "name"), p})
		}
	}
	return t.validatePeerings(r, d)
}

func (t *tx) validatePeerings(r resourceID, d Doc) error {
	for _, p := range Items(d, "properties", "virtualNetworkPeerings") {
		if Str(p, "properties", "remoteVirtualNetwork", "id") == "" {
			return refuse(400, "InvalidRequestFormat", "Peering %s of %s needs properties.remoteVirtualNetwork.id.", Str(p, "name"), r)
		}
	}
	return nil
}

func validateLB(t *tx, r resourceID, d Doc) error {
	for _, rule := range Items(d, "properties", "outboundRules") {
		ports, _ := Int(rule, "properties", "allocatedOutboundPorts")
		if ports%8 != 0 || ports < 0 || ports > 64000 {
			return refuse(400, "InvalidAllocatedOutboundPorts",
				"Outbound rule %s: allocatedOutboundPorts %d must be a multiple of 8 from 0 to 64000.", Str(rule, "name"), ports)
		}
		pool := strings.ToLower(Str(rule, "properties", "backendAddressPool", "id"))
		frontends := len(Items(rule, "properties", "frontendIPConfigurations"))
		members := 0
		for _, nic := range t.docs {
			for _, c := range Items(nic, "properties", "ipConfigurations") {
				for _, p := range Items(c, "properties", "loadBalancerBackendAddressPools") {
					if strings.ToLower(Str(p, "id")) == pool {
						members++
					}
				}
			}
		}
		if ports*members > 64000*max(frontends, 1) {
			return refuse(400, "OutboundRuleAllocatedPortsExceeded",
				"Outbound rule %s: %d ports for each of %d backend instances are more than the %d that %d frontend IPs have.",
				Str(rule, "name"), ports, members, 64000*max(frontends, 1), frontends)
		}
	}
	return nil
}

// references refuses a document that names what does not exist.
func (t *tx) references(r resourceID, d Doc) error {
	var bad string
	var walk func(v any, property string)
	walk = func(v any, property string) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e, property)
			}
		case map[string]any:
			if id := Str(v, "id"); id != "" && bad == "" && checked[property] {
				if ref, err := parseID(id); err != nil {
					bad = id
				} else if _, ok := t.get(ref); !ok {
					bad = id
				}
			}
			for k, e := range v {
				walk(e, k)
			}
		}
	}
	walk(d["properties"], "")
	if bad != "" {
		return invalidReference(bad, r)
	}
	return nil
}

// checked are the properties whose target must exist.
var checked = map[string]bool{
	"networkSecurityGroup": true, "routeTable": true, "natGateway": true, "publicIPAddress": true, "publicIpAddresses": true,
	"publicIpPrefixes": true, "publicIPPrefix": true, "subnet": true, "virtualNetwork": true, "firewallPolicy": true,
	"backendAddressPool": true, "loadBalancerBackendAddressPools": true, "frontendIPConfiguration": true, "probe": true,
	"applicationSecurityGroups": true, "sourceApplicationSecurityGroups": true, "destinationApplicationSecurityGroups": true,
	"remoteVirtualNetwork": true, "basePolicy": true,
}

func invalidReference(id string, r resourceID) *Error {
	return refuse(400, "InvalidResourceReference", "Resource %s referenced by resource %s was not found. "+
		"Please make sure that the referenced resource exists, and that both resources are in the same region.", id, r)
}

// holds says which property of a type names its users, and how ARM refuses to delete it then.
var holds = map[string][]struct{ property, code, message string }{
	"microsoft.network/networksecuritygroups": {
		{"subnets", "InUseNetworkSecurityGroupCannotBeDeleted", "Network security group %s cannot be deleted because it is in use by the following resources: %s."},
		{"networkInterfaces", "InUseNetworkSecurityGroupCannotBeDeleted", "Network security group %s cannot be deleted because it is in use by the following resources: %s."},
	},
	"microsoft.network/routetables": {{"subnets", "InUseRouteTableCannotBeDeleted", "Route table %s is in use and cannot be deleted. It is used by %s."}},
	"microsoft.network/natgateways": {{"subnets", "InUseNatGatewayCannotBeDeleted", "NAT gateway %s cannot be deleted because it is in use by %s."}},
	"microsoft.network/publicipaddresses": {
		{"ipConfiguration", "PublicIPAddressCannotBeDeleted", stillAllocated}, {"natGateway", "PublicIPAddressCannotBeDeleted", stillAllocated},
	},
	"microsoft.network/virtualnetworks/subnets": {{
		"ipConfigurations", "InUseSubnetCannotBeDeleted",
		"Subnet %s is in use by %s and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet.",
	}},
	"microsoft.network/firewallpolicies": {{"firewalls", "FirewallPolicyInUse", "Firewall policy %s cannot be deleted because it is in use by %s."}},
}

const stillAllocated = "Public IP address %s can not be deleted since it is still allocated to resource %s. " +
	"In order to delete the public IP, disassociate/detach the Public IP address from the resource."

// inUse refuses to delete what something else still needs.
func (t *tx) inUse(r resourceID, d Doc) error {
	kind := strings.ToLower(r.kind())
	for _, h := range holds[kind] {
		user := Str(d, "properties", h.property, "id")
		if list := Items(d, "properties", h.property); len(list) > 0 {
			user = Str(list[0], "id")
		}
		if user != "" {
			return refuse(400, h.code, h.message, r, user)
		}
	}
	switch kind {
	case "microsoft.network/networksecuritygroups/defaultsecurityrules":
		return refuse(400, "CannotDeleteDefaultSecurityRule", "Default security rule %s cannot be deleted.", r.name())
	case "microsoft.network/virtualnetworks":
		for _, s := range Items(d, "properties", "subnets") {
			id, err := parseID(Str(s, "id"))
			if err == nil {
				err = t.inUse(id, s)
			}
			if err != nil {
				return err
			}
		}
	case "microsoft.network/privatednszones":
		for k := range t.docs {
			if strings.HasPrefix(k, key(r)+"/virtualnetworklinks/") {
				return refuse(409, "CannotDeleteResource", "Can not delete resource before nested resources are deleted.")
			}
		}
	}
	return nil
}
