package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var hardcodedAddress = diagnose.Rule{
	ID: "hardcoded-address",
	Doc: `The application asks for an address that the name no longer has

The address is written into the workload (a variable, an argument, a hosts entry), and the provider has moved: the name leads to other
addresses today. The old one answers nobody, refuses, or shows another host's certificate.

Look-alikes: a host that is down fails at the address that its name has. An address of a machine without a name can be wrong too, but
podpath cannot know where it moved.

Mend it by asking by name.
`,
	Hop:    model.HopApp,
	Covers: []string{"endpoint-ip-changed-hardcoded"},
	Needs:  []string{"probe", "probe:here"},
	Sees: func(o *model.Observation) bool {
		return o.Failed == "tcp" || o.Failed == "tls" || diagnose.Status(o) >= 400
	},
	Run: func(p *diagnose.Pass) {
		seen := p.Seen()
		if seen == nil || !diagnose.Fails(seen) || seen.Failed == "dns" || !p.External() || brokenAnywhere(p) {
			return
		}
		addr, where := pinned(p)
		if !addr.IsValid() {
			return
		}
		name, now, o := currentAddresses(p, addr)
		if len(now) == 0 {
			return
		}
		f := diagnose.Finding{
			Subject:  p.Client(),
			Title:    fmt.Sprintf("%s is written into %s, and %s is at %s today", addr, p.Client(), name, list(addrs(now))),
			Summary:  "The application asks for a fixed address, and the name leads elsewhere.",
			Evidence: append(where, probe(fmt.Sprintf("%s resolves to %s, asked from %s", name, list(addrs(now)), diagnose.PlaceOf(o)), o.From)),
			Fix:      []diagnose.Command{{Text: fmt.Sprintf("Let the application ask for %s by name", name), Line: editOf(p), Verify: again(p)}},
		}
		if diagnose.Fails(o) && o.Failed != "http" {
			f.Confidence = diagnose.Likely // nobody has seen the new address work
		}
		if o.Vantage != model.VantageHere && !diagnose.Fails(o) {
			p.Report(f) // the same way out leads to the new address
			return
		}
		p.ReportByExclusion(f)
	},
}

// pinned is the address that the asking side holds on to, and where it does.
func pinned(p *diagnose.Pass) (netip.Addr, []diagnose.Evidence) {
	q := p.Case.Question
	addr := q.Address
	if !addr.IsValid() {
		addr = q.To.Addr
	}
	if pod := p.Pod(); pod != nil && !addr.IsValid() {
		for _, alias := range pod.HostAliases {
			if slices.Contains(alias.Hostnames, p.Host()) {
				return alias.IP, []diagnose.Evidence{kube(fmt.Sprintf("pod %s/%s: hostAliases gives %s to %s", pod.Namespace, pod.Name, alias.IP, p.Host()), pod.Ref())}
			}
		}
	}
	if !addr.IsValid() {
		return addr, nil
	}
	var out []diagnose.Evidence
	for _, m := range mentions(p, addr.String()) {
		out = append(out, kube(fmt.Sprintf("%s holds the address: %s", p.Client(), m), p.Client()))
	}
	if len(out) == 0 && !q.Address.IsValid() {
		return netip.Addr{}, nil // an address that somebody typed, which the workload does not hold
	}
	return addr, out
}

// currentAddresses is what the name that belongs to the pinned address has
// today, as some probe was answered, when the pinned one is not among it.
func currentAddresses(p *diagnose.Pass, pinned netip.Addr) (string, []netip.Addr, *model.Observation) {
	name := firstOf(p.Case.Question.Host, p.Case.Question.To.Host)
	for i := range p.Case.Observations {
		o := &p.Case.Observations[i]
		for _, q := range o.Queries {
			asked := trimDot(q.Name)
			if q.Result != model.OK || name == pinned.String() && len(mentions(p, asked)) == 0 || name != pinned.String() && lower(asked) != lower(trimDot(name)) && !strings.HasPrefix(lower(asked), lower(trimDot(name))+".") {
				continue
			}
			var now []netip.Addr
			for _, answer := range q.Answers {
				if a, err := netip.ParseAddr(answer); err == nil {
					now = append(now, a)
				}
			}
			if len(now) > 0 && !slices.Contains(now, pinned) && now[0].Is4() == pinned.Is4() {
				return asked, now, o
			}
		}
	}
	return "", nil, nil
}
