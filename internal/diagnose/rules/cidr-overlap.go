package rules

import (
	"fmt"
	"net/netip"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var cidrOverlap = diagnose.Rule{
	ID: "cidr-overlap",
	Doc: `The destination's address lies within the cluster's own pod or Service range

The node believes that the address belongs to a pod or a Service and never sends the packet out: it goes to the pod
network or to kube-proxy, where nobody has it. Only destinations inside the overlapping range fail (a database in
a peered network, a host on premises, or one on the internet); everything else works. The client sees a time-out, "no route to
host", or a refusal.

Look-alikes: a destination that is down fails from outside the cluster too. A local bridge on the node (docker0) can shadow a range
in the same way.

Mend it by renumbering one side: the pod and Service ranges are chosen when a cluster is made, so it is often the
destination, or a new cluster.
`,
	Hop:    model.HopCNI,
	Covers: []string{"cni-podcidr-overlap-vnet", "pl-service-cidr-overlap", "cni-docker-bridge-overlap"},
	Under:  []string{"dns-address-differs"},
	Needs:  []string{"cluster"},
	Sees: func(o *model.Observation) bool {
		return diagnose.Unanswered(o) || o.Failed == "tcp" && o.Result == model.Refused
	},
	Run: func(p *diagnose.Pass) {
		if !p.External() {
			return
		}
		p.Broken(model.HopCNI, func(w diagnose.Way, step *model.Step) {
			subject := step.Decided
			f := diagnose.Finding{
				Title:   fmt.Sprintf("%s lies within a range that the cluster uses itself", step.In.Dst),
				Summary: "The node takes the address for one of its own network's and never sends the packet out. No pod and no Service has it: either it was one's that is gone, or something outside has an address of the same range.",
				Fix: []diagnose.Command{{
					Text: "If it was a pod's or a Service's: they have another one now; use the Service's name instead of an address",
				}, {
					Text: "If it is a host outside, renumber one side: the cluster's pod and Service ranges cannot be changed after it was made; a destination (or a private endpoint to it) in another range can",
				}},
			}
			if cluster := p.Case.World.Azure.Cluster; cluster != nil {
				if subject == "" || subject.Kind() == "subnet" || subject.Kind() == "vnet" {
					subject = model.NewRef("cluster", cluster.Name)
				}
				f.Evidence = append(f.Evidence, arm(fmt.Sprintf("cluster %s: pod ranges %v, Service ranges %v", cluster.Name, cluster.PodCIDRs, cluster.ServiceCIDRs), model.NewRef("cluster", cluster.Name)))
				f.Fix = append(f.Fix, diagnose.Command{Text: "See the cluster's ranges", Line: diagnose.Az("aks show", cluster.ID, "--name", cluster.Name, "--query", "networkProfile.{podCidr:podCidr,serviceCidr:serviceCidr}")})
			}
			f.Subject = subject
			if host := p.Case.Question.To.Host; host != "" && p.Case.Question.Address == (netip.Addr{}) {
				f.Confidence = diagnose.Likely
				f.Fix = append(f.Fix, diagnose.Command{Text: fmt.Sprintf("If %s was never meant to have this address, correct its DNS record", host)})
			}
			p.ReportAt(w, step, f)
		})
	},
}
