package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var firewallFQDN = diagnose.Rule{
	ID: "firewall-fqdn",
	Doc: `The firewall does not allow the name

The route leads through a firewall that decides by name: it accepts the TCP connection itself, reads the name that the client wants
(SNI in TLS, Host in HTTP), and finds no application rule that allows it. HTTPS is reset right after the client's first TLS message; HTTP
is answered with status 470 and the words "Action: Deny". That TCP connects proves nothing here.

Look-alikes: a host that resets TLS does so for everybody, also from outside. A firewall or filter that resets although its rules allow the
name inspects by something else. A network rule that is missing gives silence, not a reset.

Mend it by adding the name to an application rule; for names that AKS itself needs, allow the tag AzureKubernetesService.
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-deny-fqdn"},
	Needs:  []string{"firewall", "firewallpolicy", "routetable", "subnet"},
	Under:  []string{"firewall-aks-fqdn", "proxy-not-used"},
	Sees:   refusedByName,
	Run: func(p *diagnose.Pass) {
		atFirewall(p, func(w diagnose.Way, step *model.Step) {
			if _, required := requiredName(p, step.In.Host); required || !byName(step) {
				return
			}
			f := nameFinding(p, step)
			changing(p, step, &f)
			p.ReportAt(w, step, f)
		})
	},
}

// refusedByName is what a filter by name makes a probe see.
func refusedByName(o *model.Observation) bool {
	s := diagnose.Status(o)
	return diagnose.CutOff(o) || s == 470 || s == 403 || o.Failed == "http" && (o.Result == model.Reset || o.Result == model.Closed)
}

func nameFinding(p *diagnose.Pass, step *model.Step) diagnose.Finding {
	host := firstOf(step.In.Host, p.Host())
	f := diagnose.Finding{
		Title:   fmt.Sprintf("Firewall rules of %s do not allow the name %s", step.Decided.Part(0), host),
		Summary: "The firewall takes the TCP connection itself, reads the name, finds no application rule that allows it, and breaks the connection off.",
	}
	if rule := denyingRule(step); rule != "" {
		f.Title = fmt.Sprintf("Rule %s of %s denies the name %s", rule, step.Decided.Part(0), host)
		f.Summary = fmt.Sprintf("The firewall takes the TCP connection itself and reads the name; rule %s denies it, and the connection is broken off.", rule)
	}
	for _, t := range step.Trail {
		f.Evidence = append(f.Evidence, arm(t, step.Decided))
	}
	if policy := policyOf(p, step.Decided); policy != nil {
		f.Fix = allowInPolicy(p, policy, step, true)
	} else {
		f.Fix = []diagnose.Command{{Text: "Allow the name in the firewall's application rules"}}
	}
	return f
}
