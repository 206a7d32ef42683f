package decode

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// ciliumPolicy reads CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy.
func ciliumPolicy(w *model.World, o *object) error {
	p := &model.CiliumPolicy{Ref: o.ref(o.kind), Namespace: o.namespace}
	if o.all.has("spec") {
		p.Specs = append(p.Specs, ciliumSpec(o.spec))
	}
	for _, s := range o.all.list("specs") {
		p.Specs = append(p.Specs, ciliumSpec(fieldsOf(s)))
	}
	put(&w.Kube.CiliumPolicies, p.Ref, p)
	return nil
}

func ciliumSpec(f *fields) model.CiliumSpec {
	var s model.CiliumSpec
	why := ""
	s.Endpoints, why = selector(f.get("endpointSelector"))
	if s.Hosts = f.has("nodeSelector"); !s.Hosts && s.Endpoints == nil {
		why = first(why, "it says neither endpointSelector nor nodeSelector")
	}
	deny := f.object("enableDefaultDeny")
	s.DenyIngress, s.DenyEgress = deny.flag("ingress"), deny.flag("egress")
	for _, part := range []struct {
		key, side string
		to        *[]model.CiliumRule
	}{{"ingress", "from", &s.Ingress}, {"ingressDeny", "from", &s.IngressDeny}, {"egress", "to", &s.Egress}, {"egressDeny", "to", &s.EgressDeny}} {
		for _, r := range f.list(part.key) {
			*part.to = append(*part.to, ciliumRule(fieldsOf(r), part.side))
		}
	}
	s.Unknown = first(f.ignore("nodeSelector", "labels", "description", "log").left(), deny.left(), why)
	return s
}

// ciliumRule reads one rule; side is "from" or "to", with which the names of its peers begin.
func ciliumRule(f *fields, side string) model.CiliumRule {
	var r model.CiliumRule
	why := ""
	for key := range f.m {
		if strings.HasPrefix(key, side) && key != "toPorts" && f.has(key) {
			r.Peered = true
		}
	}
	selectors := func(key string) []model.Selector {
		var out []model.Selector
		for _, v := range f.list(side + key) {
			s, reason := selector(v)
			why = first(why, reason)
			if s != nil {
				out = append(out, *s)
			}
		}
		return out
	}
	r.Endpoints, r.Requires, r.Nodes = selectors("Endpoints"), selectors("Requires"), selectors("Nodes")
	r.Entities = f.texts(side + "Entities")
	for _, p := range f.prefixes(side + "CIDR") {
		r.CIDRs = append(r.CIDRs, model.PolicyPeer{IPBlock: p})
	}
	for _, v := range f.list(side + "CIDRSet") {
		r.CIDRs = append(r.CIDRs, cidrSet(fieldsOf(v)))
	}
	for _, v := range f.list("toFQDNs") {
		n := fieldsOf(v)
		r.Names = append(r.Names, cmp.Or(n.text("matchName"), n.text("matchPattern")))
		why = first(why, n.left())
	}
	for _, v := range f.list("toServices") {
		s := fieldsOf(v)
		of := s.object("k8sService")
		r.Services = append(r.Services, model.NewRef("service", of.text("namespace"), of.text("serviceName")))
		why = first(why, s.left(), of.left())
	}
	r.Ported = f.has("toPorts") || f.has("icmps")
	for _, v := range f.list("toPorts") {
		ports, reason := ciliumPorts(fieldsOf(v))
		r.Ports, why = append(r.Ports, ports...), first(why, reason)
	}
	if a := f.object("authentication"); a.has("mode") && a.text("mode") != "disabled" {
		why = first(why, "it also asks for mutual authentication")
	}
	r.Unknown = first(f.ignore("icmps").left(), why)
	return r
}

func cidrSet(f *fields) model.PolicyPeer {
	var p model.PolicyPeer
	if cidr := f.text("cidr"); cidr != "" {
		block, ok := prefix(cidr)
		if !ok {
			f.fail("cidr", "is no range of addresses: "+strconv.Quote(short(cidr)))
		}
		p.IPBlock = block
	}
	p.Except = f.prefixes("except")
	p.Unknown = f.left() // cidrGroupRef and cidrGroupSelector name objects that are not read
	return p
}

// ciliumPorts reads one entry of toPorts: each of its ports, with what else it demands.
func ciliumPorts(f *fields) ([]model.CiliumPort, string) {
	var out []model.CiliumPort
	why := ""
	rules := f.object("rules")
	l7 := ""
	for _, kind := range []string{"http", "kafka", "dns", "l7", "l7proto"} {
		if rules.has(kind) {
			l7 = first(l7, kind)
		}
		rules.get(kind)
	}
	if f.has("serverNames") {
		l7 = first(l7, "TLS server name")
	}
	if f.has("listener") {
		l7 = first(l7, "proxy listener")
	}
	for _, v := range f.list("ports") {
		p := fieldsOf(v)
		port := model.CiliumPort{L7: l7}
		port.Port, port.EndPort = p.text("port"), p.port("endPort")
		if port.Protocol = strings.ToUpper(p.text("protocol")); port.Protocol == "ANY" {
			port.Protocol = ""
		}
		out, why = append(out, port), first(why, p.left())
	}
	if len(out) == 0 {
		out = []model.CiliumPort{{L7: l7}}
	}
	f.ignore("serverNames", "listener", "terminatingTLS", "originatingTLS")
	return slices.Clip(out), first(why, f.left(), rules.left())
}
