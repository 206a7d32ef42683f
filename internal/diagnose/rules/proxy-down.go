package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var proxyDown = diagnose.Rule{
	ID: "proxy-down",
	Doc: `The proxy that the pod uses does not answer

The pod is told to go through an HTTP proxy, and the proxy refuses connections, does not answer, or does not answer the request for a tunnel.
The destination is never asked.

Look-alikes: an NSG, route or policy that stops the way to the proxy shows in the configuration. A proxy that answers, if only with an error,
is up.

Mend the proxy, or the address by which the pod's variables name it.
`,
	Hop:        model.HopAppliance,
	Needs:      []string{"probe"},
	Under:      []string{"noproxy-missing"},
	LastResort: true,
	Sees: func(o *model.Observation) bool {
		return o.Proxy != "" && (o.Failed == "tcp" || o.Failed == "proxy") && o.Result != model.HTTPStatus
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Proxy == "" || seen.Failed != "tcp" && seen.Failed != "proxy" || seen.Result == model.HTTPStatus || brokenAnywhere(p) || someoneInside(p) {
			return
		}
		subject := proxyRef(p, seen)
		f := diagnose.Finding{
			Subject:    subject,
			Confidence: diagnose.Likely,
			Title:      fmt.Sprintf("The proxy %s does not answer", subject.Name()),
			Summary:    "The pod goes through a proxy, and the connection does not get past it; nothing that was read stops the way to it.",
			Fix: []diagnose.Command{
				{Text: fmt.Sprintf("See whether %s runs and listens at %s; correct the pod's proxy variables if it moved", subject.Name(), seen.Address), Line: editOf(p), Verify: again(p)},
			},
		}
		for _, m := range mentions(p, subject.Name()) {
			f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s names it: %s", p.Client(), m), p.Client()))
		}
		for _, o := range p.Control(p.Origin(), "control:direct") {
			if !diagnose.Fails(o) {
				f.Evidence = append(f.Evidence, probe("past the proxy, from the same pod, it works", o.From))
			}
		}
		if !someoneElseFails(p) {
			f.Confidence = diagnose.Possible // it may be this pod alone
			f.Gaps = p.Gaps([]string{"probe:peer-pod", "probe:node"})
		}
		p.ReportByExclusion(f)
	},
}

// someoneElseFails says that another place of the cluster was asked and did not get through either.
func someoneElseFails(p *diagnose.Pass) bool {
	for _, v := range []model.Vantage{model.VantagePeer, model.VantageNode, model.VantageOtherNode} {
		if v != p.Origin() && p.Fate(v) == diagnose.Broken {
			return true
		}
	}
	return false
}
