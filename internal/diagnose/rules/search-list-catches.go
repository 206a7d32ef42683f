package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var searchListCatches = diagnose.Rule{
	ID: "search-list-catches",
	Doc: `A search domain answers for a name that was meant as it stands

With ndots 5 every name of fewer than five dots is tried with each search domain before it is tried as it is. A search domain with a
wildcard record (or a resolver that answers everything) then gives its own address for api.example: the connection goes to a wrong
place, and nothing looks wrong with the name.

Look-alikes: a pinned address in CoreDNS or a stale record answers for the name itself. A far side that is down is reached by the right
address.

Mend it by taking the domain out of the search list, or the wildcard out of its zone; or end the name with a dot, or set ndots 1.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-wrong-dnspolicy"},
	Needs:  []string{"probe"},
	Sees:   func(o *model.Observation) bool { return o.Failed != "dns" },
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		host := lower(trimDot(p.LookedUp()))
		if seen == nil || !diagnose.Fails(seen) || nameFailed(seen) || !strings.Contains(host, ".") {
			return
		}
		var caught *model.DNSQuery
		for i := range seen.Queries {
			q := &seen.Queries[i]
			name := lower(trimDot(q.Name))
			if q.Result == model.OK && strings.HasPrefix(name, host+".") && slices.Contains(q.Answers, seen.Address.Addr().String()) {
				caught = q
			}
		}
		if caught == nil {
			return
		}
		domain := strings.TrimPrefix(lower(trimDot(caught.Name)), host+".")
		if strings.HasPrefix(domain, "svc.") || strings.Contains(domain, ".svc.") || strings.HasSuffix(host, ".svc") {
			return // a Service: the cluster's own search list is meant to do this
		}
		f := diagnose.Finding{
			Subject:    p.Client(),
			Confidence: diagnose.Likely,
			Title:      fmt.Sprintf("Search domain %s answers for %s: the connection goes to %s", domain, host, seen.Address.Addr()),
			Summary:    "The name was tried with the search domain first and had an address there, so it was never asked for as it stands.",
			Evidence:   queries(seen),
			Fix:        dnsConfigFix(p, fmt.Sprintf("Take %s out of the search list (or write the name with a dot at its end)", domain), ""),
		}
		if pod := p.Pod(); pod != nil {
			f.Evidence = append(f.Evidence, kube(fmt.Sprintf("pod %s/%s: dnsPolicy %s%s", pod.Namespace, pod.Name, firstOf(pod.DNSPolicy, "ClusterFirst"), dnsConfigText(pod)), pod.Ref()))
		}
		for _, v := range []model.Vantage{model.VantageNode, model.VantageHere} {
			if o := p.At(v); o != nil && o.Address.IsValid() && o.Address.Addr() != seen.Address.Addr() && !caughtToo(o, domain) {
				f.Confidence = diagnose.Proven
				f.Evidence = append(f.Evidence, probe(fmt.Sprintf("%s, without that search domain, is told %s", diagnose.PlaceOf(o), o.Address.Addr()), o.From))
			}
		}
		p.Report(f)
	},
}

func caughtToo(o *model.Observation, domain string) bool {
	return slices.ContainsFunc(o.Queries, func(q model.DNSQuery) bool {
		return q.Result == model.OK && strings.HasSuffix(lower(trimDot(q.Name)), "."+domain) && len(answeredBy(q)) > 0
	})
}

func answeredBy(q model.DNSQuery) []netip.Addr {
	return answered(&model.Observation{Queries: []model.DNSQuery{q}})
}
