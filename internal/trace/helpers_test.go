package trace_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/trace/tracetest"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// TestEffectiveRoutes: a fresh subnet has the 23 routes that Azure lists for a
// NIC (and the IPv6 default); a user route makes its namesake inactive.
func TestEffectiveRoutes(t *testing.T) {
	fresh := trace.Build(tracetest.Cluster("azure-overlay", "loadBalancer")).EffectiveRoutes(subnet("nodes"))
	v4 := slices.DeleteFunc(slices.Clone(fresh), func(r trace.EffectiveRoute) bool { return !r.Prefix.Addr().Is4() })
	if len(v4) != 23 || v4[0].Prefix.Bits() < v4[22].Prefix.Bits() {
		t.Errorf("%d routes: %+v", len(v4), v4)
	}
	routes := trace.Build(tracetest.Cluster("kubenet", "userDefinedRouting")).EffectiveRoutes(subnet("nodes"))
	active := map[string]string{}
	for _, r := range routes {
		if r.Active {
			if active[r.Prefix.String()] != "" {
				t.Errorf("%s is active twice", r.Prefix)
			}
			active[r.Prefix.String()] = string(r.Ref)
		}
	}
	if active["0.0.0.0/0"] != "routetable/rt1/default" || active["10.50.2.0/24"] != "routetable/rt1/n2" || active["10.1.0.0/16"] != "vnet/vnet1" {
		t.Errorf("active: %v", active)
	}
	if trace.Build(&model.World{}).EffectiveRoutes("x") != nil {
		t.Error("routes of a subnet that was not read")
	}
}

func TestEffectiveNSG(t *testing.T) {
	w := tracetest.Cluster("azure-overlay", "loadBalancer")
	id := tracetest.ID("networkSecurityGroups", "nsg1")
	w.Azure.NSGs[id].Rules = []model.NSGRule{
		{Name: "b", Priority: 300, Sources: []string{"*"}, Destinations: []string{"*"}, DestPorts: []string{"*"}},
		{Name: "a", Priority: 200, Allow: true, Sources: []string{"*"}, Destinations: []string{"52.0.0.0/8"}, DestPorts: []string{"443"}, Protocol: "tcp"},
	}
	x := trace.Build(w)
	var names []string
	for _, r := range x.EffectiveNSG(id, false) {
		names = append(names, r.Name)
	}
	if want := []string{"a", "b", "AllowVnetOutBound", "AllowInternetOutBound", "DenyAllOutBound"}; !slices.Equal(names, want) {
		t.Errorf("%v", names)
	}
	f := model.Flow{Src: addr("10.1.0.4"), Dst: addr("52.0.0.1"), DstPort: 443}
	if d := x.NSG(id, false, f, subnet("nodes")); d.Verdict != model.Pass || d.Decided != "nsg/nsg1/a" || !d.Custom {
		t.Errorf("%+v", d)
	}
	f.Protocol = "udp"
	if d := x.NSG(id, false, f, subnet("nodes")); d.Verdict != model.Drop || d.Decided != "nsg/nsg1/b" || len(d.Trail) != 2 {
		t.Errorf("%+v", d)
	}
	if d := x.NSG("nope", false, f, ""); d.Verdict != model.Unknown {
		t.Errorf("%+v", d)
	}
}

func TestEgressOf(t *testing.T) {
	x := trace.Build(tracetest.Cluster("azure-overlay", "loadBalancer"))
	e := x.EgressOf(subnet("nodes"), nic(0))
	if e.Verdict != model.Pass || e.Device != "loadbalancer/kubernetes/out1" || e.Ports != 1024 || e.Shared || !slices.Equal(e.Addrs, []netip.Addr{addr("20.0.0.1")}) {
		t.Errorf("%+v", e)
	}
	x = trace.Build(tracetest.Cluster("azure-overlay", "userAssignedNATGateway"))
	e = x.EgressOf(subnet("nodes"), "")
	if e.Verdict != model.Pass || e.Device != "natgateway/nat1" || e.Ports != 64512 || !e.Shared {
		t.Errorf("%+v", e)
	}
	if e := x.EgressOf("nope", ""); e.Verdict != model.Unknown || len(e.Gaps) == 0 {
		t.Errorf("%+v", e)
	}
}

func TestDefaultPorts(t *testing.T) {
	for machines, want := range map[int]int{1: 1024, 50: 1024, 51: 512, 100: 512, 101: 256, 200: 256, 400: 128, 401: 64, 800: 64, 801: 32, 1000: 32} {
		if got := trace.DefaultPorts(machines); got != want {
			t.Errorf("%d machines: %d ports, want %d", machines, got, want)
		}
	}
}

func domains(list []model.RequiredEndpoint) []string {
	var out []string
	for _, e := range list {
		out = append(out, e.Domain)
	}
	return out
}

func TestRequiredEndpoints(t *testing.T) {
	w := tracetest.Cluster("azure-overlay", "userDefinedRouting")
	w.Azure.Required = []model.RequiredEndpoint{{Category: "images", Domain: "mcr.microsoft.com", Ports: []uint16{443}, Protocol: "Https"}}
	got := domains(trace.RequiredEndpoints(w))
	if got[0] != "mcr.microsoft.com" || !slices.Contains(got, "packages.aks.azure.com") || !slices.Contains(got, "c1-dns.hcp.northeurope.azmk8s.io") {
		t.Errorf("%v", got)
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(got)))); n != len(got) {
		t.Errorf("doubles in %v", got)
	}
	c := w.Azure.Cluster
	c.AgentPools = append(c.AgentPools, model.AgentPool{OSType: "Windows"}, model.AgentPool{VMSize: "Standard_NC4as_T4_v3"})
	c.Addons, c.Private = []string{"azurepolicy", "omsagent"}, true
	got = domains(trace.RequiredEndpoints(w))
	for _, want := range []string{"onegetcdn.azureedge.net", "nvidia.github.io", "data.policy.core.windows.net", "*.ods.opinsights.azure.com"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %v", want, got)
		}
	}
	if slices.Contains(got, "c1-dns.hcp.northeurope.azmk8s.io") {
		t.Error("a private cluster does not need the public name of its API server")
	}
	c.ArtifactSource, w.Azure.Required = "Cache", nil
	if got = domains(trace.RequiredEndpoints(w)); slices.Contains(got, "mcr.microsoft.com") {
		t.Error("a cluster with cached artifacts does not need the registry")
	}
	w.Azure.Cloud, c.ArtifactSource = "AzureChinaCloud", ""
	if got = domains(trace.RequiredEndpoints(w)); !slices.Contains(got, "mcr.azure.cn") || slices.Contains(got, "management.azure.com") {
		t.Errorf("China: %v", got)
	}
}

// TestCheckRequired: behind a firewall with the AKS tag everything that must
// work does; without the rule, what AKS needs is refused by name.
func TestCheckRequired(t *testing.T) {
	w := tracetest.Cluster("azure-overlay", "userDefinedRouting")
	for _, r := range trace.Build(w).CheckRequired() {
		if r.Path.Verdict != model.Pass && !r.Endpoint.Optional {
			t.Errorf("%s:%d from %s: %s", r.Endpoint.Domain, r.Port, r.From, render(r.Path))
		}
	}
	policy := w.Azure.FirewallPolicies[tracetest.ID("firewallPolicies", "pol1")]
	policy.Groups[0].Collections[1].Rules = policy.Groups[0].Collections[1].Rules[1:]
	refused := 0
	for _, r := range trace.Build(w).CheckRequired() {
		if r.Endpoint.Domain == "mcr.microsoft.com" && r.Path.Verdict == model.Reject && r.Path.Broken().Decided == "firewallpolicy/pol1" {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("mcr.microsoft.com refused %d times", refused)
	}
}

// TestMasqueradeFormats: the agent's configuration is YAML or JSON, in several maps.
func TestMasqueradeFormats(t *testing.T) {
	for _, text := range []string{
		"nonMasqueradeCIDRs:\n- 52.0.0.0/8\n", "nonMasqueradeCIDRs: [\"52.0.0.0/8\", 10.0.0.0/8]", `{"nonMasqueradeCIDRs": ["52.0.0.0/8"], "masqLinkLocal": true}`,
		"masqLinkLocal: true\nnonMasqueradeCIDRs:\n  - '52.0.0.0/8' # partner\n", "nonMasqueradeCIDRs:\n# - 1.0.0.0/8\n - 52.0.0.1/32\n",
	} {
		w := tracetest.Cluster("azure-overlay", "loadBalancer")
		w.Kube.ConfigMaps["configmap/kube-system/azure-ip-masq-agent-config"] = map[string]string{"ip-masq-agent": text}
		p := trace.Build(w).Run(model.Flow{From: "pod/a/client", Dst: addr("52.0.0.1"), DstPort: 443})
		if b := p.Broken(); b == nil || b.Decided != "configmap/kube-system/azure-ip-masq-agent-config" {
			t.Errorf("%q: %s", text, render(p))
		}
		w.Kube.ConfigMaps["configmap/kube-system/azure-ip-masq-agent-config"] = map[string]string{"other-file": text}
		if p := trace.Build(w).Run(model.Flow{From: "pod/a/client", Dst: addr("52.0.0.1"), DstPort: 443}); p.Verdict != model.Pass {
			t.Errorf("a file that the agent does not read: %s", render(p))
		}
	}
}

// TestRoutedOnNode: where each pod has a device of its own, forwarding also
// decides between pods of one node.
func TestRoutedOnNode(t *testing.T) {
	w := tracetest.Cluster("azure-overlay", "loadBalancer")
	f := w.Nodes["n1"]
	f.Sysctls["net.ipv4.ip_forward"] = "0"
	flow := model.Flow{From: "pod/a/client", To: "pod/a/server", DstPort: 80}
	if p := trace.Build(w).Run(flow); p.Verdict != model.Pass {
		t.Errorf("on one bridge: %s", render(p))
	}
	f.Routes = append(f.Routes,
		model.KernelRoute{Table: 254, Dst: netip.MustParsePrefix("10.50.1.5/32"), Dev: "azv1"}, model.KernelRoute{Table: 254, Dst: netip.MustParsePrefix("10.50.1.6/32"), Dev: "azv2"})
	if p := trace.Build(w).Run(flow); p.Broken() == nil || p.Broken().Decided != "node/n1" {
		t.Errorf("on devices of their own: %s", render(p))
	}
}
