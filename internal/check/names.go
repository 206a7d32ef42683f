package check

import (
	"cmp"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/diagnose/rules"
	"github.com/podpath/podpath/internal/model"
)

var names = Check{
	ID: "names",
	Doc: `Pods cannot resolve names

From a pod of each subnet the way of a lookup is followed: to the cluster's DNS Service, to each of its pods, and from these to what
they ask themselves. What stops it is reported as the diagnosis that names it: no CoreDNS pod is ready, the Service selects none, a
Corefile that CoreDNS does not start with, an NSG between the nodes, an upstream that does not exist.

Look-alikes: a NetworkPolicy that forgets DNS concerns the pods that it selects; see policy-locks-out-dns.

Mend it as the diagnosis says.
`,
	Group: DNS, Hop: model.HopDNS, Needs: []string{"service", "pod", "endpointslice"},
	Source: "https://learn.microsoft.com/azure/aks/dns-concepts",
	Covers: []string{"dns-coredns-down", "dns-upstream-unreachable"},
	Run: func(p *Pass) {
		for _, pod := range p.askers() {
			for _, host := range []string{"kubernetes.default.svc.cluster.local", "mcr.microsoft.com"} {
				p.lookup(pod, host)
			}
		}
	},
}

// lookup asks the catalogue what keeps a pod from resolving a name.
func (p *Pass) lookup(pod *model.Pod, host string) {
	c := model.Case{Version: 1, Asked: p.now, World: *p.World}
	if !question(&c, "pod/"+pod.Namespace+"/"+pod.Name, host, "tcp") {
		return
	}
	l := p.index().Lookup(pod.Ref(), host, nil)
	c.Lookup = &l
	r := diagnose.RunWith(&c, rules.All(), p.index().Run)
	for i := range r.Causes {
		d := &r.Causes[i]
		if d.Confidence < diagnose.Likely || d.Hop == model.HopPolicy || !aboutNames(d) {
			continue
		}
		f := Finding{Group: DNS, Severity: Outage, traced: true}
		f.fill(d)
		if slices.Contains(kernel, d.Hop) {
			f.Group = Nodes // it stops more than lookups
		}
		p.Report(f)
	}
}

// aboutNames says that a diagnosis is one of the way of a name, not of what the
// pod would do with the answer.
func aboutNames(d *diagnose.Finding) bool {
	switch d.Hop {
	case model.HopDNS, model.HopCNI, model.HopNodeKernel, model.HopNSG, model.HopRoute, model.HopAppliance, model.HopKubeProxy, model.HopService:
		return true
	}
	return false
}

// askers are a running pod of each subnet that asks the cluster's DNS, outside
// of kube-system where there is one.
func (p *Pass) askers() []*model.Pod {
	best := map[*model.Subnet]*model.Pod{}
	for _, pod := range values(p.World.Kube.Pods) {
		if pod.Phase != "Running" || !pod.Ready || pod.Deleting || pod.HostNetwork || len(pod.IPs) == 0 || cmp.Or(pod.DNSPolicy, "ClusterFirst") != "ClusterFirst" || pod.Labels["k8s-app"] == "kube-dns" {
			continue
		}
		n := p.World.Kube.Nodes[pod.Node]
		if n == nil || !n.Ready || len(n.InternalIPs) == 0 {
			continue
		}
		s := p.subnetOf(n.InternalIPs[0])
		if old := best[s]; old == nil || old.Namespace == "kube-system" && pod.Namespace != "kube-system" {
			best[s] = pod
		}
	}
	var out []*model.Pod
	for _, pod := range best {
		out = append(out, pod)
	}
	slices.SortFunc(out, func(a, b *model.Pod) int { return strings.Compare(string(a.Ref()), string(b.Ref())) })
	return out
}

// clusterDNS says that a Service is the one that pods ask for names.
func (p *Pass) clusterDNS(s *model.Service) bool {
	return s.Namespace == "kube-system" && (s.Name == "kube-dns" || s.Labels["k8s-app"] == "kube-dns" && slices.ContainsFunc(s.Ports, func(x model.ServicePort) bool { return x.Port == 53 }))
}
