package check

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
	"github.com/podpath/podpath/internal/reach"
)

var policySelectsNothing = Check{
	ID: "policy-selects-nothing",
	Doc: `A policy, or a rule of one, selects nothing

No pod has the labels that the policy is for, or none of the peers that a rule allows exists. Somebody meant to protect or to allow
something and does not: a label was changed, or a namespace has another name.

Look-alikes: a policy may wait for pods that come later (a job, a workload scaled to zero). So this is never more than worth a look. podpath reach
lists all rules that change nothing.

Mend the selector, or delete the policy.
`,
	Group: Policies, Hop: model.HopPolicy, Needs: []string{"pod", "namespace", "networkpolicy"},
	Source: "https://kubernetes.io/docs/concepts/services-networking/network-policies/",
	Covers: []string{"np-namespace-label-mismatch", "np-egress-dns-wrong-label"},
	Run: func(p *Pass) {
		if summary(p.World).Policies == 0 {
			return
		}
		for _, h := range reach.New(p.index().Policies(), nil).Hygiene() {
			switch {
			case h.Kind == "selects-nothing" && !p.waits(h.Policy):
				p.Report(p.emptyPolicy(h.Policy, "selects no pod", h.Reason))
			case h.Kind == "dead-rule" && strings.Contains(h.Reason, "none of its peers"):
				p.Report(p.emptyPolicy(h.Policy, "has an "+h.Rule+" that allows nobody", h.Reason))
			}
		}
	},
}

func (p *Pass) emptyPolicy(ref model.Ref, what, reason string) Finding {
	return Finding{
		Severity: Risk, Confidence: diagnose.Possible, Subject: ref,
		Title:    fmt.Sprintf("%s %s %s", kindName(ref), strings.Join(ref.Parts(), "/"), what),
		Evidence: []diagnose.Evidence{kube(reason, ref)},
		Fix:      []diagnose.Command{do("Compare its selector with the labels", diagnose.KubectlFor(ref, "get", "-o", "yaml"))},
	}
}

// kindName is a kind of policy as people write it.
func kindName(ref model.Ref) string {
	switch ref.Kind() {
	case "networkpolicy", "caliconetworkpolicy":
		return "NetworkPolicy"
	case "adminnetworkpolicy":
		return "AdminNetworkPolicy"
	case "baselineadminnetworkpolicy":
		return "BaselineAdminNetworkPolicy"
	case "clusternetworkpolicy":
		return "ClusterNetworkPolicy"
	case "globalnetworkpolicy":
		return "GlobalNetworkPolicy"
	case "ciliumnetworkpolicy":
		return "CiliumNetworkPolicy"
	case "ciliumclusterwidenetworkpolicy":
		return "CiliumClusterwideNetworkPolicy"
	}
	return ref.Kind()
}

// waits says that a policy that selects no pod may be meant so: it is for all
// pods of a namespace that has none, or for those of a workload that wants none.
func (p *Pass) waits(ref model.Ref) bool {
	np := p.World.Kube.Policies[ref]
	if np == nil {
		return false
	}
	if len(np.PodSelector.MatchLabels)+len(np.PodSelector.Expressions) == 0 {
		return true
	}
	s := policy.NewSelection(np.Namespace, nil, &np.PodSelector)
	for _, w := range p.workloads[np.Namespace] {
		if w.Selector == nil {
			continue
		}
		stand := model.Pod{Namespace: np.Namespace, Labels: w.Selector.MatchLabels}
		if tri, _ := p.index().Policies().Selects(&s, &stand); tri != policy.No {
			return true
		}
	}
	return false
}
