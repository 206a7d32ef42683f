package trace

import (
	"cmp"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// clouds are what differs between the clouds in what AKS needs.
var clouds = map[string]struct{ hcp, arm, login, mirror string }{
	"azurepubliccloud":  {"*.hcp.REGION.azmk8s.io", "management.azure.com", "login.microsoftonline.com", "mcr.microsoft.com"},
	"azureusgovernment": {"*.hcp.REGION.cx.aks.containerservice.azure.us", "management.usgovcloudapi.net", "login.microsoftonline.us", "mcr.microsoft.com"},
	"azurechinacloud":   {"*.hcp.REGION.cx.prod.service.azk8s.cn", "management.chinacloudapi.cn", "login.chinacloudapi.cn", "mcr.azure.cn"},
}

// RequiredEndpoints is what AKS itself needs of the internet: what the service
// answered for this cluster, and what the documentation adds to that, by cloud,
// region and features. Served entries come first, in their order.
func RequiredEndpoints(w *model.World) []model.RequiredEndpoint {
	c := w.Azure.Cluster
	if c == nil {
		return slices.Clone(w.Azure.Required)
	}
	out := slices.Clone(w.Azure.Required)
	for _, e := range builtinEndpoints(w, c) {
		if !slices.ContainsFunc(out, func(o model.RequiredEndpoint) bool {
			return strings.EqualFold(o.Domain, e.Domain) || nameMatches(e.Domain, strings.ToLower(o.Domain)) && e.Category == o.Category
		}) {
			out = append(out, e)
		}
	}
	return out
}

func builtinEndpoints(w *model.World, c *model.ManagedCluster) []model.RequiredEndpoint {
	cloud, ok := clouds[strings.ToLower(w.Azure.Cloud)]
	if !ok {
		cloud = clouds["azurepubliccloud"]
	}
	var out []model.RequiredEndpoint
	add := func(category string, optional bool, protocol string, port uint16, domains ...string) {
		for _, d := range domains {
			out = append(out, model.RequiredEndpoint{Category: category, Domain: d, Ports: []uint16{port}, Protocol: protocol, Optional: optional})
		}
	}
	if !c.Private {
		host := strings.ToLower(c.FQDN)
		if host == "" {
			host = strings.ReplaceAll(cloud.hcp, "REGION", cmp.Or(strings.ToLower(c.Location), "*"))
		}
		add("apiserver", false, "Https", 443, host)
	}
	add("azure-resource-management", false, "Https", 443, cloud.arm, cloud.login)
	if !strings.EqualFold(c.ArtifactSource, "Cache") {
		add("images", false, "Https", 443, cloud.mirror)
		if cloud.mirror == "mcr.microsoft.com" {
			add("images", false, "Https", 443, "*.data.mcr.microsoft.com", "mcr-0001.mcr-msedge.net")
		} else {
			add("images", false, "Https", 443, "*.azk8s.cn")
		}
		add("artifacts", false, "Https", 443, "packages.aks.azure.com", "packages.microsoft.com")
		add("artifacts", true, "Https", 443, "acs-mirror.azureedge.net")
	}
	add("time-sync", true, "UDP", 123, "ntp.ubuntu.com")
	add("ubuntu-optional", true, "Http", 80, "security.ubuntu.com", "azure.archive.ubuntu.com", "changelogs.ubuntu.com")
	add("ubuntu-optional", true, "Https", 443, "snapshot.ubuntu.com")
	featureEndpoints(c, add)
	return out
}

func featureEndpoints(c *model.ManagedCluster, add func(category string, optional bool, protocol string, port uint16, domains ...string)) {
	windows, gpu := false, false
	for i := range c.AgentPools {
		windows = windows || strings.EqualFold(c.AgentPools[i].OSType, "Windows")
		gpu = gpu || strings.HasPrefix(strings.ToLower(c.AgentPools[i].VMSize), "standard_n")
	}
	if windows {
		add("windows", false, "Https", 443, "onegetcdn.azureedge.net", "go.microsoft.com")
		add("windows", false, "Http", 80, "*.mp.microsoft.com", "www.msftconnecttest.com", "ctldl.windowsupdate.com")
	}
	if gpu {
		add("gpu", false, "Https", 443, "nvidia.github.io", "us.download.nvidia.com", "download.docker.com")
	}
	for _, a := range c.Addons {
		switch strings.ToLower(a) {
		case "omsagent":
			add("monitoring", false, "Https", 443, "*.ods.opinsights.azure.com", "*.oms.opinsights.azure.com", "*.monitoring.azure.com", "*.ingest.monitor.azure.com", "*.handler.control.monitor.azure.com")
		case "azurepolicy":
			add("azure-policy", false, "Https", 443, "data.policy.core.windows.net", "store.policy.core.windows.net")
		case "azurekeyvaultsecretsprovider":
			add("key-vault", false, "Https", 443, "vault.azure.net")
		}
	}
}

// RequiredResult is the way of one node to one endpoint that AKS needs.
type RequiredResult struct {
	Endpoint model.RequiredEndpoint
	Port     uint16
	From     model.Ref // a node of the subnet
	Subnet   model.Ref
	Path     model.Path
}

// CheckRequired traces what AKS needs from one node of each subnet that holds
// nodes. Optional endpoints are checked as well; the caller weighs them.
func (x *Index) CheckRequired() []RequiredResult {
	var out []RequiredResult
	for _, n := range x.nodePerSubnet() {
		a := x.nodeAttachment(n)
		var subnet model.Ref
		if a.subnet != nil {
			subnet = x.subnetRef(a.subnet)
		}
		for _, e := range x.required {
			for _, port := range e.Ports {
				f := model.Flow{From: model.NewRef("node", n.Name), DstPort: port, Protocol: "tcp", Host: exampleName(e.Domain)}
				switch strings.ToLower(e.Protocol) {
				case "https", "http":
					f.Scheme = strings.ToLower(e.Protocol)
				case "udp":
					f.Protocol = "udp"
				}
				out = append(out, RequiredResult{Endpoint: e, Port: port, From: f.From, Subnet: subnet, Path: x.Run(f)})
			}
		}
	}
	return out
}

// exampleName makes one name of a pattern, to try rules on.
func exampleName(domain string) string {
	domain = strings.ToLower(domain)
	if rest, ok := strings.CutPrefix(domain, "*."); ok {
		return "podpath-check." + rest
	}
	return strings.ReplaceAll(domain, "*", "podpath-check")
}

// nodePerSubnet picks the first node of each subnet, by name.
func (x *Index) nodePerSubnet() []*model.Node {
	seen := map[*model.Subnet]bool{}
	var out []*model.Node
	for _, name := range sorted(x.w.Kube.Nodes) {
		n := x.w.Kube.Nodes[name]
		if n == nil {
			continue
		}
		if a := x.nodeAttachment(n); !seen[a.subnet] {
			seen[a.subnet] = true
			out = append(out, n)
		}
	}
	return out
}
