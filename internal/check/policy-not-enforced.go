package check

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/policy"
)

var policyNotEnforced = Check{
	ID: "policy-not-enforced",
	Doc: `Policies are there, and nothing carries them out

The API server takes NetworkPolicies in every cluster; a policy engine enforces them. This cluster was made without one (networkPolicy
none), and no DaemonSet of one is found: everything is open, whatever the policies say.

Look-alikes: an engine that was installed by hand is found by its DaemonSet.

Switch an engine on (az aks update --network-policy), or delete policies that promise what is not so.
`,
	Group: Policies, Hop: model.HopPolicy, Needs: []string{"networkpolicy", "cluster", "daemonset"},
	Source: "https://learn.microsoft.com/azure/aks/use-network-policies",
	Run: func(p *Pass) {
		c, n := p.World.Azure.Cluster, len(p.World.Kube.Policies)
		if _, engine := policy.Detect(p.World); c == nil || n == 0 || engine != "" || c.NetworkPolicy != "" && !strings.EqualFold(c.NetworkPolicy, "none") {
			return
		}
		ref := model.NewRef("cluster", c.Name)
		p.Report(Finding{
			Severity: Risk, Subject: ref, Concerns: n,
			Title:    fmt.Sprintf("Nothing enforces the %s: the cluster has no policy engine", counted(n, "NetworkPolicy", "NetworkPolicies")),
			Summary:  "Every connection is open, whatever the policies say.",
			Evidence: []diagnose.Evidence{arm(fmt.Sprintf("networkProfile.networkPolicy is %q, and no DaemonSet of an engine was found", c.NetworkPolicy), ref)},
			Fix:      []diagnose.Command{do("Switch one on (nodes are replaced)", diagnose.Az("aks update", c.ID, "--name", c.Name, "--network-policy", "cilium", "--network-dataplane", "cilium"))},
		})
	},
}
