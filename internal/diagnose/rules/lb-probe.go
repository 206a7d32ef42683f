package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
	"github.com/podpath/podpath/internal/resource"
	"github.com/podpath/podpath/internal/trace"
)

var lbProbe = diagnose.Rule{
	ID: "lb-probe",
	Doc: `The load balancer's health probe takes its backends out

An internal load balancer sends new connections only to backends that answer its health probe. A probe that asks for a path that is slow or
wrong, or for a port where nothing listens, takes a backend out although what it serves is well; when all are out, new connections are
dropped silently, while those that stand go on. A probe that answers only now and then lets bursts of connections fail.

Look-alikes: a security group that drops the probes (from 168.63.129.16, tag AzureLoadBalancer) takes all backends out for good. One dead
backend of several that its probe does not notice fails for its share of connections, not in bursts. A backend that asks its own load
balancer is led back to itself and gets no answer.

Mend it by a probe that asks for something light that says what the application can do, by a longer interval or threshold, or by more backends.

Sources: https://learn.microsoft.com/azure/load-balancer/load-balancer-custom-probes, https://learn.microsoft.com/azure/load-balancer/load-balancer-standard-diagnostics
`,
	Hop:    model.HopLB,
	Covers: []string{"lb-probe-flap"},
	Needs:  []string{"probe", "loadbalancer", "metric"},
	Sees:   noPort,
	Run: func(p *diagnose.Pass) {
		lb, rule, probe := silentBalancer(p)
		if probe == nil {
			return
		}
		backends := probed(p.Case, lb, rule, p.Seen().Address)
		if len(backends) == 0 {
			skipGaps(p, "metric")
			return
		}
		if f, ok := probeFinding(p, lb, rule, probe, backends); ok {
			p.Report(f)
		}
	},
}

// silentBalancer is the internal load balancer that was asked and gave no answer,
// with the rule that serves the question and its probe; nil where it is not that.
func silentBalancer(p *diagnose.Pass) (*model.LoadBalancer, *model.LBRule, *model.LBProbe) {
	seen := p.Seen()
	if seen == nil || p.Question() == nil || !noPort(seen) || seen.Proxy != "" || brokenAnywhere(p) {
		return nil, nil, nil
	}
	lb := balancerOf(p)
	if lb == nil {
		return nil, nil, nil
	}
	rule, probe := trace.Balanced(lb, seen.Address, seen.Failed == "udp")
	return lb, rule, probe
}

// balancerOf is the internal load balancer at which the question's way ends.
func balancerOf(p *diagnose.Pass) *model.LoadBalancer {
	for _, s := range p.Question().Steps {
		if s.Hop != model.HopLB {
			continue
		}
		for _, lb := range p.Case.World.Azure.LoadBalancers {
			if lb != nil && model.NewRef("loadbalancer", lb.Name) == s.At && slices.ContainsFunc(lb.Frontends, func(f model.Frontend) bool { return f.PrivateIP.Unmap() == p.Target().Addr() }) {
				return lb
			}
		}
	}
	return nil
}

// backend is what the probes of one backend said within the last minutes: the
// lowest share of them that were answered within a minute, and the last minute's.
type backend struct {
	addr         string
	lowest, last float64 // percent
	minutes      int
}

// probed are the backends of a rule, by the load balancer's own metric.
// https://learn.microsoft.com/azure/load-balancer/load-balancer-standard-diagnostics#multi-dimensional-metrics
func probed(c *model.Case, lb *model.LoadBalancer, rule *model.LBRule, at netip.AddrPort) []backend {
	var out []backend
	for _, s := range resource.Series(c, lb.ID, "DipAvailability", "Average", map[string]string{
		"FrontendIPAddress": at.Addr().String(), "FrontendPort": strconv.Itoa(rule.FrontendPort),
	}) {
		b := backend{addr: resource.Dimension(s, "BackendIPAddress"), lowest: 100}
		for _, pt := range s.Points[max(0, len(s.Points)-resource.Recent):] {
			b.lowest, b.last, b.minutes = min(b.lowest, pt.Value), pt.Value, b.minutes+1
		}
		out = append(out, b)
	}
	slices.SortFunc(out, func(a, b backend) int { return strings.Compare(a.addr, b.addr) })
	return out
}

// probeFinding judges them: where one backend answers all of its probes, the
// others' do not let a connection fail.
func probeFinding(p *diagnose.Pass, lb *model.LoadBalancer, rule *model.LBRule, probe *model.LBProbe, backends []backend) (f diagnose.Finding, ok bool) {
	ref := model.NewRef("loadbalancer", lb.Name, probe.Name)
	f = diagnose.Finding{
		Subject: ref, Confidence: diagnose.Likely, Sometimes: luck(p),
		Title:   fmt.Sprintf("Probe %s of load balancer %s gets no answer from any backend", probe.Name, lb.Name),
		Summary: "A load balancer sends no new connection to a backend whose probe fails; with all of them out it drops silently.",
		Evidence: []diagnose.Evidence{{
			Text: fmt.Sprintf("probe %s asks %s; a backend is out after %s in a row", probe.Name, probeAsks(probe), count(max(probe.Threshold, 1), "failure")), Source: "azure",
			Refs: []model.Ref{ref},
		}},
	}
	if f.Sometimes {
		f.Title = fmt.Sprintf("Probe %s of load balancer %s fails now and then, and takes all backends out", probe.Name, lb.Name)
	}
	for _, b := range backends {
		if b.lowest >= 100 || !f.Sometimes && b.last > 0 {
			return f, false
		}
		f.Evidence = append(f.Evidence, metric(fmt.Sprintf("backend %s answered %.0f %% of its probes in the last minute there is, and %.0f %% in the worst of %d (DipAvailability)", b.addr, b.last, b.lowest, b.minutes), ref, model.NewRef("host", b.addr)))
	}
	threshold := strconv.Itoa(max(probe.Threshold, 1) + 2)
	f.Fix = []diagnose.Command{
		{Text: fmt.Sprintf("Look how long a backend takes to answer the probe (%s), and let it ask for something that is light and always answered within %d s", probeAsks(probe), max(probe.Interval, 5))},
		{Text: "Let more failures in a row be needed", Line: diagnose.Az("network lb probe update", lb.ID, "--lb-name", lb.Name, "--name", probe.Name, "--probe-threshold", threshold), Verify: watchAgain(p)},
	}
	return f, true
}

// probeAsks is what a probe asks for, as a person would.
func probeAsks(probe *model.LBProbe) string {
	what := fmt.Sprintf("%s port %d", strings.ToUpper(probe.Protocol), probe.Port)
	if probe.Path != "" {
		what += " " + probe.Path
	}
	if probe.Interval > 0 {
		what += fmt.Sprintf(" every %d s", probe.Interval)
	}
	return what
}
