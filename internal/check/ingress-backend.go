package check

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var ingressBackend = Check{
	ID: "ingress-backend",
	Doc: `An Ingress sends requests to a Service, or a port of it, that does not exist

The controller answers such requests itself, most with 503 or 404.

Look-alikes: a Service that exists and has no endpoint is told by itself.

Mend the Ingress's backend, or make the Service.
`,
	Group: Services, Hop: model.HopGateway, Needs: []string{"ingress", "service"},
	Source: "https://kubernetes.io/docs/concepts/services-networking/ingress/",
	Run: func(p *Pass) {
		for _, in := range values(p.World.Kube.Ingresses) {
			for _, b := range in.Backends {
				wrong := p.wrongBackend(in, b)
				if wrong == "" {
					continue
				}
				p.Report(Finding{
					Severity: Broken, Subject: in.Ref(),
					Title:    fmt.Sprintf("Ingress %s/%s sends to %s", in.Namespace, in.Name, wrong),
					Summary:  "Requests for it are answered by the controller itself, most with 503 or 404.",
					Evidence: []diagnose.Evidence{kube(fmt.Sprintf("hosts %s, backend %s:%s", some(in.Hosts), b.Service, b.Port), in.Ref())},
					Fix:      []diagnose.Command{do("Mend its backend", diagnose.KubectlFor(in.Ref(), "edit"))},
				})
			}
		}
	},
}

func (p *Pass) wrongBackend(in *model.Ingress, b model.IngressBackend) string {
	s := p.World.Kube.Services[model.NewRef("service", in.Namespace, b.Service)]
	if s == nil {
		return fmt.Sprintf("Service %s/%s, which does not exist", in.Namespace, b.Service)
	}
	has := func(port model.ServicePort) bool {
		return strconv.Itoa(int(port.Port)) == b.Port || port.Name == b.Port
	}
	if b.Port != "" && s.Type != "ExternalName" && !slices.ContainsFunc(s.Ports, has) {
		return fmt.Sprintf("port %s of Service %s/%s, which it does not have", b.Port, in.Namespace, b.Service)
	}
	return ""
}
