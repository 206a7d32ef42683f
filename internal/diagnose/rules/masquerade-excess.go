package rules

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

var masqueradeExcess = diagnose.Rule{
	ID: "masquerade-excess",
	Doc: `Packets between pods are masqueraded, and so refused

Pods see each other's own addresses: that is Kubernetes' promise, and policies depend on it. A rule of the sender's node (a MASQUERADE that is too wide, or
nonMasqueradeCIDRs without the pods' range) gives their packets the node's address. The receiver's policy allows pods, and what arrives is no pod: it refuses,
as a database or a firewall with a list of addresses would. Without a policy nobody notices but the logs.

Look-alikes: a policy that forbids the sender refuses it with its own address too. Traffic that comes through a load balancer or another node's NodePort has a
node's address by design (externalTrafficPolicy Cluster).

Mend it by excepting the pods' range in the rule that masquerades (! -d the pods' range), or in nonMasqueradeCIDRs.
`,
	Hop:    model.HopMasquerade,
	Covers: []string{"cni-masquerade-excess"},
	Needs:  []string{"node", "pod", "nodefacts", "networkpolicy"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopPolicy, func(w diagnose.Way, step *model.Step) {
			if masq := translation(w); masq != nil && podNode(p, step.In.Dst) != "" && !fromOutside(p, w.Path.Flow) && otherwiseAllowed(p, w, step) {
				reportExcess(p, w, step, masq)
			}
		})
	},
}

// fromOutside says that a Service was asked by an address for outside (a node's port,
// a load balancer's address): kube-proxy has to masquerade that.
func fromOutside(p *diagnose.Pass, f model.Flow) bool {
	for _, n := range p.Case.World.Kube.Nodes {
		if slices.Contains(n.InternalIPs, f.Dst) {
			return true
		}
	}
	for _, s := range p.Case.World.Kube.Services {
		if slices.Contains(s.ExternalIPs, f.Dst) || slices.Contains(s.LoadBalancerIPs, f.Dst) {
			return true
		}
	}
	return false
}

// translation is the step at which a pod's packet lost the pod's address.
func translation(w diagnose.Way) *model.Step {
	for i := range w.Path.Steps {
		s := &w.Path.Steps[i]
		if s.Hop == model.HopMasquerade && s.In.Src.IsValid() && s.Out.Src.IsValid() && s.In.Src != s.Out.Src {
			return s
		}
	}
	return nil
}

// otherwiseAllowed says that the policy would let the packet in with its own address.
func otherwiseAllowed(p *diagnose.Pass, w diagnose.Way, step *model.Step) bool {
	pod := podWith(p, step.In.Dst)
	if pod == nil || step.At != pod.Ref() {
		return false
	}
	f := step.In
	f.Src, f.From = w.Path.Flow.Src, w.Path.Flow.From
	return policy.Build(&p.Case.World).Ingress(pod, f).Verdict == model.Pass
}

// podWith is the running pod that has an address of its own.
func podWith(p *diagnose.Pass, a netip.Addr) *model.Pod {
	for _, ref := range sortedRefs(p.Case.World.Kube.Pods) {
		if pod := p.Case.World.Kube.Pods[ref]; pod != nil && !pod.HostNetwork && pod.Phase == "Running" && slices.Contains(pod.IPs, a) {
			return pod
		}
	}
	return nil
}

func reportExcess(p *diagnose.Pass, w diagnose.Way, step, masq *model.Step) {
	ref := masq.Decided
	if ref == "" {
		ref = masq.At
	}
	f := diagnose.Finding{
		Hop: model.HopMasquerade, Subject: ref,
		Title:    fmt.Sprintf("%s masquerades packets between pods: %s arrives as %s", ref, masq.In.Src, masq.Out.Src),
		Summary:  fmt.Sprintf("With its own address the packet would be let in; with %s it is no pod's, and %s refuses it.", masq.Out.Src, firstOf(string(step.Decided), "the policy of the receiver")),
		Evidence: []diagnose.Evidence{node(masq.Title+": "+masq.Reason, masq.At)},
	}
	switch ref.Kind() {
	case "configmap":
		f.Fix = []diagnose.Command{{Text: "Add the pods' range to nonMasqueradeCIDRs", Line: diagnose.KubectlFor(ref, "edit"), Verify: again(p)}}
	default:
		f.Fix = []diagnose.Command{
			{Text: "See which rules translate sources on this node", Line: onNode(ref.Name(), "iptables -t nat -vnL POSTROUTING; nft list ruleset | grep -i -B2 masquerade")},
			{Text: "Except the pods' range in the rule that does (! -d the pods' range), and in what writes it", Verify: again(p)},
		}
	}
	p.ReportAt(w, step, f)
}
