package rules

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var policyDenies = diagnose.Rule{
	ID: "policy-denies",
	Doc: `A NetworkPolicy does not allow the connection

As soon as one NetworkPolicy of a direction selects a pod, everything in that direction that no policy allows is
dropped for it, at the pod's own interface. The client waits until its time-out; other pods that no policy selects
reach the same destination. An egress policy that forgets DNS (UDP and TCP 53 to kube-system) makes every name fail,
while addresses that it allows still answer.

Look-alikes: an NSG, a route or a firewall that drops is as silent, but hits the node's other pods as well. A cluster
without a policy engine stores NetworkPolicies and ignores them; podpath says so, and blames none then. CoreDNS that is
down makes names fail for every namespace, not only for the selected pods.

Mend it by adding an egress (or ingress) rule for this peer and port to a policy that selects the pod. Policies only
ever add: there is no rule that denies, so no order matters.
`,
	Hop:    model.HopPolicy,
	Covers: []string{"np-default-deny-egress", "np-egress-blocks-dns", "np-default-deny-ingress", "np-namespace-label-mismatch", "np-egress-dns-wrong-label", "np-service-port-vs-pod-port", "np-lb-source-masqueraded", "cp-api-egress-blocked"},
	Needs:  []string{"networkpolicy", "namespace"},
	Under:  []string{"masquerade-excess"},
	Sees:   diagnose.Unanswered,
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopPolicy, func(w diagnose.Way, step *model.Step) { reportPolicy(p, w, step) })
	},
}

func reportPolicy(p *diagnose.Pass, w diagnose.Way, step *model.Step) {
	if step.Decided.Kind() != "networkpolicy" {
		return
	}
	ingress := step.At != "" && step.At == step.In.To
	direction, peer := "egress", "to"
	if ingress {
		direction, peer = "ingress", "from"
	}
	f := diagnose.Finding{
		Title: fmt.Sprintf("NetworkPolicy %s/%s does not allow %s", step.Decided.Part(0), step.Decided.Part(1), flowText(step.In)),
		Summary: fmt.Sprintf("The policy isolates the pod for %s, and no policy that selects the pod has a rule %s this peer and port. The packet is dropped silently at the pod's interface.",
			direction, peer),
	}
	if w.Kind != "question" {
		f.Title = fmt.Sprintf("NetworkPolicy %s/%s does not allow DNS: %s", step.Decided.Part(0), step.Decided.Part(1), flowText(step.In))
	}
	if np := p.Case.World.Kube.Policies[step.Decided]; np != nil {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("networkpolicy %s/%s selects the pod for %s with %d %s rules, none of which matches",
			np.Namespace, np.Name, direction, ruleCount(np, ingress), direction), step.Decided))
	}
	if src := w.Path.Flow.Src; ingress && src.IsValid() && step.In.Src != src {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("the policy sees %s as the client, not %s: the source was translated on the way, so rules for the client's own pod, namespace or range do not match", step.In.Src, src), step.Decided))
	}
	judged := judgedFlow(w, step)
	for _, text := range nearRules(p, step, judged, ingress) {
		f.Evidence = append(f.Evidence, kube(text, step.Decided))
	}
	for _, t := range step.Trail {
		f.Evidence = append(f.Evidence, kube(t, step.Decided))
	}
	f.Fix = policyFix(p, w, step, judged)
	changing(p, step, &f)
	p.ReportAt(w, step, f)
}

func ruleCount(np *model.NetworkPolicy, ingress bool) int {
	if ingress {
		return len(np.IngressRules)
	}
	return len(np.EgressRules)
}

type object = map[string]any

func policyFix(p *diagnose.Pass, w diagnose.Way, step *model.Step, judged model.Flow) []diagnose.Command {
	np := p.Case.World.Kube.Policies[step.Decided]
	ingress := step.At != "" && step.At == step.In.To
	rule, field := allowRule(p, w, judged, ingress), "egress"
	if ingress {
		field = "ingress"
	}
	path := "/spec/" + field + "/-"
	var value any = rule
	if np == nil || ruleCount(np, ingress) == 0 {
		path, value = "/spec/"+field, []any{rule}
	}
	patch, err := json.Marshal([]object{{"op": "add", "path": path, "value": value}})
	if err != nil { // maps of strings and numbers always marshal
		return nil
	}
	return []diagnose.Command{{
		Text:   fmt.Sprintf("Allow it: add one %s rule to the policy", field),
		Line:   diagnose.Kubectl("-n", step.Decided.Part(0), "patch", "networkpolicy", step.Decided.Part(1), "--type=json", "-p", string(patch)),
		Verify: again(p),
	}}
}

// allowRule is the narrowest rule that a person would write for the flow.
func allowRule(p *diagnose.Pass, w diagnose.Way, in model.Flow, ingress bool) object {
	ports := []object{{"protocol": upper(in.Protocol), "port": in.DstPort}}
	field, other, addr := "to", in.To, in.Dst
	if ingress {
		field, other, addr = "from", in.From, in.Src
	}
	if w.Kind == "dns" && !ingress {
		ports = []object{{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}}
	}
	peer := object{"ipBlock": object{"cidr": addr.String() + hostBits(addr.Is4())}}
	if pod := p.Case.World.Kube.Pods[other]; pod != nil {
		peer = object{
			"namespaceSelector": object{"matchLabels": object{"kubernetes.io/metadata.name": pod.Namespace}},
			"podSelector":       object{"matchLabels": stableLabels(pod)},
		}
	}
	return object{field: []object{peer}, "ports": ports}
}

func hostBits(v4 bool) string {
	if v4 {
		return "/32"
	}
	return "/128"
}

// stableLabels are the labels that the next pod of the same workload will have too.
func stableLabels(pod *model.Pod) object {
	out := object{}
	for _, k := range sortedKeys(pod.Labels) {
		switch k {
		case "pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name", "pod-template-generation":
			continue
		}
		if !strings.HasPrefix(k, "topology.kubernetes.io/") { // the API server copies these from the node
			out[k] = pod.Labels[k]
		}
	}
	return out
}
