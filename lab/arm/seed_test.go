package arm

import (
	"fmt"
	"testing"

	"github.com/podpath/podpath/lab/plan"
)

// everyTopology calls f with a lab of each CNI and outbound type.
func everyTopology(t *testing.T, f func(t *testing.T, p *plan.Plan, s *Store)) {
	t.Helper()
	for _, cni := range []string{plan.Kubenet, plan.NodeSubnet, plan.PodSubnet, plan.Overlay, plan.Flannel} {
		for _, out := range []string{plan.OutLB, plan.OutManaged, plan.OutUser, plan.OutUDR, plan.OutNone} {
			t.Run(cni+"/"+out, func(t *testing.T) {
				p, err := plan.New("t", plan.Topology{CNI: cni, Outbound: out, Pools: []plan.Pool{
					{Name: "np1", Nodes: 2}, {Name: "np2", Subnet: "snet-more", Nodes: 1},
				}})
				if err != nil {
					t.Fatal(err)
				}
				s := NewStore()
				if err := Seed(s, p); err != nil {
					t.Fatal(err)
				}
				f(t, p, s)
			})
		}
	}
}

func TestSeed(t *testing.T) {
	everyTopology(t, func(t *testing.T, p *plan.Plan, s *Store) {
		subnet := func(name, property string) string {
			d, ok := s.Get(subnetID(name))
			if !ok {
				t.Fatalf("no subnet %s", name)
			}
			return Str(d, "properties", property, "id")
		}
		udr, kubenet := p.Topology.Outbound == plan.OutUDR, p.Topology.CNI == plan.Kubenet
		nat := p.Topology.Outbound == plan.OutManaged || p.Topology.Outbound == plan.OutUser
		for _, c := range []struct {
			subnet, property string
			want             bool
		}{
			{plan.NodesSubnet, "networkSecurityGroup", true},
			{plan.PodsSubnet, "networkSecurityGroup", true},
			{"snet-more", "networkSecurityGroup", true},
			{plan.FWSubnet, "networkSecurityGroup", false},
			{plan.NodesSubnet, "routeTable", udr || kubenet},
			{"snet-more", "routeTable", udr || kubenet},
			{plan.PodsSubnet, "routeTable", udr},
			{plan.FWSubnet, "routeTable", false},
			{plan.NodesSubnet, "natGateway", nat},
			{"snet-more", "natGateway", nat},
			{plan.PodsSubnet, "natGateway", nat && p.Topology.CNI == plan.PodSubnet},
		} {
			if got := subnet(c.subnet, c.property) != ""; got != c.want {
				t.Errorf("%s has %s: %v, want %v", c.subnet, c.property, got, c.want)
			}
		}
		_, fw := s.Get(networkID("azureFirewalls", plan.Firewall))
		_, lb := s.Get(lbID())
		if !fw || lb != (p.Topology.Outbound == plan.OutLB) {
			t.Errorf("firewall %v, load balancer %v", fw, lb)
		}
		pools, _ := s.Children(clusterID() + "/agentPools")
		if len(pools) != 2 || Str(pools[1], "properties", "vnetSubnetID") != subnetID("snet-more") || Str(pools[1], "id") == "" {
			t.Errorf("agent pools: %v", pools)
		}
		vms, _ := s.Children(plan.ID(plan.NodeGroup, "Microsoft.Compute/virtualMachineScaleSets", "aks-np1-vmss") + "/virtualMachines")
		if len(vms) != 2 || Str(vms[1], "name") != "aks-np1-vmss_1" || Str(vms[1], "properties", "osProfile", "computerName") != "aks-np1-vmss000001" {
			t.Errorf("instances: %v", vms)
		}
	})
}

// TestSeedIsStable puts every document as it was read: nothing may change.
func TestSeedIsStable(t *testing.T) {
	everyTopology(t, func(t *testing.T, _ *plan.Plan, s *Store) {
		before := s.All()
		for _, d := range before {
			if _, err := s.Put(Str(d, "id"), d); err != nil {
				t.Errorf("PUT of what was read: %v", err)
			}
		}
		for i, d := range s.All() {
			if got, want := fmt.Sprint(d), fmt.Sprint(before[i]); got != want {
				t.Errorf("a PUT of what was read altered it:\n%s\n%s", want, got)
			}
		}
	})
}

func TestNodeSubnetAddresses(t *testing.T) {
	p, _ := plan.New("t", plan.Topology{CNI: plan.NodeSubnet, Nodes: 2})
	s := NewStore()
	if err := Seed(s, p); err != nil {
		t.Fatal(err)
	}
	nic, _ := s.Get(plan.ID(plan.NodeGroup, "Microsoft.Compute/virtualMachineScaleSets", "aks-np1-vmss", "virtualMachines", "1", "networkInterfaces", "aks-np1-vmss"))
	configs := Items(nic, "properties", "ipConfigurations")
	if len(configs) != 31 || Str(configs[0], "properties", "privateIPAddress") != "10.224.0.5" || Str(configs[30], "properties", "privateIPAddress") != "10.224.2.30" {
		t.Errorf("%d ip configurations", len(configs))
	}
}

func TestClusterProfileReachesLoadBalancer(t *testing.T) {
	p, _ := plan.New("t", plan.Topology{})
	s := NewStore()
	if err := Seed(s, p); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Merge(clusterID(), Doc{"properties": Doc{"networkProfile": Doc{"loadBalancerProfile": Doc{"allocatedOutboundPorts": 4000}}}}); err != nil {
		t.Fatal(err)
	}
	rule, _ := s.Get(lbID("outboundRules", "aksOutboundRule"))
	if n, _ := Int(rule, "properties", "allocatedOutboundPorts"); n != 4000 {
		t.Errorf("the outbound rule has %d ports", n)
	}
	if n, _ := Int(rule, "properties", "idleTimeoutInMinutes"); n != 30 {
		t.Errorf("the idle time became %d", n)
	}
}
