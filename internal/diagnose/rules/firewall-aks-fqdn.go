package rules

import (
	"fmt"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var firewallAKSFQDN = diagnose.Rule{
	ID: "firewall-aks-fqdn",
	Doc: `The firewall does not allow a name that AKS itself needs

The nodes' way out leads through a firewall, and its rules leave out an endpoint without which the cluster does not work: the registry of
system images, the API server's name, Azure's management or login endpoint. Nodes fail to join (vmssCSE exit status 50), images
are not pulled, nodes become NotReady.

Look-alikes: a name of one's own that is not allowed stops one application; this one stops the cluster. A registry that refuses
credentials answers 401 or 403.

Mend it by allowing the FQDN tag AzureKubernetesService (HTTP 80 and HTTPS 443) for the nodes' range, and the endpoints of the
cluster's add-ons (az aks egress-endpoints list).
`,
	Hop:    model.HopAppliance,
	Covers: []string{"nva-missing-aks-fqdn", "cp-api-egress-blocked"},
	Needs:  []string{"firewall", "firewallpolicy", "routetable", "subnet"},
	Sees:   refusedByName,
	Run: func(p *diagnose.Pass) {
		atFirewall(p, func(w diagnose.Way, step *model.Step) {
			category, required := requiredName(p, step.In.Host)
			if !required || !byName(step) {
				return
			}
			f := nameFinding(p, step)
			f.Title = fmt.Sprintf("Firewall rules of %s do not allow %s, which AKS needs", step.Decided.Part(0), step.In.Host)
			f.Evidence = append(f.Evidence, arm(fmt.Sprintf("%s is one of the endpoints that AKS needs (%s)", step.In.Host, category)))
			if policy := policyOf(p, step.Decided); policy != nil {
				group, collection := collectionFor(policy, "application")
				if group != "" {
					source := step.In.Src.String()
					if s := p.Subnet(step.In.Src); s != nil && len(s.Prefixes) > 0 {
						source = s.Prefixes[0].String()
					}
					f.Fix = append([]diagnose.Command{{
						Text: "Allow all that AKS needs, by its tag",
						Line: diagnose.Az("network firewall policy rule-collection-group collection rule add", policy.ID, "--policy-name", policy.Name,
							"--rule-collection-group-name", group, "--collection-name", collection, "--name", "aks", "--rule-type", "ApplicationRule",
							"--source-addresses", source, "--protocols", "Https=443", "--fqdn-tags", "AzureKubernetesService"),
						Verify: again(p),
					}}, f.Fix...)
				}
			}
			p.ReportAt(w, step, f)
		})
	},
}
