package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/corefile"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

var corefileZoneMissing = diagnose.Rule{
	ID: "corefile-zone-missing",
	Doc: `CoreDNS does not serve the cluster's own domain

The plugin kubernetes of the Corefile serves other zones than the domain that kubelets tell the pods (cluster.local on AKS), or is not
there. Names of Services are then forwarded to the upstream like any other, which has never heard of them: NXDOMAIN for every Service,
while names outside the cluster resolve.

Look-alikes: a Service that is missing, or asked for in the wrong namespace, is one name only. A template or rewrite catches single
names.

Mend the plugin's zones in the Corefile; on AKS the ConfigMap coredns is put back by the add-on manager, so look at who replaced it.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-coredns-bad-corefile"},
	Needs:  []string{"configmap", "service"},
	Sees:   noName,
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		file := trace.Corefile(&p.Case.World)
		ref, svc := meant(p, p.LookedUp())
		if seen == nil || file == nil || svc == nil || !noName(seen) || !asksClusterDNS(p) {
			return
		}
		name := fmt.Sprintf("%s.%s.svc.%s.", ref.Part(1), ref.Part(0), clusterZone(p))
		d := file.Decide(name, "A")
		if d.Rewritten != nil || !wasAsked(seen, name) {
			return
		}
		switch d.Kind {
		case corefile.Forward, corefile.Refused, corefile.Failed:
		default:
			return
		}
		f := diagnose.Finding{
			Subject:  model.NewRef("configmap", "kube-system", "coredns"),
			Title:    fmt.Sprintf("CoreDNS does not serve the cluster's domain %s", clusterZone(p)),
			Summary:  "Queries for Services are handed to the upstream, which does not know them.",
			Evidence: []diagnose.Evidence{kube(fmt.Sprintf("Service %s/%s exists", svc.Namespace, svc.Name), ref), lineOf(d.At, d.Line)},
		}
		pos := d.At
		for i := range file.Servers {
			for j := range file.Servers[i].Plugins {
				if k := &file.Servers[i].Plugins[j]; k.Name == "kubernetes" {
					pos = k.Pos
					f.Evidence = append(f.Evidence, lineOf(k.Pos, strings.TrimSpace(k.Text())))
				}
			}
		}
		f.Subject = trace.CorefileRef(pos)
		f.Evidence = append(f.Evidence, queries(seen)...)
		f.Fix = corefileFix(p, pos, "Let the plugin kubernetes serve "+clusterZone(p))
		p.ReportOn(dnsWay, f)
	},
}
