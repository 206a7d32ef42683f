package reachtest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/podpath/podpath/internal/model"
)

// addKinds gives a random World policies of one of the families beyond
// NetworkPolicy, and of admins: priorities that are equal, Pass, Log, tiers.
func addKinds(r *rand.Rand, w *model.World) {
	for _, kind := range []string{"adminnetworkpolicy", "baselineadminnetworkpolicy", "clusternetworkpolicy", "caliconetworkpolicy", "globalnetworkpolicy", "networkset", "globalnetworkset", "tier", "ciliumnetworkpolicy", "ciliumclusterwidenetworkpolicy"} {
		w.Read[kind] = r.IntN(60) > 0
	}
	w.Read["serviceaccount"] = r.IntN(4) > 0
	k := &w.Kube
	k.AdminPolicies, k.CalicoPolicies = map[model.Ref]*model.AdminPolicy{}, map[model.Ref]*model.CalicoPolicy{}
	k.CiliumPolicies, k.CalicoTiers = map[model.Ref]*model.CiliumPolicy{}, map[string]*model.CalicoTier{}
	k.NetworkSets = map[model.Ref]*model.NetworkSet{}
	k.ServiceAccounts = map[model.Ref]model.Labels{}
	for i := range 3 {
		k.ServiceAccounts[model.NewRef("serviceaccount", fmt.Sprintf("ns%d", i), "sa")] = model.Labels{"role": fmt.Sprint(i % 2)}
	}
	switch r.IntN(4) {
	case 0:
		for i := range 1 + r.IntN(4) {
			p := adminPolicy(r, i)
			k.AdminPolicies[p.Ref] = p
		}
	case 1:
		for i := range 2 {
			order := float64(r.IntN(3) * 100)
			k.CalicoTiers[fmt.Sprintf("t%d", i)] = &model.CalicoTier{Name: fmt.Sprintf("t%d", i), Order: &order, DefaultAction: []string{"", "Deny", "Pass"}[r.IntN(3)]}
		}
		k.NetworkSets["globalnetworkset/s"] = &model.NetworkSet{Ref: "globalnetworkset/s", Labels: model.Labels{"set": "s"}, Nets: blocks(r)}
		for i := range 1 + r.IntN(5) {
			p := calicoPolicy(r, i)
			k.CalicoPolicies[p.Ref] = p
		}
	case 2:
		for i := range 1 + r.IntN(4) {
			p := ciliumPolicy(r, i)
			k.CiliumPolicies[p.Ref] = p
		}
	}
}

func blocks(r *rand.Rand) []netip.Prefix {
	var out []netip.Prefix
	for range 1 + r.IntN(2) {
		out = append(out, netip.MustParsePrefix(Blocks[r.IntN(len(Blocks))]))
	}
	return out
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

func adminPods(r *rand.Rand) *model.AdminPods {
	p := &model.AdminPods{}
	if r.IntN(2) == 0 {
		p.Namespaces = &model.Selector{MatchLabels: model.Labels{"team": fmt.Sprint(r.IntN(2))}}
	}
	if r.IntN(2) == 0 {
		p.Pods = randomSelector(r)
	}
	return p
}

func adminPolicy(r *rand.Rand, i int) *model.AdminPolicy {
	p := &model.AdminPolicy{Ref: model.NewRef("adminnetworkpolicy", fmt.Sprintf("anp%d", i)), Tier: "admin", Priority: int32(r.IntN(3)), Subject: *adminPods(r)}
	if i == 3 {
		p.Ref, p.Tier, p.Priority = "baselineadminnetworkpolicy/default", "baseline", 0
	}
	for range r.IntN(4) {
		p.Ingress = append(p.Ingress, adminRule(r, p.Tier, false))
	}
	for range r.IntN(4) {
		p.Egress = append(p.Egress, adminRule(r, p.Tier, true))
	}
	return p
}

func adminRule(r *rand.Rand, tier string, egress bool) model.AdminRule {
	rule := model.AdminRule{Action: pick(r, "Allow", "Deny", "Pass")}
	if tier == "baseline" && rule.Action == "Pass" {
		rule.Action = "Deny"
	}
	for range 1 + r.IntN(2) {
		peer := model.AdminPeer{Pods: adminPods(r)}
		if egress {
			switch r.IntN(4) {
			case 0:
				peer = model.AdminPeer{Nodes: &model.Selector{MatchLabels: model.Labels{"zone": fmt.Sprint(r.IntN(2))}}}
			case 1:
				peer = model.AdminPeer{Networks: blocks(r)}
			case 2:
				if rule.Action == "Allow" && r.IntN(3) == 0 {
					peer = model.AdminPeer{Names: []string{"*.example.com"}}
				}
			}
		}
		rule.Peers = append(rule.Peers, peer)
	}
	for range r.IntN(3) {
		rule.Ports = append(rule.Ports, model.PolicyPort{Protocol: pick(r, "TCP", "UDP", "SCTP"), Port: pick(r, "80", "53", "8080", "http", "dns")})
	}
	if r.IntN(20) == 0 {
		rule.Unknown = "something new"
	}
	return rule
}

func calicoPolicy(r *rand.Rand, i int) *model.CalicoPolicy {
	p := &model.CalicoPolicy{
		Name: fmt.Sprintf("c%d", i), Tier: pick(r, "default", "default", "t0", "t1"), Ingress: r.IntN(2) == 0, Egress: r.IntN(2) == 0,
		Selector: calicoSelector(r),
	}
	if p.Ref = model.NewRef("globalnetworkpolicy", p.Name); r.IntN(2) == 0 {
		p.Namespace = fmt.Sprintf("ns%d", r.IntN(3))
		p.Ref = model.NewRef("caliconetworkpolicy", p.Namespace, p.Name)
	} else if r.IntN(2) == 0 {
		p.NamespaceSelector = fmt.Sprintf("team == '%d'", r.IntN(2))
	}
	if r.IntN(5) > 0 {
		order := float64(r.IntN(3) * 10)
		p.Order = &order
	}
	if r.IntN(6) == 0 {
		p.ServiceAccountSelector = "role == '1'"
	}
	for range r.IntN(4) {
		p.IngressRules = append(p.IngressRules, calicoRule(r))
	}
	for range r.IntN(4) {
		p.EgressRules = append(p.EgressRules, calicoRule(r))
	}
	return p
}

func calicoSelector(r *rand.Rand) string {
	return pick(r, "", "all()", "app == 'a'", "app != 'b'", "has(tier)", "!has(tier)", "app in {'a', 'c'}", "app == 'a' || tier == 'x'", "app starts with 'b' && !(tier == 'y')", "projectcalico.org/orchestrator == 'k8s'")
}

func calicoRule(r *rand.Rand) model.CalicoRule {
	rule := model.CalicoRule{Action: pick(r, "Allow", "Allow", "Deny", "Pass", "Log"), Source: calicoEntity(r), Destination: calicoEntity(r)}
	if rule.Protocol = pick(r, "", "TCP", "UDP", "SCTP"); rule.Protocol == "" {
		rule.Source.Ports, rule.Destination.Ports, rule.Source.NotPorts, rule.Destination.NotPorts = nil, nil, nil, nil
	}
	rule.Source.Ports, rule.Source.NotPorts = nil, nil
	if r.IntN(20) == 0 {
		rule.HTTP = true
	}
	return rule
}

func calicoEntity(r *rand.Rand) model.CalicoEntity {
	var e model.CalicoEntity
	if r.IntN(3) == 0 {
		return e
	}
	switch r.IntN(5) {
	case 0:
		e.Selector = calicoSelector(r)
	case 1:
		e.NamespaceSelector = pick(r, "all()", "team == '0'", "global()")
	case 2:
		e.Nets = blocks(r)
	case 3:
		e.NotNets = blocks(r)
	case 4:
		e.Selector, e.NotSelector = calicoSelector(r), pick(r, "", "app == 'c'")
	}
	if r.IntN(4) == 0 {
		e.Ports = []string{pick(r, "80", "50:90", "http")}
	} else if r.IntN(5) == 0 {
		e.NotPorts = []string{pick(r, "80", "8080")}
	}
	if r.IntN(8) == 0 {
		e.ServiceAccounts = []string{"sa"}
	}
	if r.IntN(10) == 0 {
		e.Selector = "set == 's'"
	}
	return e
}

func ciliumPolicy(r *rand.Rand, i int) *model.CiliumPolicy {
	p := &model.CiliumPolicy{Namespace: fmt.Sprintf("ns%d", r.IntN(3))}
	p.Ref = model.NewRef("ciliumnetworkpolicy", p.Namespace, fmt.Sprintf("cnp%d", i))
	if r.IntN(3) == 0 {
		p.Namespace, p.Ref = "", model.NewRef("ciliumclusterwidenetworkpolicy", fmt.Sprintf("ccnp%d", i))
	}
	s := model.CiliumSpec{Endpoints: randomSelector(r)}
	for _, list := range []*[]model.CiliumRule{&s.Ingress, &s.Egress, &s.IngressDeny, &s.EgressDeny} {
		for range r.IntN(3) {
			*list = append(*list, ciliumRule(r))
		}
	}
	if no := false; r.IntN(6) == 0 {
		s.DenyIngress, s.DenyEgress = &no, &no
	}
	p.Specs = append(p.Specs, s)
	return p
}

func ciliumRule(r *rand.Rand) model.CiliumRule {
	var rule model.CiliumRule
	if r.IntN(5) > 0 {
		rule.Peered = true
		switch r.IntN(5) {
		case 0:
			rule.Entities = []string{pick(r, "all", "world", "cluster", "host", "remote-node", "kube-apiserver", "none")}
		case 1:
			rule.CIDRs = []model.PolicyPeer{{IPBlock: blocks(r)[0]}}
		case 2:
			rule.Names = []string{"*.example.com"}
		default:
			rule.Endpoints = []model.Selector{*randomSelector(r)}
		}
	}
	if r.IntN(2) == 0 {
		rule.Ported = true
		rule.Ports = []model.CiliumPort{{PolicyPort: model.PolicyPort{Protocol: pick(r, "TCP", "UDP", ""), Port: pick(r, "80", "53", "http")}}}
		if r.IntN(6) == 0 {
			rule.Ports[0].L7 = "http"
		}
	}
	return rule
}
