package policy

import (
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Kind is one kind of policy, or of what policies refer to, that is read from custom resources.
type Kind struct {
	Kind     string // as in Ref: "adminnetworkpolicy"
	Resource string // "adminnetworkpolicies.policy.networking.k8s.io"
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
	{"adminnetworkpolicy", "adminnetworkpolicies.policy.networking.k8s.io", admin},
	{"baselineadminnetworkpolicy", "baselineadminnetworkpolicies.policy.networking.k8s.io", admin},
	{"clusternetworkpolicy", "clusternetworkpolicies.policy.networking.k8s.io", admin},
	{"caliconetworkpolicy", "networkpolicies.crd.projectcalico.org", calico},
	{"globalnetworkpolicy", "globalnetworkpolicies.crd.projectcalico.org", calico},
	{"networkset", "networksets.crd.projectcalico.org", calico},
	{"globalnetworkset", "globalnetworksets.crd.projectcalico.org", calico},
	{"tier", "tiers.crd.projectcalico.org", calico},
	{"ciliumnetworkpolicy", "ciliumnetworkpolicies.cilium.io", cilium},
	{"ciliumclusterwidenetworkpolicy", "ciliumclusterwidenetworkpolicies.cilium.io", cilium},
}

// unreadKind is the kind whose list a gap is about, "" when it is none of Kinds.
func unreadKind(g model.Gap) string {
	text := g.What + "\n" + g.Permission
	for i := range Kinds {
		k := &Kinds[i]
		if g.Ref.Kind() == k.Kind || strings.Contains(text, k.Resource) {
			return k.Kind
		}
		// The same kind as the aggregated API server of Calico serves it.
		if k.family == calico && strings.Contains(text, strings.Replace(k.Resource, ".crd.", ".", 1)) {
			return k.Kind
		}
	}
	return ""
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
