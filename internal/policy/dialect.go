package policy

import (
	"fmt"
	"strings"

	"github.com/podpath/podpath/internal/model"
)

// Dialect is whose reading of the API is used where dataplanes differ.
type Dialect uint8

// The dialects.
const (
	Upstream Dialect = iota // the API's own text and its conformance tests
	NPM                     // Azure Network Policy Manager
	Calico
	Cilium // Azure CNI powered by Cilium, and Cilium itself
)

var dialectNames = [...]string{"upstream", "npm", "calico", "cilium"}

func (d Dialect) String() string { return dialectNames[d%Dialect(len(dialectNames))] }

// Dataplane is whose reading the dialect is, as people write it.
func (d Dialect) Dataplane() string {
	return [...]string{"the API's own text", "Azure NPM", "Calico", "Cilium"}[d%Dialect(len(dialectNames))]
}

// engines are DaemonSets that enforce NetworkPolicy.
var engines = []struct {
	name    string
	dialect Dialect
}{
	{"cilium", Cilium},
	{"azure-npm", NPM},
	{"calico-node", Calico},
	{"antrea-agent", Upstream},
	{"kube-router", Upstream},
	{"kube-network-policies", Upstream},
	{"weave-net", Upstream},
	{"canal", Calico},
}

// Detect tells the dialect from the DaemonSets and the cluster's document, and
// names what it was told from ("" when nothing said so).
func Detect(w *model.World) (Dialect, string) {
	for _, e := range engines {
		for _, ref := range workloadRefs(w) {
			if ref.Kind() == "daemonset" && ref.Name() == e.name {
				return e.dialect, string(ref)
			}
		}
	}
	c := w.Azure.Cluster
	if c == nil {
		return byKinds(w)
	}
	by := "networkPolicy " + c.NetworkPolicy + " of cluster " + c.Name
	switch strings.ToLower(c.NetworkPolicy) {
	case "azure":
		return NPM, by
	case "calico":
		return Calico, by
	case "cilium":
		return Cilium, by
	}
	if strings.EqualFold(c.Dataplane, "cilium") {
		return Cilium, "networkDataplane cilium of cluster " + c.Name
	}
	return Upstream, ""
}

// byKinds tells the dialect from policies that only one dataplane carries out:
// somebody wrote them to be carried out.
func byKinds(w *model.World) (Dialect, string) {
	switch calico, cilium := len(w.Kube.CalicoPolicies), len(w.Kube.CiliumPolicies); {
	case calico > 0 && cilium == 0:
		return Calico, byKind + "Calico's own kinds"
	case cilium > 0 && calico == 0:
		return Cilium, byKind + "Cilium's own kinds"
	}
	return Upstream, ""
}

const byKind = "policies of "

// guessed says that nothing tells what carries policies out in a running
// cluster, but at most its policies: they may be left over from another
// dataplane, and not every one carries out every kind.
func guessed(w *model.World, engine string) bool {
	if engine != "" && !strings.HasPrefix(engine, byKind) {
		return false
	}
	for _, n := range w.Kube.Nodes {
		if n != nil && n.ProviderID != "" {
			return true
		}
	}
	return w.Kube.Server != ""
}

// ambiguous says that policies of two dataplanes are there, and nothing tells which is.
func ambiguous(w *model.World, engine string) bool {
	return engine == "" && len(w.Kube.CalicoPolicies) > 0 && len(w.Kube.CiliumPolicies) > 0
}

// workloadRefs are the DaemonSets that are known: read themselves, or as owners of pods.
func workloadRefs(w *model.World) []model.Ref {
	var out []model.Ref
	for ref := range w.Kube.Workloads {
		if ref.Kind() == "daemonset" {
			out = append(out, ref)
		}
	}
	if len(out) > 0 {
		return out
	}
	seen := map[model.Ref]bool{}
	for _, p := range w.Kube.Pods {
		if p != nil && p.Owner.Kind() == "daemonset" && !seen[p.Owner] {
			seen[p.Owner] = true
			out = append(out, p.Owner)
		}
	}
	return out
}

// enforcement says whether anything in the cluster carries policies out.
type enforcement uint8

const (
	isEnforced enforcement = iota
	notEnforced
	notKnown
)

// enforcementOf tells whether policies are carried out. Only an AKS cluster that
// says "none" (or nothing, with its DaemonSets read) is known to ignore them.
func enforcementOf(w *model.World, engine string) (enforcement, string) {
	if engine != "" {
		return isEnforced, engine
	}
	c := w.Azure.Cluster
	switch {
	case c == nil:
		return isEnforced, "" // not AKS: somebody wrote policies to have them enforced
	case strings.EqualFold(c.NetworkPolicy, "none"), c.NetworkPolicy == "" && w.Read["daemonset"]:
		return notEnforced, fmt.Sprintf("cluster %s has networkPolicy %q and no policy engine among its DaemonSets", c.Name, c.NetworkPolicy)
	}
	return notKnown, fmt.Sprintf("cluster %s does not say that it enforces NetworkPolicy", c.Name)
}

// enginesGap is what would tell who carries policies out.
var enginesGap = model.Gap{
	What: "DaemonSets of kube-system", Ref: "daemonset", Reason: "not read", Permission: "list daemonsets.apps in namespace kube-system",
}

// enforce weakens a refusal that nothing carries out, and what a policy decides
// of which it is not known that anything carries it out.
func (x *Index) enforce(d Decision) Decision {
	if x.guess && isCustom(d.Decided.Kind()) && x.enforced == isEnforced && d.Verdict != model.Unknown {
		d.Trail = append(d.Trail, d.Reason)
		d.Verdict, d.Gaps = model.Unknown, append(d.Gaps, enginesGap)
		d.Reason = fmt.Sprintf("%s decides it, but what carries policies out here is not known, and not everything carries out this kind", d.Decided)
		return d
	}
	if d.Verdict != model.Drop || x.enforced == isEnforced {
		return d
	}
	d.Trail = append(d.Trail, d.Reason)
	if x.enforced == notEnforced {
		d.Verdict = model.Pass
		d.Reason = fmt.Sprintf("%s would refuse it, but nothing enforces policies: %s", d.Decided, x.engine)
		return d
	}
	d.Verdict = model.Unknown
	d.Reason = fmt.Sprintf("%s refuses it, but whether anything enforces policies is not known: %s", d.Decided, x.engine)
	d.Gaps = append(d.Gaps, enginesGap)
	return d
}

// implicit is what passes whatever the policies say, or where nobody can say.
func (x *Index) implicit(pod *model.Pod, f model.Flow, ingress bool) (Tri, string) {
	peer := f.Dst.Unmap()
	if ingress {
		peer = f.Src.Unmap()
	}
	if f.From != "" && f.From == f.To && !f.Alike {
		return Maybe, fmt.Sprintf("%s talks to itself: whether policies apply differs between dataplanes", pod.Ref())
	}
	if !peer.IsValid() {
		return No, ""
	}
	for _, ip := range pod.IPs {
		if ip.Unmap() == peer && !f.Alike {
			return Maybe, fmt.Sprintf("%s talks to itself: whether policies apply differs between dataplanes", pod.Ref())
		}
	}
	node, isNode := x.nodeOf[peer]
	switch {
	case !isNode || node != pod.Node:
	case ingress && x.rules.OwnNodeIngress:
		return Yes, fmt.Sprintf("it comes from the pod's own node %s: always allowed", node)
	case !ingress && x.rules.OwnNodeEgress:
		return Yes, fmt.Sprintf("it goes to the pod's own node %s: Azure NPM always allows that", node)
	}
	return No, ""
}

// masqueraded takes a refusal of NPM back that is about Service traffic: what
// comes through another node's NodePort or load balancer, with that node's
// address, is not subject to ingress policies there.
// Source: https://learn.microsoft.com/azure/aks/azure-cni-powered-by-cilium
func (x *Index) masqueraded(d Decision, f model.Flow, ingress bool) Decision {
	_, node := x.nodeOf[f.Src.Unmap()]
	if d.Verdict != model.Drop || x.dialect != NPM || !ingress || !node || f.From.Kind() == "node" {
		return d
	}
	d.Trail = append(d.Trail, d.Reason)
	d.Verdict, d.Reason = model.Unknown, "it comes from a node's address: Azure NPM does not apply ingress policies to what a Service (externalTrafficPolicy Cluster) sends on from there, but to the node's own connections"
	return d
}
