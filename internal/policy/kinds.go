package policy

import (
	"slices"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Kind is one kind of policy, or of what policies refer to, that is read from custom resources.
type Kind struct {
	Kind     string // as in Ref: "adminnetworkpolicy"
	Resource string // "adminnetworkpolicies.policy.networking.k8s.io"
	InSpaces bool   // its objects live in namespaces
	family   family
}

type family uint8

const (
	admin family = iota
	calico
	cilium
)

// Kinds are the custom resources that policies are made of, as RBAC names them.
// The ones of Calico are served under two groups; either will do.
var Kinds = []Kind{
	{"adminnetworkpolicy", "adminnetworkpolicies.policy.networking.k8s.io", false, admin},
	{"baselineadminnetworkpolicy", "baselineadminnetworkpolicies.policy.networking.k8s.io", false, admin},
	{"clusternetworkpolicy", "clusternetworkpolicies.policy.networking.k8s.io", false, admin},
	{"caliconetworkpolicy", "networkpolicies.crd.projectcalico.org", true, calico},
	{"globalnetworkpolicy", "globalnetworkpolicies.crd.projectcalico.org", false, calico},
	{"networkset", "networksets.crd.projectcalico.org", true, calico},
	{"globalnetworkset", "globalnetworksets.crd.projectcalico.org", false, calico},
	{"tier", "tiers.crd.projectcalico.org", false, calico},
	{"ciliumnetworkpolicy", "ciliumnetworkpolicies.cilium.io", true, cilium},
	{"ciliumclusterwidenetworkpolicy", "ciliumclusterwidenetworkpolicies.cilium.io", false, cilium},
}

// Resources are the names and groups under which the kind may be served, the one to read first.
func (k *Kind) Resources() [][2]string {
	name, group, _ := strings.Cut(k.Resource, ".")
	out := [][2]string{{name, group}}
	if k.family == calico { // the aggregated API server of Calico serves the same objects
		out = append(out, [2]string{name, strings.TrimPrefix(group, "crd.")})
	}
	return out
}

// Discovery is the Ref of a gap that says: which kinds of policies there are could not be read.
const Discovery model.Ref = "apigroup"

// unreadKind is the kind whose list a gap is about, "" when it is none of Kinds.
func unreadKind(g model.Gap) string {
	if g.Ref == Discovery {
		return "clusternetworkpolicy" // it could be any kind, and this one most dataplanes would carry out
	}
	words := strings.FieldsFunc(g.What+"\n"+g.Permission, func(r rune) bool { return r == ' ' || r == '\n' || r == '/' })
	for i := range Kinds {
		k := &Kinds[i]
		for _, as := range k.Resources() {
			if g.Ref.Kind() == k.Kind || slices.Contains(words, as[0]+"."+as[1]) {
				return k.Kind
			}
		}
	}
	return ""
}

// isCustom says whether a kind is one of Kinds.
func isCustom(kind string) bool {
	return slices.ContainsFunc(Kinds, func(k Kind) bool { return k.Kind == kind })
}

// familyOf is the family of a kind in Kinds.
func familyOf(kind string) family {
	for i := range Kinds {
		if Kinds[i].Kind == kind {
			return Kinds[i].family
		}
	}
	return admin
}

// carriesOut says whether a dataplane may act on a kind of policy.
func carriesOut(d Dialect, kind string) bool {
	switch familyOf(kind) {
	case calico:
		return d == Calico
	case cilium:
		return d == Cilium
	}
	return d != NPM
}

// overrides says whether a policy of the kind could let pass what others refuse.
func overrides(kind string) bool { return kind != "baselineadminnetworkpolicy" }
