package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var nameDoesNotExist = diagnose.Rule{
	ID: "name-does-not-exist",
	Doc: `The name does not exist

Name servers work and answer that there is no such name (NXDOMAIN), or that it has no address. Most often the application is
configured with a misspelt name, or with one of another environment. The application prints "could not resolve host", as it
would for several other faults.

Look-alikes: a name server that cannot find out says SERVFAIL, one that is cut off says nothing, and one that is closed refuses at
once; the application's words are the same for all of them, so podpath looks at the answer itself. A name of a private zone exists
only inside VNets that are linked to the zone. A name that exists from elsewhere and not from the cluster is not a
misspelling.

Mend it where the name is written: the workload's variable, argument or ConfigMap.
`,
	Hop:    model.HopApp,
	Covers: []string{"app-wrong-hostname", "svc-missing"},
	Needs:  []string{"probe"},
	Under: []string{
		"external-name", "headless-not-ready", "service-missing",
		"corefile-answers", "corefile-zone-missing", "dns-config-no-search", "dns-policy-of-node", "private-zone-hides-name",
		"private-zone-not-linked", "service-in-other-namespace", "dns-negative-cache",
	},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "dns" && (o.Result == model.NXDomain || o.Result == model.NoData)
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || seen.Failed != "dns" || (seen.Result != model.NXDomain && seen.Result != model.NoData) {
			return
		}
		host := p.LookedUp()
		f := diagnose.Finding{
			Subject: model.NewRef("host", host),
			Title:   fmt.Sprintf("The name %s does not exist", host),
			Summary: "The name servers answer, and say that there is no such name; the way to them works.",
		}
		if seen.Result == model.NoData {
			f.Title = fmt.Sprintf("The name %s has no address", host)
			f.Summary = "The name servers answer, and say that the name exists without an address."
		}
		for _, q := range seen.Queries {
			if strings.EqualFold(strings.TrimSuffix(q.Name, "."), strings.TrimSuffix(host, ".")) {
				f.Evidence = append(f.Evidence, probe(fmt.Sprintf("%s %s at %s: %s", q.Type, q.Name, q.Server, q.Result)))
			}
		}
		if found := mentions(p, host); len(found) > 0 {
			f.Subject = p.Client()
			f.Fix = renameFix(p, found[0])
			for _, m := range found {
				f.Evidence = append(f.Evidence, kube(fmt.Sprintf("%s holds the name: %s", p.Client(), m), p.Client()))
			}
		} else {
			f.Fix = []diagnose.Command{{Text: fmt.Sprintf("Correct the name where %s gets it from; it is in no variable or argument of the pod, so look in its ConfigMaps, Secrets and image", from(p))}}
		}
		if near := nearName(p, host); near != "" {
			f.Evidence = append(f.Evidence, kube(fmt.Sprintf("Service %s exists; its name inside the cluster is another", near)))
		}
		if client := p.Client(); seen.Proxy != "" && client != "" {
			f.Subject = client // the proxy's name is a setting of the asking side
		}
		if p.Elsewhere(model.VantageHere) == diagnose.Works { // past the proxy nobody looks its name up
			f.Confidence = diagnose.Possible
			f.Evidence = append(f.Evidence, probe("against it: the name resolves from this machine, so it exists somewhere; the cluster's resolvers do not see it (a private zone, a split horizon)"))
		}
		if slices.ContainsFunc(slices.Concat(p.Asked(p.Origin()), p.Asked(model.VantageNode)), resolves) && p.Origin() == model.VantagePod {
			f.Confidence = diagnose.Possible
			f.Evidence = append(f.Evidence, probe("against it: another lookup from the pod or its node found the name; CoreDNS may still remember that it was not there"))
		}
		if doubt := hidesName(p, host); len(doubt) > 0 {
			f.Confidence, f.Gaps = diagnose.Possible, doubt
		}
		p.ReportOn(dnsWay, f)
	},
}

// hidesName are the gaps behind which a name may exist after all, and be kept
// from the pod: CoreDNS's configuration, Services, and for a name that is not
// the cluster's the private zones.
func hidesName(p *diagnose.Pass, host string) []model.Gap {
	kinds := []string{"configmap", "service"}
	if _, _, ok := serviceName(host); ok {
		kinds = append(kinds, "endpointslice") // a headless Service's name is that of its ready pods
	}
	if strings.Contains(host, ".") && !strings.Contains(host, ".svc.") {
		kinds = append(kinds, "privatezone")
		if p.VNet() == nil {
			kinds = append(kinds, "vnet")
		}
	}
	return p.Gaps(kinds)
}

func renameFix(p *diagnose.Pass, m mention) []diagnose.Command {
	out := diagnose.Command{Text: fmt.Sprintf("Correct the name in %s", m), Verify: again(p)}
	if line := setEnv(p.Client(), m, "NAME-THAT-EXISTS"); line != "" {
		out.Line = line
	} else {
		out.Line = diagnose.KubectlFor(p.Client(), "edit")
	}
	return []diagnose.Command{out}
}

// nearName finds a Service whose name is the first label of a cluster name that
// does not exist: the namespace is wrong or missing.
func nearName(p *diagnose.Pass, host string) string {
	label, rest, _ := strings.Cut(host, ".")
	if rest != "" && !strings.Contains(rest, "svc") && strings.Contains(rest, ".") {
		return ""
	}
	for _, ref := range sortedRefs(p.Case.World.Kube.Services) {
		if svc := p.Case.World.Kube.Services[ref]; svc.Name == label {
			return svc.Namespace + "/" + svc.Name
		}
	}
	return ""
}
