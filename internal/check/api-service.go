package check

import (
	"cmp"
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var apiService = Check{
	ID: "api-service-unavailable",
	Doc: `A part of the API that another server serves is not available

The API server passes requests for the group on to a Service (metrics-server, an adapter for custom metrics), and it says that it cannot
reach it. kubectl top and autoscalers that live on it fail; namespaces that are deleted hang, because their contents cannot be listed.

Look-alikes: in the first minute after its pods started, the API server has not tried again yet.

Mend what its message says; the Service's endpoints first.
`,
	Group: Control, Hop: model.HopControlPlane, Needs: []string{"apiservice"},
	Source: "https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/",
	Run: func(p *Pass) {
		for _, s := range p.World.Kube.APIServices {
			if s.Available != "False" {
				continue
			}
			ref := model.NewRef("apiservice", s.Name)
			p.Report(Finding{
				Severity: Broken, Subject: ref,
				Title:    fmt.Sprintf("The API %s is not available: %s", s.Name, cmp.Or(s.Reason, "no reason given")),
				Summary:  "Whoever asks for it gets an error, and namespaces that are deleted hang.",
				Evidence: []diagnose.Evidence{kube("its condition says: "+clip(s.Message), ref, s.Service)},
				Fix:      []diagnose.Command{do("See what is behind its Service", diagnose.Kubectl("-n", s.Service.Part(0), "get", "pods,endpointslices"))},
			})
		}
	},
}

// clip keeps a message from outside to what a line of evidence holds.
func clip(s string) string {
	const most = 300
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
