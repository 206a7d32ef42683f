package azure

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/model"
)

// corpus is the folder of ARM documents to read: the one that is named, the
// one beside the repository, or the few that are kept here.
func corpus() string {
	if dir := os.Getenv("PODPATH_ARM_CORPUS"); dir != "" {
		return dir
	}
	beside := filepath.Join("..", "..", "..", "..", "shared", "azure")
	if info, err := os.Stat(beside); err == nil && info.IsDir() {
		return beside
	}
	return filepath.Join("testdata", "corpus")
}

// recorded are the HTTP statuses of a corpus that comes with a manifest.
func recorded(t *testing.T, dir string) map[string]int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		return nil
	}
	var manifest struct {
		Files []struct {
			File   string `json:"file"`
			Status int    `json:"status"`
		} `json:"files"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatalf("manifest.json: %v", err)
	}
	out := map[string]int{}
	for _, f := range manifest.Files {
		out[f.File] = f.Status
	}
	return out
}

func TestCorpus(t *testing.T) {
	dir := corpus()
	statuses := recorded(t, dir)
	count := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() || filepath.Ext(path) != ".json" || d.Name() == "manifest.json" {
			return nil
		}
		count++
		name, _ := filepath.Rel(dir, path)
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var az model.Azure
			kinds, err := Read(&az, data)
			var e *Error
			if errors.As(err, &e) {
				if !strings.Contains(name, "error") && statuses[filepath.ToSlash(name)] < 400 {
					t.Fatalf("read as an error: %v", e)
				}
				if e.Code == "" || e.Message == "" {
					t.Fatalf("an error without code or message: %+v", e)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(kinds) == 0 {
				t.Fatal("nothing was read")
			}
			t.Log(strings.Join(kinds, ", "))
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 15 {
		t.Fatalf("only %d documents in %s", count, dir)
	}
}

// What stands in the documents that are kept here, in one line each.
func TestCorpusFacts(t *testing.T) {
	for _, test := range []struct {
		file, want string
		got        func(*model.Azure) any
	}{
		{"managedClusters/azure-overlay-http-proxy-byo-vnet.json", "azure/overlay loadBalancer http://cli-proxy-vm:3128/ 9 /subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/clitest000001/providers/microsoft.network/virtualnetworks/cliakstest000002/subnets/aks-subnet 1.31.8", func(az *model.Azure) any {
			c := az.Cluster
			return []any{c.NetworkPlugin + "/" + c.PluginMode, c.OutboundType, c.HTTPProxy.HTTP, len(c.HTTPProxy.NoProxy), c.AgentPools[0].SubnetID, c.KubernetesVersion}
		}},
		{"managedClusters/kubenet-managednatgateway.json", "managedNATGateway 1 4 10.0.0.10", func(az *model.Azure) any {
			return []any{az.Cluster.OutboundType, len(az.Cluster.NATProfileIPs), az.Cluster.NATIdleMinutes, az.Cluster.DNSServiceIP}
		}},
		{"managedClusters/azure-overlay-outbound-none.json", "none Cache", func(az *model.Azure) any { return []any{az.Cluster.OutboundType, az.Cluster.ArtifactSource} }},
		{"managedClusters/list-2019.json", "cctestaks 1.12.8 AvailabilitySet", func(az *model.Azure) any {
			return []any{az.Cluster.Name, az.Cluster.KubernetesVersion, az.Cluster.AgentPools[0].Type}
		}},
		{"cloud-provider-azure/networkInterfaces-get.json", "10.0.0.4 true false false", func(az *model.Azure) any {
			for _, n := range az.NICs {
				return []any{n.IPConfigs[0].Addr, n.IPConfigs[0].Primary, n.IPForwarding, *n.DefaultOutboundConnectivity}
			}
			return nil
		}},
		{"rest-spec-example/vmss-nics-list.json", "2 /subscriptions/subid/resourcegroups/rg1/providers/microsoft.compute/virtualmachinescalesets/vmss1/virtualmachines/0 [/subscriptions/subid/resourcegroups/rg1/providers/microsoft.network/loadbalancers/lb1/backendaddresspools/addresspool1]", func(az *model.Azure) any {
			n := az.NICs["/subscriptions/subid/resourcegroups/rg1/providers/microsoft.compute/virtualmachinescalesets/vmss1/virtualmachines/0/networkinterfaces/nic1"]
			return []any{len(az.NICs), n.VMID, n.IPConfigs[0].BackendPools}
		}},
		{"effective/effective-routes-default.json", "23 Default VnetLocal", func(az *model.Azure) any {
			return []any{len(az.Effective), az.Effective[0].Source, az.Effective[0].NextHopType}
		}},
		{"network/natgateway-two-pips-prefix.json", "5 1 1 Standard [2]", func(az *model.Azure) any {
			for _, g := range az.NATGateways {
				return []any{g.IdleMinutes, len(g.PublicIPs), len(g.Prefixes), g.SKU, g.Zones}
			}
			return nil
		}},
		{"network/lb-outbound-rules.json", "2 512 1024 20 true", func(az *model.Azure) any {
			for _, lb := range az.LoadBalancers {
				return []any{len(lb.Outbound), lb.Outbound[0].AllocatedPorts, lb.Outbound[1].AllocatedPorts, lb.Outbound[1].IdleMinutes, lb.Frontends[1].PrefixID != ""}
			}
			return nil
		}},
		{"network/nsg-custom-rule.json", "web 1000 true true [789] [1234] [4444] 6", func(az *model.Azure) any {
			for _, n := range az.NSGs {
				r := n.Rules[0]
				return []any{r.Name, r.Priority, r.Inbound, r.Allow, r.Sources, r.Destinations, r.DestPorts, len(n.Defaults)}
			}
			return nil
		}},
		{"network/vnet-with-peering.json", "1 11.0.0.0/24", func(az *model.Azure) any {
			for _, s := range az.Subnets {
				return []any{len(az.Subnets), s.Prefixes[0]}
			}
			return nil
		}},
		{"network/peering-initiated.json", "Initiated false 10.0.0.0/16", func(az *model.Azure) any {
			for _, v := range az.VNets {
				p := v.Peerings[0]
				return []any{p.State, p.AllowAccess, p.RemotePrefixes[0]}
			}
			return nil
		}},
		{"network/subnet-default-outbound-access-false.json", "false 10.0.3.0/24", func(az *model.Azure) any {
			for _, s := range az.Subnets {
				return []any{*s.DefaultOutbound, s.Prefixes[0]}
			}
			return nil
		}},
		{"derived/routetable-udr-firewall.json", "true VirtualAppliance 10.1.0.4 Internet false", func(az *model.Azure) any {
			for _, r := range az.RouteTables {
				return []any{r.DisablePropagation, r.Routes[0].NextHopType, r.Routes[0].NextHop, r.Routes[1].NextHopType, r.Routes[1].NextHop.IsValid()}
			}
			return nil
		}},
		{"derived/metrics-lb-snatconnectioncount-failed.json", "SnatConnectionCount Total Failed 10.224.0.4 44", func(az *model.Azure) any {
			s := az.Metrics[1]
			return []any{s.Metric, s.Aggregate, s.Dimension["connectionstate"], s.Dimension["backendipaddress"], s.Points[2].Value}
		}},
		{"rest-spec-example/outboundNetworkDependenciesEndpoints-list.json", "azure-resource-management management.azure.com [443] Https", func(az *model.Azure) any {
			r := az.Required[0]
			return []any{r.Category, r.Domain, r.Ports, r.Protocol}
		}},
		{"network/firewall-rule-collection-group.json", "300 TestRuleCollection 1000 Allow", func(az *model.Azure) any {
			for _, p := range az.FirewallPolicies {
				c := p.Groups[0].Collections[0]
				return []any{p.Groups[0].Priority, c.Name, c.Priority, c.Action}
			}
			return nil
		}},
	} {
		t.Run(test.file, func(t *testing.T) {
			data, err := os.ReadFile(filepath.Join("testdata", "corpus", filepath.FromSlash(test.file)))
			if err != nil {
				t.Fatal(err)
			}
			var az model.Azure
			if _, err := Read(&az, data); err != nil {
				t.Fatal(err)
			}
			if got := strings.Trim(fmt.Sprint(test.got(&az)), "[]"); got != strings.Trim(test.want, "[]") {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	err := filepath.WalkDir(filepath.Join("testdata", "corpus"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		f.Add(data)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var az model.Azure
		kinds, err := Read(&az, data)
		if err == nil && len(kinds) == 0 {
			t.Error("neither read nor refused")
		}
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Error("an error without words")
		}
		for id := range az.Subnets {
			if id != Key(id) {
				t.Errorf("the key %q is not in lower case", id)
			}
		}
	})
}

// TestLocalDNS: what a pool says of LocalDNS is its state, not what was asked for.
func TestLocalDNS(t *testing.T) {
	for text, want := range map[string]bool{
		`{"localDNSProfile":{"mode":"Required","state":"Enabled"}}`:   true,
		`{"localDNSProfile":{"mode":"Preferred","state":"Disabled"}}`: false,
		`{"localDNSProfile":{"mode":"Required"}}`:                     false,
		`{}`: false,
	} {
		v, err := parse([]byte(text))
		if err != nil || decodePool(v, v).LocalDNS != want {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}
