package azure

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

const (
	hubSub  = "/subscriptions/00000000-0000-0000-0000-00000000000b"
	hubVNet = hubSub + "/resourceGroups/hub/providers/Microsoft.Network/virtualNetworks/hub"
	hubVM   = hubSub + "/resourceGroups/hub/providers/Microsoft.Compute/virtualMachines/nva"
)

// hub moves the next hop to an appliance on a machine in a peered network of another subscription.
func (f *cloudFake) hub() *model.World {
	w := f.world()
	delete(f.docs, strings.ToLower(testRG+"/providers/Microsoft.Network/azureFirewalls/fw"))
	f.put(testVNet, `{"addressSpace":{"addressPrefixes":["10.1.0.0/16"]},"subnets":[{"id":"`+testVNet+`/subnets/Nodes"}],
		"virtualNetworkPeerings":[{"name":"to-hub","id":"`+testVNet+`/virtualNetworkPeerings/to-hub","properties":{"peeringState":"Connected","useRemoteGateways":true,
		"remoteVirtualNetwork":`+ref(hubVNet)+`,"remoteVirtualNetworkAddressSpace":{"addressPrefixes":["10.50.0.0/16"]}}}]}`)
	f.put(testRG+"/providers/Microsoft.Network/routeTables/RT", `{"routes":[{"name":"default","properties":{"addressPrefix":"0.0.0.0/0","nextHopType":"VirtualAppliance","nextHopIpAddress":"10.50.0.9"}}]}`)
	f.put(testRG+"/providers/Microsoft.Network/routeTables/forgotten", `{"routes":[]}`)
	f.put(hubVNet, `{"addressSpace":{"addressPrefixes":["10.50.0.0/16"]},"subnets":[{"id":"`+hubVNet+`/subnets/dmz","properties":{"addressPrefix":"10.50.0.0/24"}},{"id":"`+hubVNet+`/subnets/GatewaySubnet"}]}`)
	f.put(hubVNet+"/subnets/dmz", `{"addressPrefix":"10.50.0.0/24"}`)
	f.put(hubSub+"/resourceGroups/hub/providers/Microsoft.Network/networkInterfaces/nva-nic", `{"enableIPForwarding":false,"virtualMachine":`+ref(hubVM)+`,
		"ipConfigurations":[{"name":"c","properties":{"privateIPAddress":"10.50.0.9","subnet":`+ref(hubVNet+"/subnets/dmz")+`}}]}`)
	f.put(hubSub+"/resourceGroups/hub/providers/Microsoft.Network/networkInterfaces/unrelated", `{"ipConfigurations":[{"name":"c","properties":{"privateIPAddress":"10.50.0.10"}}]}`)
	f.put(hubVM, `{"osProfile":{"computerName":"nva"},"instanceView":{"statuses":[{"code":"PowerState/deallocated"}]}}`)
	f.put(hubSub+"/resourceGroups/hub/providers/Microsoft.Network/virtualNetworkGateways/er", `{"gatewayType":"ExpressRoute","ipConfigurations":[{"name":"g","properties":{"subnet":`+ref(hubVNet+"/subnets/GatewaySubnet")+`}}]}`)
	f.fail(hubSub+"/resourceGroups/hub/providers/Microsoft.Network/virtualNetworkGateways/er/getLearnedRoutes", answer(200, `{"value":[{"network":"10.99.0.0/16","origin":"EBgp"}]}`))
	return w
}

func TestApplianceInTheHub(t *testing.T) {
	for _, subscriptionWide := range []bool{true, false} {
		f := newCloud(t)
		w := f.hub()
		if !subscriptionWide {
			refused := answer(403, `{"error":{"code":"AuthorizationFailed","message":"no"}}`)
			for _, sub := range []string{hubSub, "/subscriptions/" + testSub} {
				for _, typ := range []string{"azureFirewalls", "networkInterfaces", "loadBalancers"} {
					f.fail(sub+"/providers/Microsoft.Network/"+typ, refused)
				}
			}
		}
		collectInto(t, f, w, nil)
		az := &w.Azure
		nic := az.NICs[Key(hubSub+"/resourceGroups/hub/providers/Microsoft.Network/networkInterfaces/nva-nic")]
		if nic == nil || nic.IPForwarding || nic.VMID != Key(hubVM) {
			t.Fatalf("nic %+v\n%s", nic, gapText(w))
		}
		if az.NICs[Key(hubSub+"/resourceGroups/hub/providers/Microsoft.Network/networkInterfaces/unrelated")] != nil {
			t.Error("an interface that no route points at was kept")
		}
		if vm := az.VMSSs[Key(hubVM)]; vm == nil || !vm.Single || vm.Instances[0].Power != "PowerState/deallocated" {
			t.Errorf("machine %+v", vm)
		}
		if hub := az.VNets[Key(hubVNet)]; hub == nil || az.Subnets[Key(hubVNet+"/subnets/dmz")] == nil {
			t.Errorf("hub %+v", hub)
		}
		if g := az.Gateways[Key(hubSub+"/resourceGroups/hub/providers/Microsoft.Network/virtualNetworkGateways/er")]; g == nil || !slices.Equal(g.Learned, []netip.Prefix{netip.MustParsePrefix("10.99.0.0/16")}) {
			t.Errorf("gateway %+v", g)
		}
		if az.RouteTables[Key(testRG+"/providers/Microsoft.Network/routeTables/forgotten")] == nil {
			t.Error("the table that nothing refers to was not found")
		}
		if got := gapText(w); got != "network security group gone | nsg/gone | 404 ResourceNotFound | " {
			t.Errorf("gaps:\n%s", got)
		}
	}
}

// An owner nobody may look for is a gap, and the kind incomplete.
func TestHubRefused(t *testing.T) {
	f := newCloud(t)
	w := f.hub()
	refused := answer(403, `{"error":{"code":"AuthorizationFailed","message":"The client does not have authorization to perform action 'Microsoft.Network/virtualNetworks/read' over scope '`+hubVNet+`'"}}`)
	f.fail(hubVNet, refused)
	collectInto(t, f, w, nil)
	if want := "virtual network hub | vnet/hub | 403 AuthorizationFailed | Microsoft.Network/virtualNetworks/read on " + hubVNet; !strings.Contains(gapText(w), want) {
		t.Errorf("gaps:\n%s", gapText(w))
	}
	for _, kind := range []string{"vnet", "firewall", "vnetgateway", "peering"} {
		if w.Read[kind] {
			t.Errorf("%s is said to be complete", kind)
		}
	}
}

// Machines of their own (a flexible scale set, or no scale set), and a cluster named by flags because no node could be read.
func TestStandaloneMachines(t *testing.T) {
	f := newCloud(t)
	w := f.world()
	w.Kube.Nodes = nil
	delete(f.docs, strings.ToLower(testSet))
	delete(f.docs, strings.ToLower(testSet+"/networkInterfaces"))
	delete(f.docs, strings.ToLower(testSet+"/virtualMachines/0"))
	f.put(testSet, `{"orchestrationMode":"Flexible"}`)
	vm := testMC + "/providers/Microsoft.Compute/virtualMachines/aks-vm0"
	f.put(vm, `{"osProfile":{"computerName":"aks-vm0"}}`)
	f.put(testMC+"/providers/Microsoft.Network/networkInterfaces/nic", `{"virtualMachine":`+ref(vm)+`,"ipConfigurations":[{"name":"c","properties":{"privateIPAddress":"10.1.0.4","subnet":`+ref(testVNet+"/subnets/Nodes")+`}}]}`)
	collectInto(t, f, w, func(o *Options) { o.Subscription, o.ResourceGroup, o.Cluster = testSub, "NET_RG", "prod_1" })
	if w.Azure.Cluster == nil || w.Azure.VMSSs[Key(vm)] == nil || len(w.Azure.NICs) != 1 || w.Azure.Subnets[Key(testVNet+"/subnets/Nodes")] == nil {
		t.Errorf("%+v\n%s", w.Azure, gapText(w))
	}
}

func TestNobodyNamesTheSubscription(t *testing.T) {
	w := &model.World{}
	Collect(t.Context(), Options{Env: func(string) string { return "" }}, w)
	if got := gapText(w); !strings.Contains(got, "give --subscription") {
		t.Error(got)
	}
}

// A resource group that was named is not passed over in favour of a guess.
func TestNamedGroupIsNotThere(t *testing.T) {
	f := newCloud(t)
	missing := answer(404, `{"error":{"code":"ResourceGroupNotFound","message":"Resource group 'nosuch' could not be found."}}`)
	f.fail("/subscriptions/"+testSub+"/resourceGroups/nosuch/providers/Microsoft.ContainerService/managedClusters", missing)
	w := collectInto(t, f, f.world(), func(o *Options) { o.ResourceGroup = "nosuch" })
	if w.Azure.Cluster != nil || !strings.Contains(gapText(w), "nosuch") {
		t.Errorf("cluster %+v, gaps:\n%s", w.Azure.Cluster, gapText(w))
	}
}
