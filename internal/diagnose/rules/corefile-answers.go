package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/corefile"
	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/trace"
)

var corefileAnswers = diagnose.Rule{
	ID: "corefile-answers",
	Doc: `A line of CoreDNS's configuration answers for the name, wrongly

A template, a hosts entry or a rewrite in the Corefile or in coredns-custom catches the name before the cluster's Services or the
upstream are asked: a template left over from a migration says NXDOMAIN for a Service that exists, a pinned address is gone, a rewrite
leads to a name that does not exist. A hosts block without "fallthrough" answers SERVFAIL for every name that it does not hold.

Look-alikes: a misspelt name does not exist anywhere. A private zone answers for its own names, and the node is told the same as the pod;
here the node, which does not ask CoreDNS, is told otherwise.

Mend it by taking the line out of the ConfigMap, or by correcting its address; then let CoreDNS read it (the plugin reload does within a minute).
`,
	Hop:    model.HopDNS,
	Covers: []string{"dns-stale-coredns-config", "dns-coredns-bad-corefile"},
	Needs:  []string{"configmap", "service"},
	Sees:   diagnose.Fails,
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		file := trace.Corefile(&p.Case.World)
		if seen == nil || file == nil || !diagnose.Fails(seen) || !asksClusterDNS(p) {
			return
		}
		for _, name := range deciding(p) {
			if !wasAsked(seen, name) {
				continue
			}
			d := file.Decide(name, "A")
			switch {
			case nameFailed(seen) && explainsNoAnswer(&d, seen):
				reportLine(p, name, &d)
				return
			case !nameFailed(seen) && len(d.Addrs) > 0 && slices.Contains(d.Addrs, seen.Address.Addr()):
				reportPinned(p, name, &d)
				return
			}
		}
	},
}

func wasAsked(o *model.Observation, name string) bool {
	return slices.ContainsFunc(o.Queries, func(q model.DNSQuery) bool { return strings.EqualFold(q.Name, name) })
}

// explainsNoAnswer says that the line that decides would make a resolver see what was seen.
func explainsNoAnswer(d *corefile.Decision, seen *model.Observation) bool {
	switch d.Kind {
	case corefile.Template, corefile.Hosts:
		want := map[string]model.Reason{"NXDOMAIN": model.NXDomain, "SERVFAIL": model.ServFail, "REFUSED": model.DNSRefused, "NOERROR": model.NoData}[d.Rcode]
		// A search list goes on after the name, and ends with what its last name got.
		return len(d.Addrs) == 0 && (want == seen.Result || want == model.NXDomain && noName(seen))
	}
	return d.Rewritten != nil && (noName(seen) || seen.Result == model.ServFail)
}

func reportLine(p *diagnose.Pass, name string, d *corefile.Decision) {
	pos, line := d.At, d.Line
	f := diagnose.Finding{
		Title:   fmt.Sprintf("CoreDNS answers %s for %s by itself: %s", d.Rcode, trimDot(name), line),
		Summary: "That line stands before the cluster's Services and the upstream, so neither is asked for the name.",
	}
	if d.Rewritten != nil {
		pos, line = d.Rewritten.Pos, d.Rewritten.Text()
		f.Title = fmt.Sprintf("CoreDNS asks for %s instead of %s: %s", trimDot(d.Name), trimDot(name), line)
		f.Summary = "The rewrite changes the name before it is looked up, and the new name does not exist."
	}
	f.Subject = trace.CorefileRef(pos)
	f.Evidence = []diagnose.Evidence{lineOf(pos, line)}
	if d.Rcode != "" && d.Rewritten == nil && d.By != nil {
		f.Evidence = append(f.Evidence, kube("it answers "+d.Rcode, f.Subject))
	}
	if ref, svc := meant(p, p.LookedUp()); svc != nil {
		f.Evidence = append(f.Evidence, kube(fmt.Sprintf("Service %s/%s exists", ref.Part(0), ref.Part(1)), ref))
	}
	if p.Fate(model.VantageNode) == diagnose.Works {
		f.Evidence = append(f.Evidence, probe("the node, which does not ask CoreDNS, finds the name", p.At(model.VantageNode).From))
	}
	f.Evidence = append(f.Evidence, queries(p.Seen())...)
	f.Fix = corefileFix(p, pos, "Take the line out, or correct it")
	p.ReportOn(dnsWay, f)
}

// reportPinned is about an address that the configuration itself holds.
func reportPinned(p *diagnose.Pass, name string, d *corefile.Decision) {
	seen := p.Seen()
	addr := seen.Address.Addr()
	f := diagnose.Finding{
		Subject:    trace.CorefileRef(d.At),
		Confidence: diagnose.Possible,
		Title:      fmt.Sprintf("CoreDNS itself gives %s the address %s, which does not serve it", trimDot(name), addr),
		Summary:    "The address stands in CoreDNS's configuration, which is asked before any name server; it does not follow when the real address changes.",
		Evidence:   []diagnose.Evidence{lineOf(d.At, d.Line)},
		Fix:        corefileFix(p, d.At, "Take the entry out, or correct its address"),
	}
	if unowned(p, []netip.Addr{addr}) {
		f.Confidence = diagnose.Likely
		f.Evidence = append(f.Evidence, arm(fmt.Sprintf("no network interface, load balancer or firewall that was read has the address %s", addr)))
	}
	if o := p.At(model.VantageNode); o != nil && !diagnose.Fails(o) && o.Address.Addr() != addr {
		f.Confidence = diagnose.Proven
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("the node, which does not ask CoreDNS, is told %s, and gets through", o.Address.Addr()), o.From))
	} else if others := answered(p.At(model.VantageHere)); len(others) > 0 && !slices.Contains(others, addr) {
		f.Confidence = max(f.Confidence, diagnose.Likely)
		f.Evidence = append(f.Evidence, probe(fmt.Sprintf("this machine's name servers say %s", list(addrs(others)))))
	}
	f.Evidence = append(f.Evidence, queries(seen)...)
	p.Report(f)
}
