package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var dnsAddressDiffers = diagnose.Rule{
	ID: "dns-address-differs",
	Doc: `Pods are told another address than the cluster's DNS has

The kubelet writes its clusterDNS address into every pod's resolv.conf; on AKS that is the cluster's dnsServiceIP. When the Service
kube-dns was made anew without that address, or a node was set up with another, pods ask an address that no Service has: nothing answers,
or something else does.

Look-alikes: CoreDNS that is down leaves the Service with its address. Rules that kube-proxy did not write lose every Service of one
node. A pod with its own dnsConfig asks what that says.

Mend it by giving the Service the address that the pods ask (delete it and create it with that clusterIP); a kubelet's setting holds for
pods that start later only.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-kubelet-clusterdns-mismatch"},
	Needs:  []string{"service", "probe"},
	Sees:   dnsFailed,
	Run: func(p *diagnose.Pass) {
		seen, pod := p.Seen(), p.Pod()
		svc, _ := p.NameServers()
		if seen == nil || pod == nil || svc == nil || podAvoidsClusterDNS(pod) || !dnsFailed(seen) || len(svc.ClusterIPs) == 0 {
			return
		}
		var asked []netip.Addr
		for _, q := range seen.Queries {
			a := q.Server.Addr()
			if slices.Contains(svc.ClusterIPs, a) {
				return
			}
			if !slices.Contains(asked, a) && !serviceHas(p, a) && serviceRange(p, a) {
				asked = append(asked, a)
			}
		}
		if len(asked) == 0 {
			return
		}
		ref := model.NewRef("service", svc.Namespace, svc.Name)
		f := diagnose.Finding{
			Subject: ref,
			Title:   fmt.Sprintf("Pods ask %s for names, and the cluster's DNS has the address %s", list(addrs(asked)), list(addrs(svc.ClusterIPs))),
			Summary: "The address in the pod's resolv.conf comes from its kubelet; no Service has it, so nothing answers there.",
			Evidence: append([]diagnose.Evidence{
				kube(fmt.Sprintf("service %s/%s has the address %s", svc.Namespace, svc.Name, list(addrs(svc.ClusterIPs))), ref),
			}, queries(seen)...),
			Fix: []diagnose.Command{{
				Text: fmt.Sprintf("Give the Service the address %s again: save it, delete it, and create it with that clusterIP", asked[0]),
				Line: diagnose.Kubectl("-n", svc.Namespace, "get", "service", svc.Name, "-o", "yaml"), Verify: again(p),
			}},
		}
		if c := p.Case.World.Azure.Cluster; c != nil && slices.Contains(asked, c.DNSServiceIP) {
			f.Evidence = append(f.Evidence, arm(fmt.Sprintf("the cluster's dnsServiceIP is %s", c.DNSServiceIP)))
		}
		if !p.Case.World.Read["service"] {
			f.Confidence = diagnose.Likely // another namespace's Service may have it
		}
		p.ReportOn(dnsWay, f)
	},
}

func serviceHas(p *diagnose.Pass, a netip.Addr) bool {
	for _, svc := range p.Case.World.Kube.Services {
		if slices.Contains(svc.ClusterIPs, a) {
			return true
		}
	}
	return false
}

// serviceRange says that an address is of the range of Services: as Azure says,
// else near one of the Services that were read.
func serviceRange(p *diagnose.Pass, a netip.Addr) bool {
	if c := p.Case.World.Azure.Cluster; c != nil && len(c.ServiceCIDRs) > 0 {
		return slices.ContainsFunc(c.ServiceCIDRs, func(r netip.Prefix) bool { return r.Contains(a) })
	}
	svc, _ := p.NameServers()
	near, err := svc.ClusterIPs[0].Prefix(min(24, svc.ClusterIPs[0].BitLen()))
	return err == nil && near.Contains(a)
}
