package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

var corefileBroken = diagnose.Rule{
	ID: "corefile-broken",
	Doc: `CoreDNS does not start with its configuration

A line of the Corefile, most often of coredns-custom, is one that CoreDNS refuses: a misspelt directive, a brace too few, a zone that
two blocks serve. Pods that ran before keep their old configuration, so the fault shows when they are started again: a node upgrade
days later, a rollout, an eviction. Then every name of every namespace fails.

Look-alikes: CoreDNS that was scaled to zero has no pods at all. A forwarding loop ends CoreDNS too, with a configuration that is well
formed. A wrong but well-formed line breaks its own names only.

Mend the line (or empty the key) and restart CoreDNS; kubectl -n kube-system logs of a crashed pod names the same line.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-coredns-bad-corefile"},
	Needs:  []string{"configmap", "pod"},
	Sees:   dnsFailed,
	Run: func(p *diagnose.Pass) {
		file := trace.Corefile(&p.Case.World)
		pods := corednsPods(p)
		if file == nil || len(file.Problems) == 0 || len(pods) == 0 || !noneReady(pods) {
			return
		}
		first := file.Problems[0]
		f := diagnose.Finding{
			Subject: trace.CorefileRef(first.Pos),
			Title:   fmt.Sprintf("CoreDNS does not start: %s in %s, line %d", first.Text, first.Key, first.Line),
			Summary: "CoreDNS refuses its whole configuration for this line, so no pod of the cluster's DNS comes up and no name resolves.",
			Fix:     corefileFix(p, first.Pos, "Correct the line"),
		}
		for _, problem := range file.Problems {
			f.Evidence = append(f.Evidence, lineOf(problem.Pos, problem.Text))
		}
		for _, pod := range pods {
			f.Evidence = append(f.Evidence, kube(podState(pod), pod.Ref()))
		}
		p.ReportOn(dnsWay, f)
	},
}
