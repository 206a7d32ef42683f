package fabric

import (
	"strings"
	"testing"

	"github.com/podpath/podpath/lab/arm"
	"github.com/podpath/podpath/lab/plan"
)

// A rule that names the kubelet's port holds for the API server too; one that
// denies everything does not cut the lab off.
func TestTheKubeletsPortIsTheControlPlanesToo(t *testing.T) {
	p, s := seeded(t, plan.Topology{CNI: plan.Overlay, Outbound: plan.OutLB})
	for name, port := range map[string]string{"DenyKubelet": "10250", "DenyAll": "*", "DenyRange": "10000-11000"} {
		id := network("networkSecurityGroups", plan.NodesNSG, "securityRules", name)
		if _, err := s.Put(id, arm.Doc{"id": id, "properties": arm.Doc{
			"priority": 300 + len(name), "direction": "Inbound", "access": "Deny", "protocol": "Tcp", "sourceAddressPrefix": "*",
			"sourcePortRange": "*", "destinationAddressPrefix": "*", "destinationPortRange": port,
		}}); err != nil {
			t.Fatal(err)
		}
	}
	_, chain, _ := strings.Cut(compiled(t, p, s).router.Text(nil), "chain kubelet_node0 {")
	chain, _, _ = strings.Cut(chain, "\n\t}")
	if strings.Count(chain, "drop") != 1 || !strings.Contains(chain, "dport { 10250 }") {
		t.Errorf("%s", chain)
	}
}
