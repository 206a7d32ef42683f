package policy

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/podpath/podpath/internal/model"
)

// adminPolicies compiles the kinds of policy.networking.k8s.io into the tiers
// before and after NetworkPolicy. Priorities order policies within a tier; for
// equal ones the API defines no order.
// Source: https://network-policy-api.sigs.k8s.io/api-overview/
func (c *compiler) adminPolicies(tiers []placed) []placed {
	before := placed{name: "admin", order: adminOrder}
	after := placed{name: "baseline", order: baselineOrder}
	for _, a := range c.w.Kube.AdminPolicies {
		if a == nil {
			continue
		}
		doubt, ignored := c.adminSupport(a.Ref.Kind())
		if ignored != "" {
			c.ignore(a.Ref, ignored)
			continue
		}
		p := &Policy{Ref: a.Ref, Kind: adminKinds[a.Ref.Kind()], Order: "priority " + strconv.Itoa(int(a.Priority))}
		p.Subject = adminPods(&a.Subject)
		p.Subject.Unknown = cmp.Or(p.Subject.Unknown, doubt)
		p.Ingress, p.Egress = c.adminSide(a.Ingress), c.adminSide(a.Egress)
		o := ordered{Policy: p, order: float64(a.Priority)}
		if c.rules.Dialect == Calico {
			o.tie = string(a.Ref) // which takes them in order of their names
		}
		switch {
		case a.Ref.Kind() == "baselineadminnetworkpolicy":
			p.Order = "" // there is one
			after.policies = append(after.policies, o)
		case a.Tier == "baseline":
			after.policies = append(after.policies, o)
		default:
			before.policies = append(before.policies, o)
		}
	}
	for _, t := range []placed{before, after} {
		if len(t.policies) > 0 {
			tiers = append(tiers, t)
		}
	}
	return tiers
}

// The places of these tiers among Calico's, as Calico has them.
const (
	adminOrder    = 1_000
	baselineOrder = 10_000_000
)

var adminKinds = map[string]string{
	"adminnetworkpolicy": "AdminNetworkPolicy", "baselineadminnetworkpolicy": "BaselineAdminNetworkPolicy", "clusternetworkpolicy": "ClusterNetworkPolicy",
}

// adminSupport says whether the dataplane acts on a kind: for sure, perhaps
// (doubt says why), or not at all (ignored says why).
func (c *compiler) adminSupport(kind string) (doubt, ignored string) {
	name := adminKinds[kind]
	switch c.rules.Dialect {
	case NPM:
		return "", "Azure NPM carries out NetworkPolicy only, not " + name
	case Cilium:
		if kind == "clusternetworkpolicy" {
			return "whether this Cilium carries out ClusterNetworkPolicy is not known", ""
		}
		return "", "Cilium does not carry out " + name + " (cilium#23380)"
	case Calico:
		// Calico makes the tier of a kind when it knows the kind: 3.29 to 3.31 those of
		// AdminNetworkPolicy, from 3.32 on those of ClusterNetworkPolicy.
		tier := map[string]string{"adminnetworkpolicy": "adminnetworkpolicy", "baselineadminnetworkpolicy": "baselineadminnetworkpolicy", "clusternetworkpolicy": "kube-admin"}[kind]
		// A directory of manifests has no tiers, and is about what will be carried out.
		tiers := c.w.Kube.CalicoTiers
		if tiers[tier] != nil || len(tiers) == 0 && (!c.w.Read["tier"] || c.w.Kube.Server == "") {
			return "", ""
		}
		return "", "this Calico has no tier " + tier + ", so it does not carry out " + name
	}
	return "", ""
}

func (c *compiler) ignore(ref model.Ref, why string) {
	c.rules.Ignored = append(c.rules.Ignored, Ignored{ref, why})
}

func adminPods(a *model.AdminPods) Selection {
	var s Selection
	var n, p string
	s.Namespaces, n = fromLabels(a.Namespaces)
	s.Pods, p = fromLabels(a.Pods)
	s.Unknown = cmp.Or(a.Unknown, n, p)
	return s
}

// adminSide compiles one direction; without rules a policy says nothing about it.
func (c *compiler) adminSide(rules []model.AdminRule) *Side {
	if len(rules) == 0 {
		return nil
	}
	out := &Side{}
	for i := range rules {
		a := &rules[i]
		r := Rule{Index: i, Name: a.Name, Unknown: a.Unknown}
		switch a.Action {
		case "Allow", "Accept":
			r.Action = Allow
		case "Deny":
			r.Action = Deny
		case "Pass":
			r.Action = Next
		}
		for j := range a.Peers {
			r.Peers = append(r.Peers, adminPeer(&a.Peers[j]))
		}
		for j := range a.Ports {
			p := c.port(&a.Ports[j])
			p.Protocol = lower(a.Ports[j].Protocol)
			r.Ports = append(r.Ports, p)
		}
		out.Rules = append(out.Rules, r)
	}
	return out
}

func adminPeer(a *model.AdminPeer) Peer {
	var p Peer
	why := a.Unknown
	switch {
	case a.Pods != nil:
		p = Peer{Kind: Pods, Pods: adminPods(a.Pods)}
		why = cmp.Or(why, p.Pods.Unknown)
	case a.Nodes != nil:
		var reason string
		p.Kind = Hosts
		p.Nodes, reason = fromLabels(a.Nodes)
		why = cmp.Or(why, reason)
	case len(a.Networks) > 0:
		p = Peer{Kind: Range, CIDRs: masked(a.Networks)} // pods' addresses too, by the API's words
	case len(a.Names) > 0:
		p = Peer{Kind: Names, Names: slices.Clone(a.Names)}
	default:
		why = cmp.Or(why, "a peer says nothing that is understood")
	}
	if why != "" {
		return Peer{Kind: Mystery, Why: why}
	}
	return p
}
