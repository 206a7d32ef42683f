package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var externalName = diagnose.Rule{
	ID: "external-name",
	Doc: `An ExternalName Service leads to a name that does not do

A Service of type ExternalName is an alias in DNS and nothing else: CoreDNS answers with a CNAME. When that name does not exist, neither does the
Service's. And a client that follows it still asks for the Service's own name in TLS (SNI) and in the Host header, for which the far side
has no certificate and no site.

Look-alikes: a Service that does not exist gives NXDOMAIN too. A certificate for another name is shown by a wrong address as well.

Mend the name in spec.externalName; or let the client use the far side's own name.
`,
	Hop:    model.HopDNS,
	Covers: []string{"svc-externalname-unresolvable", "svc-externalname-host-mismatch"},
	Needs:  []string{"probe", "service"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "dns" && (o.Result == model.NXDomain || o.Result == model.NoData) || o.Failed == "tls" && o.Result == model.CertWrongName
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil {
			return
		}
		svc := aliased(p)
		if svc == nil {
			return
		}
		ref := model.NewRef("service", svc.Namespace, svc.Name)
		f := diagnose.Finding{
			Subject:  ref,
			Evidence: []diagnose.Evidence{kube(fmt.Sprintf("spec.externalName of Service %s/%s is %s", svc.Namespace, svc.Name, svc.ExternalName), ref)},
		}
		switch {
		case seen.Failed == "dns" && (seen.Result == model.NXDomain || seen.Result == model.NoData):
			f.Title = fmt.Sprintf("Service %s/%s is an alias of %s, which does not exist", svc.Namespace, svc.Name, svc.ExternalName)
			f.Summary = "The name servers answer with the alias, and say that there is no such name."
			f.Fix = []diagnose.Command{{Text: "Correct spec.externalName", Line: diagnose.KubectlFor(ref, "edit"), Verify: again(p)}}
			p.ReportOn(dnsWay, f)
		case seen.Failed == "tls" && seen.Result == model.CertWrongName:
			f.Hop = model.HopTLS
			f.Title = fmt.Sprintf("Service %s/%s is an alias of %s, and the client asks that one for a certificate of the Service's name", svc.Namespace, svc.Name, svc.ExternalName)
			f.Summary = "An alias in DNS changes the address, not the name that the client names in TLS and in the Host header."
			f.Fix = []diagnose.Command{{Text: fmt.Sprintf("Let the client use https://%s itself", svc.ExternalName), Verify: again(p)}}
			if len(seen.Certs) > 0 {
				f.Evidence = append(f.Evidence, probe(fmt.Sprintf("the certificate is for %s", list(seen.Certs[0].Names)), seen.From))
			}
			p.Report(f)
		}
	},
}

// aliased is the Service of type ExternalName that the question names.
func aliased(p *diagnose.Pass) *model.Service {
	name, ns, ok := serviceName(p.Case.Question.To.Host)
	if to := p.Case.Question.To; to.Kind == "service" {
		name, ns, ok = to.Name, to.Namespace, true
	}
	svc := p.Case.World.Kube.Services[model.NewRef("service", ns, name)]
	if !ok || svc == nil || svc.ExternalName == "" {
		return nil
	}
	return svc
}
