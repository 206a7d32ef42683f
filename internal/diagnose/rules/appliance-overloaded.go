package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var applianceOverloaded = diagnose.Rule{
	ID: "appliance-overloaded",
	Doc: `The appliance on the way drops a share of the packets

A firewall, proxy or router at the end of its capacity drops some packets of all connections. A SYN that is lost is sent again after one second, then
after two more: connections stand after 1.0 s or 3.0 s, and some not at all. Every node behind the appliance meets it, and nobody whose way
does not lead through it.

Look-alikes: one node that drops shows on that node. Answers that come back to another instance lose whole connections and delay none.
Source ports that run out show in the metrics. Loss at the far side is met from elsewhere too.

Mend it by more capacity (a larger SKU, more instances), or by taking traffic off it; see its metrics of throughput, CPU and health at the time.

Sources: https://learn.microsoft.com/azure/firewall/monitor-firewall-reference (FirewallHealth, Throughput), tcp_syn_retries in ip-sysctl of Linux
`,
	Hop:           model.HopAppliance,
	Covers:        []string{"nva-overloaded"},
	Needs:         []string{"probe"},
	EvenIfItWorks: true,
	Run: func(p *diagnose.Pass) {
		all, ok := lossBehind(p)
		ref, name := applianceOnWay(p)
		sum := together(all)
		if !ok || perConnection(sum) || sum.late < 3 || shortOfPorts(p, ref, sum) {
			return
		}
		if ref == "" {
			skipGaps(p, wayKinds...)
			return
		}
		f := diagnose.Finding{
			Subject: ref, Sometimes: true, Confidence: diagnose.Likely,
			Title:    fmt.Sprintf("%s loses packets: %d of %d new connections had to send their SYN again", name, sum.hit(), sum.of),
			Summary:  "A SYN that is lost is sent again after a second, so connections stand late, and some never. All places whose way leads through it meet this, and none other.",
			Evidence: lossEvidence(all),
			Fix:      []diagnose.Command{{Text: "Give it more capacity, or take traffic off it; see its throughput and CPU at that time", Verify: watchAgain(p)}},
		}
		if fw, _ := p.Firewall(); fw != nil {
			f.Fix = append(f.Fix, diagnose.Command{Text: "See its health and throughput", Line: diagnose.Az("monitor metrics list", fw.ID, "--resource", fw.ID, "--metric", "FirewallHealth", "Throughput")})
		}
		p.Report(p.Excluded(f))
	},
}
