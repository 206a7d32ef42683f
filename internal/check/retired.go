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

Kubenet, Azure Network Policy Manager, Basic load balancers and ingress-nginx end on dates that are known. Nothing fails of it today;
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
}

func (e *ending) title(now time.Time) string {
	switch day := e.on.Format("2 January 2006"); {
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
		"kubenet", date(2028, time.March, 31), "Move to Azure CNI Overlay: az aks update --network-plugin azure --network-plugin-mode overlay",
		"https://learn.microsoft.com/azure/aks/configure-kubenet", func(p *Pass) []model.Ref { return ofCluster(p, "kubenet", "") },
	},
	{
		"Azure Network Policy Manager on Linux", date(2028, time.September, 30), "Move to Azure CNI powered by Cilium",
		"https://learn.microsoft.com/azure/aks/use-network-policies", func(p *Pass) []model.Ref { return ofCluster(p, "", "azure") },
	},
	{
		"Azure Network Policy Manager on Windows", date(2026, time.September, 30), "Move to Calico, or to network security groups, for Windows nodes",
		"https://learn.microsoft.com/azure/aks/use-network-policies", windowsNPM,
	},
	{
		"Basic load balancers", date(2025, time.September, 30), "Move to a Standard load balancer",
		"https://learn.microsoft.com/azure/aks/configure-load-balancer-standard", basicBalancers,
	},
	{
		"ingress-nginx", date(2026, time.March, 31), "Move to another Ingress controller, or to the Gateway API",
		"https://learn.microsoft.com/azure/aks/app-routing", ingressNginx,
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
