package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var webhookUnreachable = Check{
	ID: "webhook-unreachable",
	Doc: `An admission webhook has nobody behind it

The API server asks the webhook before it keeps an object, and the webhook's Service does not exist, has no ready endpoint, or lacks the
port. With failurePolicy Fail, whatever the webhook is for can no longer be created or changed: often pods, and then nothing restarts.

Look-alikes: a webhook whose pods run may still be out of the API server's reach (a policy in its namespace, the tunnel, a certificate of
another authority); the API server's answer says so. With failurePolicy Ignore only its own purpose is missed.

Bring its pods back, or delete the configuration while they cannot come back by themselves.
`,
	Group: Control, Hop: model.HopControlPlane, Needs: []string{"webhook", "service", "endpointslice"},
	Source: "https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#failure-policy",
	Covers: []string{"cp-webhook-unreachable"},
	Run: func(p *Pass) {
		for i := range p.World.Kube.Webhooks {
			h := &p.World.Kube.Webhooks[i]
			wrong := p.nobodyAt(h.Service, h.Port)
			if h.Service == "" || wrong == "" {
				continue
			}
			kind := "validatingwebhookconfiguration"
			if h.Mutating {
				kind = "mutatingwebhookconfiguration"
			}
			f := Finding{
				Severity: Broken, Subject: h.Ref(),
				Title:    fmt.Sprintf("Webhook %s refuses every change of %s: %s", h.Name, objects(h), wrong),
				Summary:  "The API server asks it before it keeps such an object, gets no answer, and refuses (failurePolicy Fail).",
				Evidence: []diagnose.Evidence{kube(fmt.Sprintf("%s %s: webhook %s calls %s port %d", kind, h.Config, h.Name, h.Service, h.Port), h.Ref(), h.Service)},
				Fix: []diagnose.Command{
					do("See what is behind its Service", diagnose.Kubectl("-n", h.Service.Part(0), "get", "pods,endpointslices")),
					do("If it cannot be brought back at once: take the webhook away until it is", diagnose.Kubectl("delete", kind, h.Config)),
				},
			}
			switch {
			case !h.Fails:
				f.Severity, f.Confidence = Risk, diagnose.Possible
				f.Title, f.Summary = fmt.Sprintf("Webhook %s is not asked about %s: %s", h.Name, objects(h), wrong), "Its failurePolicy is Ignore: objects are kept without it."
			case slices.Contains(h.Resources, "pods") || slices.Contains(h.Resources, "*") || slices.Contains(h.Resources, "*/*"):
				f.Severity = Outage // no pod is made any more, anywhere
			}
			p.Report(f)
		}
	},
}

// nobodyAt says why a Service's port leads to nobody; "" where it does not.
func (p *Pass) nobodyAt(ref model.Ref, port uint16) string {
	s := p.World.Kube.Services[ref]
	switch {
	case s == nil:
		return fmt.Sprintf("Service %s does not exist", strings.TrimPrefix(string(ref), "service/"))
	case s.Type == "ExternalName" || len(s.Selector) == 0 && len(p.slices[ref]) == 0:
		return ""
	case !p.answers(s):
		return fmt.Sprintf("Service %s/%s has no ready endpoint", s.Namespace, s.Name)
	case port != 0 && !slices.ContainsFunc(s.Ports, func(x model.ServicePort) bool { return x.Port == port }):
		return fmt.Sprintf("Service %s/%s has no port %d", s.Namespace, s.Name, port)
	}
	return ""
}

// objects are what a webhook is asked about.
func objects(h *model.Webhook) string {
	if slices.Contains(h.Resources, "*") || slices.Contains(h.Resources, "*/*") || len(h.Resources) == 0 {
		return "anything"
	}
	return some(h.Resources)
}
