package azure

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// kinds are the types of documents as Refs and gaps name them.
var kinds = map[string]struct{ kind, words string }{
	"microsoft.containerservice/managedclusters":                                      {"cluster", "managed cluster"},
	"microsoft.containerservice/managedclusters/agentpools":                           {"cluster", "node pools"},
	"microsoft.containerservice/managedclusters/outboundnetworkdependenciesendpoints": {"required", "endpoints that AKS requires"},
	"microsoft.network/virtualnetworks":                                               {"vnet", "virtual network"},
	"microsoft.network/virtualnetworks/subnets":                                       {"subnet", "subnet"},
	"microsoft.network/networksecuritygroups":                                         {"nsg", "network security group"},
	"microsoft.network/routetables":                                                   {"routetable", "route table"},
	"microsoft.network/natgateways":                                                   {"natgateway", "NAT gateway"},
	"microsoft.network/publicipaddresses":                                             {"publicip", "public address"},
	"microsoft.network/publicipprefixes":                                              {"publicip", "public address prefix"},
	"microsoft.network/networkinterfaces":                                             {"nic", "network interface"},
	"microsoft.network/loadbalancers":                                                 {"loadbalancer", "load balancer"},
	"microsoft.network/azurefirewalls":                                                {"firewall", "Azure Firewall"},
	"microsoft.network/firewallpolicies":                                              {"firewallpolicy", "firewall policy"},
	"microsoft.network/firewallpolicies/rulecollectiongroups":                         {"firewallpolicy", "rule collection groups"},
	"microsoft.network/privatednszones":                                               {"privatezone", "private DNS zone"},
	"microsoft.network/privatednszones/virtualnetworklinks":                           {"privatezone", "private DNS zone links"},
	"microsoft.network/privatednszones/all":                                           {"privatezone", "private DNS zone records"},
	"microsoft.network/virtualnetworkgateways":                                        {"vnetgateway", "virtual network gateway"},
	"microsoft.network/virtualnetworkgateways/getlearnedroutes":                       {"vnetgateway", "learned routes"},
	"microsoft.compute/virtualmachinescalesets":                                       {"vmss", "scale set"},
	"microsoft.compute/virtualmachinescalesets/virtualmachines":                       {"vmss", "scale set instances"},
	"microsoft.compute/virtualmachinescalesets/networkinterfaces":                     {"nic", "network interfaces of scale set"},
	"microsoft.compute/virtualmachines":                                               {"vmss", "virtual machine"},
	"microsoft.compute/skus":                                                          {"vmsize", "machine sizes"},
	"microsoft.insights/metrics":                                                      {"metric", "metrics"},
	"microsoft.advisor/recommendations":                                               {"advisor", "Azure Advisor"},
	"microsoft.compute/virtualmachinescalesets/virtualmachines/networkinterfaces/ipconfigurations/publicipaddresses": {"publicip", "public address"},
}

func kindOf(typ string) string {
	if k, ok := kinds[strings.ToLower(typ)]; ok {
		return k.kind
	}
	return strings.ToLower(typ[strings.LastIndexByte(typ, '/')+1:])
}

// failed records that a read did not work: a Gap, and that its kind is
// incomplete. scope is the id that was asked for, of a resource or of a list.
func (c *collector) failed(kind, scope, typ string, err error) {
	words := words(typ)
	id := ParseID(scope)
	what := words
	var ref model.Ref
	switch {
	case strings.EqualFold(id.Type, typ) && len(id.Names) > 0:
		name := id.Names[len(id.Names)-1]
		what = words + " " + name
		parts := []string{name}
		if kind == "subnet" && len(id.Names) > 1 {
			parts = id.Names[len(id.Names)-2:]
		}
		ref = model.NewRef(kind, parts...)
	case len(id.Names) > 0:
		what = words + " of " + id.Names[len(id.Names)-1]
	case id.Group != "":
		what = plural(words) + " in resource group " + id.Group
	case id.Subscription != "":
		what = plural(words) + " in subscription " + id.Subscription
	case kind == "vmss" && typ == "":
		what = "the nodes' machines"
	}
	gap := model.Gap{What: what, Ref: ref, Reason: reason(err), Permission: permission(err, typ, scope)}
	var e *Error
	gone := errors.As(err, &e) && e.Status == http.StatusNotFound
	c.mu.Lock()
	defer c.mu.Unlock()
	if !gone { // that a thing is not there is known completely
		c.partial[kind] = true
	}
	c.add(gap)
}

// words are a type as people say it.
func words(typ string) string {
	if k, ok := kinds[strings.ToLower(typ)]; ok {
		return k.words
	}
	return typ
}

func plural(words string) string {
	switch {
	case strings.HasSuffix(words, "s"):
		return words
	case strings.HasSuffix(words, "y") && !strings.HasSuffix(words, "ay"):
		return words[:len(words)-1] + "ies"
	case strings.HasSuffix(words, "address"):
		return words + "es"
	}
	return words + "s"
}

func (c *collector) gap(g model.Gap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(g)
}

func (c *collector) add(g model.Gap) {
	if !slices.Contains(c.w.Gaps, g) {
		c.w.Gaps = append(c.w.Gaps, g)
	}
}

// reason says in a few words why a read failed.
func reason(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return firstLine(err)
	}
	switch e.Status {
	case http.StatusUnauthorized:
		return fmt.Sprintf("401 %s: the token was not accepted (expired, or of another tenant)", e.Code)
	case http.StatusForbidden, http.StatusNotFound:
		return fmt.Sprintf("%d %s", e.Status, e.Code)
	case http.StatusTooManyRequests:
		return fmt.Sprintf("429 %s: Azure asked to wait longer than the deadline allows", e.Code)
	}
	return firstLine(e)
}

// permission is what would have allowed a read, when it was refused.
func permission(err error, typ, scope string) string {
	var e *Error
	if !errors.As(err, &e) {
		return ""
	}
	switch e.Status {
	case http.StatusUnauthorized:
		return "a valid token (az login)"
	case http.StatusForbidden:
		action := e.Action
		if action == "" {
			action = actionOf(typ)
		}
		where := e.Scope
		if where == "" {
			where = scope
		}
		return action + " on " + where
	}
	return ""
}

// actionOf is the read action of a type.
func actionOf(typ string) string {
	switch strings.ToLower(typ) {
	case "microsoft.compute/virtualmachinescalesets/networkinterfaces":
		return "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read"
	case "microsoft.network/virtualnetworkgateways/getlearnedroutes":
		return "Microsoft.Network/virtualNetworkGateways/getLearnedRoutes/action"
	case "microsoft.network/privatednszones/all":
		return "Microsoft.Network/privateDnsZones/ALL/read"
	}
	for _, t := range typed {
		if strings.EqualFold(t, typ) {
			return t + "/read"
		}
	}
	return typ + "/read"
}

// typed are the types in their documented case: ids give them lower-cased.
var typed = []string{
	"Microsoft.ContainerService/managedClusters", "Microsoft.ContainerService/managedClusters/agentPools",
	"Microsoft.Network/virtualNetworks", "Microsoft.Network/virtualNetworks/subnets", "Microsoft.Network/networkSecurityGroups",
	"Microsoft.Network/routeTables", "Microsoft.Network/natGateways", "Microsoft.Network/publicIPAddresses", "Microsoft.Network/publicIPPrefixes",
	"Microsoft.Network/networkInterfaces", "Microsoft.Network/loadBalancers", "Microsoft.Network/azureFirewalls", "Microsoft.Network/firewallPolicies",
	"Microsoft.Network/firewallPolicies/ruleCollectionGroups", "Microsoft.Network/ipGroups",
	"Microsoft.Network/privateDnsZones", "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
	"Microsoft.Network/virtualNetworkGateways", "Microsoft.Compute/virtualMachineScaleSets", "Microsoft.Compute/virtualMachineScaleSets/virtualMachines",
	"Microsoft.Compute/virtualMachines", "Microsoft.Compute/skus", "Microsoft.Insights/metrics", "Microsoft.Advisor/recommendations",
}
