package rules

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/diagnose"
	"github.com/podpath/podpath/internal/model"
)

var proxyNotUsed = diagnose.Rule{
	ID: "proxy-not-used",
	Doc: `The direct way is closed by design, and the pod does not use the proxy

This network lets nobody out but through an HTTP proxy. The pod has none of the variables (https_proxy and its kin) from
which applications learn of it, so it tries the direct way and waits until its time-out. Through the proxy, from the
same pod, the destination answers.

Look-alikes: an NSG, route or firewall that was meant to let traffic pass and does not: then no proxy gets through
either, or none exists. A pod that uses the proxy and is turned away by it gets an HTTP answer (403, 407), not
silence.

Mend it by giving the workload the proxy's variables, with the cluster's own ranges in no_proxy, or by setting the cluster's
HTTP proxy configuration, which injects them.
`,
	Hop:    model.HopApp,
	Covers: []string{"app-proxy-env-missing"},
	Needs:  []string{"probe", "cluster", "nsg", "routetable", "subnet"},
	Sees: func(o *model.Observation) bool {
		return diagnose.Unanswered(o) || refusedByName(o)
	},
	Run: func(p *diagnose.Pass) {
		seen, pod := p.Seen(), p.Pod()
		if seen == nil || pod == nil || !p.External() || seen.Proxy != "" || !diagnose.Silence(seen) && !diagnose.CutOff(seen) || seen.Failed == "dns" || ownProxy(p) != "" {
			return
		}
		use, how := knownProxy(p)
		if use == "" {
			return
		}
		via := viaProxy(p)
		if via != nil && diagnose.Fails(via) {
			return // the proxy does not get there either
		}
		prescribed := p.Case.World.Azure.Cluster != nil && p.Case.World.Azure.Cluster.HTTPProxy != nil
		if via == nil && !brokenAnywhere(p) {
			return // neither is the direct way known to be closed, nor the proxy to be the way
		}
		f := diagnose.Finding{
			Subject:  p.Client(),
			Title:    fmt.Sprintf("%s does not use the proxy, and the direct way is closed", p.Client()),
			Summary:  fmt.Sprintf("Egress goes through %s here; the pod has no proxy variables and tries the direct way, which is dropped.", redact(use)),
			Evidence: how,
			Fix: []diagnose.Command{{
				Text: "Give the workload the proxy's variables (the cluster's own ranges and names in NO_PROXY)",
				Line: proxyEnv(p, use), Verify: again(p),
			}},
		}
		switch {
		case via == nil && !prescribed:
			f.Confidence = diagnose.Possible
		case via == nil:
			f.Evidence = append(f.Evidence, closedBy(p)...)
		default:
			f.Evidence = append(f.Evidence, probe(fmt.Sprintf("from %s through %s: it works", diagnose.PlaceOf(via), redact(via.Proxy)), via.From))
		}
		f.Evidence = append(f.Evidence, noProxyVariable(p, pod))
		p.Report(f)
	},
}

// noProxyVariable is the evidence that the asking application uses no proxy.
func noProxyVariable(p *diagnose.Pass, pod *model.Pod) diagnose.Evidence {
	if proxyOf(pod) == "" {
		return kube(fmt.Sprintf("no container of pod %s/%s has a proxy variable", pod.Namespace, pod.Name), pod.Ref())
	}
	name := ""
	if c := pod.App(p.Case.Question.Container); c != nil {
		name = c.Name
	}
	return kube(fmt.Sprintf("container %s of pod %s/%s has no proxy variable, another one of it has", name, pod.Namespace, pod.Name), pod.Ref())
}

// closedBy is what closes the direct way.
func closedBy(p *diagnose.Pass) []diagnose.Evidence {
	for _, w := range p.Ways() {
		if step := w.Path.Broken(); step != nil {
			return []diagnose.Evidence{{Text: "the direct way is closed: " + step.Title + ": " + step.Reason, Refs: []model.Ref{step.At}, Source: "trace"}}
		}
	}
	return nil
}

func viaProxy(p *diagnose.Pass) *model.Observation {
	for _, v := range []model.Vantage{p.Origin(), model.VantagePeer, model.VantageNode} {
		for _, o := range p.Control(v, "control:via-proxy") {
			return o
		}
	}
	return nil
}

// knownProxy is the proxy that this cluster goes out through, and how podpath knows.
func knownProxy(p *diagnose.Pass) (string, []diagnose.Evidence) {
	if c := p.Case.World.Azure.Cluster; c != nil && c.HTTPProxy != nil {
		if use := firstOf(c.HTTPProxy.HTTPS, c.HTTPProxy.HTTP); use != "" {
			return use, []diagnose.Evidence{arm(fmt.Sprintf("cluster %s: httpProxyConfig names %s", c.Name, redact(use)), model.NewRef("cluster", c.Name))}
		}
	}
	for _, ref := range sortedRefs(p.Case.World.Kube.Pods) {
		pod := p.Case.World.Kube.Pods[ref]
		if use := proxyOf(pod); use != "" {
			return use, []diagnose.Evidence{kube(fmt.Sprintf("pod %s/%s uses %s", pod.Namespace, pod.Name, redact(use)), pod.Ref())}
		}
	}
	if fw, policy := p.Firewall(); policy != nil && policy.ExplicitProxyHTTP+policy.ExplicitProxyHTTPS > 0 {
		port := policy.ExplicitProxyHTTPS
		if port == 0 {
			port = policy.ExplicitProxyHTTP
		}
		use := fmt.Sprintf("http://%s:%d", fw.PrivateIP, port)
		return use, []diagnose.Evidence{arm(fmt.Sprintf("firewall policy %s has an explicit proxy on port %d", policy.Name, port), model.NewRef("firewallpolicy", policy.Name))}
	}
	return "", nil
}

func proxyEnv(p *diagnose.Pass, use string) string {
	ref := p.Client()
	parts := ref.Parts()
	if len(parts) != 2 || ref.Kind() == "pod" {
		return ""
	}
	none := []string{"localhost", "127.0.0.1", ".svc", ".cluster.local"}
	if c := p.Case.World.Azure.Cluster; c != nil {
		for _, prefix := range append(c.PodCIDRs, c.ServiceCIDRs...) {
			none = append(none, prefix.String())
		}
	}
	return diagnose.Kubectl("-n", parts[0], "set", "env", ref.Kind()+"/"+parts[1], "HTTPS_PROXY="+redact(use), "HTTP_PROXY="+redact(use), "NO_PROXY="+strings.Join(none, ","))
}
