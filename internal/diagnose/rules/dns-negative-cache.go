package rules

import (
	"fmt"
	"slices"

	"github.com/podpath/podpath/internal/corefile"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
	"github.com/podpath/podpath/internal/watch"
)

var dnsNegativeCache = diagnose.Rule{
	ID: "dns-negative-cache",
	Doc: `CoreDNS remembers that a name did not exist, and by now it does

A name was asked for before its record was there. CoreDNS keeps the answer "no such name" for as long as the zone's SOA record allows,
at most its own cache's time (cache 30: half a minute; a denial line may say more), each of its pods for itself. Until then a share
of the lookups, or all, are told that the name does not exist, while the name server behind CoreDNS has it. It mends itself.

podpath asks for the name again and again, and from the node, which asks the same name server without that cache. It speaks where the
answers of the pod's own lookups differ.

Look-alikes: a name that nobody has is denied everywhere. A private zone that is not linked, or a line of the Corefile that answers itself, denies
it for good.

Mend it by waiting, or by starting CoreDNS anew; let what depends on a new name ask for it only once it is there, or lower the time
("cache { denial 9984 5 }").

Source: https://coredns.io/plugins/cache/, RFC 2308.
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-negative-cache"},
	Needs:  []string{"probe", "service", "pod", "configmap"},
	Under:  []string{"corefile-answers", "corefile-zone-missing", "dns-config-no-search", "dns-policy-of-node"},
	Sees:   denied,
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		svc, servers := p.NameServers()
		file := trace.Corefile(&p.Case.World)
		if seen == nil || !denied(seen) || svc == nil || len(servers) == 0 || file == nil || !asksClusterDNS(p) {
			return
		}
		d := file.Decide(p.LookedUp(), "A")
		if d.Kind == corefile.Forward {
			reportDenied(p, svc, seen, &d)
		}
	},
}

// denied is a lookup that was told that there is no such name.
func denied(o *model.Observation) bool {
	return o.Failed == "dns" && (o.Result == model.NXDomain || o.Result == model.NoData)
}

// resolves says that a probe got an address for the name.
func resolves(o *model.Observation) bool {
	ph := o.PhaseOf("dns")
	return ph != nil && ph.Result == model.OK
}

func reportDenied(p *diagnose.Pass, svc *model.Service, seen *model.Observation, d *corefile.Decision) {
	no, yes := 0, 0
	for i := range p.Case.Tries {
		if t := &p.Case.Tries[i]; t.Vantage == p.Origin() && watch.Counts(t) {
			for _, ph := range t.Phases {
				switch {
				case ph.Name != "dns":
				case ph.Result == model.OK:
					yes++
				case ph.Result == model.NXDomain || ph.Result == model.NoData:
					no++
				}
			}
		}
	}
	own := slices.ContainsFunc(p.Asked(p.Origin()), resolves) || yes > 0
	node := p.At(model.VantageNode)
	past := node != nil && resolves(node) && slices.ContainsFunc(node.Queries, func(q model.DNSQuery) bool {
		return q.Result == model.OK && slices.Contains(p.Upstreams(), q.Server.Addr())
	})
	if !own {
		return // denied each time: nothing tells what is remembered from what is so
	}
	f := diagnose.Finding{
		Subject: dnsWorkload(p, svc), Confidence: diagnose.Likely, Sometimes: true,
		Title:   fmt.Sprintf("CoreDNS remembers that %s did not exist, and by now it does", p.LookedUp()),
		Summary: "The answer \"no such name\" is kept for a while, by each pod of CoreDNS for itself. It mends itself when that time is over.",
		Evidence: append([]diagnose.Evidence{
			lineOf(d.At, d.Line),
		}, queries(seen)...),
		Fix: []diagnose.Command{
			{Text: "Wait half a minute; or empty the caches by starting CoreDNS anew", Line: diagnose.Kubectl("-n", svc.Namespace, "rollout", "restart", "deployment", "coredns"), Verify: again(p)},
			{Text: "Ask for a new name only once it is there, or let denials be kept for less (cache { denial 9984 5 })"},
		},
	}
	if yes > 0 {
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("of %d lookups from the pod %d were told that the name does not exist (NXDOMAIN), and %d got its address, from the same name server", no+yes, no, yes), seen.From))
	}
	if past {
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("the node asks %s itself, past CoreDNS's cache, and gets the address", list(addrs(p.Upstreams()))), node.From))
	}
	if len(d.Upstreams) > 1 {
		f.Confidence = diagnose.Possible
		f.Evidence = append(f.Evidence, lineOf(d.At, fmt.Sprintf("it forwards to %d name servers, which may not agree", len(d.Upstreams))))
	}
	p.ReportOn(dnsWay, f)
}
