package rules

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/internal/diagnose/rules/ruletest"
	"github.com/podpath/podpath/internal/model"
)

// TestServiceBlamesPods holds whom a Service without endpoints is blamed on.
func TestServiceBlamesPods(t *testing.T) {
	for _, c := range []struct {
		name, patch string
		subject     model.Ref
		says        string
	}{
		{"no pod matches", `pods: {pod/shop/web-1: {labels: {app: other}, ready: false}}`, "service/shop/web", "matches 0 pods"},
		{"not ready", `pods: {pod/shop/web-1: {ready: false, containers: [{name: web, state: running}]}}, events: [{about: pod/shop/web-1, type: Warning, reason: Unhealthy, message: 'Readiness probe failed: dial tcp 10.244.1.11:8086: connection refused'}]`, "deployment/shop/web", ":8086"},
		{"not scheduled", `pods: {pod/shop/web-1: {phase: Pending, ready: false, conditions: [{type: PodScheduled, status: 'False', reason: Unschedulable, message: 0 of 2 nodes}]}}`, "deployment/shop/web", "Unschedulable: 0 of 2 nodes"},
		{"node not ready", `pods: {pod/shop/web-1: {ready: false}}, nodes: {aks-np-1: {ready: false, conditions: [{type: Ready, status: Unknown, reason: NodeStatusUnknown, message: Kubelet stopped}]}}`, "node/aks-np-1", "Ready is Unknown: NodeStatusUnknown"},
		{"ending", `pods: {pod/shop/web-1: {ready: false, deleting: true}}`, "service/shop/web", "matches 1 pods"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec, err := ruletest.Parse([]byte(`
ask: {to: 'http://web', dst: 10.0.40.7}
patch: {kube: {endpointSlices: {endpointslice/shop/web: {endpoints: []}}, `+c.patch+`}}
observe: [{vantage: pod, failed: tcp, result: refused}]
`), nil)
			if err != nil {
				t.Fatal(err)
			}
			res := run(build(t, spec))
			if len(res.Causes) == 0 || res.Causes[0].Subject != c.subject || !strings.Contains(text(&res.Causes[0]), c.says) {
				t.Errorf("want %s and %q, got %+v", c.subject, c.says, res.Causes)
			}
		})
	}
}
