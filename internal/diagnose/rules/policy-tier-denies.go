package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

var policyTierDenies = diagnose.Rule{
	ID: "policy-tier-denies",
	Doc: `A policy beside NetworkPolicy denies the connection

AdminNetworkPolicy, ClusterNetworkPolicy, Calico's NetworkPolicy and GlobalNetworkPolicy and Cilium's policies have rules
that deny, and an order: priorities, tiers, orders, or (Cilium) denying before allowing. Such a rule stands above what
the NetworkPolicies of the namespace say, and is often written by somebody else, for all namespaces. The packet is dropped
at the pod's own interface; the client waits until its time-out.

Look-alikes: a NetworkPolicy that allows nothing drops as silently, and is mended by adding a rule to it, which here
changes nothing: the deciding line says which it is. A baseline (BaselineAdminNetworkPolicy, or the baseline tier) is the
other way round: it decides only where no NetworkPolicy selects the pod.

Mend it with whoever owns the policy: a rule before the one that denies, or a policy of higher precedence, that allows this
peer and port. For a default deny at the end of a tier, a rule in that tier that allows or passes.
`,
	Hop: model.HopPolicy,
	Needs: []string{
		"networkpolicy", "namespace", "daemonset", "adminnetworkpolicy", "baselineadminnetworkpolicy", "clusternetworkpolicy",
		"caliconetworkpolicy", "globalnetworkpolicy", "tier", "networkset", "globalnetworkset", "ciliumnetworkpolicy", "ciliumclusterwidenetworkpolicy",
	},
	Sees: diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopPolicy, func(w diagnose.Way, step *model.Step) { reportTier(p, w, step) })
	},
}

// policyNames are the kinds as people write them.
var policyNames = map[string]string{
	"adminnetworkpolicy": "AdminNetworkPolicy", "baselineadminnetworkpolicy": "BaselineAdminNetworkPolicy", "clusternetworkpolicy": "ClusterNetworkPolicy",
	"caliconetworkpolicy": "Calico's NetworkPolicy", "globalnetworkpolicy": "GlobalNetworkPolicy",
	"ciliumnetworkpolicy": "CiliumNetworkPolicy", "ciliumclusterwidenetworkpolicy": "CiliumClusterwideNetworkPolicy",
}

func reportTier(p *diagnose.Pass, w diagnose.Way, step *model.Step) {
	by := step.Decided
	name := policyNames[by.Kind()]
	if name == "" {
		return
	}
	called := by.Name()
	if ns := by.Parts(); len(ns) > 1 {
		called = ns[0] + "/" + ns[1]
	}
	f := diagnose.Finding{
		Title:   fmt.Sprintf("%s %s denies %s", name, called, flowText(step.In)),
		Summary: "The policy stands in an order of precedence, and its line decides whatever NetworkPolicies say. The packet is dropped silently at the pod's interface.",
	}
	if strings.Contains(step.Title, "(tier baseline)") {
		f.Summary = "The baseline decides where no NetworkPolicy selects the pod in this direction, and none does. The packet is dropped silently at the pod's interface."
	}
	if w.Kind != "question" {
		f.Title = fmt.Sprintf("%s %s denies DNS: %s", name, called, flowText(step.In))
	}
	for _, t := range step.Trail {
		f.Evidence = append(f.Evidence, kube(t, by))
	}
	f.Fix = []diagnose.Command{{
		Text: "Look at the policy with its owner: a rule before the one that denies, which allows this peer and port, is the way to an exception",
		Line: tierCommand(by), Verify: again(p),
	}}
	changing(p, step, &f)
	p.ReportAt(w, step, f)
}

// tierCommand shows the policy.
func tierCommand(by model.Ref) string {
	resource := by.Kind()
	for i := range policy.Kinds {
		if policy.Kinds[i].Kind == by.Kind() {
			resource = policy.Kinds[i].Resource
		}
	}
	if parts := by.Parts(); len(parts) > 1 {
		return diagnose.Kubectl("-n", parts[0], "get", resource, parts[1], "-o", "yaml")
	}
	return diagnose.Kubectl("get", resource, by.Name(), "-o", "yaml")
}
