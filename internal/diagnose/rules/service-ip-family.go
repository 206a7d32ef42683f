package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var serviceIPFamily = diagnose.Rule{
	ID: "service-ip-family",
	Doc: `The Service's endpoints have addresses of the other IP family

kube-proxy sends what comes to a Service's IPv4 address to IPv4 endpoints only, and likewise IPv6. A Service with an address of one family whose
EndpointSlices list addresses of the other has no endpoint for it, although kubectl shows some: the node refuses the connection. It happens with
EndpointSlices that are written by hand, and where ipFamilies of the Service is not what the pods have.

Look-alikes: a Service without any ready endpoint is refused as well; its slices are empty.

Mend ipFamilies (or ipFamilyPolicy: PreferDualStack) of the Service, or the addressType and the addresses of the EndpointSlice.
`,
	Hop:    model.HopService,
	Covers: []string{"svc-ip-family-mismatch"},
	Needs:  []string{"service", "endpointslice"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "tcp" && (o.Result == model.Refused || diagnose.Unanswered(o))
	},
	Run: func(p *diagnose.Pass) {
		p.Broken(model.HopService, func(w diagnose.Way, step *model.Step) {
			if c := step.Service; c == nil || c.By != "addressType" {
				return
			}
			ns, name := step.At.Part(0), step.At.Part(1)
			p.ReportAt(w, step, diagnose.Finding{
				Title:   fmt.Sprintf("The endpoints of Service %s/%s are of another IP family than %s", ns, name, step.In.Dst),
				Summary: "The node has nothing to send the connection to, and refuses it.",
				Fix: []diagnose.Command{
					{Text: "See the families of both", Line: diagnose.Kubectl("-n", ns, "get", "service,endpointslices", "-o", "wide")},
					{Text: "Correct ipFamilies of the Service, or addressType of its EndpointSlice", Line: diagnose.KubectlFor(step.At, "edit"), Verify: again(p)},
				},
			})
		})
	},
}
