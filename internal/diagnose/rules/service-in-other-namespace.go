package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceInOtherNamespace = diagnose.Rule{
	ID: "service-in-other-namespace",
	Doc: `The short name is that of a Service in another namespace

A name of one word is searched in the asking pod's own namespace only: NAME becomes NAME.OWN-NAMESPACE.svc.cluster.local. The Service
lives in another one, so the cluster's DNS says that there is no such name. The application prints "could not resolve host".

Look-alikes: a Service that does not exist anywhere. A pod that does not ask the cluster's DNS at all finds no Service by any name.

Mend the name where it is written: NAME.NAMESPACE, or the whole NAME.NAMESPACE.svc.cluster.local.
`,
	Hop:    model.HopApp,
	Covers: []string{"app-short-name-wrong-namespace"},
	Needs:  []string{"probe", "service"},
	Sees:   noName,
	Run: func(p *diagnose.Pass) {
		seen, pod := p.Seen(), p.Pod()
		host := trimDot(lower(p.LookedUp()))
		own, svc := meant(p, host)
		if seen == nil || pod == nil || svc != nil || own == "" || !noName(seen) || !asksClusterDNS(p) {
			return
		}
		label, rest, _ := strings.Cut(host, ".")
		if rest != "" && rest != pod.Namespace && !strings.HasPrefix(rest, pod.Namespace+".svc") {
			return // it names another namespace itself; that the Service is missing there is another matter
		}
		var found []*model.Service
		for _, ref := range sortedRefs(p.Case.World.Kube.Services) {
			if s := p.Case.World.Kube.Services[ref]; s.Name == label && s.Namespace != pod.Namespace {
				found = append(found, s)
			}
		}
		if len(found) == 0 {
			return
		}
		better := found[0].Name + "." + found[0].Namespace
		f := diagnose.Finding{
			Subject: p.Client(),
			Title:   fmt.Sprintf("%s means a Service of namespace %s; Service %s lives in %s", host, pod.Namespace, label, found[0].Namespace),
			Summary: "A short name is looked up in the namespace of the pod that asks. The Service exists, by another name from here.",
			Fix:     []diagnose.Command{{Text: fmt.Sprintf("Write %s where %s gets the name from", better, from(p)), Verify: again(p)}},
		}
		for _, s := range found {
			f.Evidence = append(f.Evidence, kube(fmt.Sprintf("Service %s/%s exists: ask for %s.%s", s.Namespace, s.Name, s.Name, s.Namespace), model.NewRef("service", s.Namespace, s.Name)))
		}
		for _, m := range mentions(p, host) {
			f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s holds the name: %s", p.Client(), m), p.Client()))
		}
		f.Evidence = append(f.Evidence, queries(seen)...)
		if len(found) > 1 {
			f.Confidence = diagnose.Likely // which of them is meant nobody says
		}
		p.ReportOn(dnsWay, f)
	},
}
