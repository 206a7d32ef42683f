package check

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

var serviceExternalName = Check{
	ID: "service-external-name",
	Doc: `An ExternalName cannot be resolved

The Service is an alias in DNS, and what it leads to cannot exist: an address, which is no name, or a Service of this cluster that is
not there.

Look-alikes: whether a name of the internet resolves is for podpath why to tell.

Name a host that exists; for an address, use a Service without selector and an EndpointSlice.
`,
	Group: Services, Hop: model.HopDNS, Needs: []string{"service"},
	Source: "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
	Covers: []string{"svc-externalname-unresolvable"},
	Run: func(p *Pass) {
		for _, s := range values(p.World.Kube.Services) {
			reason := p.unresolvable(s)
			if s.Type != "ExternalName" || reason == "" {
				continue
			}
			ref := serviceRef(s)
			p.Report(Finding{
				Severity: Broken, Subject: ref,
				Title:    fmt.Sprintf("Service %s/%s is an alias of %s, which %s", s.Namespace, s.Name, s.ExternalName, reason),
				Summary:  "Lookups of the Service's name fail.",
				Evidence: []diagnose.Evidence{kube("externalName: "+s.ExternalName, ref)},
				Fix:      []diagnose.Command{do("Mend its externalName", diagnose.KubectlFor(ref, "edit"))},
			})
		}
	},
}

// unresolvable says why a name cannot exist; "" where it may.
func (p *Pass) unresolvable(s *model.Service) string {
	name := strings.ToLower(strings.TrimSuffix(s.ExternalName, "."))
	if _, err := netip.ParseAddr(name); err == nil {
		return "is an address and no name"
	}
	inside, ok := strings.CutSuffix(name, ".svc."+trace.DefaultClusterDomain)
	parts := strings.Split(inside, ".")
	if !ok || len(parts) < 2 {
		return ""
	}
	// A pod's own name may stand before the Service's.
	target := model.NewRef("service", parts[len(parts)-1], parts[len(parts)-2])
	if p.World.Kube.Services[target] == nil {
		return "does not exist in this cluster"
	}
	return ""
}
