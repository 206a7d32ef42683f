package decode

import (
	"strconv"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// calicoPolicy reads Calico's NetworkPolicy and GlobalNetworkPolicy, of
// crd.projectcalico.org/v1 and projectcalico.org/v3: their specs are the same.
func calicoPolicy(w *model.World, o *object) error {
	s := o.spec
	p := &model.CalicoPolicy{
		Namespace: o.namespace, Name: o.name, Tier: first(s.text("tier"), "default"), Order: s.number("order"), Selector: s.text("selector"),
		NamespaceSelector: s.text("namespaceSelector"), ServiceAccountSelector: s.text("serviceAccountSelector"),
	}
	p.Ref = o.ref("globalnetworkpolicy")
	if o.namespace != "" {
		p.Ref = o.ref("caliconetworkpolicy")
	}
	for _, r := range s.list("ingress") {
		p.IngressRules = append(p.IngressRules, calicoRule(fieldsOf(r), o.namespace))
	}
	for _, r := range s.list("egress") {
		p.EgressRules = append(p.EgressRules, calicoRule(fieldsOf(r), o.namespace))
	}
	for _, t := range s.texts("types") {
		p.Ingress, p.Egress = p.Ingress || t == "Ingress", p.Egress || t == "Egress"
	}
	if !s.has("types") { // unlike NetworkPolicy's: egress rules alone say nothing about ingress
		p.Egress = len(p.EgressRules) > 0
		p.Ingress = len(p.IngressRules) > 0 || !p.Egress
	}
	for _, only := range []string{"doNotTrack", "preDNAT"} {
		if b := s.flag(only); b != nil && *b {
			p.HostsOnly = only + " policies are for host endpoints only"
		}
	}
	p.Unknown = s.ignore("applyOnForward", "performanceHints").left()
	put(&w.Kube.CalicoPolicies, p.Ref, p)
	return nil
}

func calicoRule(f *fields, ns string) model.CalicoRule {
	r := model.CalicoRule{Action: f.text("action"), Protocol: f.text("protocol"), NotProtocol: f.text("notProtocol"), HTTP: f.has("http")}
	if n := f.text("ipVersion"); n != "" {
		v, err := strconv.Atoi(n)
		if err != nil || v != 4 && v != 6 {
			f.fail("ipVersion", "is neither 4 nor 6")
		}
		r.IPVersion = v
	}
	var from, to string
	r.Source, from = calicoEntity(f.object("source"), ns)
	r.Destination, to = calicoEntity(f.object("destination"), ns)
	// What is said of ICMP holds for ICMP, which the protocol already says.
	r.Unknown = first(f.ignore("http", "metadata", "icmp", "notICMP").left(), from, to)
	return r
}

func calicoEntity(f *fields, ns string) (model.CalicoEntity, string) {
	e := model.CalicoEntity{
		Nets: f.prefixes("nets"), NotNets: f.prefixes("notNets"), Selector: f.text("selector"), NotSelector: f.text("notSelector"),
		NamespaceSelector: f.text("namespaceSelector"), Ports: f.texts("ports"), NotPorts: f.texts("notPorts"), Domains: domains(f.texts("domains")),
	}
	for _, p := range append(append([]string(nil), e.Ports...), e.NotPorts...) {
		if lo, hi, ok := strings.Cut(p, ":"); ok {
			a, err := strconv.ParseUint(lo, 10, 16)
			b, err2 := strconv.ParseUint(hi, 10, 16)
			if err != nil || err2 != nil || a > b {
				f.fail("ports", "holds "+strconv.Quote(short(p))+", which is no range")
			}
		}
	}
	accounts := f.object("serviceAccounts")
	e.ServiceAccounts, e.ServiceAccountSelector = accounts.texts("names"), accounts.text("selector")
	services := f.object("services")
	if name := services.text("name"); name != "" {
		e.Service = model.NewRef("service", first(services.text("namespace"), ns), name)
	}
	return e, first(f.left(), accounts.left(), services.left())
}

// domains brings patterns into the neutral form: Calico's * stands for any labels.
func domains(list []string) []string {
	for i, d := range list {
		if rest, ok := strings.CutPrefix(d, "*."); ok {
			list[i] = "**." + rest
		}
	}
	return list
}

func networkSet(w *model.World, o *object) error {
	s := o.spec
	n := &model.NetworkSet{Ref: o.ref(o.kind), Namespace: o.namespace, Labels: o.labels, Nets: s.prefixes("nets"), Domains: domains(s.texts("allowedEgressDomains"))}
	n.Unknown = s.left()
	put(&w.Kube.NetworkSets, n.Ref, n)
	return nil
}

func tier(w *model.World, o *object) error {
	t := &model.CalicoTier{Name: o.name, Order: o.spec.number("order"), DefaultAction: o.spec.text("defaultAction")}
	put(&w.Kube.CalicoTiers, t.Name, t)
	return nil
}
