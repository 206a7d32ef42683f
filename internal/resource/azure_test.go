package resource

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/podpath/podpath/internal/model"
)

const (
	scope = "/subscriptions/s/resourcegroups/g/providers/"
	set   = scope + "microsoft.compute/virtualmachinescalesets/np"
)

var now = time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)

// series is a metric whose last value is of the last minute.
func series(resource, metric, aggregate string, dimensions map[string]string, values ...float64) model.Series {
	s := model.Series{Resource: resource, Metric: metric, Aggregate: aggregate, Dimension: dimensions}
	for i, v := range values {
		s.Points = append(s.Points, model.Point{At: now.Add(time.Duration(i-len(values)) * time.Minute), Value: v})
	}
	return s
}

// cloud is a case whose pod x/leaks on node n0 asks 192.0.2.1:443 through a device.
func cloud(device model.Ref) *model.Case {
	pod := netip.MustParseAddr("10.1.0.9")
	node := func(name, addr, instance string) *model.Node {
		return &model.Node{Name: name, InternalIPs: []netip.Addr{netip.MustParseAddr(addr)}, ProviderID: "azure:///subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/np/virtualMachines/" + instance}
	}
	c := &model.Case{Asked: now}
	c.World.Kube = model.Kube{
		Nodes: map[string]*model.Node{"n0": node("n0", "10.0.0.4", "0"), "n1": node("n1", "10.0.0.5", "1")},
		Pods:  map[model.Ref]*model.Pod{"pod/x/leaks": {Namespace: "x", Name: "leaks", Node: "n0", IPs: []netip.Addr{pod}}},
	}
	to := netip.MustParseAddrPort("192.0.2.1:443")
	c.World.Nodes = map[string]*model.NodeFacts{"n0": {Node: "n0", Held: []model.HeldFlows{{From: pod, To: to, Count: 120, Over: 60, Asking: 20}, {From: pod, To: netip.MustParseAddrPort("192.0.2.53:53"), UDP: true, Count: 9}}}}
	c.Paths = []model.Path{{Flow: model.Flow{Protocol: "tcp", From: "pod/x/leaks", Dst: to.Addr(), DstPort: to.Port()}, Device: device}}
	az := &c.World.Azure
	az.Cluster = &model.ManagedCluster{ID: scope + "microsoft.containerservice/managedclusters/c", Name: "c", AgentPools: []model.AgentPool{{Name: "np", Count: 2, VMSize: "Standard_D4s_v5", OSDiskSizeGB: 128}}}
	az.LoadBalancers = map[string]*model.LoadBalancer{scope + "microsoft.network/loadbalancers/kubernetes": {
		Name: "kubernetes", Frontends: []model.Frontend{{ID: "f"}}, Pools: []model.BackendPool{{ID: "p", IPConfigs: []string{"a", "b"}}},
		Outbound: []model.OutboundRule{{Name: "out", PoolID: "p", FrontendIDs: []string{"f"}, AllocatedPorts: 100, IdleMinutes: 30, TCPReset: true}},
	}}
	az.NATGateways = map[string]*model.NATGateway{scope + "microsoft.network/natgateways/gw": {ID: scope + "microsoft.network/natgateways/gw", Name: "gw", PublicIPs: []string{"ip1"}}}
	az.Firewalls = map[string]*model.Firewall{scope + "microsoft.network/azurefirewalls/fw": {ID: scope + "microsoft.network/azurefirewalls/fw", Name: "fw", PublicIPs: []string{"ip2"}}}
	az.VMSSs = map[string]*model.VMSS{set: {ID: set, Name: "np", Pool: "np", Size: "Standard_D4s_v5", OSDisk: &model.OSDisk{SizeGB: 128, SKU: "Premium_LRS"}, Instances: []model.VMSSInstance{{ID: set + "/virtualmachines/0"}, {ID: set + "/virtualmachines/1"}}}}
	az.Advisor = []model.Advice{{Category: "Performance", Impact: "High", Resource: set, Problem: "Use a larger disk"}, {Category: "Cost", Resource: "/subscriptions/s", Problem: "Buy less"}}
	return c
}

// told is all that a use says, as one text.
func told(u Use) string {
	text := strings.Join(u.Says, "\n")
	for _, c := range u.Remedy {
		text += "\n" + c.Text + "\n" + c.Line
	}
	return text
}

func TestSNATOfALoadBalancer(t *testing.T) {
	lb := scope + "microsoft.network/loadbalancers/kubernetes"
	c := cloud("loadbalancer/kubernetes/out")
	mine := map[string]string{"backendipaddress": "10.0.0.4", "protocoltype": "TCP"}
	c.World.Azure.Metrics = []model.Series{
		series(lb, "usedsnatports", "Average", mine, 40, 50, 60, 70),
		series(lb, "UsedSnatPorts", "Average", map[string]string{"backendipaddress": "10.0.0.5", "protocoltype": "TCP"}, 99, 99),
		series(lb, "SnatConnectionCount", "Total", map[string]string{"backendipaddress": "10.0.0.4", "connectionstate": "Failed"}, 0, 0, 3),
		series(lb, "SnatConnectionCount", "Total", map[string]string{"backendipaddress": "10.0.0.4", "connectionstate": "Successful"}, 500),
	}
	got := Kind(c, "snat-lb")
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	all, one := got[0], got[1]
	if all.Toward != "" {
		all, one = one, all
	}
	if all.Used != 70 || all.Limit != 100 || all.State != Out || all.Pace < 9.9 || all.Pace > 10.1 || len(all.Who) != 1 || all.Who[0] != (Share{"pod/x/leaks", "192.0.2.1:443/tcp", 120}) {
		t.Errorf("%+v", all)
	}
	for _, want := range []string{"3 connections failed", "3 failed, 500 successful", "60 of 120 connections are over", "20 have no answer yet", "at most 640 machines", "1024 ports for each node", "--load-balancer-outbound-ports 1024", "--load-balancer-managed-outbound-ip-count 1"} {
		if !strings.Contains(told(all), want) {
			t.Errorf("%q is missing in\n%s", want, told(all))
		}
	}
	if one.Toward != "192.0.2.1:443/tcp" || one.Used != 100 || one.State != Out {
		t.Errorf("%+v", one)
	}
}

// TestOverIsNotOut: what failed some minutes ago, and no more, is told and does not run out.
func TestOverIsNotOut(t *testing.T) {
	lb := scope + "microsoft.network/loadbalancers/kubernetes"
	c := cloud("loadbalancer/kubernetes/out")
	c.World.Azure.Metrics = []model.Series{
		series(lb, "UsedSnatPorts", "Average", map[string]string{"backendipaddress": "10.0.0.4", "protocoltype": "TCP"}, 100, 100, 7, 7, 7),
		series(lb, "SnatConnectionCount", "Total", map[string]string{"backendipaddress": "10.0.0.4", "connectionstate": "Failed"}, 0, 971, 0, 0, 0),
	}
	for _, u := range Kind(c, "snat-lb") {
		if u.Toward == "" && (u.State != Room || !strings.Contains(told(u), "971 connections failed") || !strings.Contains(told(u), "that is over")) {
			t.Errorf("%+v", u)
		}
	}
}

// TestOneFailureIsNoShortage: of ports that are nearly all free.
func TestOneFailureIsNoShortage(t *testing.T) {
	lb := scope + "microsoft.network/loadbalancers/kubernetes"
	for used, want := range map[float64]State{2: Room, 60: Out} {
		c := cloud("loadbalancer/kubernetes/out")
		c.World.Azure.Metrics = []model.Series{
			series(lb, "UsedSnatPorts", "Average", map[string]string{"backendipaddress": "10.0.0.4", "protocoltype": "TCP"}, used),
			series(lb, "SnatConnectionCount", "Total", map[string]string{"backendipaddress": "10.0.0.4", "connectionstate": "Failed"}, 1),
		}
		for _, u := range Kind(c, "snat-lb") {
			if u.Toward == "" && (u.State != want || !strings.Contains(told(u), "1 connection failed")) {
				t.Errorf("%v used: %+v", used, u)
			}
		}
	}
}

func TestScalingOut(t *testing.T) {
	for _, tc := range []struct {
		machines int
		want     string
	}{
		{2, "one more changes nothing, from 51 machines on each gets 512"},
		{50, "one more machine takes each down to 512"},
		{801, "get 32 ports each"},
	} {
		b := balancer{c: &model.Case{}, lb: &model.LoadBalancer{Pools: []model.BackendPool{{ID: "p", IPConfigs: make([]string, tc.machines)}}}, rule: &model.OutboundRule{PoolID: "p"}}
		if got := b.scaling(); !strings.Contains(got, tc.want) {
			t.Errorf("%d machines: %q", tc.machines, got)
		}
	}
}

// TestRemedyCountsAddresses: more ports than the addresses have need more addresses.
func TestRemedyCountsAddresses(t *testing.T) {
	c := cloud("loadbalancer/kubernetes/out")
	c.World.Azure.Cluster.AgentPools[0].Count = 99
	for _, lb := range c.World.Azure.LoadBalancers {
		b := balancer{c: c, lb: lb, rule: &lb.Outbound[0]}
		if got := b.remedy(1000)[1].Line; !strings.Contains(got, "ip-count 4 ") || !strings.Contains(got, "ports 2000") {
			t.Error(got)
		}
	}
}

func TestSNATOfANATGateway(t *testing.T) {
	gw := scope + "microsoft.network/natgateways/gw"
	c := cloud("natgateway/gw")
	c.World.Azure.Metrics = []model.Series{
		series(gw, "TotalConnectionCount", "Total", map[string]string{"protocol": "6"}, 900),
		series(gw, "SNATConnectionCount", "Total", map[string]string{"connectionstate": "Failed"}, 12),
		series(gw, "SNATConnectionCount", "Total", map[string]string{"connectionstate": "Attempted"}, 1200),
		series(gw, "PacketDropCount", "Total", nil, 30),
		series(gw, "DatapathAvailability", "Average", nil, 100),
	}
	got := Kind(c, "snat-natgw")
	if len(got) != 2 || got[0].State != Out || got[0].Used != 900 || !strings.Contains(told(got[0]), "12 connections failed") || !strings.Contains(told(got[0]), "64512 source ports") || !strings.Contains(told(got[0]), "30 packets") {
		t.Errorf("%+v", got)
	}
	if got[1].Limit != 64512 || got[1].Used != 100 || got[1].State != Room {
		t.Errorf("%+v", got[1])
	}
}

func TestSNATOfAFirewall(t *testing.T) {
	fw := scope + "microsoft.network/azurefirewalls/fw"
	c := cloud("firewall/fw")
	c.World.Azure.Metrics = []model.Series{
		series(fw, "SNATPortUtilization", "Maximum", map[string]string{"protocol": "TCP"}, 97),
		series(fw, "FirewallHealth", "Average", map[string]string{"status": "Degraded", "reason": "SNAT port"}, 50),
	}
	got := Kind(c, "snat-firewall")
	if len(got) != 1 || got[0].State != Out || !strings.Contains(told(got[0]), "2496 ports × at least 2 instances = 4992") || !strings.Contains(told(got[0]), "Degraded, because of SNAT port") || len(got[0].Who) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestOSDisk(t *testing.T) {
	c := cloud("loadbalancer/kubernetes/out")
	zero := map[string]string{"vmname": "np_0"}
	c.World.Azure.Metrics = []model.Series{
		series(set, "OS Disk IOPS Consumed Percentage", "Average", zero, 60, 80, 100, 100),
		series(set, "OS Disk Bandwidth Consumed Percentage", "Average", zero, 20, 20, 20, 20),
		series(set, "OS Disk Queue Depth", "Average", zero, 31),
		series(set, "OS Disk IOPS Consumed Percentage", "Average", map[string]string{"vmname": "np_1"}, 5, 5, 5, 5),
	}
	c.World.NodeUsage = map[string]model.NodeUsage{"n0": {Written: map[model.Ref]model.Written{
		"pod/logs/a": {Before: 900 << 20, After: 980 << 20}, "pod/old/b": {Before: 2000 << 20, After: 2000 << 20},
	}}}
	got := Kind(c, "os-disk")
	if len(got) != 2 || got[0].Of != "node/n0" || got[0].State != Out || got[1].State != Room {
		t.Fatalf("%+v", got)
	}
	for _, want := range []string{"100 % of its operations", "31 operations wait", "128 GiB (P10) does 500 operations and 100 MB", "Azure Advisor (Performance, high impact): Use a larger disk", "--node-osdisk-type Ephemeral", "--node-osdisk-size 512", "pod/logs/a wrote 80 MiB while the probes ran"} {
		if !strings.Contains(told(got[0]), want) {
			t.Errorf("%q is missing in\n%s", want, told(got[0]))
		}
	}
	if strings.Contains(told(got[0]), "Buy less") || strings.Contains(told(got[0]), "pod/old/b") {
		t.Error("advice about something else, or a pod that wrote nothing meanwhile")
	}
}

// sizes are those of a family, in which one may not be had.
func sizes() map[string]*model.VMSize {
	no := false
	out := map[string]*model.VMSize{}
	for _, s := range []model.VMSize{
		{Name: "Standard_D4s_v5", CPUs: 4, UncachedIOPS: 6400, UncachedBytes: 145e6},
		{Name: "Standard_D8s_v5", CPUs: 8, UncachedIOPS: 12800, UncachedBytes: 290e6, Restricted: true},
		{Name: "Standard_D16s_v5", CPUs: 16, UncachedIOPS: 25600, UncachedBytes: 600e6},
		{Name: "Standard_D32s_v5", CPUs: 32, UncachedIOPS: 51200, UncachedBytes: 865e6},
	} {
		s.Family, s.EphemeralOS = "standardDSv5Family", &no
		out[strings.ToLower(s.Name)] = &s
	}
	out["standard_l8s_v3"] = &model.VMSize{Name: "Standard_L8s_v3", Family: "standardLSv3Family", CPUs: 8, UncachedIOPS: 90000}
	return out
}

// TestMachineDisks: what the size of the machine allows is told apart from what the
// disk may, and the remedy is a larger machine of those that may be had.
func TestMachineDisks(t *testing.T) {
	zero := map[string]string{"vmname": "np_0"}
	for _, tc := range []struct {
		name              string
		machine, disk     float64
		sizes             map[string]*model.VMSize
		vm, own           State
		wantVM, wantDisk  string
		unwanted, inDisk2 string
	}{
		{"the size", 100, 40, sizes(), Out, Room, "a larger disk would not help", "a larger disk alone does not help", "--node-osdisk-type", ""},
		{"the size, with numbers", 100, 40, sizes(), Out, Room, "a Standard_D4s_v5 does 6,400 operations and 145 MB a second", "", "Standard_D8s_v5", ""},
		{"the size, a larger one", 100, 40, sizes(), Out, Room, "--node-vm-size Standard_D16s_v5 --node-osdisk-size 128", "", "Standard_L8s", ""},
		{"the size, unread", 100, 40, nil, Out, Room, "az vm list-skus", "machines of size Standard_D4s_v5 may allow less", "aks nodepool add", ""},
		{"the disk", 30, 100, sizes(), Room, Out, "30 % of the operations a second that its machine's size allows all disks together past its cache (VM Uncached IOPS Consumed Percentage)", "its machine's size is not the limit: 30 %", "", "--node-osdisk-size 512"},
		{"both", 99, 99, sizes(), Out, Out, "--node-vm-size Standard_D16s_v5", "do 99 % of what its size allows: a larger disk alone does not help", "would not help", ""},
		{"near", 85, 20, sizes(), Near, Room, "--node-vm-size Standard_D16s_v5", "", "", ""},
	} {
		c := cloud("loadbalancer/kubernetes/out")
		c.World.Azure.Sizes = tc.sizes
		c.World.Azure.VMSSs[set].Location = "westeurope"
		c.World.Azure.Metrics = []model.Series{
			series(set, "VM Uncached IOPS Consumed Percentage", "Average", zero, tc.machine), series(set, "VM Uncached Bandwidth Consumed Percentage", "Average", zero, 12),
			series(set, "OS Disk IOPS Consumed Percentage", "Average", zero, tc.disk),
		}
		vm, own := Kind(c, VMDisk), Kind(c, "os-disk")
		if len(vm) != 1 || len(own) != 1 || vm[0].State != tc.vm || own[0].State != tc.own || vm[0].Of != "node/n0" {
			t.Fatalf("%s: %+v\n%+v", tc.name, vm, own)
		}
		if text := told(vm[0]); !strings.Contains(text, tc.wantVM) || tc.unwanted != "" && strings.Contains(text, tc.unwanted) {
			t.Errorf("%s: want %q and not %q in\n%s", tc.name, tc.wantVM, tc.unwanted, text)
		}
		if text := told(own[0]); !strings.Contains(text, tc.wantDisk) || !strings.Contains(text, tc.inDisk2) || tc.sizes != nil && strings.Contains(text, "Ephemeral") {
			t.Errorf("%s: want %q and %q in\n%s", tc.name, tc.wantDisk, tc.inDisk2, text)
		}
	}
}

// TestMachineDisksUnread: a machine without these metrics is left out.
func TestMachineDisksUnread(t *testing.T) {
	c := cloud("loadbalancer/kubernetes/out")
	c.World.Azure.Metrics = []model.Series{series(set, "OS Disk IOPS Consumed Percentage", "Average", map[string]string{"vmname": "np_0"}, 100)}
	if got := Kind(c, VMDisk); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// TestLargerDiskThanTheMachineMay: a premium disk of 2 TiB has more operations than
// the machine is given.
func TestLargerDiskThanTheMachineMay(t *testing.T) {
	size := &model.VMSize{Name: "Standard_D2s_v5", UncachedIOPS: 3750}
	if got := capped(size, 1024); got != "; of its 5,000 operations a second a Standard_D2s_v5 allows 3,750" {
		t.Error(got)
	}
	if got := capped(size, 512) + capped(nil, 1024); got != "" {
		t.Error(got)
	}
}

func TestFlows(t *testing.T) {
	c := cloud("natgateway/gw")
	c.World.Azure.Metrics = []model.Series{series(set, "Outbound Flows", "Maximum", map[string]string{"vmname": "np_0"}, 450000)}
	if got := Kind(c, "flows"); len(got) != 1 || got[0].State != Near || got[0].Of != "node/n0" {
		t.Errorf("%+v", got)
	}
}

func TestIdleTimeout(t *testing.T) {
	for device, want := range map[model.Ref]string{
		"natgateway/gw": "after 4 min without a byte by natgateway/gw; what comes later is answered with a reset", "loadbalancer/kubernetes/out": "after 30 min",
		"firewall/fw": "closes what was silent for longer",
	} {
		if got := Kind(cloud(device), "idle-timeout"); len(got) != 1 || !strings.Contains(told(got[0]), want) {
			t.Errorf("%s: %+v", device, got)
		}
	}
	if got := Kind(cloud(""), "idle-timeout"); len(got) != 0 {
		t.Errorf("a way without a device: %+v", got)
	}
}

// TestOldPointsSayNothing: a metric that is no longer written is no metric of now.
func TestOldPointsSayNothing(t *testing.T) {
	c := cloud("natgateway/gw")
	c.World.Azure.Metrics = []model.Series{series(set, "Outbound Flows", "Maximum", map[string]string{"vmname": "np_0"}, 450000)}
	c.Asked = now.Add(time.Hour)
	if got := Kind(c, "flows"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// A pool beside another is put where that one is, and may take its place.
func TestPoolAlike(t *testing.T) {
	for want, p := range map[string]model.AgentPool{
		"": {Name: "apps", Mode: "User"},
		"--vnet-subnet-id /subnets/nodes --pod-subnet-id /subnets/pods --mode System --max-pods 110": {Name: "np1", Mode: "System", SubnetID: "/subnets/nodes", PodSubnetID: "/subnets/pods", MaxPods: 110},
	} {
		if got := strings.Join(alike(p), " "); got != want {
			t.Errorf("%s: %q, not %q", p.Name, got, want)
		}
	}
}

// A gateway that AKS made is given addresses by AKS; one's own by itself.
func TestManagedGateway(t *testing.T) {
	c := &model.Case{}
	c.World.Azure.Cluster = &model.ManagedCluster{ID: "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/a", Name: "a", OutboundType: "managedNATGateway", NodeResourceGroup: "MC_rg_a_we"}
	for want, g := range map[string]*model.NATGateway{
		"az aks update --name a --nat-gateway-managed-outbound-ip-count 3 --resource-group rg --subscription s": {ID: "/subscriptions/s/resourceGroups/mc_rg_a_we/providers/Microsoft.Network/natGateways/g", Name: "g", PublicIPs: []string{"x", "y"}},
		"az network public-ip create --name g-ip-2 --sku Standard --allocation-method Static --resource-group own --subscription s": {
			ID: "/subscriptions/s/resourceGroups/own/providers/Microsoft.Network/natGateways/g", Name: "g", PublicIPs: []string{"x"},
		},
	} {
		if got := natRemedy(c, g)[1].Line; got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}
