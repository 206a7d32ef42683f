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

// noName says that name servers answered, and have no address for the name.
func noName(o *model.Observation) bool {
	return o.Failed == "dns" && (o.Result == model.NXDomain || o.Result == model.NoData)
}

// nameFailed says that the name came to no address, whatever way.
func nameFailed(o *model.Observation) bool { return o.Failed == "dns" }

// dnsWay is the way of findings about a name's lookup as a whole.
var dnsWay = diagnose.Way{Kind: "dns"}

// asksClusterDNS says that the asking side's queries went to the cluster's own DNS.
func asksClusterDNS(p *diagnose.Pass) bool {
	svc, pods := p.NameServers()
	if svc == nil {
		return false
	}
	seen := p.Seen()
	if seen == nil || len(seen.Queries) == 0 {
		return !podAvoidsClusterDNS(p.Pod())
	}
	return slices.ContainsFunc(seen.Queries, func(q model.DNSQuery) bool {
		return slices.Contains(svc.ClusterIPs, q.Server.Addr()) || slices.ContainsFunc(pods, func(pod *model.Pod) bool { return slices.Contains(pod.IPs, q.Server.Addr()) })
	})
}

// podAvoidsClusterDNS says that by its specification a pod does not ask the cluster's DNS.
func podAvoidsClusterDNS(pod *model.Pod) bool {
	if pod == nil {
		return false
	}
	return pod.DNSPolicy == "Default" || pod.DNSPolicy == "None" || pod.HostNetwork && pod.DNSPolicy != "ClusterFirstWithHostNet"
}

// meant are the Services that the name looked up means, read from the world:
// NAME, NAME.NAMESPACE or NAME.NAMESPACE.svc…, with the own namespace for NAME.
func meant(p *diagnose.Pass, host string) (model.Ref, *model.Service) {
	labels := strings.Split(trimDot(lower(host)), ".")
	ns := p.Case.Question.From.Namespace
	if pod := p.Pod(); pod != nil {
		ns = pod.Namespace
	}
	switch {
	case len(labels) == 2 || len(labels) > 2 && labels[2] == "svc":
		ns = labels[1]
	case len(labels) > 1:
		return "", nil
	}
	ref := model.NewRef("service", ns, labels[0])
	return ref, p.Case.World.Kube.Services[ref]
}

// deciding are the names that decide over a lookup: the name as it stands and,
// where it means a Service that exists, that Service's own name.
func deciding(p *diagnose.Pass) []string {
	host := p.LookedUp()
	out := []string{corefile.Absolute(host)}
	if ref, svc := meant(p, host); svc != nil {
		out = append([]string{fmt.Sprintf("%s.%s.svc.%s.", ref.Part(1), ref.Part(0), clusterZone(p))}, out...)
	}
	return slices.Compact(out)
}

// clusterZone is the cluster's domain as the pods' search list has it.
func clusterZone(p *diagnose.Pass) string {
	if seen := p.Seen(); seen != nil && seen.Resolver != nil {
		for _, s := range seen.Resolver.Search {
			if zone, ok := strings.CutPrefix(s, "svc."); ok {
				return lower(trimDot(zone))
			}
		}
	}
	return trace.DefaultClusterDomain
}

// answered are the addresses that a lookup's queries got from the servers asked.
func answered(o *model.Observation) []netip.Addr {
	var out []netip.Addr
	if o == nil {
		return nil
	}
	for _, q := range o.Queries {
		for _, text := range q.Answers {
			if a, err := netip.ParseAddr(text); err == nil && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// queries are what the asking side really sent, as evidence.
func queries(o *model.Observation) []diagnose.Evidence {
	if o == nil {
		return nil
	}
	const most = 12
	var out []diagnose.Evidence
	for _, q := range o.Queries[:min(len(o.Queries), most)] {
		text := fmt.Sprintf("%s %s at %s over %s: %s", q.Type, q.Name, q.Server, q.Transport, q.Result)
		if len(q.Answers) > 0 {
			text += " " + strings.Join(q.Answers, " ")
		}
		out = append(out, probe(oneLine(text), o.From))
	}
	return out
}

// lineOf is a line of CoreDNS's configuration as evidence.
func lineOf(pos corefile.Pos, line string) diagnose.Evidence {
	return kube(oneLine(fmt.Sprintf("ConfigMap %s: %s", pos, line)), trace.CorefileRef(pos))
}

// corefileFix is how a line of CoreDNS's configuration is changed.
func corefileFix(p *diagnose.Pass, pos corefile.Pos, what string) []diagnose.Command {
	return []diagnose.Command{
		{Text: fmt.Sprintf("%s (key %s, line %d)", what, pos.Key, pos.Line), Line: diagnose.KubectlFor(trace.CorefileRef(pos), "edit")},
		{Text: "Let CoreDNS read it", Line: diagnose.Kubectl("-n", "kube-system", "rollout", "restart", "deployment/coredns"), Verify: again(p)},
	}
}

// dnsConfigFix is the command that changes how a workload's pods ask for names.
func dnsConfigFix(p *diagnose.Pass, text, spec string) []diagnose.Command {
	c := diagnose.Command{Text: text, Verify: again(p)}
	if client := p.Client(); len(client.Parts()) == 2 {
		if client.Kind() != "pod" && spec != "" {
			c.Line = diagnose.Kubectl("-n", client.Part(0), "patch", client.Kind()+"/"+client.Part(1), "--type=strategic", "-p", `{"spec":{"template":{"spec":`+spec+`}}}`)
		} else {
			c.Line = diagnose.KubectlFor(client, "edit")
		}
	}
	return []diagnose.Command{c}
}

// corednsPods are the pods of the cluster's DNS by the label that CoreDNS
// carries everywhere, whatever a Service selects, finished ones left out.
func corednsPods(p *diagnose.Pass) []*model.Pod {
	var out []*model.Pod
	for _, ref := range sortedRefs(p.Case.World.Kube.Pods) {
		pod := p.Case.World.Kube.Pods[ref]
		if pod.Namespace == "kube-system" && pod.Labels["k8s-app"] == "kube-dns" && pod.Phase != "Succeeded" && pod.Phase != "Failed" {
			out = append(out, pod)
		}
	}
	return out
}

func noneReady(pods []*model.Pod) bool {
	return !slices.ContainsFunc(pods, func(pod *model.Pod) bool { return pod.Ready })
}
