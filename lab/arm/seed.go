package arm

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/lab/plan"
)

// Version is the Kubernetes version that the lab runs and the cluster document names.
const Version = "1.36.3"

// Seed puts the documents of a fresh lab: what AKS and its owner would have
// made for the plan's topology. Hooks run once.
func Seed(s *Store, p *plan.Plan) error {
	docs := []Doc{group(plan.ResourceGroup), group(plan.NodeGroup)}
	docs = append(docs, seedAddresses(p)...)
	docs = append(docs, network("networkSecurityGroups", plan.NodesNSG, Doc{}), network("networkSecurityGroups", plan.PodsNSG, Doc{}))
	if rt := seedRouteTable(p); rt != nil {
		docs = append(docs, rt)
	}
	if nat := seedNAT(p); nat != nil {
		docs = append(docs, nat)
	}
	docs = append(docs, seedVNet(p))
	if p.Topology.Outbound == plan.OutLB {
		docs = append(docs, seedLB())
	}
	docs = append(docs, seedFirewall()...)
	docs = append(docs, seedNodes(p)...)
	docs = append(docs, seedCluster(p))
	return s.Load(docs)
}

func group(name string) Doc {
	d := Doc{"id": "/subscriptions/" + plan.Subscription + "/resourceGroups/" + name, "name": name, "location": plan.Location, "tags": Doc{}}
	if name == plan.NodeGroup {
		d["managedBy"] = clusterID()
		d["tags"] = Doc{"aks-managed-cluster-name": plan.Cluster, "aks-managed-cluster-rg": plan.ResourceGroup}
	}
	return d
}

func networkID(kind, name string, rest ...string) string {
	return plan.ID(plan.ResourceGroup, "Microsoft.Network/"+kind, name, rest...)
}

func clusterID() string {
	return plan.ID(plan.ResourceGroup, "Microsoft.ContainerService/managedClusters", plan.Cluster)
}

func lbID(rest ...string) string {
	return plan.ID(plan.NodeGroup, "Microsoft.Network/loadBalancers", plan.LoadBalancer, rest...)
}

// network is a Microsoft.Network resource in the lab's own group.
func network(kind, name string, properties Doc) Doc {
	return Doc{"id": networkID(kind, name), "name": name, "location": plan.Location, "tags": Doc{}, "properties": properties}
}

// natGroup is where the NAT gateway lives: AKS puts its own into the node group.
func natGroup(p *plan.Plan) string {
	if p.Topology.Outbound == plan.OutManaged {
		return plan.NodeGroup
	}
	return plan.ResourceGroup
}

func publicIP(group, name, addr string, managed bool) Doc {
	tags := Doc{}
	if managed {
		tags = Doc{"aks-managed-cluster-name": plan.Cluster, "aks-managed-cluster-rg": plan.ResourceGroup, "aks-managed-type": "aks-slb-managed-outbound-ip"}
	}
	return Doc{
		"id": plan.ID(group, "Microsoft.Network/publicIPAddresses", name), "name": name, "location": plan.Location, "tags": tags,
		"zones": []any{"1", "2", "3"}, "properties": Doc{"ipAddress": addr},
	}
}

func seedAddresses(p *plan.Plan) []Doc {
	docs := []Doc{publicIP(plan.ResourceGroup, "pip-fw-lab", plan.FWPublicAddr.String(), false)}
	switch p.Topology.Outbound {
	case plan.OutLB:
		docs = append(docs, publicIP(plan.NodeGroup, "pip-lb-egress", plan.LBAddr.String(), true))
	case plan.OutManaged, plan.OutUser:
		docs = append(docs, publicIP(natGroup(p), "pip-natgw-lab", plan.NATAddr.String(), p.Topology.Outbound == plan.OutManaged))
	}
	return docs
}

// seedRouteTable makes rt-nodes where the topology has one: kubenet routes pod
// ranges to their nodes by it, userDefinedRouting sends everything to the firewall.
func seedRouteTable(p *plan.Plan) Doc {
	var routes []any
	if p.Topology.Outbound == plan.OutUDR {
		routes = append(routes, Doc{"name": "default", "properties": Doc{
			"addressPrefix": "0.0.0.0/0", "nextHopType": "VirtualAppliance", "nextHopIpAddress": plan.FWAddr.String(),
		}})
	}
	if p.Topology.CNI == plan.Kubenet {
		for _, n := range p.Nodes {
			routes = append(routes, Doc{"name": n.Name, "properties": Doc{
				"addressPrefix": n.PodCIDR.String(), "nextHopType": "VirtualAppliance", "nextHopIpAddress": n.Addr.String(),
			}})
		}
	}
	if routes == nil {
		return nil
	}
	return network("routeTables", plan.RouteTable, Doc{"disableBgpRoutePropagation": false, "routes": routes})
}

func seedNAT(p *plan.Plan) Doc {
	if p.Topology.Outbound != plan.OutManaged && p.Topology.Outbound != plan.OutUser {
		return nil
	}
	return Doc{
		"id": plan.ID(natGroup(p), "Microsoft.Network/natGateways", plan.NATGateway), "name": plan.NATGateway,
		"location": plan.Location, "tags": Doc{}, "sku": Doc{"name": "Standard", "tier": "Regional"},
		"properties": Doc{"idleTimeoutInMinutes": 4, "publicIpAddresses": []any{
			ref(plan.ID(natGroup(p), "Microsoft.Network/publicIPAddresses", "pip-natgw-lab")),
		}},
	}
}

func seedVNet(p *plan.Plan) Doc {
	var subnets []any
	for _, s := range p.Subnets {
		sp := Doc{"addressPrefix": s.Prefix.String(), "defaultOutboundAccess": false}
		isPods := s.Name == plan.PodsSubnet
		switch {
		case s.Name == plan.FWSubnet:
			delete(sp, "defaultOutboundAccess")
		case isPods:
			sp["networkSecurityGroup"] = ref(networkID("networkSecurityGroups", plan.PodsNSG))
		default:
			sp["networkSecurityGroup"] = ref(networkID("networkSecurityGroups", plan.NodesNSG))
		}
		usesPods := isPods && p.Topology.CNI == plan.PodSubnet
		if usesPods {
			sp["delegations"] = []any{Doc{"name": "aks-delegation", "properties": Doc{
				"serviceName":       "Microsoft.ContainerService/managedClusters",
				"provisioningState": "Succeeded", "actions": []any{"Microsoft.Network/virtualNetworks/subnets/join/action"},
			}}}
		}
		routed := seedRouteTable(p) != nil && s.Name != plan.FWSubnet && (!isPods || p.Topology.Outbound == plan.OutUDR)
		if routed {
			sp["routeTable"] = ref(networkID("routeTables", plan.RouteTable))
		}
		if nat := seedNAT(p); nat != nil && s.Name != plan.FWSubnet && (!isPods || usesPods) {
			sp["natGateway"] = ref(Str(nat, "id"))
		}
		subnets = append(subnets, Doc{"name": s.Name, "properties": sp})
	}
	return network("virtualNetworks", plan.VNet, Doc{
		"addressSpace": Doc{"addressPrefixes": []any{plan.VNetPrefix.String()}},
		"dhcpOptions":  Doc{"dnsServers": []any{}}, "privateEndpointVNetPolicies": "Disabled", "subnets": subnets,
	})
}

// seedLB is AKS's outbound load balancer; Services add inbound rules to it.
func seedLB() Doc {
	return Doc{
		"id": lbID(), "name": plan.LoadBalancer, "location": plan.Location,
		"tags": Doc{"aks-managed-cluster-name": plan.Cluster, "aks-managed-cluster-rg": plan.ResourceGroup},
		"sku":  Doc{"name": "Standard", "tier": "Regional"},
		"properties": Doc{
			"frontendIPConfigurations": []any{Doc{"name": "lb-egress", "properties": Doc{
				"publicIPAddress": ref(plan.ID(plan.NodeGroup, "Microsoft.Network/publicIPAddresses", "pip-lb-egress")),
			}}},
			"backendAddressPools": []any{Doc{"name": "aksOutboundBackendPool", "properties": Doc{}}, Doc{"name": "kubernetes", "properties": Doc{}}},
			"outboundRules": []any{Doc{"name": "aksOutboundRule", "properties": Doc{
				"allocatedOutboundPorts": 0, "idleTimeoutInMinutes": 30, "enableTcpReset": true, "protocol": "All",
				"backendAddressPool":       ref(lbID("backendAddressPools", "aksOutboundBackendPool")),
				"frontendIPConfigurations": []any{ref(lbID("frontendIPConfigurations", "lb-egress"))},
			}}},
		},
	}
}

// seedFirewall is the appliance of userDefinedRouting with its policy.
func seedFirewall() []Doc {
	policy := networkID("firewallPolicies", plan.FWPolicy)
	source := []any{plan.VNetPrefix.String()}
	app := func(name string, tags, fqdns []any, protocols ...any) Doc {
		return Doc{
			"ruleType": "ApplicationRule", "name": name, "protocols": protocols, "fqdnTags": tags, "webCategories": []any{},
			"targetFqdns": fqdns, "targetUrls": []any{}, "terminateTLS": false, "sourceAddresses": source, "destinationAddresses": []any{},
			"sourceIpGroups": []any{}, "httpHeadersToInsert": []any{},
		}
	}
	net := func(name, protocol, to, port string) Doc {
		return Doc{
			"ruleType": "NetworkRule", "name": name, "ipProtocols": []any{protocol}, "sourceAddresses": source, "sourceIpGroups": []any{},
			"destinationAddresses": []any{to}, "destinationIpGroups": []any{}, "destinationFqdns": []any{}, "destinationPorts": []any{port},
		}
	}
	collection := func(name string, priority int, rules ...any) Doc {
		return Doc{
			"ruleCollectionType": "FirewallPolicyFilterRuleCollection", "name": name, "priority": priority,
			"action": Doc{"type": "Allow"}, "rules": rules,
		}
	}
	group := func(name string, priority int, collections ...any) Doc {
		return Doc{
			"id": policy + "/ruleCollectionGroups/" + name, "name": name, "location": plan.Location,
			"properties": Doc{"priority": priority, "ruleCollections": collections},
		}
	}
	https, http := Doc{"protocolType": "Https", "port": 443}, Doc{"protocolType": "Http", "port": 80}
	return []Doc{
		network("firewallPolicies", plan.FWPolicy, Doc{"sku": Doc{"tier": "Standard"}, "threatIntelMode": "Alert"}),
		group("rcg-aks", 200,
			collection("aks-network", 100,
				net("ntp", "UDP", "*", "123"), net("api-udp", "UDP", "AzureCloud.WestEurope", "1194"), net("api-tcp", "TCP", "AzureCloud.WestEurope", "9000")),
			collection("aks-fqdn", 200, app("aks", []any{"AzureKubernetesService"}, []any{}, http, https))),
		group("rcg-apps", 300,
			collection("apps", 100,
				app("payments", []any{}, []any{"api.payments.example"}, https), app("registry", []any{}, []any{"registry.example"}, https))),
		network("azureFirewalls", plan.Firewall, Doc{
			"sku": Doc{"name": "AZFW_VNet", "tier": "Standard"}, "firewallPolicy": ref(policy),
			"ipConfigurations": []any{Doc{"name": "ipconfig1", "properties": Doc{
				"privateIPAddress": plan.FWAddr.String(), "privateIPAllocationMethod": "Dynamic",
				"subnet":          ref(networkID("virtualNetworks", plan.VNet, "subnets", plan.FWSubnet)),
				"publicIPAddress": ref(networkID("publicIPAddresses", "pip-fw-lab")),
			}}},
		}),
	}
}

// seedNodes makes scale sets, instances and their NICs.
func seedNodes(p *plan.Plan) []Doc {
	var docs []Doc
	made := map[string]bool{}
	for _, n := range p.Nodes {
		set := plan.ID(plan.NodeGroup, "Microsoft.Compute/virtualMachineScaleSets", n.VMSS)
		if !made[n.VMSS] {
			made[n.VMSS] = true
			docs = append(docs, seedScaleSet(p, n, set))
		}
		vm := fmt.Sprintf("%s/virtualMachines/%d", set, n.Instance)
		docs = append(docs, seedInstance(n, vm), seedNIC(p, n, vm))
	}
	return docs
}

func poolTags(n plan.Node) Doc {
	return Doc{
		"aks-managed-poolName": n.Pool, "aks-managed-orchestrator": "Kubernetes:" + Version, "aks-managed-creationSource": "vmssclient-aks-" + n.VMSS,
		"aks-managed-createOperationID": "00000000-0000-0000-0000-000000000003", "aks-managed-operationID": "00000000-0000-0000-0000-000000000003",
		"aks-managed-resourceNameSuffix": "lab", "aks-managed-kubeletIdentityClientID": "00000000-0000-0000-0000-000000000004", "poolName": n.Pool,
	}
}

func subnetID(name string) string {
	return networkID("virtualNetworks", plan.VNet, "subnets", name)
}

// pools are the backend pools that a node's primary ip configuration is in.
func pools(p *plan.Plan) []any {
	if p.Topology.Outbound != plan.OutLB {
		return []any{}
	}
	return []any{ref(lbID("backendAddressPools", "aksOutboundBackendPool")), ref(lbID("backendAddressPools", "kubernetes"))}
}

func osProfile(computer string) Doc {
	return Doc{
		"computerName": computer, "adminUsername": "azureuser", "linuxConfiguration": Doc{"disablePasswordAuthentication": true},
		"secrets": []any{}, "allowExtensionOperations": true,
	}
}

func seedScaleSet(p *plan.Plan, n plan.Node, id string) Doc {
	count := 0
	for _, o := range p.Nodes {
		if o.VMSS == n.VMSS {
			count++
		}
	}
	profile := osProfile("")
	delete(profile, "computerName")
	profile["computerNamePrefix"] = n.VMSS
	return Doc{
		"id": id, "name": n.VMSS, "location": plan.Location, "tags": poolTags(n),
		"sku": Doc{"name": vmSize, "tier": "Standard", "capacity": count}, "zones": []any{},
		"properties": Doc{
			"singlePlacementGroup": false, "orchestrationMode": "Uniform", "upgradePolicy": Doc{"mode": "Manual"}, "overprovision": false,
			"virtualMachineProfile": Doc{
				"osProfile": profile,
				"storageProfile": Doc{"osDisk": Doc{
					"osType": "Linux", "createOption": "FromImage", "caching": "ReadOnly",
					"managedDisk": Doc{"storageAccountType": "Premium_LRS"}, "diskSizeGB": 128,
				}},
				"networkProfile": Doc{"networkInterfaceConfigurations": []any{Doc{"name": n.VMSS, "properties": Doc{
					"primary": true, "enableAcceleratedNetworking": false, "enableIPForwarding": true, "dnsSettings": Doc{"dnsServers": []any{}},
					"ipConfigurations": []any{Doc{"name": "ipconfig1", "properties": Doc{
						"primary": true, "privateIPAddressVersion": "IPv4",
						"subnet": ref(subnetID(n.Subnet)), "loadBalancerBackendAddressPools": pools(p),
					}}},
				}}}},
			},
		},
	}
}

const vmSize = "Standard_D2s_v5"

func seedInstance(n plan.Node, id string) Doc {
	instance := fmt.Sprint(n.Instance)
	status := func(code, display string) Doc {
		return Doc{"code": code, "level": "Info", "displayStatus": display, "time": "2026-01-15T10:00:00.0000000+00:00"}
	}
	return Doc{
		"id": id, "name": instance, "instanceId": instance, "location": plan.Location, "tags": poolTags(n),
		"sku": Doc{"name": vmSize, "tier": "Standard"},
		"properties": Doc{
			"latestModelApplied": true, "vmId": newGUID(), "osProfile": osProfile(n.Name), "hardwareProfile": Doc{"vmSize": vmSize},
			"networkProfile": Doc{"networkInterfaces": []any{ref(id + "/networkInterfaces/" + n.VMSS)}},
			"storageProfile": Doc{"osDisk": Doc{
				"osType": "Linux", "name": fmt.Sprintf("%s_%s_OsDisk_1", n.VMSS, instance), "createOption": "FromImage",
				"caching": "ReadOnly", "diskSizeGB": 128,
			}, "dataDisks": []any{}},
			"instanceView": Doc{
				"computerName": n.Name, "osName": "ubuntu", "osVersion": "24.04",
				"vmAgent":  Doc{"vmAgentVersion": "2.13.1.1", "statuses": []any{status("ProvisioningState/succeeded", "Ready")}},
				"statuses": []any{status("ProvisioningState/succeeded", "Provisioning succeeded"), status("PowerState/running", "VM running")},
			},
		},
	}
}

// seedNIC is a node's NIC. With azure-node-subnet the pods' addresses are
// secondary ip configurations of it.
func seedNIC(p *plan.Plan, n plan.Node, vm string) Doc {
	config := func(i int, addr string, primary bool, pools []any) Doc {
		return Doc{"name": fmt.Sprintf("ipconfig%d", i), "properties": Doc{
			"primary": primary, "privateIPAddress": addr,
			"privateIPAllocationMethod": "Dynamic", "privateIPAddressVersion": "IPv4", "subnet": ref(subnetID(n.Subnet)),
			"loadBalancerBackendAddressPools": pools,
		}}
	}
	configs := []any{config(1, n.Addr.String(), true, pools(p))}
	if p.Topology.CNI == plan.NodeSubnet {
		a := n.PodCIDR.Addr()
		for i := range 30 {
			a = a.Next()
			configs = append(configs, config(2+i, a.String(), false, []any{}))
		}
	}
	return Doc{"id": vm + "/networkInterfaces/" + n.VMSS, "name": n.VMSS, "properties": Doc{
		"primary": true, "enableIPForwarding": true, "enableAcceleratedNetworking": false,
		"macAddress":       fmt.Sprintf("60-45-BD-00-00-%02X", n.Index+1),
		"dnsSettings":      Doc{"dnsServers": []any{}, "appliedDnsServers": []any{}, "internalDomainNameSuffix": "lab.ax.internal.cloudapp.net"},
		"virtualMachine":   ref(vm),
		"auxiliaryMode":    "None",
		"allowPort25Out":   false,
		"ipConfigurations": configs,
	}}
}

// seedCluster is the managedClusters document, agent pools included.
func seedCluster(p *plan.Plan) Doc {
	t := p.Topology
	np := Doc{
		"networkPlugin": "azure", "networkDataplane": "azure", "networkPolicy": "none", "loadBalancerSku": "standard",
		"serviceCidr": plan.ServiceCIDR.String(), "serviceCidrs": []any{plan.ServiceCIDR.String()}, "dnsServiceIP": plan.DNSService.String(),
		"outboundType": t.Outbound, "ipFamilies": []any{"IPv4"}, "loadBalancerProfile": Doc{"backendPoolType": "nodeIPConfiguration"},
		"kubeProxyConfig": Doc{"enabled": true, "mode": strings.ToUpper(t.KubeProxy)},
	}
	if t.Policy == "enforced" {
		np["networkPolicy"] = "calico"
	}
	switch t.CNI {
	case plan.Kubenet:
		np["networkPlugin"] = "kubenet"
		delete(np, "networkDataplane")
	case plan.Overlay:
		np["networkPluginMode"] = "overlay"
	case plan.Flannel: // a network plugin of the customer's own
		np["networkPlugin"] = "none"
		delete(np, "networkDataplane")
	}
	if !t.PodsInVNet() {
		np["podCidr"], np["podCidrs"] = plan.PodCIDR.String(), []any{plan.PodCIDR.String()}
	}
	switch t.Outbound {
	case plan.OutLB:
		np["loadBalancerProfile"] = Doc{
			"backendPoolType": "nodeIPConfiguration", "managedOutboundIPs": Doc{"count": 1},
			"effectiveOutboundIPs":   []any{ref(plan.ID(plan.NodeGroup, "Microsoft.Network/publicIPAddresses", "pip-lb-egress"))},
			"allocatedOutboundPorts": 0, "idleTimeoutInMinutes": 30,
		}
	case plan.OutManaged:
		np["natGatewayProfile"] = Doc{
			"managedOutboundIPProfile": Doc{"count": 1}, "idleTimeoutInMinutes": 4,
			"effectiveOutboundIPs": []any{ref(plan.ID(plan.NodeGroup, "Microsoft.Network/publicIPAddresses", "pip-natgw-lab"))},
		}
	}
	principal := "00000000-0000-0000-0000-000000000004"
	properties := Doc{
		"powerState": Doc{"code": "Running"}, "kubernetesVersion": Version, "currentKubernetesVersion": Version,
		"dnsPrefix": plan.Cluster, "fqdn": FQDN, "azurePortalFQDN": strings.Replace(FQDN, ".hcp.", ".portal.hcp.", 1),
		"agentPoolProfiles": seedPools(p), "nodeResourceGroup": plan.NodeGroup, "enableRBAC": true, "supportPlan": "KubernetesOfficial",
		"linuxProfile":            Doc{"adminUsername": "azureuser", "ssh": Doc{"publicKeys": []any{}}},
		"servicePrincipalProfile": Doc{"clientId": "msi"}, "networkProfile": np, "maxAgentPools": 100,
		"apiServerAccessProfile": Doc{"enablePrivateCluster": false, "enableVnetIntegration": true},
		"identityProfile": Doc{"kubeletidentity": Doc{
			"resourceId": plan.ID(plan.NodeGroup, "Microsoft.ManagedIdentity/userAssignedIdentities", plan.Cluster+"-agentpool"),
			"clientId":   principal, "objectId": principal,
		}},
		"disableLocalAccounts": false, "securityProfile": Doc{}, "oidcIssuerProfile": Doc{"enabled": false},
		"storageProfile": Doc{"diskCSIDriver": Doc{"enabled": true}, "fileCSIDriver": Doc{"enabled": true}, "snapshotController": Doc{"enabled": true}},
	}
	if t.Outbound == plan.OutNone {
		properties["bootstrapProfile"] = Doc{"artifactSource": "Cache"}
	}
	return Doc{
		"id": clusterID(), "name": plan.Cluster, "location": plan.Location, "tags": Doc{}, "kind": "Base",
		"identity":   Doc{"type": "SystemAssigned", "principalId": principal, "tenantId": plan.Tenant},
		"sku":        Doc{"name": "Base", "tier": "Standard"},
		"properties": properties,
	}
}

// FQDN is the API server's public name, which the lab's public DNS answers.
const FQDN = plan.Cluster + "-lab00001.hcp." + plan.Location + ".azmk8s.io"

func seedPools(p *plan.Plan) []any {
	maxPods := map[string]int{plan.Kubenet: 110, plan.NodeSubnet: 30, plan.PodSubnet: 110, plan.Overlay: 250, plan.Flannel: 250}[p.Topology.CNI]
	var out []any
	for i, pool := range p.Topology.Pools {
		profile := Doc{
			"name": pool.Name, "count": pool.Nodes, "vmSize": vmSize, "osDiskSizeGB": 128, "osDiskType": "Managed", "kubeletDiskType": "OS",
			"maxPods": maxPods, "type": "VirtualMachineScaleSets", "enableAutoScaling": false, "scaleDownMode": "Delete",
			"provisioningState": "Succeeded", "powerState": Doc{"code": "Running"}, "orchestratorVersion": Version,
			"currentOrchestratorVersion": Version, "enableNodePublicIP": false, "mode": "User", "osType": "Linux", "osSKU": "Ubuntu",
			"nodeImageVersion": "AKSUbuntu-2404gen2containerd-202601.01.0", "upgradeSettings": Doc{"maxSurge": "10%"}, "enableFIPS": false,
			"networkProfile": Doc{}, "vnetSubnetID": subnetID(pool.Subnet),
		}
		if i == 0 {
			profile["mode"] = "System"
		}
		if p.Topology.CNI == plan.PodSubnet {
			profile["podSubnetID"], profile["podIPAllocationMode"] = subnetID(plan.PodsSubnet), "DynamicIndividual"
		}
		out = append(out, profile)
	}
	return out
}
