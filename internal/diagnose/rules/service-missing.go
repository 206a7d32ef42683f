package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceMissing = diagnose.Rule{
	ID: "service-missing",
	Doc: `The Service does not exist

The name is a Service's (NAME.NAMESPACE.svc), and that namespace has no Service of this name: it was deleted, never made, or the name or the namespace
is misspelt. CoreDNS answers NXDOMAIN at once.

Look-alikes: a short name used from another namespace belongs to a Service that exists. A headless Service without ready pods exists too, and
its name has no address all the same.

Mend it by making the Service, or by correcting the name where it is written.
`,
	Hop:    model.HopDNS,
	Covers: []string{"svc-missing"},
	Needs:  []string{"probe", "service", "namespace"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "dns" && (o.Result == model.NXDomain || o.Result == model.NoData)
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Failed != "dns" || seen.Result != model.NXDomain {
			return
		}
		name, ns, ok := serviceName(p.LookedUp())
		k := &p.Case.World.Kube
		ref := model.NewRef("service", ns, name)
		if !ok || k.Services[ref] != nil || !p.Case.World.Read["service"] {
			return
		}
		f := diagnose.Finding{
			Subject:  ref,
			Title:    fmt.Sprintf("Namespace %s has no Service %s", ns, name),
			Summary:  "CoreDNS knows the names of the Services that exist, and says that this one does not.",
			Evidence: []diagnose.Evidence{kube(fmt.Sprintf("Services of namespace %s: %s", ns, firstOf(servicesOf(p, ns), "none")), model.NewRef("namespace", ns))},
			Fix: []diagnose.Command{
				{Text: "See which Services there are", Line: diagnose.Kubectl("-n", ns, "get", "services")},
				{Text: "Make the Service again; or correct the name where the application gets it from", Verify: again(p)},
			},
		}
		if k.Namespaces[ns] == nil && p.Case.World.Read["namespace"] {
			f.Title = fmt.Sprintf("There is no namespace %s, so no Service %s in it", ns, name)
			f.Evidence = []diagnose.Evidence{kube(fmt.Sprintf("namespace %s does not exist", ns))}
		}
		p.ReportOn(dnsWay, f)
	},
}

// serviceName splits NAME.NAMESPACE.svc[.DOMAIN]. Names without svc may be hosts
// of the internet.
func serviceName(host string) (name, namespace string, ok bool) {
	labels := strings.Split(strings.TrimSuffix(strings.ToLower(host), "."), ".")
	if len(labels) < 3 || labels[2] != "svc" {
		return "", "", false
	}
	return labels[0], labels[1], true
}

func servicesOf(p *diagnose.Pass, ns string) string {
	var names []string
	for _, ref := range sortedRefs(p.Case.World.Kube.Services) {
		if ref.Part(0) == ns && len(names) < 12 {
			names = append(names, ref.Name())
		}
	}
	return strings.Join(names, ", ")
}
