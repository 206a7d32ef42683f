package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/corefile"
	"github.com/podpath/podpath/internal/model"
)

// corednsMaps are the ConfigMaps that CoreDNS's configuration stands in: that of
// the cluster, and AKS's place for what people add
// (https://learn.microsoft.com/azure/aks/coredns-custom).
const (
	corednsMap    = model.Ref("configmap/kube-system/coredns")
	corednsCustom = model.Ref("configmap/kube-system/coredns-custom")
)

// Corefile is CoreDNS's configuration, or nil when it was not read.
func Corefile(w *model.World) *corefile.File {
	text, ok := w.Kube.ConfigMaps[corednsMap]["Corefile"]
	if !ok {
		return nil
	}
	var custom []corefile.Source
	data := w.Kube.ConfigMaps[corednsCustom]
	for _, key := range sorted(data) {
		custom = append(custom, corefile.Source{ConfigMap: corednsCustom.Name(), Key: key, Text: data[key]})
	}
	return corefile.Parse(corefile.Source{ConfigMap: corednsMap.Name(), Key: "Corefile", Text: text}, custom)
}

// CorefileRef is the ConfigMap in which a line of the configuration stands.
func CorefileRef(pos corefile.Pos) model.Ref {
	return model.NewRef("configmap", "kube-system", pos.ConfigMap)
}

// naming follows one query name from server to server.
type naming struct {
	x     *Index
	try   model.LookupTry
	depth int
}

func (x *Index) lookupName(name string, r model.Resolver, _ *model.Pod) model.LookupTry {
	n := &naming{x: x, try: model.LookupTry{Name: name}}
	if len(r.Servers) == 0 {
		n.step(model.Step{Title: "the sender's resolver", Verdict: model.Unknown, Reason: "its name servers are not known"})
		return n.try
	}
	n.server(name, r.Servers[0])
	return n.try
}

func (n *naming) step(s model.Step) {
	s.Hop = model.HopDNS
	n.try.Steps = append(n.try.Steps, s)
}

func (n *naming) end(r model.Reason, answers ...string) {
	n.try.Result, n.try.Answers = r, answers
}

// maxChain bounds how often a query is handed on: a loop is told, not followed.
const maxChain = 6

// server is what one name server does with the name.
func (n *naming) server(name string, addr netip.Addr) {
	if n.depth++; n.depth > maxChain {
		n.step(model.Step{Title: "name server " + addr.String(), Verdict: model.Drop, Reason: "the query is handed on in a circle"})
		n.end(model.ServFail)
		return
	}
	if svc := n.x.dnsService(); svc != nil && slices.Contains(svc.ClusterIPs, addr) {
		n.cluster(name, svc)
		return
	}
	if addr == wireServer {
		n.azure(name)
		return
	}
	at := model.NewRef("host", addr.String())
	n.step(model.Step{At: at, Title: "name server " + addr.String(), Verdict: model.Unknown, Reason: "what that server answers stands in no document; only asking it tells"})
}

// cluster is the cluster's own DNS: its endpoints, then the Corefile.
func (n *naming) cluster(name string, svc *model.Service) {
	ref := model.NewRef("service", svc.Namespace, svc.Name)
	s := model.Step{At: ref, Title: fmt.Sprintf("Service %s/%s", svc.Namespace, svc.Name), Verdict: model.Pass, Decided: ref}
	ready, known := 0, n.x.w.Read["endpointslice"] || len(n.x.slices[ref]) > 0
	for _, slice := range n.x.slices[ref] {
		for _, e := range slice.Endpoints {
			if e.Ready {
				ready++
				s.Trail = append(s.Trail, fmt.Sprintf("%s (%s)", strings.Join(e.Addresses, " "), e.Target))
			}
		}
	}
	switch {
	case !known:
		s.Verdict, s.Reason = model.Unknown, "its endpoints were not read"
		s.Gaps = []model.Gap{n.x.gap("endpointslice", "endpoints of "+string(ref), "endpointslice", "list endpointslices.discovery.k8s.io in namespace kube-system")}
	case ready == 0:
		s.Verdict, s.Reason = model.Reject, "it has no ready endpoint"
		n.step(s)
		n.end(model.Refused)
		return
	default:
		s.Reason = fmt.Sprintf("%d ready endpoints", ready)
	}
	n.step(s)
	n.corefile(name)
}

// corefile is what CoreDNS's configuration does with the name.
func (n *naming) corefile(name string) {
	f := Corefile(n.x.w)
	if f == nil {
		n.step(model.Step{
			At: corednsMap, Title: "CoreDNS's configuration", Verdict: model.Unknown, Reason: "it was not read",
			Gaps: []model.Gap{n.x.gap("configmap", "ConfigMap coredns", corednsMap, "get configmaps/coredns in namespace kube-system")},
		})
		return
	}
	d := f.Decide(name, "A")
	s := model.Step{At: CorefileRef(d.At), Decided: CorefileRef(d.At), Title: "Corefile", Verdict: model.Pass, Reason: fmt.Sprintf("%s: %s", d.At, d.Line), Trail: d.Trail}
	if d.Rewritten != nil {
		s.Reason += fmt.Sprintf(" (as %s, by %s: %s)", d.Name, d.Rewritten.Pos, d.Rewritten.Text())
	}
	switch d.Kind {
	case corefile.Kubernetes:
		n.step(s)
		n.kubernetes(d.Name)
	case corefile.Forward:
		n.step(s)
		n.forward(d)
	case corefile.Hosts, corefile.Template:
		n.fixed(s, d)
	case corefile.Refused, corefile.Failed:
		s.Verdict, s.Reason = model.Reject, "no line of the configuration answers this name"
		n.step(s)
		n.end(map[corefile.Kind]model.Reason{corefile.Refused: model.DNSRefused, corefile.Failed: model.ServFail}[d.Kind])
	default:
		s.Verdict = model.Unknown
		s.Reason += " (podpath does not follow this plugin)"
		n.step(s)
	}
}

// fixed is an answer that stands in the Corefile itself.
func (n *naming) fixed(s model.Step, d corefile.Decision) {
	var answers []string
	for _, a := range d.Addrs {
		answers = append(answers, a.String())
	}
	result := map[string]model.Reason{"NXDOMAIN": model.NXDomain, "SERVFAIL": model.ServFail, "REFUSED": model.DNSRefused}[d.Rcode]
	switch {
	case len(answers) > 0:
		result = model.OK
		s.Reason += " → " + strings.Join(answers, " ")
	case d.Rcode == "NOERROR":
		result = model.NoData
	}
	n.step(s)
	n.end(result, answers...)
}

// forward hands the name to CoreDNS's upstreams: addresses, or the resolver of
// the node that each of its pods runs on.
func (n *naming) forward(d corefile.Decision) {
	for _, word := range d.Upstreams {
		if up := corefile.Upstream(word); up.IsValid() {
			n.server(d.Name, up.Addr())
			return
		}
	}
	servers := n.x.vnetDNS()
	vnet := n.x.nodesVNet()
	if len(servers) == 0 || vnet == nil {
		n.step(model.Step{
			Title: "CoreDNS's upstream", Verdict: model.Unknown, Reason: "it is that of the nodes, and their VNet was not read",
			Gaps: []model.Gap{n.x.gap("vnet", "virtual network of the nodes", "vnet", "Microsoft.Network/virtualNetworks/read")},
		})
		return
	}
	ref := model.NewRef("vnet", vnet.Name)
	why := "names no DNS servers of its own, so its machines ask Azure's resolver"
	if len(vnet.DNSServers) > 0 {
		why = "hands these out to its machines; CoreDNS takes them over when its pods start"
	}
	n.step(model.Step{At: ref, Decided: ref, Title: "DNS servers of VNet " + vnet.Name, Verdict: model.Pass, Reason: fmt.Sprintf("%s: it %s", texts(servers), why)})
	n.server(d.Name, servers[0])
}

func texts(list []netip.Addr) string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return strings.Join(out, ", ")
}
