// Package arm is the lab's Azure Resource Manager: a store of resource
// documents that behaves as ARM does (nested resources, back-references,
// defaults, refusals), the documents of a fresh lab, and an HTTPS server that
// speaks ARM's protocol, so that azidentity and the ARM clients run unchanged.
//
// The documents are the only configuration that the fabric knows: a hook
// registered with Store.OnChange runs before a change is answered, so that the
// answer to a PUT means that packets already obey it.
package arm

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Doc is a resource as ARM serves it.
type Doc = map[string]any

// Error is a refusal in ARM's own form.
type Error struct {
	Status  int
	Code    string
	Message string
	Details []Error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

func refuse(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// resourceID is a parsed ARM id. Types and Names have one entry a level.
type resourceID struct {
	subscription string
	group        string
	namespace    string
	types        []string
	names        []string
}

// parseID reads a resource's id. A resource group's own id has no namespace.
func parseID(id string) (resourceID, error) {
	bad := func(why string) (resourceID, error) {
		return resourceID{}, refuse(400, "InvalidResourceId", "The id %q is not a resource id: %s.", id, why)
	}
	seg := strings.Split(strings.Trim(id, "/"), "/")
	if slices.Contains(seg, "") {
		return bad("it has an empty segment")
	}
	if len(seg) < 4 || !strings.EqualFold(seg[0], "subscriptions") || !strings.EqualFold(seg[2], "resourceGroups") {
		return bad("it must begin with /subscriptions/ID/resourceGroups/NAME")
	}
	r := resourceID{subscription: seg[1], group: seg[3]}
	if len(seg) == 4 {
		return r, nil
	}
	if !strings.EqualFold(seg[4], "providers") || len(seg) < 8 || len(seg)%2 != 0 {
		return bad("after the resource group come /providers/NAMESPACE/TYPE/NAME and further TYPE/NAME pairs")
	}
	r.namespace = seg[5]
	for i := 6; i < len(seg); i += 2 {
		r.types = append(r.types, seg[i])
		r.names = append(r.names, seg[i+1])
	}
	r.canonical()
	return r, nil
}

// kind is the full type, as in Microsoft.Network/virtualNetworks/subnets.
func (r resourceID) kind() string {
	if r.namespace == "" {
		return "Microsoft.Resources/resourceGroups"
	}
	return r.namespace + "/" + strings.Join(r.types, "/")
}

func (r resourceID) name() string {
	if r.namespace == "" {
		return r.group
	}
	return r.names[len(r.names)-1]
}

func (r resourceID) String() string {
	id := "/subscriptions/" + r.subscription + "/resourceGroups/" + r.group
	if r.namespace == "" {
		return id
	}
	id += "/providers/" + r.namespace
	for i := range r.types {
		id += "/" + r.types[i] + "/" + r.names[i]
	}
	return id
}

// parent is the id one level up; ok is false for a top-level resource.
func (r resourceID) parent() (resourceID, bool) {
	if len(r.types) < 2 {
		return resourceID{}, false
	}
	p := r
	p.types, p.names = r.types[:len(r.types)-1], r.names[:len(r.names)-1]
	return p, true
}

// kinds are the spellings that Azure uses; ids come in any case.
var kinds = func() map[string]string {
	m := map[string]string{}
	for _, k := range []string{
		"Microsoft.Network/networkSecurityGroups/securityRules", "Microsoft.Network/networkSecurityGroups/defaultSecurityRules",
		"Microsoft.Network/routeTables/routes", "Microsoft.Network/virtualNetworks/subnets",
		"Microsoft.Network/virtualNetworks/virtualNetworkPeerings", "Microsoft.Network/natGateways",
		"Microsoft.Network/publicIPAddresses", "Microsoft.Network/publicIPPrefixes", "Microsoft.Network/applicationSecurityGroups",
		"Microsoft.Network/loadBalancers/frontendIPConfigurations", "Microsoft.Network/loadBalancers/backendAddressPools",
		"Microsoft.Network/loadBalancers/loadBalancingRules", "Microsoft.Network/loadBalancers/probes",
		"Microsoft.Network/loadBalancers/inboundNatRules", "Microsoft.Network/loadBalancers/inboundNatPools",
		"Microsoft.Network/loadBalancers/outboundRules", "Microsoft.Network/networkInterfaces/ipConfigurations",
		"Microsoft.Network/azureFirewalls/azureFirewallIpConfigurations", "Microsoft.Network/firewallPolicies/ruleCollectionGroups",
		"Microsoft.Network/ipGroups", "Microsoft.Network/privateEndpoints", "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
		"Microsoft.Network/privateDnsZones/A", "Microsoft.Network/privateDnsZones/AAAA", "Microsoft.Network/privateDnsZones/CNAME",
		"Microsoft.Network/privateDnsZones/TXT", "Microsoft.Network/privateDnsZones/SRV", "Microsoft.Network/privateDnsZones/MX",
		"Microsoft.Network/privateDnsZones/PTR", "Microsoft.Network/privateDnsZones/SOA",
		"Microsoft.Network/virtualNetworkGateways/ipConfigurations", "Microsoft.Network/localNetworkGateways", "Microsoft.Network/connections",
		"Microsoft.Compute/virtualMachineScaleSets/virtualMachines/networkInterfaces/ipConfigurations",
		"Microsoft.Compute/virtualMachineScaleSets/extensions", "Microsoft.Compute/virtualMachines", "Microsoft.Compute/disks",
		"Microsoft.ContainerService/managedClusters/agentPools/machines", "Microsoft.ManagedIdentity/userAssignedIdentities",
		"Microsoft.Advisor/recommendations", "Podpath.Lab/metrics", "Microsoft.Network/networkWatchers", "Microsoft.Network/applicationGateways",
		"Microsoft.Network/privateEndpoints/privateDnsZoneGroups", "Microsoft.Network/privateLinkServices", "Microsoft.Network/bastionHosts",
		"Microsoft.Network/expressRouteCircuits", "Microsoft.Network/ddosProtectionPlans", "Microsoft.Network/serviceEndpointPolicies",
		"Microsoft.ContainerRegistry/registries", "Microsoft.Storage/storageAccounts", "Microsoft.KeyVault/vaults",
	} {
		seg := strings.Split(k, "/")
		m[strings.ToLower(seg[0])] = seg[0]
		for i := 2; i <= len(seg); i++ {
			k := strings.Join(seg[:i], "/")
			m[strings.ToLower(k)] = k
		}
	}
	return m
}()

// canonical writes the namespace and types of an id as Azure spells them.
func (r *resourceID) canonical() {
	for i := range r.types {
		k, ok := kinds[strings.ToLower(r.namespace+"/"+strings.Join(r.types[:i+1], "/"))]
		if !ok {
			continue
		}
		seg := strings.Split(k, "/")
		r.namespace = seg[0]
		r.types[i] = seg[len(seg)-1]
	}
}

// clone copies a document deeply.
func clone[T any](v T) T { return deepCopy(any(v)).(T) }

func deepCopy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v == nil {
			return v
		}
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = deepCopy(e)
		}
		return m
	case []any:
		if v == nil {
			return v
		}
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = deepCopy(e)
		}
		return l
	default:
		return v
	}
}

// At walks into a document: At(doc, "properties", "subnets"). Nil when a step is missing.
func At(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// Str is At for a string.
func Str(v any, path ...string) string {
	s, _ := At(v, path...).(string)
	return s
}

// Items is At for a list of objects; entries of other kinds are left out.
func Items(v any, path ...string) []Doc {
	l, _ := At(v, path...).([]any)
	var out []Doc
	for _, e := range l {
		if m, ok := e.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// Int is At for a number.
func Int(v any, path ...string) (int, bool) {
	f, ok := At(v, path...).(float64)
	return int(f), ok
}

// props is a document's properties, made when absent.
func props(d Doc) Doc {
	p, ok := d["properties"].(map[string]any)
	if !ok {
		p = Doc{}
		d["properties"] = p
	}
	return p
}

// setDefault sets what the caller left out.
func setDefault(d Doc, key string, value any) {
	if v, ok := d[key]; !ok || v == nil {
		d[key] = value
	}
}

// sorted gives a map's documents in the order of their keys.
func sorted(m map[string]Doc) []Doc {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	out := make([]Doc, len(keys))
	for i, k := range keys {
		out[i] = m[k]
	}
	return out
}

// mergePatch is RFC 7396.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return deepCopy(patch)
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(t, k)
			continue
		}
		t[k] = mergePatch(t[k], v)
	}
	return t
}

// ref is a reference as ARM writes it.
func ref(id string) Doc { return Doc{"id": id} }
