package arm

import (
	"sort"
	"strings"
)

// link writes the properties that ARM derives from other documents: who uses an
// NSG, a route table, a NAT gateway, a public address, a backend pool; the ids
// of separate children; both ends of a peering. They are removed first, so that
// a caller's copy of them counts for nothing.
func (t *tx) link() {
	t.unlink()
	for _, k := range t.keys() {
		d := t.docs[k]
		switch kindOf(d) {
		case "microsoft.network/virtualnetworks":
			t.linkVNet(d)
		case "microsoft.network/networkinterfaces", "microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces":
			t.linkNIC(d)
		case "microsoft.network/natgateways":
			for _, ip := range Items(d, "properties", "publicIpAddresses") {
				t.point(Str(ip, "id"), "natGateway", d)
			}
			for _, ip := range Items(d, "properties", "publicIpPrefixes") {
				t.point(Str(ip, "id"), "natGateway", d)
			}
		case "microsoft.network/loadbalancers":
			t.linkLB(d)
		case "microsoft.network/azurefirewalls":
			t.point(Str(d, "properties", "firewallPolicy", "id"), "firewalls[]", d)
			t.linkConfigs(d)
		case "microsoft.network/virtualnetworkgateways":
			t.linkConfigs(d)
		case "microsoft.network/firewallpolicies/rulecollectiongroups", "microsoft.network/privatednszones/virtualnetworklinks":
			t.linkChild(d)
		}
		if strings.HasPrefix(kindOf(d), "microsoft.network/privatednszones/") && kindOf(d) != "microsoft.network/privatednszones/virtualnetworklinks" {
			t.count(d, "numberOfRecordSets")
		}
	}
}

func (t *tx) keys() []string {
	keys := make([]string, 0, len(t.docs))
	for k := range t.docs {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

func kindOf(d Doc) string { return strings.ToLower(Str(d, "type")) }

// derived are the properties that link writes, by type.
var derived = map[string][]string{
	"microsoft.network/networksecuritygroups":                  {"subnets", "networkInterfaces"},
	"microsoft.network/routetables":                            {"subnets"},
	"microsoft.network/natgateways":                            {"subnets"},
	"microsoft.network/publicipaddresses":                      {"ipConfiguration", "natGateway"},
	"microsoft.network/publicipprefixes":                       {"natGateway", "loadBalancerFrontendIpConfiguration", "publicIPAddresses"},
	"microsoft.network/firewallpolicies":                       {"firewalls", "ruleCollectionGroups"},
	"microsoft.network/virtualnetworks/subnets":                {"ipConfigurations"},
	"microsoft.network/loadbalancers/backendaddresspools":      {"backendIPConfigurations", "outboundRules", "loadBalancingRules"},
	"microsoft.network/loadbalancers/frontendipconfigurations": {"outboundRules", "loadBalancingRules"},
	"microsoft.network/loadbalancers/probes":                   {"loadBalancingRules"},
}

func (t *tx) unlink() {
	for _, d := range t.docs {
		t.strip(d)
		for _, in := range inlines[kindOf(d)] {
			for _, e := range Items(d, "properties", in.property) {
				t.strip(e)
			}
		}
		if kindOf(d) == "microsoft.network/privatednszones" {
			p := props(d)
			p["numberOfRecordSets"], p["numberOfVirtualNetworkLinks"], p["numberOfVirtualNetworkLinksWithRegistration"] = 1.0, 0.0, 0.0
		}
		if kindOf(d) == "microsoft.network/firewallpolicies" {
			props(d)["firewalls"], props(d)["ruleCollectionGroups"] = []any{}, []any{}
		}
	}
}

func (t *tx) strip(d Doc) {
	for _, k := range derived[kindOf(d)] {
		delete(props(d), k)
	}
}

// point writes a reference to d into the resource called id; a property that
// ends in [] is a list.
func (t *tx) point(id, property string, d Doc) {
	if id == "" {
		return
	}
	r, err := parseID(id)
	if err != nil {
		return
	}
	target, ok := t.get(r)
	if !ok {
		return
	}
	name, list := strings.CutSuffix(property, "[]")
	ref := Doc{"id": Str(d, "id")}
	if !list {
		props(target)[name] = ref
		return
	}
	l, _ := props(target)[name].([]any)
	props(target)[name] = append(l, ref)
}

func (t *tx) linkVNet(d Doc) {
	for _, s := range Items(d, "properties", "subnets") {
		t.point(Str(s, "properties", "networkSecurityGroup", "id"), "subnets[]", s)
		t.point(Str(s, "properties", "routeTable", "id"), "subnets[]", s)
		t.point(Str(s, "properties", "natGateway", "id"), "subnets[]", s)
	}
	for _, p := range Items(d, "properties", "virtualNetworkPeerings") {
		t.linkPeering(d, p)
	}
}

// linkPeering computes a peering's state from the other side.
func (t *tx) linkPeering(d, peering Doc) {
	p := props(peering)
	r, err := parseID(Str(p, "remoteVirtualNetwork", "id"))
	if err != nil {
		return
	}
	p["peeringState"], p["peeringSyncLevel"] = "Initiated", "RemoteNotInSync"
	remote, ok := t.get(r)
	if !ok {
		p["peeringState"] = "Disconnected"
		return
	}
	space := clone(At(remote, "properties", "addressSpace"))
	p["remoteAddressSpace"], p["remoteVirtualNetworkAddressSpace"] = space, clone(space)
	for _, back := range Items(remote, "properties", "virtualNetworkPeerings") {
		if strings.EqualFold(Str(back, "properties", "remoteVirtualNetwork", "id"), Str(d, "id")) {
			p["peeringState"], p["peeringSyncLevel"] = "Connected", "FullyInSync"
		}
	}
}

func (t *tx) linkNIC(d Doc) {
	t.point(Str(d, "properties", "networkSecurityGroup", "id"), "networkInterfaces[]", d)
	for _, c := range Items(d, "properties", "ipConfigurations") {
		for _, pool := range Items(c, "properties", "loadBalancerBackendAddressPools") {
			t.point(Str(pool, "id"), "backendIPConfigurations[]", c)
		}
	}
	t.linkConfigs(d)
}

// linkConfigs links the ip configurations of a NIC, firewall or gateway to their subnet and public address.
func (t *tx) linkConfigs(d Doc) {
	for _, c := range Items(d, "properties", "ipConfigurations") {
		t.point(Str(c, "properties", "subnet", "id"), "ipConfigurations[]", c)
		t.point(Str(c, "properties", "publicIPAddress", "id"), "ipConfiguration", c)
	}
}

func (t *tx) linkLB(d Doc) {
	for _, f := range Items(d, "properties", "frontendIPConfigurations") {
		t.point(Str(f, "properties", "publicIPAddress", "id"), "ipConfiguration", f)
		t.point(Str(f, "properties", "publicIPPrefix", "id"), "loadBalancerFrontendIpConfiguration", f)
		t.point(Str(f, "properties", "subnet", "id"), "ipConfigurations[]", f)
	}
	for _, r := range Items(d, "properties", "outboundRules") {
		t.point(Str(r, "properties", "backendAddressPool", "id"), "outboundRules[]", r)
		for _, f := range Items(r, "properties", "frontendIPConfigurations") {
			t.point(Str(f, "id"), "outboundRules[]", r)
		}
	}
	for _, r := range Items(d, "properties", "loadBalancingRules") {
		t.point(Str(r, "properties", "backendAddressPool", "id"), "loadBalancingRules[]", r)
		t.point(Str(r, "properties", "frontendIPConfiguration", "id"), "loadBalancingRules[]", r)
		t.point(Str(r, "properties", "probe", "id"), "loadBalancingRules[]", r)
	}
}

func (t *tx) linkChild(d Doc) {
	r, err := parseID(Str(d, "id"))
	if err != nil {
		return
	}
	parent, _ := r.parent()
	if strings.HasSuffix(kindOf(d), "/rulecollectiongroups") {
		t.point(parent.String(), "ruleCollectionGroups[]", d)
		return
	}
	t.count(d, "numberOfVirtualNetworkLinks")
	if yes, _ := At(d, "properties", "registrationEnabled").(bool); yes {
		t.count(d, "numberOfVirtualNetworkLinksWithRegistration")
	}
}

// count adds one to a property of d's parent.
func (t *tx) count(d Doc, property string) {
	r, err := parseID(Str(d, "id"))
	if err != nil {
		return
	}
	parent, ok := r.parent()
	if !ok {
		return
	}
	if owner, ok := t.docs[key(parent)]; ok {
		n, _ := Int(owner, "properties", property)
		props(owner)[property] = float64(n + 1)
	}
}
