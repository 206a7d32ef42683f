package arm

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/podpath/podpath/lab/plan"
)

// special answers the paths that look like a resource and are none.
func (c *call) special(r resourceID) bool {
	if c.r.Method == http.MethodPost {
		return false
	}
	if strings.EqualFold(r.kind(), "Microsoft.ContainerService/managedClusters/upgradeProfiles") {
		c.json(200, Doc{"id": r.String(), "name": r.name(), "type": r.kind(), "properties": Doc{
			"controlPlaneProfile": Doc{"kubernetesVersion": Version, "osType": "Linux", "upgrades": []any{}}, "agentPoolProfiles": []any{},
		}})
		return true
	}
	return false
}

// action is POST RESOURCE/what.
func (c *call) action(owner resourceID, what string) {
	d, ok := c.store.Get(owner.String())
	if !ok {
		c.fail(notFound(owner))
		return
	}
	switch kind := strings.ToLower(owner.kind()); {
	case strings.HasSuffix(kind, "/networkinterfaces") && strings.HasPrefix(what, "effective"):
		c.effective(owner, kind)
	case kind == "microsoft.containerservice/managedclusters" && (what == "listclusterusercredential" || what == "listclusteradmincredential"):
		c.credential(what)
	case kind == "microsoft.network/virtualnetworkgateways" && what == "getlearnedroutes":
		c.accept(owner, Doc{"value": LearnedRoutes(c.store, d)})
	case kind == "microsoft.network/virtualnetworkgateways" && what == "getbgppeerstatus":
		c.accept(owner, Doc{"value": bgpPeers(c.store, d)})
	case kind == "microsoft.network/virtualnetworkgateways" && what == "getadvertisedroutes":
		c.accept(owner, Doc{"value": []any{}})
	default:
		c.fail(refuse(404, "InvalidResourceType", "The action '%s' could not be found on the resource type '%s'.", what, owner.kind()))
	}
}

// accept answers a POST whose result comes later.
func (c *call) accept(owner resourceID, result any) {
	c.begin(owner, result, true)
	c.w.WriteHeader(http.StatusAccepted)
}

// effective is effectiveRouteTable and effectiveNetworkSecurityGroups: Azure
// computes them neither for instances of a uniform scale set, nor for a NIC
// without a running machine.
func (c *call) effective(owner resourceID, kind string) {
	if strings.HasPrefix(kind, "microsoft.compute/") {
		c.fail(refuse(400, "OperationNotAllowedOnVmss", "The operation is not supported for vmss instances. Network interface %s belongs to a virtual machine scale set.", owner))
		return
	}
	c.fail(refuse(400, "NetworkInterfaceNotAttachedToRunningVirtualMachine",
		"Network interface %s must be attached to a running virtual machine to perform this operation.", owner))
}

func (c *call) credential(what string) {
	if c.opts.Kubeconfig == nil {
		c.fail(refuse(409, "ClusterNotReady", "The cluster has no credential yet."))
		return
	}
	config, err := c.opts.Kubeconfig()
	if err != nil {
		c.fail(refuse(409, "ClusterNotReady", "The cluster has no credential yet: %v.", err))
		return
	}
	name := "clusterUser"
	if what == "listclusteradmincredential" {
		name = "clusterAdmin"
	}
	c.json(200, Doc{"kubeconfigs": []any{Doc{"name": name, "value": base64.StdEncoding.EncodeToString(config)}}})
}

// requiredEndpoints is what AKS says that a cluster must reach. The list is the
// service's own: some endpoints that AKS's documentation names are not on it.
func requiredEndpoints() []Doc {
	category := func(name, protocol string, port int, domains ...string) Doc {
		var list []any
		for _, d := range domains {
			list = append(list, Doc{"domainName": d, "endpointDetails": []any{Doc{"port": port, "protocol": protocol}}})
		}
		return Doc{"category": name, "endpoints": list}
	}
	return []Doc{
		category("azure-resource-management", "Https", 443, "management.azure.com", "login.microsoftonline.com"),
		category("images", "Https", 443, "mcr.microsoft.com", "*.data.mcr.microsoft.com"),
		category("artifacts", "Https", 443, "packages.microsoft.com", "acs-mirror.azureedge.net"),
		category("time-sync", "UDP", 123, "ntp.ubuntu.com"),
		category("ubuntu-optional", "Http", 80, "security.ubuntu.com", "azure.archive.ubuntu.com", "changelogs.ubuntu.com"),
		category("apiserver", "Https", 443, "*.hcp."+plan.Location+".azmk8s.io"),
	}
}

// LearnedRoutes are the ranges that a virtual network gateway brings into the
// VNet: those of the local network gateways, what the gateway's own
// properties.learnedRoutes or tag learnedRoutes name (learned by BGP), and
// 0.0.0.0/0 with a gatewayDefaultSite (forced tunnelling).
func LearnedRoutes(s *Store, gateway Doc) []any {
	var out []any
	seen := map[string]bool{}
	add := func(prefix, origin, hop string) {
		prefix = strings.TrimSpace(prefix)
		if prefix == "" || seen[prefix] {
			return
		}
		seen[prefix] = true
		out = append(out, Doc{
			"localAddress": Str(gateway, "properties", "bgpSettings", "bgpPeeringAddress"), "network": prefix, "nextHop": hop,
			"sourcePeer": hop, "origin": origin, "asPath": "65010", "weight": 32768,
		})
	}
	for _, d := range s.List("") {
		if kindOf(d) != "microsoft.network/localnetworkgateways" {
			continue
		}
		list, _ := At(d, "properties", "localNetworkAddressSpace", "addressPrefixes").([]any)
		for _, p := range list {
			text, _ := p.(string)
			add(text, "Network", Str(d, "properties", "gatewayIpAddress"))
		}
	}
	list, _ := At(gateway, "properties", "learnedRoutes").([]any)
	for _, p := range list {
		text, _ := p.(string)
		add(text, "EBgp", "")
	}
	if tags, ok := gateway["tags"].(map[string]any); ok {
		for k, v := range tags {
			if text, _ := v.(string); strings.EqualFold(k, "learnedRoutes") {
				for _, p := range strings.Split(text, ",") {
					add(p, "EBgp", "")
				}
			}
		}
	}
	if Str(gateway, "properties", "gatewayDefaultSite", "id") != "" {
		add("0.0.0.0/0", "Network", "")
	}
	if out == nil {
		out = []any{}
	}
	return out
}

func bgpPeers(s *Store, gateway Doc) []any {
	out := []any{}
	for _, d := range s.List("") {
		if kindOf(d) == "microsoft.network/localnetworkgateways" && At(d, "properties", "bgpSettings") != nil {
			out = append(out, Doc{
				"localAddress": Str(gateway, "properties", "bgpSettings", "bgpPeeringAddress"),
				"neighbor":     Str(d, "properties", "bgpSettings", "bgpPeeringAddress"), "asn": At(d, "properties", "bgpSettings", "asn"),
				"state": "Connected", "connectedDuration": "1.00:00:00", "routesReceived": len(LearnedRoutes(s, gateway)),
			})
		}
	}
	return out
}

// advice lists what Advisor says about a resource or what is under it.
func (c *call) advice(owner string) {
	var out []Doc
	for _, d := range c.store.List("") {
		id := strings.ToLower(Str(d, "properties", "resourceMetadata", "resourceId"))
		if kindOf(d) == "microsoft.advisor/recommendations" && (id == strings.ToLower(owner) || strings.HasPrefix(id, strings.ToLower(owner)+"/")) {
			out = append(out, d)
		}
	}
	c.list(out)
}
