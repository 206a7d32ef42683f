package rules

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/diagnose/rules/ruletest"
)

// TestNearRules holds, for each way in which a rule just misses the packet, the
// sentence that says so.
func TestNearRules(t *testing.T) {
	ingress := func(rule string) string {
		return `networkpolicy/shop/p: {namespace: shop, name: p, podSelector: {matchLabels: {app: web}}, ingress: true, egress: false, ingressRules: [` + rule + `]}`
	}
	egress := func(rule string) string {
		return `networkpolicy/ops/p: {namespace: ops, name: p, podSelector: {}, ingress: false, egress: true, egressRules: [` + rule + `]}`
	}
	for _, c := range []struct{ name, policy, want string }{
		{"the Service's port", ingress(`{ports: [{protocol: TCP, port: '80'}]}`), "rule 1 of shop/p is for this peer, but only for TCP/80; 80 is a port of the Service shop/web, and policies see the pod's port, 8080"},
		{"another port", ingress(`{ports: [{protocol: TCP, port: '90', endPort: 99}]}`), "rule 1 of shop/p is for this peer, but only for TCP/90-99"},
		{"a name that no port has", ingress(`{ports: [{protocol: TCP, port: api}]}`), "pod shop/web-1 has no port named api at 8080 (it declares http 8080)"},
		{"another protocol", ingress(`{ports: [{protocol: UDP, port: '8080'}]}`), "is for this peer, but only for UDP/8080"},
		{"a label that the namespace lacks", ingress(`{peers: [{namespaceSelector: {matchLabels: {name: ops}}}]}`), "namespace ops does not have name=ops (its labels: kubernetes.io/metadata.name=ops)"},
		{"an expression", ingress(`{peers: [{namespaceSelector: {expressions: [{key: tier, operator: In, values: [b, a]}]}}]}`), "namespace ops does not have tier In b,a"},
		{"a label that the pod lacks", ingress(`{peers: [{namespaceSelector: {}, podSelector: {matchLabels: {app: toolz}}}]}`), "pod ops/tools-0 does not have app=toolz (its labels: app=tools)"},
		{"pods of its own namespace only", ingress(`{peers: [{podSelector: {}}]}`), "a podSelector without namespaceSelector means pods of namespace shop, and ops/tools-0 is of another"},
		{"a range beside", ingress(`{peers: [{ipBlock: 10.9.0.0/16}]}`), "10.9.0.0/16 does not hold 10.244.0.12"},
		{"an exception", egress(`{peers: [{ipBlock: 0.0.0.0/0, except: [10.0.0.0/8]}]}`), "0.0.0.0/0 holds 10.244.1.11, but its exception 10.0.0.0/8 does too"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := evidenceOf(t, c.policy)
			if !strings.Contains(text, c.want) {
				t.Errorf("no evidence says %q:\n%s", c.want, text)
			}
			if strings.Contains(text, "10.0.40.7/32") || !strings.Contains(text, `"port":8080`) {
				t.Errorf("the remedy is not for the packet that the policy sees:\n%s", text)
			}
		})
	}
	if text := evidenceOf(t, ingress(`{peers: [{ipBlock: 10.9.0.0/16}], ports: [{protocol: TCP, port: '90'}]}`)); strings.Contains(text, "rule 1 of shop/p is for") {
		t.Errorf("a rule for another peer and another port is no near miss:\n%s", text)
	}
}

func evidenceOf(t *testing.T, policies string) string {
	t.Helper()
	spec, err := ruletest.Parse([]byte(`
base: kubenet/loadBalancer
ask: {from: ops/deploy/tools, to: 'http://web.shop', dst: '10.0.40.7:80'}
patch: {kube: {policies: {`+policies+`}, pods: {pod/shop/web-1: {containers: [{name: web, ports: [{name: http, port: 8080, protocol: TCP}]}]}}}}
observe: [{vantage: pod, failed: tcp, result: timeout}]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	res := run(build(t, spec))
	if len(res.Causes) == 0 || res.Causes[0].Rule != "policy-denies" {
		t.Fatalf("policy-denies is not the first cause: %+v", res.Causes)
	}
	return text(&res.Causes[0])
}
