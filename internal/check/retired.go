package check

import (
	"fmt"
	"strings"
	"time"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var retired = Check{
	ID: "retired",
	Doc: `The cluster uses something whose support ends

Kubenet, Azure Network Policy Manager, Basic load balancers and ingress-nginx end on dates that are known; kube-proxy's ipvs mode is deprecated. Nothing fails of it today;
afterwards nothing is mended any more, and in the end clusters that still use it cannot be upgraded.

Plan the move before the date: see the page that is named with it.
`,
	Group: Ahead, Hop: model.HopControlPlane,
	Source: "https://learn.microsoft.com/azure/aks/",
	Run: func(p *Pass) {
		for i := range endings {
			e := &endings[i]
			for _, ref := range e.used(p) {
				p.Report(Finding{
					Severity: Notice, Subject: ref, Docs: e.docs, Title: e.title(p.now),
					Evidence: []diagnose.Evidence{arm(string(ref)+" uses "+e.what, ref)}, Fix: []diagnose.Command{{Text: e.instead}},
				})
			}
		}
	},
}

// ending is something whose support ends.
type ending struct {
	what    string
	on      time.Time
	instead string
	docs    string
	used    func(*Pass) []model.Ref
	since   string // it is deprecated since this release, and no date is set
}

func (e *ending) title(now time.Time) string {
	switch day := e.on.Format("2 January 2006"); {
	case e.since != "":
		return fmt.Sprintf("%s is deprecated since %s", e.what, e.since)
	case now.IsZero():
		return fmt.Sprintf("Support of %s ends on %s", e.what, day)
	case now.After(e.on):
		return fmt.Sprintf("Support of %s ended on %s", e.what, day)
	default:
		return fmt.Sprintf("Support of %s ends on %s, in %d days", e.what, day, int(e.on.Sub(now).Hours()/24))
	}
}

func date(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

var endings = []ending{
	{
		what: "kubenet", on: date(2028, time.March, 31), instead: "Move to Azure CNI Overlay: az aks update --network-plugin azure --network-plugin-mode overlay",
		docs: "https://learn.microsoft.com/azure/aks/configure-kubenet", used: func(p *Pass) []model.Ref { return ofCluster(p, "kubenet", "") },
	},
	{
		what: "Azure Network Policy Manager on Linux", on: date(2028, time.September, 30), instead: "Move to Azure CNI powered by Cilium",
		docs: "https://learn.microsoft.com/azure/aks/use-network-policies", used: func(p *Pass) []model.Ref { return ofCluster(p, "", "azure") },
	},
	{
		what: "Azure Network Policy Manager on Windows", on: date(2026, time.September, 30), instead: "Move to Calico, or to network security groups, for Windows nodes",
		docs: "https://learn.microsoft.com/azure/aks/use-network-policies", used: windowsNPM,
	},
	{
		what: "Basic load balancers", on: date(2025, time.September, 30), instead: "Move to a Standard load balancer",
		docs: "https://learn.microsoft.com/azure/aks/configure-load-balancer-standard", used: basicBalancers,
	},
	{
		what: "ingress-nginx", on: date(2026, time.March, 31), instead: "Move to another Ingress controller, or to the Gateway API",
		docs: "https://learn.microsoft.com/azure/aks/app-routing", used: ingressNginx,
	},
	{
		what: "kube-proxy's ipvs mode", since: "Kubernetes 1.35", instead: "Move kube-proxy to nftables mode (kernels of 5.13 and later), or to iptables",
		docs: "https://www.kubernetes.dev/resources/keps/5495/", used: ipvsProxies,
	},
}

// ofCluster is the cluster, where it has a network plugin or a policy engine.
func ofCluster(p *Pass, plugin, policy string) []model.Ref {
	c := p.World.Azure.Cluster
	if c == nil || !strings.EqualFold(c.NetworkPlugin, plugin) && plugin != "" || !strings.EqualFold(c.NetworkPolicy, policy) && policy != "" {
		return nil
	}
	return []model.Ref{model.NewRef("cluster", c.Name)}
}

func windowsNPM(p *Pass) []model.Ref {
	ref := ofCluster(p, "", "azure")
	for _, n := range p.World.Kube.Nodes {
		if n.Labels["kubernetes.io/os"] == "windows" {
			return ref
		}
	}
	return nil
}

func basicBalancers(p *Pass) []model.Ref {
	var out []model.Ref
	for _, lb := range values(p.World.Azure.LoadBalancers) {
		if strings.EqualFold(lb.SKU, "Basic") {
			out = append(out, model.NewRef("loadbalancer", lb.Name))
		}
	}
	return out
}

// ipvsProxies is what sets kube-proxy's mode, where it is ipvs on some node.
func ipvsProxies(p *Pass) []model.Ref {
	for _, n := range values(p.World.Kube.Nodes) {
		if p.index().ProxyMode(n.Name) != "ipvs" {
			continue
		}
		if refs := ofCluster(p, "", ""); len(refs) > 0 {
			return refs
		}
		return []model.Ref{"configmap/kube-system/kube-proxy"}
	}
	return nil
}

// ingressNginx are the workloads that run the controller of kubernetes/ingress-nginx, by its image.
func ingressNginx(p *Pass) []model.Ref {
	var out []model.Ref
	seen := map[model.Ref]bool{}
	for _, pod := range values(p.World.Kube.Pods) {
		for i := range pod.Containers {
			if owner := ownerOf(pod); strings.Contains(pod.Containers[i].Image, "ingress-nginx/controller") && !seen[owner] {
				seen[owner] = true
				out = append(out, owner)
			}
		}
	}
	return out
}
