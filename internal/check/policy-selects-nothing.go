package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
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
		for _, tier := range p.index().Policies().Rules().Tiers {
			for _, pol := range tier.Policies {
				switch {
				case p.chosen(&pol.Subject):
					p.emptyRules(pol)
				case !p.waits(pol.Ref):
					p.Report(p.emptyPolicy(pol.Ref, "selects no pod", "its selector selects no pod"))
				}
			}
		}
	},
}

// emptyRules reports the rules of a policy all of whose peers are pods that do not exist.
func (p *Pass) emptyRules(pol *policy.Policy) {
	for _, side := range []struct {
		ingress bool
		side    *policy.Side
	}{{false, pol.Egress}, {true, pol.Ingress}} {
		if side.side == nil {
			continue
		}
		for i := range side.side.Rules {
			r := &side.side.Rules[i]
			somebody := func(x policy.Peer) bool { return x.Kind != policy.Pods || p.chosen(&x.Pods) }
			if r.Action == policy.Allow && len(r.Peers) > 0 && !slices.ContainsFunc(r.Peers, somebody) {
				name := pol.RuleText(r, side.ingress)
				p.Report(p.emptyPolicy(pol.Ref, "has an "+name+" that allows nobody", "none of the peers of "+name+" selects a pod"))
			}
		}
	}
}

// chosen says that a selection chooses some pod, or may.
func (p *Pass) chosen(s *policy.Selection) bool {
	x := p.index().Policies()
	return slices.ContainsFunc(p.candidates(s), func(pod *model.Pod) bool {
		tri, _ := x.Selects(s, pod)
		return tri != policy.No
	})
}

// candidates are the pods among which those of a selection are: the fewest that
// one of its labels leaves.
func (p *Pass) candidates(s *policy.Selection) []*model.Pod {
	if s.Namespace != "" {
		return p.pods[s.Namespace]
	}
	if p.everywhere == nil {
		p.everywhere = map[[2]string][]*model.Pod{}
		for at, list := range p.labelled {
			key := [2]string{at[1], at[2]}
			p.everywhere[key] = append(p.everywhere[key], list...)
		}
		p.all = values(p.World.Kube.Pods)
	}
	best := p.all
	for i := range s.Pods.Reqs {
		r := &s.Pods.Reqs[i]
		if r.Op != policy.In {
			continue
		}
		var list []*model.Pod
		for _, v := range r.Values {
			list = append(list, p.everywhere[[2]string{r.Key, v}]...)
		}
		if len(list) < len(best) {
			best = list
		}
	}
	return best
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
